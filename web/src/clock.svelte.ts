/** The present, for "5 minutes ago": it moves every half minute. */
import { createSubscriber } from 'svelte/reactivity';

const STEP_MS = 30_000;

const subscribe = createSubscriber((update) => {
  const timer = setInterval(update, STEP_MS);
  return () => clearInterval(timer);
});

export function now(): number {
  subscribe();
  return Date.now();
}
