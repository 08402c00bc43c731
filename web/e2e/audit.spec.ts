import { expect, test, unique } from './support/fixtures';
import { enrolled } from './support/hosts';

test('records are searched, opened and followed', async ({ as, api }) => {
  const page = await as('operator');
  await page.getByRole('link', { name: 'Audit', exact: true }).click();
  const table = page.getByRole('table', { name: 'Audit records' });
  await expect(table.getByRole('row').nth(1)).toBeVisible();
  await table
    .getByRole('button', { name: /^More about record/ })
    .first()
    .click();
  await expect(table).toContainText('Hash before');

  await page.getByRole('checkbox', { name: 'Follow' }).check();
  const name = unique('followed');
  const { id } = await api.post<{ id: string }>('/enrollment-secrets', { name });
  await page.getByRole('searchbox', { name: 'Search audit' }).fill(id);
  await expect(table.getByRole('row')).toHaveCount(2);
  await expect(page).toHaveURL(/q=/);
  await api.post(`/enrollment-secrets/${id}/revoke`);
  await expect(table.getByRole('row')).toHaveCount(3);

  await page.getByRole('searchbox', { name: 'Search audit' }).fill('nothing like this was ever recorded');
  await expect(page.getByText('No record matches')).toBeVisible();
});

test('records name their hosts, and are filtered; going back undoes a filter', async ({
  as,
  server,
  api,
}) => {
  const host = await enrolled(server, api);
  await api.post(`/hosts/${host.id}/decommission`);
  const page = await as('admin');
  await page.goto(`/audit?action=host.decommission`);
  const rows = page.getByRole('table', { name: 'Audit records' }).getByRole('row');
  const record = rows.filter({ hasText: host.id });
  await expect(record).toContainText(host.name);
  await expect(rows.filter({ hasText: 'host.decommission' })).toHaveCount((await rows.count()) - 1);

  await page.goto('/audit');
  const filters = page.getByRole('group', { name: 'Filters' });
  await filters.getByLabel('Actor').fill(`user:${server.admin.username}`);
  await filters.getByLabel('Actor').press('Enter');
  await expect(page).toHaveURL(/actor=user/);
  await filters.getByLabel('Outcome').selectOption('success');
  await expect(page).toHaveURL(/outcome=success/);
  await filters.getByLabel('From').fill('2099-01-01T00:00');
  await expect(page.getByText('No record matches')).toBeVisible();
  await page.goBack();
  await expect(record.first()).toBeVisible();
  await expect(filters.getByLabel('From')).toHaveValue('');
  await filters.getByLabel('Outcome').selectOption('refused');
  await expect(page.getByText('No record matches')).toBeVisible();
  await page.getByRole('button', { name: 'Clear search and filters' }).click();
  await expect(page).toHaveURL('/audit');
  await expect(filters.getByLabel('Actor')).toHaveValue('');
});
