/** The tests of what decides without a browser. What needs one is tested by Playwright, below `e2e`. */
import { svelte } from '@sveltejs/vite-plugin-svelte';
import { defineConfig } from 'vitest/config';

export default defineConfig({
  plugins: [svelte()],
  // Node would get the form that modules have on a server, in which nothing reacts to anything.
  resolve: { conditions: ['browser'] },
  test: {
    // Not in `src`: the build of the binary watches all that is there.
    include: ['tests/**/*.test.ts'],
    environment: './tests/support/environment.ts',
    // A zone of its own, with a summer time, so that results are the same on every machine.
    env: { TZ: 'Europe/Berlin' },
    restoreMocks: true,
    unstubGlobals: true,
  },
});
