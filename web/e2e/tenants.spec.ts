/** A user of all tenants looks at one at a time. */
import { expect, test, unique } from './support/fixtures';

test('a tenant is chosen, and everything that is seen and made is its own', async ({ as, api }) => {
  const name = unique('tenant');
  const { id } = await api.post<{ id: string }>('/tenants', { name });
  const page = await as('admin');
  await page.goto('/hosts');
  await expect(page.getByRole('table', { name: 'Hosts' })).toBeVisible();
  const chooser = page.getByRole('banner').getByLabel('Tenant');
  await chooser.selectOption(name);
  await expect(page.getByText('0 of 0 hosts online')).toBeVisible();
  await expect(page.getByText('No hosts yet')).toBeVisible();

  await page.getByRole('link', { name: 'Enrollment', exact: true }).click();
  const secret = unique('theirs');
  await page.getByLabel('Secret name').fill(secret);
  await page.getByRole('button', { name: 'Generate secret' }).click();
  await expect(page.getByRole('table', { name: 'Active secrets' })).toContainText(secret);
  const { items } = await api.get<{ items: { name: string }[] }>(`/enrollment-secrets?tenant=${id}`);
  expect(items.map((item) => item.name)).toEqual([secret]);

  await page.getByRole('link', { name: 'Users', exact: true }).click();
  const username = unique('user');
  await page.getByLabel('Username').fill(username);
  await page.getByLabel('Password').fill('a password that is long');
  await page.getByRole('main').getByLabel('Tenant').selectOption(name);
  await page.getByRole('button', { name: 'Add user' }).click();
  const row = page.getByRole('table', { name: 'Users' }).getByRole('row').filter({ hasText: username });
  await expect(row).toContainText(name);
  await row.getByRole('button', { name: 'Change role' }).click();
  await page.getByRole('dialog').getByLabel('New role').selectOption('operator');
  await page.getByRole('dialog').getByRole('button', { name: 'Change role' }).click();
  await expect(row).toContainText('operator');

  await chooser.selectOption('default');
  await page.getByRole('link', { name: 'Enrollment', exact: true }).click();
  await expect(page.getByRole('table', { name: 'Active secrets' })).toBeVisible();
  await expect(page.getByRole('table', { name: 'Active secrets' })).not.toContainText(secret);
});
