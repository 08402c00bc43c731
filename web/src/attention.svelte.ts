/** What needs somebody, gathered once for the navigation and the page that shows it. */
import { getContext, setContext } from 'svelte';

import { api } from './api/client';
import { type Need, type Refused, needOf, needOfSecret, ranked } from './attention';
import { now } from './clock.svelte';
import { type Resource, resource } from './resource.svelte';
import type { Overview } from './api/types';
import { session } from './session.svelte';
import { isPast } from './times';

const KEY = Symbol('attention');

/** More secrets than these need not be looked into to know that somebody has to. */
const SECRETS_MAX = 5;
const REFUSALS_MAX = 50;
const DAY_MS = 86_400_000;

class Attention {
  readonly #overview: Resource<Overview>;
  readonly #refused: Resource<Refused[]>;

  constructor(overview: Resource<Overview>, refused: Resource<Refused[]>) {
    this.#overview = overview;
    this.#refused = refused;
  }

  /** Nothing, while nobody knows. */
  get needs(): Need[] | undefined {
    const { data } = this.#overview;
    if (data === undefined) return undefined;
    const own = (this.#refused.data ?? []).map(needOfSecret);
    return ranked([...data.warnings.map(needOf), ...own]);
  }
}

/** To be called by the frame. */
export function provideAttention(overview: Resource<Overview>): Attention {
  const refused = resource(refusedSecrets, ['secret']);
  return setContext(KEY, new Attention(overview, refused));
}

export function useAttention(): Attention {
  return getContext<Attention>(KEY);
}

/** Secrets that are used up or have expired, and are still tried. */
async function refusedSecrets(signal: AbortSignal): Promise<Refused[]> {
  if (!session.may('secret.write') || !session.may('audit.read')) return [];
  const secrets = await api.secrets('active', signal);
  const spent = secrets.filter(
    ({ uses, max_uses, expires_at }) => (max_uses !== null && uses >= max_uses) || isPast(expires_at, now()),
  );
  const from = new Date(Date.now() - DAY_MS).toISOString();
  const question = { actor: '', action: '', outcome: 'refused' as const, from, until: '', spanning: false };
  const all = await Promise.all(
    spent.slice(0, SECRETS_MAX).map(async (secret) => {
      const page = await api.audit({ ...question, q: secret.id }, REFUSALS_MAX, null, signal);
      return { secret, refused: page.items.length, more: page.next_cursor !== null };
    }),
  );
  return all.filter(({ refused }) => refused > 0);
}
