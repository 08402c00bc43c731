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

export class HostList {
  total = $state<number | undefined>();
  error = $state.raw<ApiError | undefined>();
  loadingMore = $state(false);
  #pages = $state.raw<Loaded[] | undefined>();
  #running: AbortController | undefined;
  #query: HostQuery = { q: '', status: null, decommissioned: false };

  readonly hosts = $derived(distinct(this.#pages?.flatMap((page) => page.items) ?? []));

  get loading(): boolean {
    return this.#pages === undefined && this.error === undefined;
  }

  get loaded(): boolean {
    return this.#pages !== undefined;
  }

  get complete(): boolean {
    return this.#pages?.at(-1)?.next === null;
  }

  /** Starts anew with what is asked for now. What was shown stays until the answer is there. */
  async search(query: HostQuery): Promise<void> {
    this.#query = query;
    await this.#work(async (signal) => {
      const page = await this.#fetch(null, signal);
      if (!signal.aborted) this.#pages = [page];
    });
  }

  async more(): Promise<void> {
    const from = this.#pages?.at(-1)?.next;
    if (!from || this.loadingMore) return;
    this.loadingMore = true;
    await this.#work(async (signal) => {
      const page = await this.#fetch(from, signal);
      if (!signal.aborted) this.#pages = [...(this.#pages ?? []), page];
    });
    this.loadingMore = false;
  }

  /** Fetches again what is in view, rows `first` to `last`. */
  async refresh(first: number, last: number): Promise<void> {
    const pages = this.#pages;
    if (pages === undefined || this.loadingMore) {
      if (pages === undefined) await this.search(this.#query);
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
        const again = await this.#fetch(page.from, signal);
        if (signal.aborted) return;
        fresh[at] = again;
        // Where the page now ends elsewhere, those after it no longer continue it.
        if (again.next !== page.next) {
          fresh.length = at + 1;
          break;
        }
      }
      this.#pages = fresh;
    });
  }

  /** Takes a host off the list at once; the server has said that it no longer belongs there. */
  remove(id: string): void {
    this.#pages = this.#pages?.map((page) => ({
      ...page,
      items: page.items.filter((host) => host.id !== id),
    }));
    if (this.total) this.total -= 1;
  }

  stop(): void {
    this.#running?.abort();
  }

  async #fetch(from: string | null, signal: AbortSignal): Promise<Loaded> {
    const page = await api.hosts(this.#query, PAGE_SIZE, from, signal);
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
