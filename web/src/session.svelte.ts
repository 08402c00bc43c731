/** Who is signed in, and what becomes of the page when that ends. */
import { ApiError, api, attach } from './api/client';
import type { Permission, Preferences, Session as SessionAnswer, SessionUser } from './api/types';
import { live } from './live.svelte';
import { router } from './router.svelte';
import { tenants } from './tenants.svelte';

/**
 * `expired` keeps the page with all that was typed into it, out of sight, for the same user to come back to.
 */
type Status = 'checking' | 'unreachable' | 'signed-out' | 'signed-in' | 'expired';

/** The longest delay that timers take, in milliseconds. */
const TIMER_MAX_MS = 2 ** 31 - 1;

class Session {
  status = $state<Status>('checking');
  current = $state.raw<SessionAnswer | null>(null);
  /** Counts the users that took over this tab; each gets pages of their own. */
  owner = $state(0);
  /** What a secret was for that stood on the page when the session ended; it is gone for good. */
  unseen = $state<string | null>(null);
  #epoch = 0;
  #end: ReturnType<typeof setTimeout> | undefined;

  constructor() {
    attach({
      epoch: () => this.#epoch,
      away: () => this.status === 'expired',
      refused: () => this.expire(),
      forbidden: () => void this.#refresh(),
      tenant: () => tenants.sent,
    });
    live.onClosed = () => void this.#refresh();
  }

  get user(): SessionUser | null {
    return this.current?.user ?? null;
  }

  get preferences(): Preferences {
    return this.current?.preferences ?? { time_zone: 'local', clock: '24h' };
  }

  may(permission: Permission): boolean {
    return this.current?.permissions.includes(permission) ?? false;
  }

  /** Asks at the start whether a session is there already. */
  async check(): Promise<void> {
    try {
      const answer = await api.session();
      if (answer) await this.#begin(answer);
      else this.status = 'signed-out';
    } catch {
      this.status = 'unreachable';
    }
  }

  async signIn(username: string, password: string): Promise<void> {
    await this.#begin(await api.signIn(username, password));
  }

  async signOut(): Promise<void> {
    try {
      await api.signOut();
    } catch (error) {
      // A session that is gone already is what was asked for.
      if (!(error instanceof ApiError) || error.status !== 401) throw error;
    }
    this.#stop('signed-out');
    this.current = null;
    this.owner += 1;
    this.unseen = null;
    tenants.forget();
    router.forget();
    router.setQuery({ tenant: null }, 'corrected');
    router.redirect('/');
  }

  /** The server no longer accepts the session. */
  expire(): void {
    if (this.status === 'signed-in') this.#stop('expired');
  }

  async savePreferences(preferences: Preferences): Promise<void> {
    const before = this.current;
    if (!before) return;
    this.current = { ...before, preferences };
    try {
      await api.savePreferences(preferences);
    } catch (error) {
      this.current = before;
      throw error;
    }
  }

  async #begin(answer: SessionAnswer): Promise<void> {
    // Which tenant is meant has to be known before anything is asked for.
    await tenants.load(answer);
    const returned = this.current?.user?.id === answer.user?.id;
    if (!returned) {
      this.owner += 1;
      router.forget();
    }
    this.#epoch += 1;
    this.unseen = null;
    this.current = answer;
    this.status = 'signed-in';
    live.start();
    if (returned) live.resync();
    clearTimeout(this.#end);
    if (!answer.expires_at) return;
    const left = Date.parse(answer.expires_at) - Date.now();
    if (left > 0) this.#end = setTimeout(() => void this.#refresh(), Math.min(left + 1000, TIMER_MAX_MS));
  }

  #stop(status: Status): void {
    this.#epoch += 1;
    clearTimeout(this.#end);
    live.stop();
    this.status = status;
  }

  /** Looks whether the session still holds, and what it may do by now. */
  async #refresh(): Promise<void> {
    if (this.status !== 'signed-in') return;
    const epoch = this.#epoch;
    try {
      const answer = await api.session();
      if (epoch !== this.#epoch) return;
      if (answer) this.current = answer;
      else this.expire();
    } catch {
      // Whoever needs the server meanwhile says that it can't be reached.
    }
  }
}

export const session = new Session();
