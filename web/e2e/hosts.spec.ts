import { type Page } from '@playwright/test';

import { expect, test, unique } from './support/fixtures';
import type { Api } from './support/api';
import type { Server } from './support/server';

interface Host {
  id: string;
  agent_id: string;
  hostname: string | null;
}

/** A host of the test's own, known by its agent id. */
async function enrolled(server: Server, api: Api): Promise<Host & { name: string }> {
  const agentId = unique('host');
  await server.enroll(await api.joinLink(agentId), agentId);
  const { items } = await api.get<{ items: Host[] }>('/hosts?limit=500');
  const host = items.find((host) => host.agent_id === agentId);
  if (!host) throw new Error('the host that was enrolled is not listed');
  return { ...host, name: host.hostname ?? host.agent_id };
}

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

  await page.getByRole('radio', { name: 'Decommissioned' }).check();
  await expect(page).toHaveURL(/decommissioned=true/);
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
  await expect(page.getByRole('main').getByRole('button')).toHaveCount(0);
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

  await page.getByRole('button', { name: 'Decommission' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Decommission' }).click();
  await page.getByRole('button', { name: 'Delete' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Delete' }).click();
  await expect(page).toHaveURL(/\/hosts$/);
  await page.goto(`/hosts/${host.id}`);
  await expect(page.getByRole('heading', { level: 1, name: 'Host not found' })).toBeVisible();
});
