/**
 * The hosts that match, page by page. Pages are kept as the server cut them, so that those in view can be
 * fetched again on their own: at 100,000 hosts nothing else stays quick.
 */
import type { ApiError, HostQuery } from '../../api/client';
import { api } from '../../api/client';
import type { Host } from '../../api/types';
import { asApiError } from '../../resource.svelte';
import { distinct } from './distinct';

interface Loaded {
  /** Where the page starts; `null` is the beginning. */
  from: string | null;
  items: Host[];
  next: string | null;
}

/** Some screens full: enough that scrolling rarely waits, little enough to be answered at once. */
export const PAGE_SIZE = 100;

/** Questions whose answers are kept, so that going back to one finds the place again. */
const ANSWERS_KEPT = 6;

/** The rows that are on the screen. */
interface View {
  first: number;
  /** One past the last. */
  end: number;
}

export class HostList {
  /** All that is loaded, each host once. */
  hosts = $state.raw<Host[]>([]);
  total = $state<number | undefined>();
  error = $state.raw<ApiError | undefined>();
  loadingMore = $state(false);
  #pages = $state.raw<Loaded[] | undefined>();
  #running: AbortController | undefined;
  #query: HostQuery | undefined;
  #view: View = { first: 0, end: 0 };
  // eslint-disable-next-line svelte/prefer-svelte-reactivity -- nothing on the screen depends on it
  readonly #answers = new Map<string, { pages: Loaded[]; total: number | undefined; view: View }>();

  get loading(): boolean {
    return this.#pages === undefined && this.error === undefined;
  }

  get loaded(): boolean {
    return this.#pages !== undefined;
  }

  get complete(): boolean {
    return this.#pages?.at(-1)?.next === null;
  }

  /**
   * Starts anew with what is asked for now, or where that was left before. What was shown stays until the
   * answer is there.
   */
  async search(query: HostQuery): Promise<void> {
    this.stop();
    this.loadingMore = false;
    this.#query = query;
    const before = this.#answers.get(JSON.stringify(query));
    if (before) {
      this.total = before.total;
      this.#view = before.view;
      this.#show(before.pages);
      await this.refresh();
      return;
    }
    this.#view = { first: 0, end: 0 };
    await this.#work(async (signal) => {
      const page = await this.#fetch(query, null, signal);
      if (!signal.aborted) this.#show([page]);
    });
  }

  async more(): Promise<void> {
    const from = this.#pages?.at(-1)?.next;
    const query = this.#query;
    if (!from || !query || this.loadingMore) return;
    this.loadingMore = true;
    await this.#work(async (signal) => {
      const page = await this.#fetch(query, from, signal);
      if (!signal.aborted) this.#show([...(this.#pages ?? []), page]);
    });
    if (this.#query === query) this.loadingMore = false;
  }

  /** Says which rows are on the screen. */
  look(first: number, end: number): void {
    this.#view = { first, end };
    const answer = this.#answers.get(JSON.stringify(this.#query));
    if (answer) answer.view = this.#view;
  }

  /** Fetches again what is in view. */
  async refresh(): Promise<void> {
    const { first, end: last } = this.#view;
    const pages = this.#pages;
    const query = this.#query;
    if (query === undefined || this.loadingMore) return;
    if (pages === undefined) {
      await this.search(query);
      return;
    }
    await this.#work(async (signal) => {
      const fresh = [...pages];
      let start = 0;
      for (const [at, page] of pages.entries()) {
        const end = start + page.items.length;
        const inView = start <= last && end >= first;
        start = end;
        if (!inView) continue;
        const again = await this.#fetch(query, page.from, signal);
        if (signal.aborted) return;
        fresh[at] = again;
        // Where the page now ends elsewhere, those after it no longer continue it.
        if (again.next !== page.next) {
          fresh.length = at + 1;
          break;
        }
      }
      this.#show(fresh);
    });
  }

  /** Takes a host off the list at once; the server has said that it no longer belongs there. */
  remove(id: string): void {
    if (this.total) this.total -= 1;
    const without = (page: Loaded) => ({ ...page, items: page.items.filter((host) => host.id !== id) });
    this.#show((this.#pages ?? []).map(without));
  }

  stop(): void {
    this.#running?.abort();
  }

  #show(pages: Loaded[]): void {
    this.#pages = pages;
    this.hosts = distinct(pages.flatMap((page) => page.items));
    const asked = JSON.stringify(this.#query);
    this.#answers.delete(asked);
    this.#answers.set(asked, { pages, total: this.total, view: this.#view });
    for (const old of this.#answers.keys()) {
      if (this.#answers.size <= ANSWERS_KEPT) break;
      this.#answers.delete(old);
    }
  }

  async #fetch(query: HostQuery, from: string | null, signal: AbortSignal): Promise<Loaded> {
    const page = await api.hosts(query, PAGE_SIZE, from, signal);
    if (!signal.aborted) this.total = page.total;
    return { from, items: page.items, next: page.next_cursor };
  }

  /** One request at a time: a newer one makes the answer to the older one worthless. */
  async #work(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    this.#running?.abort();
    const running = new AbortController();
    this.#running = running;
    try {
      await work(running.signal);
      if (!running.signal.aborted) this.error = undefined;
    } catch (error) {
      if (!running.signal.aborted) this.error = asApiError(error);
    }
  }
}
