/**
 * The server's events. They say that something changed, not what it is now: whoever shows it asks again.
 */
import { api } from './api/client';
import type { LiveEvent, LiveKind } from './api/types';

type Listener = (event: LiveEvent) => void;

const KINDS: readonly LiveKind[] = ['host', 'timeline', 'enrollment', 'secret', 'revocation', 'resync'];

/** How long a lost connection goes unmentioned: restarts and hiccups are shorter. */
const QUIET_MS = 3000;

/** The server lets itself be heard so often, and three times unheard is lost: a dead stream makes no error. */
const HEARTBEAT_MS = 15_000;
const SILENCE_MS = 3 * HEARTBEAT_MS;

/** When the browser has given up on a stream, we begin a new one after this long. */
const REOPEN_MS = 2000;

class Live {
  /** Whether the user should know that what is shown may be old. */
  lost = $state(false);
  /** Called when the server ended the stream with an answer of its own, as it does when a session ends. */
  onClosed: () => void = () => undefined;
  #source: EventSource | null = null;
  #listeners = new Set<Listener>();
  #interrupted = false;
  #mention: ReturnType<typeof setTimeout> | undefined;
  #reopen: ReturnType<typeof setTimeout> | undefined;
  /** Whether the server is known to let itself be heard; what stands between may drop it. */
  #beats = false;
  #silence: ReturnType<typeof setTimeout> | undefined;

  start(): void {
    this.stop();
    const source = new EventSource(api.eventsUrl());
    this.#source = source;
    source.onopen = () => this.#opened();
    source.onerror = () => this.#failed(source);
    source.addEventListener('heartbeat', () => {
      this.#beats = true;
      this.#heard();
    });
    for (const kind of KINDS) {
      source.addEventListener(kind, (event) => {
        this.#heard();
        this.#tell(read(kind, event));
      });
    }
    this.#watch();
  }

  stop(): void {
    clearTimeout(this.#mention);
    clearTimeout(this.#reopen);
    clearTimeout(this.#silence);
    this.#source?.close();
    this.#source = null;
    this.#mention = undefined;
    this.lost = false;
  }

  /** Everything that is shown may be old. */
  resync(): void {
    this.#tell({ kind: 'resync' });
  }

  listen(listener: Listener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Something came, so the stream is alive. */
  #heard(): void {
    this.#watch();
    if (this.lost) this.#opened();
  }

  /** A stream of which nothing is heard is lost, whatever the browser takes it for, and another one is tried. */
  #watch(): void {
    clearTimeout(this.#silence);
    if (!this.#beats) return;
    this.#silence = setTimeout(() => {
      this.start();
      this.#interrupted = true;
      this.lost = true;
    }, SILENCE_MS);
  }

  #opened(): void {
    this.#watch();
    clearTimeout(this.#mention);
    this.#mention = undefined;
    this.lost = false;
    if (!this.#interrupted) return;
    this.#interrupted = false;
    this.resync();
  }

  #failed(source: EventSource): void {
    this.#interrupted = true;
    this.#mention ??= setTimeout(() => (this.lost = true), QUIET_MS);
    if (source.readyState !== EventSource.CLOSED) return;
    this.onClosed();
    clearTimeout(this.#reopen);
    this.#reopen = setTimeout(() => {
      if (this.#source !== source) return;
      const mention = this.#mention;
      const lost = this.lost;
      this.#mention = undefined;
      this.start();
      this.#mention = mention;
      this.lost = lost;
    }, REOPEN_MS);
  }

  #tell(event: LiveEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}

function read(kind: LiveKind, event: MessageEvent<string>): LiveEvent {
  try {
    const data = JSON.parse(event.data) as Partial<LiveEvent> | null;
    return typeof data?.host_id === 'string' ? { kind, host_id: data.host_id } : { kind };
  } catch {
    return { kind };
  }
}

export const live = new Live();
