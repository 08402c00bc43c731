/** Pages of one list put together, each item once. */

/** A page as the server cut it. */
export interface Cut<T> {
  /** Where it starts; `null` is the beginning. */
  from: string | null;
  items: readonly T[];
  /** Where the one behind it starts; `null` is the end. */
  next: string | null;
}

/** What was there, below a fresh first page. `null`: the two don't meet, and what was there is no continuation. */
export function below<T>(fresh: readonly T[], before: readonly T[], key: (item: T) => unknown): T[] | null {
  const known = new Set(fresh.map(key));
  const last = before.findLastIndex((item) => known.has(key(item)));
  return last < 0 ? null : before.slice(last + 1);
}

/**
 * The pages with one that has just come, in the place of an older form of it or behind the last. An item that moved
 * between pages while they were fetched stands where it was seen last.
 */
export function placed<T>(
  pages: readonly Cut<T>[],
  at: number,
  page: Cut<T>,
  key: (item: T) => unknown,
): Cut<T>[] {
  const here = new Set(page.items.map(key));
  const elsewhere = (item: T) => !here.has(key(item));
  const all = pages.map((other) =>
    other.items.every(elsewhere) ? other : { ...other, items: other.items.filter(elsewhere) },
  );
  all[at] = page;
  return all;
}
