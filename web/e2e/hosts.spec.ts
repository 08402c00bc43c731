import { type Page } from '@playwright/test';

import { expect, test } from './support/fixtures';
import { type Host, enrolled } from './support/hosts';

const row = (page: Page, host: Host) =>
  page.getByRole('row').filter({ has: page.locator(`#host-${host.id}`) });

async function count(page: Page): Promise<{ online: number; of: number }> {
  const text = await page.getByText(/^\d+ of \d+ hosts online$/).textContent();
  const [online = 0, of = 0] = (text ?? '').match(/\d+/g)?.map(Number) ?? [];
  return { online, of };
}

test('hosts are listed, counted and searched, and the search is part of the address', async ({ as, api }) => {
  const page = await as('admin');
  await page.getByRole('link', { name: 'Hosts', exact: true }).click();
  await expect(page.getByRole('table', { name: 'Hosts' })).toBeVisible();
  const { of } = await count(page);
  expect(of).toBeGreaterThanOrEqual(5);

  const { items } = await api.get<{ items: { hostname: string; ips: string[]; os: string }[] }>('/hosts');
  const wanted = items[0]?.hostname ?? '';
  await page.getByRole('searchbox', { name: 'Search hosts' }).fill(wanted.toUpperCase());
  await expect(page).toHaveURL(new RegExp(`q=${wanted.toUpperCase()}`));
  await expect(page.getByRole('link', { name: wanted, exact: true }).first()).toBeVisible();
  expect((await count(page)).of).toBe(of);

  // Any address and the system are found as well.
  for (const part of [items[0]?.ips[0], items[0]?.os.slice(1, 6).toUpperCase()]) {
    await page.getByRole('searchbox', { name: 'Search hosts' }).fill(part ?? '');
    await expect(page).toHaveURL((url) => url.searchParams.get('q') === part);
    await expect(page.getByRole('link', { name: wanted, exact: true }).first()).toBeVisible();
  }

  await page.getByRole('searchbox', { name: 'Search hosts' }).fill('there is no such host');
  await expect(page.getByText('No host matches')).toBeVisible();
  await page.reload();
  await expect(page.getByRole('searchbox', { name: 'Search hosts' })).toHaveValue('there is no such host');
  await page.getByRole('button', { name: 'Clear search and filter' }).click();
  await expect(page.getByRole('table', { name: 'Hosts' })).toBeVisible();
});

test('a host that enrolls elsewhere appears by itself', async ({ as, server, api }) => {
  const page = await as('viewer');
  await page.goto('/hosts');
  await expect(page.getByRole('table', { name: 'Hosts' })).toBeVisible();
  const before = await count(page);
  const host = await enrolled(server, api);
  await expect(row(page, host)).toBeVisible({ timeout: 2000 });
  expect((await count(page)).of).toBe(before.of + 1);
});

test('decommissioning asks, removes the row at once, and can be undone', async ({ as, server, api }) => {
  const host = await enrolled(server, api);
  const page = await as('admin');
  await page.goto('/hosts');
  const { of } = await count(page);
  const button = row(page, host).getByRole('button', { name: 'Decommission' });

  await button.click();
  const dialog = page.getByRole('dialog');
  await expect(dialog).toContainText(host.name);
  await expect(dialog).toContainText('certificate will be revoked');
  await page.keyboard.press('Escape');
  await expect(dialog).toBeHidden();
  await expect(button).toBeFocused();

  await button.click();
  await dialog.getByRole('button', { name: 'Decommission' }).click();
  await expect(row(page, host)).toBeHidden();
  await expect(page.getByRole('status')).toContainText(`${host.name} decommissioned`);
  await expect.poll(async () => (await count(page)).of).toBe(of - 1);
  await page.waitForTimeout(4000);
  await expect(page.getByRole('status')).toContainText(`${host.name} decommissioned`);

  // What the list leaves out it names, and leads to.
  await page.getByText(/decommissioned hosts?\s+(is|are) not in this list/).waitFor();
  await page.getByRole('link', { name: /^show (it|them)$/ }).click();
  await expect(page).toHaveURL(/decommissioned=true/);
  await expect(page.getByRole('radio', { name: 'Decommissioned' })).toBeChecked();
  await row(page, host).getByRole('button', { name: 'Re-enable' }).click();
  await expect(row(page, host)).toBeHidden();
  await page.getByRole('link', { name: 'Enroll it again' }).click();
  await expect(page.getByLabel('Agent id')).toHaveValue(host.agent_id);
});

test('a host without a hostname goes by its agent id', async ({ as, server, api }) => {
  const host = await enrolled(server, api);
  const page = await as('admin');
  await page.route('**/v1/hosts?**', async (route) => {
    const answer = await route.fetch();
    const list = (await answer.json()) as { items: Host[] };
    for (const item of list.items) if (item.id === host.id) item.hostname = null;
    await route.fulfill({ response: answer, json: list });
  });
  await page.goto('/hosts');
  await expect(page.getByRole('link', { name: host.agent_id, exact: true })).toBeVisible();
  await row(page, host).getByRole('button', { name: 'Decommission' }).click();
  await expect(page.getByRole('dialog')).toContainText(host.agent_id);
  await page.getByRole('dialog').getByRole('button', { name: 'Decommission' }).click();
  await expect(page.getByRole('status')).toContainText(`${host.agent_id} decommissioned`);
});

test('an operator may try, and is told', async ({ as, server, api, failures }) => {
  failures.push('status of 403');
  const host = await enrolled(server, api);
  const page = await as('operator');
  await page.goto('/hosts');
  await row(page, host).getByRole('button', { name: 'Decommission' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Decommission' }).click();
  await expect(page.getByRole('status')).toContainText('Permission denied');
  await expect(row(page, host)).toBeVisible();
});

test('a viewer is offered nothing to do', async ({ as }) => {
  const page = await as('viewer');
  await page.goto('/hosts');
  await expect(page.getByRole('table', { name: 'Hosts' })).toBeVisible();
  await expect(page.getByRole('button', { name: 'Decommission' })).toHaveCount(0);
  await page.getByRole('table', { name: 'Hosts' }).getByRole('link').first().click();
  await expect(page.getByRole('table', { name: 'Certificates' })).toBeVisible();
  // Copying changes nothing.
  const deeds = page.getByRole('main').getByRole('button').filter({ hasNotText: 'Copy' });
  await expect(deeds.and(page.locator(':not([aria-label^="Copy"])'))).toHaveCount(0);
});

test('a host has a page: facts, certificates, timeline, out and back in, and deleted', async ({
  as,
  server,
  api,
  failures,
}) => {
  failures.push('status of 404');
  const host = await enrolled(server, api);
  const page = await as('admin');
  await page.goto(`/hosts/${host.id}`);
  await expect(page.getByRole('heading', { level: 1, name: host.name })).toBeVisible();
  await expect(page.getByText(host.agent_id, { exact: true }).first()).toBeVisible();
  await expect(page.getByRole('table', { name: 'Certificates' }).getByRole('row')).toHaveCount(2);
  await expect(page.getByRole('list', { name: 'Timeline' }).getByRole('listitem').first()).toBeVisible();

  await page.getByRole('button', { name: 'Decommission' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Decommission' }).click();
  await expect(page.getByRole('table', { name: 'Certificates' })).toContainText('revoked');
  await page.getByRole('button', { name: 'Re-enable' }).click();
  await expect(page.getByText('This host has to be enrolled again.')).toBeVisible();
  await expect(page.getByText('none is in force: all are revoked')).toBeVisible();

  await page.getByRole('button', { name: 'Decommission' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Decommission' }).click();
  await page.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await expect(page).toHaveURL(/\/hosts$/);
  await page.goto(`/hosts/${host.id}`);
  await expect(page.getByRole('heading', { level: 1, name: 'Host not found' })).toBeVisible();
});

test('a search that only decommissioned hosts match says so, and leads to them', async ({ as }) => {
  const page = await as('viewer');
  await page.route('**/v1/hosts?**', (route) => {
    const gone = new URL(route.request().url()).searchParams.get('state') === 'decommissioned';
    return route.fulfill({ json: { items: [], next_cursor: null, total: gone ? 1 : 0 } });
  });
  await page.goto('/hosts?q=retired-7');
  await expect(page.getByText('No host in service matches')).toBeVisible();
  await expect(page.getByText('One decommissioned host matches as well:')).toBeVisible();
  await page.getByRole('link', { name: 'show it' }).click();
  await expect(page).toHaveURL('/hosts?q=retired-7&decommissioned=true');
});

test('hostnames are never cut, and what matters less makes room', async ({ as, api }) => {
  const { items } = await api.get<{ items: Record<string, unknown>[] }>('/hosts');
  const long = (at: number) =>
    at % 10 === 0 ? `${'very-long-'.repeat(20)}${at}` : `ip-10-20-30-${at}.eu-central-1.compute.internal`;
  const hosts = Array.from({ length: 300 }, (_, at) => ({
    ...items[0],
    id: `00000000-0000-7000-8000-${String(at).padStart(12, '0')}`,
    hostname: long(at),
    os: 'Debian GNU/Linux 12 (bookworm)',
    tags: ['role:web', 'a-rather-long-tag:with-a-rather-long-value', 'eu'],
    ips: ['10.20.30.40', 'fe80::1234:5678:9abc:def0', '10.1.1.1'],
  }));
  for (const width of [360, 700, 1041, 1280, 1920]) {
    const page = await as('admin', { viewport: { width, height: 900 } });
    await page.route('**/v1/hosts?**', (route) =>
      route.fulfill({ json: { items: hosts, next_cursor: null, total: hosts.length } }),
    );
    await page.goto('/hosts');
    const table = page.getByRole('table', { name: 'Hosts' });
    await expect(table.getByRole('link', { name: long(1), exact: true })).toBeVisible();
    const cut = await table.evaluate((table) =>
      [...table.querySelectorAll('td')]
        .filter((cell) =>
          [cell, ...cell.querySelectorAll('*')].some(
            (e) => e.scrollWidth > e.clientWidth + 1 && e.clientWidth > 0,
          ),
        )
        .map((cell) => cell.textContent),
    );
    expect(cut, `at ${width}`).toEqual([]);
    const columns = await table.getByRole('columnheader').count();
    if (width === 1920) {
      expect(columns).toBe(11);
      expect((await table.boundingBox())?.width ?? 0).toBeGreaterThan(1500);
    } else {
      expect(columns).toBeLessThan(11);
    }
    // Rows of different heights are still where the scroll bar says.
    await expect(async () => {
      await page.keyboard.press('End');
      const last = table.getByRole('link', { name: long(299), exact: true });
      await expect(last).toBeInViewport({ timeout: 500 });
    }).toPass();
    await page.close();
  }
});
