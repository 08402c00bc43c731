import type { Environment } from 'vitest/runtime';

/** Node as it is, for modules that are compiled as they are for a browser. */
export default {
  name: 'node-as-client',
  viteEnvironment: 'client',
  setup: () => ({ teardown: () => undefined }),
} satisfies Environment;
