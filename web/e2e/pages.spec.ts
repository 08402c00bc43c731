import { execFileSync } from 'node:child_process';

import AxeBuilder from '@axe-core/playwright';
import type { Request } from '@playwright/test';

import { type Role, expect, takesLess, test, unique } from './support/fixtures';
import { MUSTER } from './support/server';

const PAGES = [
  ['/', 'Overview'],
  ['/hosts', 'Hosts'],
  ['/hosts?decommissioned=true', 'Hosts'],
  ['/enroll', 'Enroll'],
  ['/audit', 'Audit'],
  ['/settings/enrollment', 'Enrollment'],
  ['/settings/users', 'Users'],
  ['/settings/api-tokens', 'API tokens'],
  ['/settings/agent-ca', 'Agent CA'],
  ['/settings/time-display', 'Time & Display'],
  ['/account', 'Account'],
  ['/help', 'Help'],
  ['/nothing-here', 'Page not found'],
] as const;

const NAVIGATION: Record<Role, string[]> = {
  admin: [
    'Overview',
    'Hosts',
    'Enroll',
    'Audit',
    'Settings',
    'Enrollment',
    'Users',
    'API tokens',
    'Agent CA',
    'Time & Display',
  ],
  operator: ['Overview', 'Hosts', 'Enroll', 'Audit', 'Settings', 'Agent CA', 'Time & Display'],
  viewer: ['Overview', 'Hosts', 'Settings', 'Agent CA', 'Time & Display'],
};

const CLOSED: Record<Exclude<Role, 'admin'>, string[]> = {
  operator: ['/settings/enrollment', '/settings/users', '/settings/api-tokens'],
  viewer: ['/enroll', '/audit', '/settings/enrollment', '/settings/users', '/settings/api-tokens'],
};

for (const colorScheme of ['light', 'dark'] as const) {
  for (const width of [1280, 360]) {
    test(`every page is accessible and fits, ${colorScheme}, ${width} wide`, async ({
      as,
      api,
      stranger,
    }) => {
      test.slow();
      // Colours differ by scheme and layout by width, so these two see all of both.
      const looked = (colorScheme === 'light') === (width === 1280);
      const options = { colorScheme, viewport: { width, height: 800 } };
      const outside = await stranger(options);
      await outside.goto('/');
      await outside.getByLabel('Username').waitFor();
      expect((await new AxeBuilder({ page: outside }).analyze()).violations).toEqual([]);

      const page = await as('admin', options);
      const { items } = await api.get<{ items: { id: string; hostname: string }[] }>('/hosts');
      const host = items[0];
      const pages: (readonly [string, string])[] = [...PAGES];
      if (host) pages.push([`/hosts/${host.id}`, host.hostname]);
      for (const [address, heading] of pages) {
        await page.goto(address);
        await expect(page.getByRole('heading', { level: 1, name: heading, exact: true })).toBeVisible();
        await expect(page).toHaveTitle(`${heading} · Muster`);
        await expect(page.locator('[aria-busy]')).toHaveCount(0);
        if (looked) {
          // What is seen of a control is in its name, for those who speak to it (WCAG 2.5.3).
          const rules = { 'label-content-name-mismatch': { enabled: true } };
          const { violations } = await new AxeBuilder({ page }).options({ rules }).analyze();
          expect(violations, address).toEqual([]);
        }
        const tooWide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        expect(tooWide, address).toBeLessThanOrEqual(0);
      }
    });
  }
}

for (const role of ['admin', 'operator', 'viewer'] as const) {
  test(`the navigation has what the ${role} may use`, async ({ as }) => {
    const page = await as(role);
    const links = page.getByRole('navigation').getByRole('link');
    await expect(links).toHaveText(NAVIGATION[role]);
    for (const name of NAVIGATION[role]) {
      if (name === 'Settings') continue;
      await page.getByRole('link', { name, exact: true }).click();
      await expect(page.getByRole('heading', { level: 1, name, exact: true })).toBeFocused();
    }
  });
}

for (const role of ['operator', 'viewer'] as const) {
  test(`pages that are not for the ${role} say so`, async ({ as }) => {
    const page = await as(role);
    for (const address of CLOSED[role]) {
      await page.goto(address);
      await expect(page.getByRole('heading', { level: 1, name: 'Permission denied' })).toBeVisible();
      await expect(page).toHaveTitle('Permission denied · Muster');
    }
  });
}

test('the settings open at the first page that one may see', async ({ as }) => {
  const page = await as('operator');
  await page.getByRole('link', { name: 'Settings', exact: true }).click();
  await expect(page).toHaveURL(/\/settings\/agent-ca$/);
});

test('light or dark follows the system, at once', async ({ as }) => {
  const page = await as('viewer');
  const ground = () => page.evaluate(() => getComputedStyle(document.documentElement).backgroundColor);
  await page.emulateMedia({ colorScheme: 'light' });
  const light = await ground();
  await page.emulateMedia({ colorScheme: 'dark' });
  expect(await ground()).not.toBe(light);
});

test('a table on a phone is still a table', async ({ as, api }) => {
  const name = unique('phone');
  await api.post('/enrollment-secrets', { name, max_uses: 9 });
  const page = await as('admin', { viewport: { width: 360, height: 740 } });
  await page.goto('/settings/enrollment');
  const row = page.getByRole('table', { name: 'Active secrets' }).getByRole('row').filter({ hasText: name });
  await expect(row.getByRole('button', { name: 'Revoke' })).toBeInViewport({ ratio: 0 });
  await expect(row.getByRole('cell').nth(2)).toHaveText('0 / 9');
  // What the browser tells screen readers, whatever the layout.
  const client = await page.context().newCDPSession(page);
  const { nodes } = await client.send('Accessibility.getFullAXTree');
  const roles = new Set(nodes.map((node) => String(node.role?.value)));
  for (const role of ['table', 'row', 'columnheader', 'cell']) expect([...roles]).toContain(role);
  expect(nodes.some((node) => node.role?.value === 'cell' && node.name?.value === '0 / 9')).toBe(true);
});

test('going back returns to the page before', async ({ as }) => {
  const page = await as('admin');
  await page.getByRole('link', { name: 'Hosts', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Hosts' })).toBeVisible();
  await page.goBack();
  await expect(page.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
});

test('a narrow screen folds the navigation behind a button', async ({ as }) => {
  const page = await as('admin', { viewport: { width: 360, height: 740 } });
  const hosts = page.getByRole('link', { name: 'Hosts', exact: true });
  await expect(hosts).toBeHidden();
  await page.getByRole('button', { name: 'Menu' }).click();
  await hosts.click();
  await expect(page.getByRole('heading', { level: 1, name: 'Hosts' })).toBeVisible();
  await expect(hosts).toBeHidden();
});

test('the first load is small and quick', async ({ stranger }) => {
  await takesLess(1000, stranger, async (page) => {
    await page.goto('/');
    await page.getByLabel('Username').fill('somebody');
  });
  const page = await stranger();
  const requests: Request[] = [];
  page.on('requestfinished', (request) => requests.push(request));
  await page.goto('/');
  await page.waitForLoadState('networkidle');
  const sizes = await Promise.all(requests.map((request) => request.sizes()));
  const bytes = sizes.reduce((sum, size) => sum + size.responseBodySize, 0);
  expect(bytes).toBeGreaterThan(1000);
  expect(bytes).toBeLessThan(120 * 1024);
});

test('nothing on a page is lost by the skip link, or by a fragment', async ({ as }) => {
  const page = await as('admin');
  await page.goto('/settings/enrollment');
  await page.getByLabel('Secret name').fill(unique('skip'));
  await page.getByRole('button', { name: 'Generate secret' }).click();
  const secret = page.getByText(/^mes_\S+$/);
  await expect(secret).toBeVisible();
  await page.getByLabel('Secret name').fill('half a form');

  const intact = async () => {
    await expect(secret).toBeVisible();
    await expect(page.getByLabel('Secret name')).toHaveValue('half a form');
  };
  const skip = page.getByRole('link', { name: 'Skip to the page' });
  await skip.focus();
  await page.keyboard.press('Enter');
  await expect(page.getByRole('main')).toBeFocused();
  await expect(page).toHaveURL(/\/settings\/enrollment$/);
  await intact();
  for (const fragment of ['main', 'elsewhere']) {
    await page.evaluate((to) => (location.hash = to), fragment);
    await intact();
  }
  await page.goBack();
  await page.goBack();
  await expect(page).toHaveURL(/\/settings\/enrollment$/);
  await intact();
});

test('colours that the system forces, and paper, keep what matters', async ({ as, api }) => {
  await api.get('/overview');
  const page = await as('admin');
  await page.emulateMedia({ forcedColors: 'active' });
  const paint = (selector: string) =>
    page
      .locator(selector)
      .first()
      .evaluate((element) => getComputedStyle(element).backgroundColor);
  await expect(page.locator('.chart .bar').first()).toBeAttached();
  const canvas = await page.evaluate(() => {
    const probe = document.createElement('div');
    probe.style.background = 'Canvas';
    document.body.append(probe);
    const colour = getComputedStyle(probe).backgroundColor;
    probe.remove();
    return colour;
  });
  expect(await paint('.chart .bar')).not.toBe(canvas);
  await page.goto('/hosts');
  expect(await paint('fieldset input:checked + span')).not.toBe(
    await paint('fieldset input:not(:checked) + span'),
  );

  await page.emulateMedia({ forcedColors: 'none', media: 'print' });
  await expect(page.getByText('Skip to the page')).toBeHidden();
  await expect(page.getByRole('navigation')).toBeHidden();
  await expect(page.getByRole('table', { name: 'Hosts' })).toBeVisible();
});

test('the program says which version it is, and helps', async ({ as }) => {
  const version = execFileSync(MUSTER, ['--version'], { encoding: 'utf8' }).trim().split(' ')[1] ?? '';
  const page = await as('viewer');
  await expect(page.getByText(`Muster ${version}`, { exact: true })).toBeVisible();
  await page.getByRole('link', { name: 'Help', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Help' })).toBeFocused();
  await expect(page.getByText(`This is Muster ${version}.`)).toBeVisible();
  // Help leads only to what one may see.
  await expect(page.getByRole('main').getByRole('link', { name: 'Audit' })).toHaveCount(0);
});
