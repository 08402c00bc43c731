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

test('the tenant is in the address, and holds for links, reloads, audit and users', async ({ as, api }) => {
  const name = unique('tenant');
  const { id } = await api.post<{ id: string }>('/tenants', { name });
  const secret = await api.post<{ id: string }>(`/enrollment-secrets?tenant=${id}`, {
    name: unique('theirs'),
  });
  const elsewhere = unique('elsewhere');
  const home = await api.get<{ items: { id: string; name: string }[] }>('/tenants');
  await api.post('/users', {
    username: elsewhere,
    password: 'a password that is long',
    role: 'viewer',
    tenant_id: home.items.find((tenant) => tenant.name === 'default')?.id,
  });
  const page = await as('admin');
  await page.goto('/audit');
  await expect(page).toHaveURL(/\/audit$/);
  const records = page.getByRole('table', { name: 'Audit records' });
  await expect(records.getByRole('row').nth(1)).toBeVisible();
  await expect(records).not.toContainText(secret.id);
  // What belongs to all tenants, or to none, is one choice away.
  await page.getByRole('checkbox', { name: 'Whole deployment' }).check();
  await expect(records).toContainText(secret.id);

  await page.getByRole('banner').getByLabel('Tenant').selectOption(name);
  await expect(page).toHaveURL(`/audit?tenant=${name}`);
  await expect(records).toContainText(secret.id);
  await expect(records).not.toContainText('session');
  await page.getByRole('link', { name: 'Users', exact: true }).click();
  await expect(page).toHaveURL(`/settings/users?tenant=${name}`);
  // Its own people, and those of all tenants.
  const users = page.getByRole('table', { name: 'Users' });
  await expect(users.getByRole('row').nth(1)).toContainText('all');
  await expect(users).not.toContainText(elsewhere);
  await page.reload();
  await expect(page.getByRole('banner').getByLabel('Tenant')).toHaveValue(id);
  await expect(users.getByRole('row').nth(1)).toBeVisible();
  await expect(users).not.toContainText(elsewhere);
  const asked: (string | null)[] = [];
  page.on('request', (request) => {
    const url = new URL(request.url());
    if (/overview|hosts/.test(url.pathname)) asked.push(url.searchParams.get('tenant'));
  });
  await page.goBack();
  await page.getByRole('link', { name: 'Hosts', exact: true }).click();
  await expect(page.getByText('No hosts yet')).toBeVisible();
  await page.getByRole('banner').getByLabel('Tenant').selectOption('default');
  await expect(page.getByRole('table', { name: 'Hosts' })).toBeVisible();
  expect(asked.length).toBeGreaterThan(1);
  expect(asked.every((tenant) => tenant !== null)).toBe(true);
});
