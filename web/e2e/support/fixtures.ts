/** What every browser test starts from: a server with users of every role, and pages that are watched. */
import { type Browser, type BrowserContextOptions, type Page, test as base, expect } from '@playwright/test';

import { Api } from './api';
import { Server } from './server';

export type Role = 'admin' | 'operator' | 'viewer';

/** Enough to fill a screen. */
const DEMO_AGENTS = 5;

const PASSWORD = 'correct horse battery staple';

interface Shared {
  server: Server;
  api: Api;
}

interface Own {
  /** Opens a page, signed in. Its console and its policy reports must stay empty. */
  as: (role: Role, options?: BrowserContextOptions) => Promise<Page>;
  /** Opens a page without a session. */
  stranger: (options?: BrowserContextOptions) => Promise<Page>;
}

export const test = base.extend<Own, Shared>({
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
  stranger: async ({ browser, server }, use) => {
    const watched: Watched[] = [];
    await use(async (options) => {
      const page = await Watched.open(browser, server, options);
      watched.push(page);
      return page.page;
    });
    for (const page of watched) await page.close();
  },
  as: async ({ stranger, server, api }, use) => {
    expect(api).toBeTruthy();
    await use(async (role, options) => {
      const page = await stranger(options);
      await page.goto('/');
      await signIn(page, role === 'admin' ? server.admin : { username: role, password: PASSWORD });
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

class Watched {
  readonly #complaints: string[] = [];

  private constructor(
    readonly page: Page,
    server: Server,
  ) {
    page.on('console', (message) => {
      // The browser itself reports every answer of 400 and above; tests look at those where they belong.
      const refused = message.text().startsWith('Failed to load resource');
      if (message.type() === 'error' && !refused) this.#complaints.push(message.text());
    });
    page.on('pageerror', (error) => this.#complaints.push(String(error)));
    page.on('request', (request) => {
      const url = new URL(request.url());
      if (url.protocol !== 'data:' && url.origin !== server.url) this.#complaints.push(`asked ${url.origin}`);
    });
  }

  static async open(browser: Browser, server: Server, options?: BrowserContextOptions): Promise<Watched> {
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
    return new Watched(await context.newPage(), server);
  }

  async close(): Promise<void> {
    await this.page.context().close();
    expect(this.#complaints).toEqual([]);
  }
}
