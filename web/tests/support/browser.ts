/** As much of a browser as the router needs: a tab's history, its scrolling, and clicks. */
import { vi } from 'vitest';

export const ORIGIN = 'https://muster.example:8443';

const VIEW_HEIGHT = 800;

interface Entry {
  url: URL;
  state: unknown;
}

/** What a click may be like. */
interface Click {
  href?: string;
  target?: string;
  download?: boolean;
  button?: number;
  held?: 'ctrlKey' | 'metaKey' | 'shiftKey' | 'altKey';
  /** Whether somebody has seen to it already. */
  prevented?: boolean;
}

class Link {
  readonly #url: URL;
  readonly target: string;
  readonly #download: boolean;

  constructor({ href = '/', target = '', download = false }: Click, base: URL) {
    this.#url = new URL(href, base);
    this.target = target;
    this.#download = download;
  }
  get origin() {
    return this.#url.origin;
  }
  get pathname() {
    return this.#url.pathname;
  }
  get search() {
    return this.#url.search;
  }
  get hash() {
    return this.#url.hash;
  }
  hasAttribute(name: string): boolean {
    return name === 'download' && this.#download;
  }
  closest(selector: string): Link | null {
    return selector === 'a' ? this : null;
  }
}

/** What is on the page beside links. */
class Text extends Link {
  override closest(): null {
    return null;
  }
}

export class Tab {
  readonly #entries: Entry[];
  #at = 0;
  #height = 10_000;
  #scrollY = 0;
  #listeners = new Map<string, ((event: unknown) => void)[]>();
  #watches = new Set<() => void>();

  private constructor(path: string) {
    this.#entries = [{ url: new URL(path, ORIGIN), state: null }];
  }

  static open(path: string): Tab {
    const tab = new Tab(path);
    tab.#install();
    return tab;
  }

  /** The addresses that going back and forward lead to, with the present one in brackets. */
  get entries(): string[] {
    return this.#entries.map(({ url }, at) => {
      const text = url.href.slice(ORIGIN.length);
      return at === this.#at ? `[${text}]` : text;
    });
  }

  get address(): string {
    return this.#here.url.href.slice(ORIGIN.length);
  }

  get scrollY(): number {
    return this.#scrollY;
  }

  /** Loads the page anew: what scripts knew is gone, the history is not. */
  reload(): void {
    this.#listeners.clear();
    this.#watches.clear();
    this.#scrollY = 0;
    this.#install();
  }

  back(): void {
    this.#travel(this.#at - 1);
  }

  forward(): void {
    this.#travel(this.#at + 1);
  }

  /** Follows a link to a place of the page, or changes the address by hand. */
  fragment(hash: string): void {
    this.#push(new URL(hash, this.#here.url), null);
    this.#dispatch('popstate', { state: null });
  }

  /** Clicks, and says whether the browser was left to do its own. */
  click(how: Click, on: 'link' | 'text' = 'link'): 'ours' | 'the browser’s' {
    let prevented = how.prevented ?? false;
    this.#dispatch('click', {
      button: how.button ?? 0,
      ctrlKey: how.held === 'ctrlKey',
      metaKey: how.held === 'metaKey',
      shiftKey: how.held === 'shiftKey',
      altKey: how.held === 'altKey',
      defaultPrevented: prevented,
      target: new (on === 'link' ? Link : Text)(how, this.#here.url),
      preventDefault: () => (prevented = true),
    });
    return prevented && !how.prevented ? 'ours' : 'the browser’s';
  }

  scrollTo(_x: number, y: number): void {
    this.#scrollY = Math.max(0, Math.min(y, this.#height - VIEW_HEIGHT));
    this.#dispatch('scroll', {});
  }

  /** Turns the wheel. */
  wheel(by: number): void {
    this.#dispatch('wheel', {});
    this.scrollTo(0, this.#scrollY + by);
  }

  /** The page becomes longer or shorter, as when a list arrives. */
  resize(height: number): void {
    this.#height = height;
    if (this.#scrollY > height - VIEW_HEIGHT) this.scrollTo(0, this.#scrollY);
    for (const changed of [...this.#watches]) changed();
  }

  get #here(): Entry {
    const here = this.#entries[this.#at];
    if (!here) throw new Error('there is nothing in that direction');
    return here;
  }

  #push(url: URL, state: unknown): void {
    this.#entries.splice(this.#at + 1, Infinity, { url, state });
    this.#at += 1;
  }

  #travel(to: number): void {
    this.#at = to;
    this.#dispatch('popstate', { state: this.#here.state });
  }

  #dispatch(kind: string, event: unknown): void {
    for (const listener of this.#listeners.get(kind) ?? []) listener(event);
  }

  #install(): void {
    const listen = (kind: string, listener: (event: unknown) => void) => {
      this.#listeners.set(kind, [...(this.#listeners.get(kind) ?? []), listener]);
    };
    const here = () => this.#here;
    const resolved = (address?: string) => {
      const url = new URL(address ?? '', here().url);
      if (url.origin !== ORIGIN) throw new Error(`${url.href} is another site’s`);
      return url;
    };
    const location = {
      origin: ORIGIN,
      get pathname() {
        return here().url.pathname;
      },
      get search() {
        return here().url.search;
      },
    };
    const history = {
      scrollRestoration: 'auto',
      pushState: (state: unknown, _: string, address?: string) => this.#push(resolved(address), state),
      replaceState: (state: unknown, _: string, address?: string) => {
        const url = address === undefined ? here().url : resolved(address);
        this.#entries[this.#at] = { url, state };
      },
    };
    const watches = this.#watches;
    class Watch {
      readonly #changed: () => void;
      constructor(changed: () => void) {
        this.#changed = changed;
      }
      observe() {
        watches.add(this.#changed);
        this.#changed();
      }
      disconnect() {
        watches.delete(this.#changed);
      }
    }
    vi.stubGlobal('location', location);
    vi.stubGlobal('history', history);
    vi.stubGlobal('addEventListener', listen);
    vi.stubGlobal('document', { addEventListener: listen, body: {} });
    vi.stubGlobal('Element', Link);
    vi.stubGlobal('ResizeObserver', Watch);
    vi.stubGlobal('scrollTo', (x: number, y: number) => this.scrollTo(x, y));
    Object.defineProperty(globalThis, 'scrollY', { configurable: true, get: () => this.#scrollY });
  }
}
