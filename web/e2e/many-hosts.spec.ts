/** A fleet of 100,000, as the page sees it: the server's answers are made here, page by page. */
import type { Page } from '@playwright/test';

import { expect, takesLess, test } from './support/fixtures';

const FLEET = 100_000;

function host(at: number) {
  const time = new Date(Date.UTC(2026, 0, 1)).toISOString();
  return {
    id: `00000000-0000-7000-8000-${String(at).padStart(12, '0')}`,
    agent_id: `agent-${at}`,
    tenant_id: '00000000-0000-7000-8000-000000000000',
    spiffe_id: null,
    hostname: `node-${at}.example`,
    os: 'Debian 12',
    arch: 'x86_64',
    ips: [`10.${(at >> 16) & 255}.${(at >> 8) & 255}.${at & 255}`],
    machine_id: null,
    agent_version: '0.1.0',
    status: 'online',
    state: 'in_service',
    revoked_at: null,
    credential: null,
    first_enrolled_at: time,
    last_seen: time,
    decommissioned_at: null,
    svid_not_after: time,
    svid_issued_at: time,
    flags: [],
    tags: [],
    note: null,
  };
}

async function serveFleet(page: Page): Promise<void> {
  await page.route('**/v1/hosts?**', (route) => {
    const query = new URL(route.request().url()).searchParams;
    const only = /^node-(\d+)/.exec(query.get('q') ?? '')?.[1];
    const start = Number(query.get('cursor') ?? 0);
    const end = Math.min(FLEET, start + Number(query.get('limit')));
    const items = only
      ? [host(Number(only))]
      : Array.from({ length: end - start }, (_, i) => host(start + i));
    const next = only || end === FLEET ? null : String(end);
    return route.fulfill({ json: { items, next_cursor: next, total: only ? 1 : FLEET } });
  });
}

test('going back returns to the same place, and undoes a filter and a search', async ({ as }) => {
  const page = await as('viewer');
  await serveFleet(page);
  await page.route(/\/v1\/hosts\/[^/?]+(\?|$)/, (route) => route.fulfill({ json: host(1234) }));
  await page.route(/\/v1\/hosts\/[^/?]+\/(enrollments|events)/, (route) =>
    route.fulfill({ json: { items: [], next_cursor: null } }),
  );
  await page.goto('/hosts');
  await expect(page.getByRole('link', { name: 'node-0.example' })).toBeVisible();
  const scrolled = () => page.evaluate(() => scrollY);
  await expect(async () => {
    await page.evaluate(() => scrollTo(0, 30_000));
    expect(await scrolled()).toBe(30_000);
  }).toPass({ intervals: [50] });
  const seen = page.locator('tr.host a').filter({ visible: true });
  const there = await seen.evaluateAll(
    (links) => links.find((link) => link.getBoundingClientRect().top > 200)?.textContent ?? '',
  );
  await page.getByRole('link', { name: there, exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'node-1234.example' })).toBeVisible();
  expect(await scrolled()).toBe(0);
  await page.goBack();
  await expect(page.getByRole('link', { name: there, exact: true })).toBeInViewport();
  expect(Math.abs((await scrolled()) - 30_000)).toBeLessThan(100);

  await page.getByRole('radio', { name: 'Offline' }).check();
  await expect(page).toHaveURL(/status=offline/);
  await page.getByRole('searchbox', { name: 'Search hosts' }).pressSequentially('node-77', { delay: 200 });
  await expect(page).toHaveURL(/q=node-77/);
  await page.goBack();
  await expect(page).toHaveURL(/hosts\?status=offline$/);
  await expect(page.getByRole('searchbox', { name: 'Search hosts' })).toHaveValue('');
  await page.goBack();
  await expect(page).toHaveURL(/hosts$/);
  await expect(page.getByRole('radio', { name: 'In service' })).toBeChecked();
});

test('a hundred thousand hosts: first rows, scrolling and search stay quick', async ({ as }) => {
  const page = await as('admin');
  await serveFleet(page);
  await takesLess(
    1000,
    () => page.getByRole('link', { name: 'Overview', exact: true }).click(),
    async () => {
      await page.getByRole('link', { name: 'Hosts', exact: true }).click();
      await expect(page.getByRole('link', { name: 'node-0.example' })).toBeVisible();
    },
  );
  await expect(page.getByRole('table', { name: 'Hosts' })).toHaveAttribute(
    'aria-rowcount',
    String(FLEET + 1),
  );

  for (const target of [500, 1500, 3000]) {
    await expect(async () => {
      await page.keyboard.press('End');
      await expect(page.getByText(/hosts; more as you scroll$/)).toHaveText(
        new RegExp(`^[\\d,]+ of 100,000`),
      );
      const loaded = await page.getByText(/hosts; more as you scroll$/).textContent();
      expect(Number(loaded?.split(' ')[0]?.replaceAll(',', ''))).toBeGreaterThanOrEqual(target);
    }).toPass({ intervals: [30], timeout: 15_000 });
  }
  // However far one scrolls, the page holds about as many rows as fit on the screen.
  expect(await page.getByRole('row').count()).toBeLessThan(150);
  await page.keyboard.press('Home');
  await expect(page.getByRole('link', { name: 'node-0.example' })).toBeVisible();

  const search = page.getByRole('searchbox', { name: 'Search hosts' });
  await takesLess(
    1500,
    async () => {
      await search.fill('');
      await expect(page.getByRole('link', { name: 'node-0.example' })).toBeVisible();
    },
    async () => {
      await search.fill('node-99999');
      await expect(page.getByRole('link', { name: 'node-99999.example' })).toBeVisible();
      await expect(page.getByRole('row')).toHaveCount(2);
    },
  );
});
