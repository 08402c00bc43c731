/** Addresses: where the user is, and how links move without loading a page. */
import { SvelteURLSearchParams } from 'svelte/reactivity';

class Router {
  path = $state(location.pathname);
  query = $state.raw(new URLSearchParams(location.search));
  /** Counts arrivals. A page that is arrived at again starts afresh. */
  visit = $state(0);

  constructor() {
    addEventListener('popstate', () => this.#arrive());
    document.addEventListener('click', (event) => this.#follow(event));
  }

  go(to: string): void {
    history.pushState(null, '', to);
    this.#arrive();
    scrollTo(0, 0);
  }

  /** Puts another page in the place of this one. */
  redirect(to: string): void {
    history.replaceState(null, '', to);
    this.#arrive();
  }

  /** Changes the address's query in place: the page stays, and so does its history entry. */
  setQuery(changes: Record<string, string | null>): void {
    const query = new SvelteURLSearchParams(this.query);
    for (const [name, value] of Object.entries(changes)) {
      if (value) query.set(name, value);
      else query.delete(name);
    }
    const text = query.toString();
    history.replaceState(null, '', text ? `${this.path}?${text}` : this.path);
    this.query = new URLSearchParams(text);
  }

  #arrive(): void {
    this.path = location.pathname;
    this.query = new URLSearchParams(location.search);
    this.visit += 1;
  }

  /** Links to our own pages are followed here; downloads, new tabs and other sites are the browser's. */
  #follow(event: MouseEvent): void {
    const plain = !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey && event.button === 0;
    if (!plain || event.defaultPrevented || !(event.target instanceof Element)) return;
    const link = event.target.closest('a');
    if (!link || link.target || link.hasAttribute('download') || link.origin !== location.origin) return;
    if (link.hash && link.pathname === location.pathname) return;
    event.preventDefault();
    this.go(link.pathname + link.search);
  }
}

export const router = new Router();
