/** The fleet at a glance, fetched once for the frame and the pages that show some of it. */
import { getContext, setContext, untrack } from 'svelte';

import { api } from './api/client';
import type { Overview } from './api/types';
import { type Resource, resource } from './resource.svelte';
import { tenants } from './tenants.svelte';

const KEY = Symbol('overview');

/** To be called by the frame. */
export function provideOverview(): Resource<Overview> {
  const overview = resource((signal) => api.overview(signal), ['host', 'enrollment', 'secret', 'revocation']);
  // What is known of one tenant says nothing of another.
  let shown = untrack(() => tenants.sent);
  $effect.pre(() => {
    if (tenants.sent === shown) return;
    shown = tenants.sent;
    overview.data = undefined;
  });
  return setContext(KEY, overview);
}

export function useOverview(): Resource<Overview> {
  const overview = getContext<Resource<Overview>>(KEY);
  // What is arrived at is fresh.
  $effect(() => untrack(() => void overview.reload()));
  return overview;
}
