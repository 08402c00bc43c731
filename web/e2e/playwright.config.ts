/** The browser tests: the real binary, the real pages, the system's Chromium. */
import { defineConfig } from '@playwright/test';

export default defineConfig({
  testDir: '.',
  outputDir: '../test-results',
  // All tests of a worker share one server; each works on things of its own.
  workers: 1,
  timeout: 30_000,
  expect: { timeout: 5000 },
  forbidOnly: Boolean(process.env.CI),
  reporter: [['list']],
  use: {
    ignoreHTTPSErrors: true,
    locale: 'en-GB',
    timezoneId: 'Europe/Berlin',
    viewport: { width: 1280, height: 860 },
    trace: 'retain-on-failure',
    launchOptions: {
      executablePath: process.env.CHROMIUM ?? '/usr/bin/chromium',
      args: ['--no-sandbox', '--disable-background-networking'],
    },
  },
});
