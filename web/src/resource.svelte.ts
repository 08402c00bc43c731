/**
 * Something that is fetched, shown, and fetched again when the server says that it changed.
 */
import { ApiError } from './api/client';
import type { LiveEvent, LiveKind } from './api/types';
import { live } from './live.svelte';

/** Events come in bursts; a burst is one change to those who look. */
const SETTLE_MS = 150;

/** The least time between two fetches that nobody asked for. */
const PAUSE_MS = 1000;

/** How soon a failure that may pass is tried again. */
const RETRY_MS = 5000;

/** Runs what it is given soon after it was asked to, however often that is, with pauses in between. */
class Paced {
  #timer: ReturnType<typeof setTimeout> | undefined;
  #last = 0;

  constructor(private readonly run: () => void) {}

  soon(): void {
    if (this.#timer !== undefined || document.hidden) return;
    const wait = Math.max(SETTLE_MS, this.#last + PAUSE_MS - Date.now());
    this.#timer = setTimeout(() => {
      this.#timer = undefined;
      this.#last = Date.now();
      this.run();
    }, wait);
  }

  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}

/**
 * For as long as the component lives: calls `changed` after events that `concerns` accepts, and when a tab
 * that could not be seen is looked at again.
 */
export function whenChanged(concerns: (event: LiveEvent) => boolean, changed: () => void): void {
  $effect(() => {
    const paced = new Paced(changed);
    const stop = live.listen((event) => {
      if (event.kind === 'resync' || concerns(event)) paced.soon();
    });
    const seen = () => paced.soon();
    document.addEventListener('visibilitychange', seen);
    return () => {
      stop();
      paced.stop();
      document.removeEventListener('visibilitychange', seen);
    };
  });
}

export function asApiError(error: unknown): ApiError {
  return error instanceof ApiError ? error : new ApiError(0, 'bug', String(error));
}

/** Whether the same request may succeed later without anybody's doing. */
export function mayPass(error: ApiError): boolean {
  return error.status === 0 || error.status === 429 || error.status >= 500;
}

/**
 * Requests for one thing, one at a time: a newer one makes the answer to an older one worthless. After a failure that
 * may pass, another is made.
 */
export class Attempts {
  error = $state.raw<ApiError | undefined>();
  #running: AbortController | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;

  constructor(private readonly again: () => void) {}

  async run(work: (signal: AbortSignal) => Promise<void>): Promise<void> {
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
      if (mayPass(this.error)) this.#retry = setTimeout(this.again, wait);
    }
  }

  stop(): void {
    this.#running?.abort();
    clearTimeout(this.#retry);
  }
}

export class Resource<T> {
  data = $state.raw<T | undefined>();
  readonly #attempts = new Attempts(() => void this.reload());

  constructor(private readonly fetch: (signal: AbortSignal) => Promise<T>) {}

  get error(): ApiError | undefined {
    return this.#attempts.error;
  }

  get loading(): boolean {
    return this.data === undefined && this.error === undefined;
  }

  reload = (): Promise<void> =>
    this.#attempts.run(async (signal) => {
      const data = await this.fetch(signal);
      if (!signal.aborted) this.data = data;
    });

  stop(): void {
    this.#attempts.stop();
  }
}

/**
 * A resource that lives with the component: fetched at once, again when what `fetch` reads changes, and after
 * events of the given kinds.
 */
export function resource<T>(
  fetch: (signal: AbortSignal) => Promise<T>,
  kinds: readonly LiveKind[] = [],
  concerns: (event: LiveEvent) => boolean = () => true,
): Resource<T> {
  const resource = new Resource(fetch);
  $effect(() => {
    void resource.reload();
    return () => resource.stop();
  });
  whenChanged(
    (event) => kinds.includes(event.kind) && concerns(event),
    () => void resource.reload(),
  );
  return resource;
}
