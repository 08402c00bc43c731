/**
 * Addresses: where the user is, how links move without loading a page, and how one comes back.
 *
 * A page lives for one *visit*: from the arrival at its address until another page takes its place. Queries
 * change within a visit (a search, a filter), each a history entry of its own, and fragments change nothing at all.
 * Whoever goes back returns to the visit that was left: to its place on the page, and to what it had loaded.
 */
import { SvelteURLSearchParams } from 'svelte/reactivity';

interface Place {
  visit: number;
  /** How far the page was scrolled when the entry was left, in pixels. */
  scrolled: number;
  /** Whether the entry's query is still being typed. */
  typing: boolean;
}

/** Visits whose loaded lists are kept for going back. */
const VISITS_KEPT = 8;

/** How long going back waits for a page to become as long as it was. */
const SETTLE_MS = 4000;

/** The parameter that names the tenant; it goes along to every page. */
const TENANT = 'tenant';

class Router {
  path = $state(location.pathname);
  query = $state.raw(new URLSearchParams(location.search));
  /** Names the visit; a page that is arrived at again starts afresh, one that is returned to does not. */
  visit = $state(0);

  /** The history entries of this tab by the number that stands in their state, which holds nothing else. */
  readonly #places = new Map<number, Place>();
  readonly #kept = new Map<number, Map<string, unknown>>();
  #entry = 0;
  /** Entries of before a reload have numbers, too; none of ours is theirs. */
  #last = Date.now();
  #settling: ResizeObserver | undefined;
  #patience: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    history.scrollRestoration = 'manual';
    this.#enter(++this.#last);
    this.visit = this.#place.visit;
    history.replaceState(this.#entry, '');
    addEventListener('popstate', (event) => this.#return(event.state));
    addEventListener('scroll', () => this.#scrolled(), { passive: true });
    for (const kind of ['wheel', 'pointerdown', 'keydown', 'touchstart']) {
      addEventListener(kind, () => this.#settled(), { passive: true });
    }
    document.addEventListener('click', (event) => this.#follow(event));
  }

  /**
   * An address of ours as it stands in links and in the address bar: with the tenant that is looked at, unless it
   * names another. An empty name is the tenant of addresses without one.
   */
  to(address: string): string {
    const tenant = this.query.get(TENANT);
    const url = new URL(address, location.origin);
    if (tenant !== null && !url.searchParams.has(TENANT)) url.searchParams.set(TENANT, tenant);
    if (url.searchParams.get(TENANT) === '') url.searchParams.delete(TENANT);
    return url.pathname + url.search;
  }

  go(address: string): void {
    this.#enter(++this.#last);
    history.pushState(this.#entry, '', this.to(address));
    this.#arrive();
    scrollTo(0, 0);
  }

  /** Puts another page in the place of this one. */
  redirect(address: string): void {
    this.#enter(this.#entry, true);
    history.replaceState(this.#entry, '', this.to(address));
    this.#arrive();
  }

  /**
   * Changes the address's query; the page stays. Each change can be undone by going back, and what is being
   * typed is one change.
   */
  setQuery(changes: Record<string, string | null>, how: 'chosen' | 'typed' | 'corrected' = 'chosen'): void {
    const query = new SvelteURLSearchParams(this.query);
    for (const [name, value] of Object.entries(changes)) {
      if (value) query.set(name, value);
      else query.delete(name);
    }
    const text = query.toString();
    if (text === this.query.toString()) return;
    const address = text ? `${this.path}?${text}` : this.path;
    if (how === 'corrected' || (how === 'typed' && this.#place.typing)) {
      history.replaceState(this.#entry, '', address);
    } else {
      const { visit } = this.#place;
      this.#entry = ++this.#last;
      this.#places.set(this.#entry, { visit, scrolled: scrollY, typing: how === 'typed' });
      history.pushState(this.#entry, '', address);
    }
    this.query = new URLSearchParams(text);
  }

  /** What was typed so far stands; more typing is another change. */
  typed(): void {
    this.#place.typing = false;
  }

  /**
   * Something of a page that whoever returns to the visit finds again, such as a list with all that was loaded.
   * Nothing secret: it outlives the page.
   */
  keep<T>(name: string, make: () => T): T {
    // eslint-disable-next-line svelte/prefer-svelte-reactivity -- nothing on the screen depends on it
    const visit = this.#kept.get(this.visit) ?? new Map<string, unknown>();
    this.#kept.delete(this.visit);
    this.#kept.set(this.visit, visit);
    for (const old of this.#kept.keys()) {
      if (this.#kept.size <= VISITS_KEPT) break;
      this.#kept.delete(old);
    }
    if (!visit.has(name)) visit.set(name, make());
    return visit.get(name) as T;
  }

  /** Somebody else is here: nothing of the pages of before is kept. */
  forget(): void {
    this.#kept.clear();
  }

  get #place(): Place {
    const place = this.#places.get(this.#entry) ?? { visit: this.#entry, scrolled: 0, typing: false };
    this.#places.set(this.#entry, place);
    return place;
  }

  #enter(entry: number, afresh = false): void {
    this.#settled();
    this.#entry = entry;
    if (afresh) this.#places.set(entry, { visit: ++this.#last, scrolled: 0, typing: false });
  }

  #arrive(): void {
    this.path = location.pathname;
    this.query = new URLSearchParams(location.search);
    this.visit = this.#place.visit;
  }

  /** Another history entry is there: by going back or forward, or because only the fragment changed. */
  #return(state: unknown): void {
    const query = new URLSearchParams(location.search).toString();
    const moved = location.pathname !== this.path || query !== this.query.toString();
    if (!moved && typeof state !== 'number') {
      // A fragment of the page that one is on: an entry of the same place.
      history.replaceState(this.#entry, '');
      return;
    }
    const entry = typeof state === 'number' ? state : ++this.#last;
    if (entry === this.#entry && !moved) return;
    this.#enter(entry);
    if (typeof state !== 'number') history.replaceState(entry, '');
    this.#arrive();
    this.#settle(this.#place.scrolled);
  }

  #scrolled(): void {
    if (this.#settling === undefined) this.#place.scrolled = scrollY;
  }

  /** Scrolls to a place as soon as the page is long enough to have it, unless the user moves first. */
  #settle(to: number): void {
    const attempt = () => {
      scrollTo(0, to);
      if (Math.abs(scrollY - to) > 1) return;
      this.#settled();
    };
    this.#settling = new ResizeObserver(attempt);
    this.#settling.observe(document.body);
    this.#patience = setTimeout(() => this.#settled(), SETTLE_MS);
  }

  #settled(): void {
    this.#settling?.disconnect();
    this.#settling = undefined;
    clearTimeout(this.#patience);
  }

  /** Links to our own pages are followed here; downloads, new tabs and other sites are the browser's. */
  #follow(event: MouseEvent): void {
    const plain = !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey && event.button === 0;
    if (!plain || event.defaultPrevented || !(event.target instanceof Element)) return;
    const link = event.target.closest('a');
    if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
    if (link.hash && link.pathname === location.pathname && link.search === location.search) return;
    event.preventDefault();
    this.go(link.pathname + link.search);
  }
}

export const router = new Router();
