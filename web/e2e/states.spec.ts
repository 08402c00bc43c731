/** What a host's state is, is said everywhere in the same words, and can be asked for. */
import { expect, test, unique } from './support/fixtures';
import { type Host, enrolled } from './support/hosts';

test('a revoked host says so, and is let back in on its page', async ({ as, server, api }) => {
  const host = await enrolled(server, api);
  await api.post(`/agents/${host.agent_id}/revoke`);
  const page = await as('admin');
  await page.goto('/hosts?state=revoked');
  const row = page.getByRole('row').filter({ has: page.locator(`#host-${host.id}`) });
  await expect(row).toContainText('Revoked');
  await row.getByRole('link').click();
  await expect(page.getByText('The identity of this host is revoked.')).toBeVisible();
  await expect(page.getByRole('main').getByText('Revoked', { exact: true }).first()).toBeVisible();
  // A token that names it is refused, so none is offered; who makes one all the same is told.
  await expect(page.getByRole('link', { name: 'Enroll it again' })).toHaveCount(0);
  await page.goto(`/enroll?agent_id=${host.agent_id}`);
  await page.getByRole('button', { name: 'Create join token' }).click();
  await expect(page.getByText(/is revoked, so this token will be refused/)).toBeVisible();

  await page.goto(`/hosts/${host.id}`);
  await page.getByRole('button', { name: 'Re-enable' }).click();
  await expect(page.getByText('This host has to be enrolled again.')).toBeVisible();
  await expect(page.getByText('The identity of this host is revoked.')).toHaveCount(0);
  await expect(page.getByRole('link', { name: 'Enroll it again' })).toBeVisible();
});

test('a decommissioning names the secret that let the host in, and revokes it, too', async ({
  as,
  server,
  api,
}) => {
  // A machine all of whose hosts were decommissioned is refused, and all tests run on one.
  await enrolled(server, api);
  const name = unique('image');
  const { id, link } = await api.secretLink(name);
  await server.enroll(link, unique('image'));
  const { items } = await api.get<{ items: (Host & { credential: { id: string } })[] }>('/hosts');
  const host = items.find((host) => host.credential.id === id);
  const page = await as('admin');
  await page.goto(`/hosts/${host?.id}`);
  await expect(page.getByText(`enrollment secret “${name}”`)).toBeVisible();
  await page.getByRole('button', { name: 'Decommission' }).click();
  const dialog = page.getByRole('dialog');
  await expect(dialog).toContainText(`the enrollment secret “${name}”, which is still active`);
  await dialog.getByRole('checkbox', { name: 'Revoke this secret, too' }).check();
  await dialog.getByRole('button', { name: 'Decommission' }).click();
  await expect(page.getByRole('status')).toContainText('Enrollment secret revoked');
  await page.goto('/settings/enrollment');
  await expect(page.getByRole('table', { name: 'Revoked secrets' })).toContainText(name);

  // A host that came in by a token has no such secret, and neither has this one by now.
  const other = await enrolled(server, api);
  await page.goto(`/hosts/${other.id}`);
  await page.getByRole('button', { name: 'Decommission' }).click();
  await expect(dialog).toBeVisible();
  await expect(dialog.getByRole('checkbox')).toHaveCount(0);
  await page.keyboard.press('Escape');

  // Whoever searches for a decommissioned host by its full id finds it where they are.
  await page.goto(`/hosts?q=${host?.agent_id}`);
  const row = page.getByRole('row').filter({ has: page.locator(`#host-${host?.id}`) });
  await expect(row).toContainText('Decommissioned');
  await expect(row.getByRole('button', { name: 'Re-enable' })).toBeVisible();
});

test('figures lead to exactly what they count', async ({ as, server, api }) => {
  await enrolled(server, api);
  const page = await as('viewer');
  const figure = page.getByRole('link', { name: /^Not reported in 24 hours/ });
  const count = Number((await figure.textContent())?.match(/\d+\s*$/)?.[0]);
  await figure.click();
  await expect(page).toHaveURL('/hosts?silent_for=24h');
  await expect(page.getByRole('list', { name: 'Further filters' })).toContainText('Silent for 24h');
  if (count === 0) await expect(page.getByText('No host matches')).toBeVisible();
  else await expect(page.locator('tr.host')).toHaveCount(count);
  await page.getByRole('button', { name: 'Take away: Silent for 24h' }).click();
  await expect(page).toHaveURL('/hosts');
  await expect(page.getByRole('list', { name: 'Further filters' })).toHaveCount(0);
});

test('the newest host is first, and the heads sort', async ({ as, server, api }) => {
  const newest = await enrolled(server, api);
  const page = await as('viewer', { viewport: { width: 1920, height: 900 } });
  await page.goto('/hosts');
  const rows = page.locator('tr.host');
  await expect(rows.first()).toHaveAttribute('data-host', newest.id);
  const head = (name: string) => page.getByRole('columnheader', { name });
  await expect(head('Enrolled')).toHaveAttribute('aria-sort', 'descending');
  await head('Enrolled').getByRole('button').click();
  await expect(head('Enrolled')).toHaveAttribute('aria-sort', 'ascending');
  await expect(rows.last()).toHaveAttribute('data-host', newest.id);

  await head('Host').getByRole('button').click();
  await expect(page).toHaveURL('/hosts?sort=hostname');
  await expect(head('Host')).toHaveAttribute('aria-sort', 'ascending');
  // Tags are links as well.
  const names = () => rows.locator('a[href^="/hosts/"]').allTextContents();
  await expect.poll(async () => (await names()).join()).toBe((await names()).toSorted().join());
  await head('Host').getByRole('button').click();
  await expect(head('Host')).toHaveAttribute('aria-sort', 'descending');
  await expect.poll(async () => (await names()).join()).toBe((await names()).toSorted().reverse().join());
  await page.goBack();
  await expect(head('Host')).toHaveAttribute('aria-sort', 'ascending');
  await expect(head('Enrolled')).not.toHaveAttribute('aria-sort', /.*/);
});
