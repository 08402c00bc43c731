/** How one user likes the pages, kept in this browser: whoever signs in next has their own. */
import { DEFAULT, type OwnWays, readWays } from './own';
import { session } from './session.svelte';

class Own {
  #of: string | null = null;
  #ways = $state.raw<OwnWays>(DEFAULT);
  #version = $state(0);

  get ways(): OwnWays {
    const key = this.#key;
    if (this.#version >= 0 && key !== this.#of) return readWays(load(key));
    return this.#ways;
  }

  change(changes: Partial<OwnWays>): void {
    const ways = { ...this.ways, ...changes };
    this.#of = this.#key;
    this.#ways = ways;
    this.#version += 1;
    try {
      localStorage.setItem(this.#of, JSON.stringify(ways));
    } catch {
      // A browser that keeps nothing: it holds until the page is left.
    }
  }

  get #key(): string {
    return `muster:${session.user?.id ?? 'nobody'}`;
  }
}

function load(key: string): string | null {
  try {
    return localStorage.getItem(key);
  } catch {
    return null;
  }
}

export const own = new Own();
