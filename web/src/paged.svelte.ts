/**
 * A list that the server gives out page by page, newest first: what is there, and how to have the older ones.
 *
 * What changed is fetched again from the top, and pages that were loaded before stay below it, so that nothing
 * that somebody was reading goes away.
 */
import { untrack } from 'svelte';

import type { ApiError } from './api/client';
import type { LiveEvent, Page } from './api/types';
import { below, continued } from './joined';
import { asApiError, mayPass, whenChanged } from './resource.svelte';

const PAGE_SIZE = 100;

/** How soon a failure that may pass is tried again. */
const RETRY_MS = 5000;

type Fetch<T> = (limit: number, cursor: string | null, signal: AbortSignal) => Promise<Page<T>>;

export class Paged<T> {
  items = $state.raw<T[] | undefined>();
  /** Where the older ones start; `null` when there are none. */
  next = $state<string | null>(null);
  error = $state.raw<ApiError | undefined>();
  /** Whether somebody waits for older ones. */
  busy = $state(false);
  #fetch: Fetch<T>;
  readonly #key: (item: T) => unknown;
  #running: AbortController | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;

  constructor(fetch: Fetch<T>, key: (item: T) => unknown) {
    this.#fetch = fetch;
    this.#key = key;
  }

  /** The same as of a resource, so that both are shown by one component. */
  get data(): T[] | undefined {
    return this.items;
  }

  get loading(): boolean {
    return this.items === undefined && this.error === undefined;
  }

  /** Looks for what is new or changed. */
  reload = async (): Promise<void> => {
    if (this.busy) return;
    await this.#work(async (signal) => {
      const page = await this.#fetch(PAGE_SIZE, null, signal);
      if (signal.aborted) return;
      const older = page.next_cursor === null ? null : below(page.items, this.items ?? [], this.#key);
      this.items = [...page.items, ...(older ?? [])];
      if (!older?.length) this.next = page.next_cursor;
    });
  };

  /** Adds the page that follows. */
  older = async (): Promise<void> => {
    const from = this.next;
    if (from === null || this.busy) return;
    this.busy = true;
    await this.#work(async (signal) => {
      const page = await this.#fetch(PAGE_SIZE, from, signal);
      if (signal.aborted) return;
      this.items = continued(this.items ?? [], page.items, this.#key);
      this.next = page.next_cursor;
    });
    this.busy = false;
  };

  /** Starts anew with another question; what was shown stays until the answer is there. */
  async ask(fetch: Fetch<T>): Promise<void> {
    this.stop();
    this.busy = false;
    this.#fetch = fetch;
    await this.#work(async (signal) => {
      const page = await fetch(PAGE_SIZE, null, signal);
      if (signal.aborted) return;
      this.items = page.items;
      this.next = page.next_cursor;
    });
  }

  stop(): void {
    this.#running?.abort();
    clearTimeout(this.#retry);
  }

  async #work(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    this.stop();
    const running = new AbortController();
    this.#running = running;
    try {
      await work(running.signal);
      if (!running.signal.aborted) this.error = undefined;
    } catch (thrown) {
      if (running.signal.aborted) return;
      this.error = asApiError(thrown);
      const wait = this.error.retryAfter ? this.error.retryAfter * 1000 : RETRY_MS;
      if (mayPass(this.error)) this.#retry = setTimeout(() => void this.reload(), wait);
    }
  }
}

/** For as long as the component lives: fetched at once, and again after events that concern it. */
export function paged<T>(list: Paged<T>, concerns: (event: LiveEvent) => boolean): Paged<T> {
  $effect(() => {
    untrack(() => void list.reload());
    return () => list.stop();
  });
  whenChanged(concerns, () => void list.reload());
  return list;
}
