/** What a list in the page asks, and what it is told. */
import { ApiError } from '../../src/api/client';
import type { Page } from '../../src/api/types';

export interface Item {
  id: number;
  name: string;
}

/** The items of these numbers, the highest first. */
export function items(from: number, to: number): Item[] {
  return Array.from({ length: from - to + 1 }, (_, at) => ({ id: from - at, name: `item ${from - at}` }));
}

interface Asked {
  cursor: string | null;
  question: unknown;
}

/** A server with one list. A cursor is the rank of the last item of the page before. */
export class FakeServer {
  readonly asked: Asked[] = [];
  /** The next requests fail with these. */
  readonly failures: ApiError[] = [];
  /** Which items a question is about. */
  matches: (item: Item, question: unknown) => boolean = () => true;
  /** What the list is sorted by, the lowest first. */
  rank: (item: Item) => number = (item) => -item.id;
  #held: (() => void)[] | undefined;

  constructor(public list: Item[]) {}

  /** Keeps answers back until they are let go. */
  hold(): void {
    this.#held ??= [];
  }

  /** Lets the answers go that were kept back, or the one to a single request and no other. */
  async release(one?: number): Promise<void> {
    const held = this.#held ?? [];
    if (one === undefined) {
      this.#held = undefined;
      for (const answer of held) answer();
    } else {
      held[one]?.();
    }
    await settled();
  }

  /** Answers even where nobody waits any more: an answer may have come just before. */
  fetch = async (
    limit: number,
    cursor: string | null,
    _signal: AbortSignal,
    question: unknown = null,
  ): Promise<Page<Item>> => {
    this.asked.push({ cursor, question });
    const failure = this.failures.shift();
    // An answer is what was so when the question came.
    const all = this.list
      .filter((item) => this.matches(item, question))
      .toSorted((one, other) => this.rank(one) - this.rank(other));
    const start = cursor === null ? 0 : all.findIndex((item) => this.rank(item) > Number(cursor));
    const page = start < 0 ? [] : all.slice(start, start + limit);
    const more = start >= 0 && start + limit < all.length;
    if (this.#held) await new Promise<void>((resolve) => this.#held?.push(resolve));
    if (failure) throw failure;
    const last = page.at(-1);
    return { items: page, next_cursor: more && last ? String(this.rank(last)) : null, total: all.length };
  };
}

/** Lets everything happen that waits for nothing but its turn. */
export async function settled(): Promise<void> {
  for (let turn = 0; turn < 20; turn += 1) await Promise.resolve();
}

/** The stream of events of the page, and the browser's part in it. */
export class FakeEvents {
  static readonly CLOSED = 2;
  static opened: FakeEvents[] = [];
  readyState = 1;
  onopen: (() => void) | null = null;
  onerror: (() => void) | null = null;
  #listeners = new Map<string, (event: { data: string }) => void>();

  constructor(readonly url: string) {
    FakeEvents.opened.push(this);
  }

  /** The stream that the page listens to now. */
  static get last(): FakeEvents {
    const last = FakeEvents.opened.at(-1);
    if (!last) throw new Error('no stream was opened');
    return last;
  }

  addEventListener(kind: string, listener: (event: { data: string }) => void): void {
    this.#listeners.set(kind, listener);
  }

  close(): void {
    this.readyState = FakeEvents.CLOSED;
  }

  /** The server sends an event. */
  send(kind: string, data: unknown = {}): void {
    this.#listeners.get(kind)?.({ data: typeof data === 'string' ? data : JSON.stringify(data) });
  }

  /** The connection breaks; the browser goes on trying, or gives up. */
  fail(how: 'retries' | 'gives up' = 'retries'): void {
    if (how === 'gives up') this.readyState = FakeEvents.CLOSED;
    this.onerror?.();
  }
}
