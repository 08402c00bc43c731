/** How one user likes the pages: what of it is kept, and read again. */

export type Density = 'comfortable' | 'compact';

/** A search of hosts that somebody wants to come back to. */
export interface SavedView {
  name: string;
  /** The query of the address. */
  query: string;
}

export interface OwnWays {
  density: Density;
  /** Columns of the table of hosts that are not wanted. */
  hidden: string[];
  views: SavedView[];
  /** Whether keys without Ctrl lead somewhere. */
  keys: boolean;
}

export const DEFAULT: OwnWays = { density: 'comfortable', hidden: [], views: [], keys: true };

/** More views than these are no help in finding one. */
const VIEWS_MAX = 24;
const NAME_MAX = 60;
const QUERY_MAX = 500;

const isText = (value: unknown): value is string => typeof value === 'string';

/** What was kept, as far as it can be used: another version, or another program, may have written it. */
export function readWays(text: string | null): OwnWays {
  let kept: Partial<Record<keyof OwnWays, unknown>>;
  try {
    kept = (JSON.parse(text ?? '{}') ?? {}) as typeof kept;
  } catch {
    return DEFAULT;
  }
  const views = Array.isArray(kept.views) ? (kept.views as Partial<SavedView>[]) : [];
  return {
    density: kept.density === 'compact' ? 'compact' : 'comfortable',
    keys: kept.keys !== false,
    hidden: Array.isArray(kept.hidden) ? kept.hidden.filter(isText) : [],
    views: views
      .flatMap((view) =>
        isText(view?.name) && isText(view.query)
          ? [{ name: view.name.slice(0, NAME_MAX), query: view.query.slice(0, QUERY_MAX) }]
          : [],
      )
      .slice(0, VIEWS_MAX),
  };
}

/** The views with one more; one of the same name makes way. */
export function withView(views: readonly SavedView[], view: SavedView): SavedView[] {
  const others = views.filter(({ name }) => name !== view.name);
  return [...others, view].toSorted((a, b) => a.name.localeCompare(b.name)).slice(0, VIEWS_MAX);
}
