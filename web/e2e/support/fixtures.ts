/** What every browser test starts from: a server with users of every role, and pages that are watched. */
import { join } from 'node:path';

import {
  type Browser,
  type BrowserContext,
  type BrowserContextOptions,
  type Page,
  test as base,
  expect,
} from '@playwright/test';

import { Api } from './api';
import { Server } from './server';

export type Role = 'admin' | 'operator' | 'viewer';

/** Enough to fill a screen. */
const DEMO_AGENTS = 5;

const PASSWORD = 'correct horse battery staple';

/** A folder made by `npm run build`: while pages are written, they are tried without building the program anew. */
const DIST = process.env.MUSTER_E2E_DIST;

interface Shared {
  server: Server;
  api: Api;
}

interface Own {
  /**
   * What the browser reports of requests that fail, where failing is what a test is about: a status or a network
   * error each. Everywhere else its log stays empty.
   */
  failures: string[];
  /** Opens a page, signed in. Its console and its policy reports must stay empty. */
  as: (role: Role, options?: BrowserContextOptions) => Promise<Page>;
  /** Opens a page without a session. */
  stranger: (options?: BrowserContextOptions) => Promise<Page>;
}

export const test = base.extend<Own, Shared>({
  // eslint-disable-next-line no-empty-pattern -- as above
  failures: async ({}, use) => use([]),
  server: [
    // eslint-disable-next-line no-empty-pattern -- the runner reads which fixtures are needed from the pattern
    async ({}, use) => {
      const server = await Server.start(DEMO_AGENTS);
      await use(server);
      await server.stop();
    },
    { scope: 'worker', timeout: 60_000 },
  ],
  api: [
    async ({ server }, use) => {
      const api = await Api.signedIn(server);
      for (const role of ['operator', 'viewer']) {
        await api.post('/users', { username: role, password: PASSWORD, role });
      }
      await use(api);
    },
    { scope: 'worker' },
  ],
  stranger: async ({ browser, server, failures }, use) => {
    const watched: Watched[] = [];
    await use(async (options) => {
      const page = await Watched.open(browser, server, failures, options);
      watched.push(page);
      return page.page;
    });
    for (const page of watched) await page.close();
  },
  as: async ({ stranger, server, api }, use) => {
    expect(api).toBeTruthy();
    await use(async (role, options) => {
      const page = await stranger(options);
      // The form has tests of its own.
      const answer = await page.request.post('/v1/session', {
        data: role === 'admin' ? server.admin : { username: role, password: PASSWORD },
        headers: { origin: server.url },
      });
      expect(answer.status()).toBe(200);
      await page.goto('/');
      await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
      return page;
    });
  },
});

export { expect };

export async function signIn(page: Page, who: { username: string; password: string }): Promise<void> {
  await page.getByLabel('Username').fill(who.username);
  await page.getByLabel('Password').fill(who.password);
  await page.getByRole('button', { name: 'Sign in' }).click();
}

/**
 * Expects that something takes less than `limit` milliseconds on a machine that has nothing else to do: in one of
 * a few tries, and stretched by how much of its time the processor has for us. Preparing does not count.
 */
export async function takesLess<T>(
  limit: number,
  prepare: () => Promise<T>,
  timed: (prepared: T) => Promise<unknown>,
): Promise<void> {
  const tries: number[] = [];
  while (tries.length < 5 && !tries.some((took) => took < limit)) {
    const prepared = await prepare();
    const before = share();
    const started = performance.now();
    await timed(prepared);
    tries.push((performance.now() - started) * Math.min(before, share()));
  }
  expect(Math.min(...tries), `of ${tries.map(Math.round).join(', ')} ms`).toBeLessThan(limit);
}

/** Which share of a processor's time somebody who wants it gets here at this moment, from 0 to 1. */
function share(): number {
  const WORK_MS = 60;
  const before = process.cpuUsage();
  const started = performance.now();
  for (;;) {
    const { user, system } = process.cpuUsage(before);
    if ((user + system) / 1000 >= WORK_MS) break;
  }
  return Math.min(1, WORK_MS / (performance.now() - started));
}

/** Ends the session behind the page's back, as an administrator or the clock would. */
export async function endSession(page: Page): Promise<void> {
  const origin = new URL(page.url()).origin;
  const answer = await page.request.delete(`${origin}/v1/session`, { headers: { origin } });
  expect(answer.status()).toBe(204);
}

/** A name that no other test uses. */
export function unique(prefix: string): string {
  return `${prefix}-${Math.random().toString(36).slice(2, 8)}`;
}

/** Puts the pages of a folder in the place of the program's own. Its headers, the policy above all, stay. */
async function serveFrom(dist: string, context: BrowserContext): Promise<void> {
  await context.route(/\.(?:js|css|svg)$/, (route) =>
    route.fulfill({ path: join(dist, new URL(route.request().url()).pathname) }),
  );
  const ofPages = (url: URL) => !url.pathname.startsWith('/v1/') && !/\.\w+$/.test(url.pathname);
  await context.route(ofPages, async (route) => {
    if (route.request().resourceType() !== 'document') return route.fallback();
    const own = await route.fetch();
    return route.fulfill({ response: own, path: join(dist, 'index.html') });
  });
}

class Watched {
  readonly #complaints: string[] = [];

  private constructor(
    readonly page: Page,
    server: Server,
    failures: readonly string[],
  ) {
    page.on('console', (message) => {
      const text = message.text();
      const expected =
        text.startsWith('Failed to load resource') && failures.some((failure) => text.includes(failure));
      if (message.type() === 'error' && !expected) this.#complaints.push(text);
    });
    page.on('dialog', (dialog) => {
      this.#complaints.push(`the page opened a ${dialog.type()}: ${dialog.message()}`);
      void dialog.dismiss();
    });
    page.on('pageerror', (error) => this.#complaints.push(String(error)));
    page.on('request', (request) => {
      const url = new URL(request.url());
      if (url.protocol !== 'data:' && url.origin !== server.url) this.#complaints.push(`asked ${url.origin}`);
    });
  }

  static async open(
    browser: Browser,
    server: Server,
    failures: readonly string[],
    options?: BrowserContextOptions,
  ): Promise<Watched> {
    const context = await browser.newContext({
      baseURL: server.url,
      ignoreHTTPSErrors: true,
      locale: 'en-GB',
      timezoneId: 'Europe/Berlin',
      viewport: { width: 1280, height: 860 },
      ...options,
    });
    await context.addInitScript(() => {
      document.addEventListener('securitypolicyviolation', (event) => {
        console.error(`policy violated: ${event.violatedDirective} ${event.blockedURI}`);
      });
    });
    if (DIST) await serveFrom(DIST, context);
    return new Watched(await context.newPage(), server, failures);
  }

  async close(): Promise<void> {
    await this.page.context().close();
    expect(this.#complaints).toEqual([]);
  }
}
