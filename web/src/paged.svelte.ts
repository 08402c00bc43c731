/**
 * A list that the server gives out page by page: what of it is there, how to have more, and how it is kept up to date.
 *
 * What changed is fetched again, and pages that were loaded before stay as far as they can, so that nothing that
 * somebody was reading goes away.
 */
import { untrack } from 'svelte';

import type { ApiError } from './api/client';
import type { LiveEvent, Page } from './api/types';
import { type Cut, below, placed } from './joined';
import { Attempts, whenChanged } from './resource.svelte';

/** Some screens full: enough that scrolling rarely waits, little enough to be answered at once. */
const PAGE_SIZE = 100;

type Fetch<T, Q> = (
  limit: number,
  cursor: string | null,
  signal: AbortSignal,
  question: Q,
) => Promise<Page<T>>;

interface Answer<T> {
  /** The question, as text. */
  to: string;
  pages: readonly Cut<T>[];
  total: number | undefined;
  /** The rows that are on the screen, the last one excluded. */
  view: { first: number; end: number };
}

interface Ways {
  /**
   * Whether items change their places, as they do when they are sorted by name. Then the pages in view are fetched
   * again, each where it began. Otherwise what is new comes on top, and the rest stays below it.
   */
  moving?: boolean;
  /** To how many questions the answers are kept, so that going back to one finds the place again. */
  kept?: number;
}

export class Paged<T, Q = null> {
  /** All that is loaded, each item once. */
  items = $state.raw<T[] | undefined>();
  /** Where the rest starts; `null` when there is none. */
  next = $state<string | null>(null);
  /** How many there are on the server, where it says so. */
  total = $state<number | undefined>();
  /** Whether somebody waits for the next page. */
  busy = $state(false);
  readonly #fetch: Fetch<T, Q>;
  readonly #key: (item: T) => unknown;
  readonly #moving: boolean;
  readonly #kept: number;
  readonly #attempts = new Attempts(() => void this.reload());
  // eslint-disable-next-line svelte/prefer-svelte-reactivity -- nothing on the screen depends on it
  readonly #answers = new Map<string, Answer<T>>();
  #question: Q;
  #shown: Answer<T> | undefined;
  /** Whether something may have changed since it was fetched. */
  #stale = false;

  constructor(fetch: Fetch<T, Q>, key: (item: T) => unknown, question: Q, ways: Ways = {}) {
    this.#fetch = fetch;
    this.#key = key;
    this.#question = question;
    this.#moving = ways.moving ?? false;
    this.#kept = ways.kept ?? 1;
  }

  get error(): ApiError | undefined {
    return this.#attempts.error;
  }

  /** The same as of a resource, so that both are shown by one component. */
  get data(): T[] | undefined {
    return this.items;
  }

  get loading(): boolean {
    return this.items === undefined && this.error === undefined;
  }

  /**
   * Starts anew with another question, or where that was left before. What was shown stays until the answer is
   * there. The same question as before asks what is new.
   */
  async ask(question: Q): Promise<void> {
    const before = this.#asked;
    this.#question = question;
    if (this.#asked !== before) {
      this.stop();
      const known = this.#answers.get(this.#asked);
      if (known) this.#show(known);
    }
    await this.reload();
  }

  /** Looks for what is new or changed. */
  reload = async (): Promise<void> => {
    this.#stale = true;
    if (this.busy) return;
    await this.#attempts.run(async (signal) => {
      const pages = await this.#again(signal);
      const view = this.#answer?.view ?? { first: 0, end: 0 };
      this.#show({ to: this.#asked, pages, total: this.total, view });
      this.#stale = false;
    });
  };

  /** Adds the page that follows. */
  more = async (): Promise<void> => {
    const from = this.#answer?.pages.at(-1)?.next ?? null;
    if (from === null || this.busy) return;
    this.busy = true;
    let added = false;
    await this.#attempts.run(async (signal) => {
      try {
        const page = await this.#page(from, signal);
        const answer = this.#answer;
        if (answer === undefined) return;
        const pages = placed(answer.pages, answer.pages.length, page, this.#key);
        this.#show({ ...answer, pages, total: this.total });
        added = true;
      } finally {
        if (!signal.aborted) this.busy = false;
      }
    });
    // What changed meanwhile had to wait.
    if (added && this.#stale) await this.reload();
  };

  /** Takes an item off the list at once; the server has said that it no longer belongs there. */
  remove(key: unknown): void {
    const shown = this.#shown;
    if (shown === undefined) return;
    const rest = (page: Cut<T>) => ({
      ...page,
      items: page.items.filter((item) => this.#key(item) !== key),
    });
    this.#show({ ...shown, pages: shown.pages.map(rest), total: shown.total && shown.total - 1 });
    // An answer that is on its way may still hold it.
    if (this.#stale) void this.reload();
  }

  /** Says which rows are on the screen. */
  look(first: number, end: number): void {
    if (this.#shown) this.#shown.view = { first, end };
  }

  stop(): void {
    this.#attempts.stop();
    this.busy = false;
    this.#stale = false;
  }

  get #asked(): string {
    return JSON.stringify(this.#question);
  }

  /** What is there in answer to the present question. */
  get #answer(): Answer<T> | undefined {
    return this.#shown?.to === this.#asked ? this.#shown : undefined;
  }

  #show(answer: Answer<T>): void {
    this.#shown = answer;
    this.items = answer.pages.flatMap((page) => page.items);
    this.next = answer.pages.at(-1)?.next ?? null;
    this.total = answer.total;
    this.#answers.delete(answer.to);
    this.#answers.set(answer.to, answer);
    for (const old of this.#answers.keys()) {
      if (this.#answers.size <= this.#kept) break;
      this.#answers.delete(old);
    }
  }

  /** Fetches what is to be seen. What is there in answer to another question is no part of it. */
  async #again(signal: AbortSignal): Promise<Cut<T>[]> {
    const answer = this.#answer;
    if (answer === undefined) return [await this.#page(null, signal)];
    return this.#moving ? this.#viewAgain(answer, signal) : this.#topAgain(answer, signal);
  }

  async #topAgain({ pages }: Answer<T>, signal: AbortSignal): Promise<Cut<T>[]> {
    const top = await this.#page(null, signal);
    if (top.next === null) return [top];
    const before = pages.flatMap((page) => page.items);
    const older = below(top.items, before, this.#key);
    if (!older?.length) return [top];
    return [top, { from: top.next, items: older, next: pages.at(-1)?.next ?? null }];
  }

  async #viewAgain({ pages, view: { first, end } }: Answer<T>, signal: AbortSignal): Promise<Cut<T>[]> {
    let fresh = [...pages];
    let start = 0;
    for (const [at, page] of pages.entries()) {
      const stop = start + page.items.length;
      const inView = start <= end && stop >= first;
      start = stop;
      if (!inView) continue;
      const again = await this.#page(page.from, signal);
      fresh = placed(fresh, at, again, this.#key);
      // Where the page now ends elsewhere, those after it no longer continue it.
      if (again.next !== page.next) return fresh.slice(0, at + 1);
    }
    return fresh;
  }

  async #page(from: string | null, signal: AbortSignal): Promise<Cut<T>> {
    const page = await this.#fetch(PAGE_SIZE, from, signal, this.#question);
    signal.throwIfAborted();
    if (page.total !== undefined) this.total = page.total;
    return { from, items: page.items, next: page.next_cursor };
  }
}

/**
 * For as long as the component lives: fetched at once, again when another question is asked, and after events that
 * concern it.
 */
export function paged<T, Q>(
  list: Paged<T, Q>,
  concerns: (event: LiveEvent) => boolean,
  question?: () => Q,
): Paged<T, Q> {
  $effect(() => {
    const asked = question?.();
    untrack(() => void (asked === undefined ? list.reload() : list.ask(asked)));
  });
  $effect(() => () => list.stop());
  whenChanged(concerns, () => void list.reload());
  return list;
}
