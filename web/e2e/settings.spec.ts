import { expect, signIn, test, unique } from './support/fixtures';

test('users are added, changed, disabled and enabled', async ({ as, stranger, failures }) => {
  failures.push('status of 401', 'status of 422');
  const page = await as('admin');
  await page.getByRole('link', { name: 'Users', exact: true }).click();
  const username = unique('user');
  await page.getByLabel('Username').fill(username);
  await page.getByLabel('Password').fill('short');
  await page.getByRole('button', { name: 'Add user' }).click();
  await expect(page.getByLabel('Password')).toHaveAttribute('aria-invalid', 'true');
  await expect(page.getByLabel('Username')).toHaveValue(username);
  await page.getByLabel('Password').fill('a password that is long');
  await page.getByLabel('Role').selectOption('operator');
  await page.getByRole('button', { name: 'Add user' }).click();
  await expect(page.getByRole('status')).toContainText(`User ${username} added`);
  const row = page.getByRole('table', { name: 'Users' }).getByRole('row').filter({ hasText: username });
  await expect(row).toContainText('operator');

  await row.getByRole('button', { name: 'Change role' }).click();
  await page.getByRole('dialog').getByLabel('New role').selectOption('viewer');
  await page.getByRole('dialog').getByRole('button', { name: 'Change role' }).click();
  await expect(row).toContainText('viewer');

  await row.getByRole('button', { name: 'Set password' }).click();
  await page.getByRole('dialog').getByLabel('New password').fill('another long password');
  await page.getByRole('dialog').getByRole('button', { name: 'Set password' }).click();
  await expect(page.getByRole('dialog')).toBeHidden();

  const theirs = await stranger();
  await theirs.goto('/');
  await signIn(theirs, { username, password: 'another long password' });
  await expect(theirs.getByRole('heading', { name: 'Overview' })).toBeVisible();

  await row.getByRole('button', { name: 'Disable' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Disable' }).click();
  await expect(row).toContainText('disabled');
  await theirs.getByRole('link', { name: 'Hosts', exact: true }).click();
  await expect(theirs.getByRole('button', { name: 'Sign in' })).toBeVisible();

  await row.getByRole('button', { name: 'Enable' }).click();
  await expect(row).not.toContainText('disabled');
});

test('API tokens are made with chosen permissions, shown once, and revoked', async ({ as }) => {
  const page = await as('admin');
  await page.getByRole('link', { name: 'API tokens', exact: true }).click();
  const name = unique('monitor');
  await page.getByLabel('Token name').fill(name);
  await page.getByRole('button', { name: 'Create API token' }).click();
  await expect(page.getByText('Choose at least one permission.')).toBeVisible();
  await page.getByRole('checkbox', { name: /agent\.read/ }).check();
  await page.getByRole('button', { name: 'Create API token' }).click();
  const token = (await page.getByText(/^mat_\S+$/).textContent()) ?? '';
  const bearer = { authorization: `Bearer ${token}` };
  expect((await page.request.get('/v1/hosts', { headers: bearer })).status()).toBe(200);

  const row = page.getByRole('table', { name: 'API tokens' }).getByRole('row').filter({ hasText: name });
  await expect(row).toContainText('agent.read');
  await row.getByRole('button', { name: 'Revoke' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
  await expect(row).toHaveCount(0);
  expect(await page.content()).not.toContain(token);
});

test('the agent CA can be downloaded and its pin copied', async ({ as }) => {
  const page = await as('viewer', { permissions: ['clipboard-read', 'clipboard-write'] });
  await page.getByRole('link', { name: 'Agent CA', exact: true }).click();
  const download = page.waitForEvent('download');
  await page.getByRole('link', { name: 'Download bundle' }).click();
  expect((await download).suggestedFilename()).toBe('agent-ca.crt');
  await page.getByRole('button', { name: 'Copy pin' }).click();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toMatch(/^[0-9a-f]{64}$/);
});

test('time zone and clock are chosen once and hold everywhere, for this user', async ({ as }) => {
  const page = await as('viewer');
  await page.getByRole('link', { name: 'Time & Display', exact: true }).click();
  const time = page.locator('time').first();
  await page.getByRole('radio', { name: 'UTC' }).check();
  await page.getByRole('radio', { name: '12-hour' }).check();
  await expect(time).toHaveText(/\d{1,2}:\d{2} [AP]M UTC$/);
  await page.goto('/settings/agent-ca');
  await page.goto('/hosts');
  // How long ago it is, is said in words; pointing at it shows the time itself.
  await page.locator('tr.host time').first().hover();
  await expect(page.locator('tr.host .exact').first()).toHaveText(/[AP]M UTC$/);
  await expect(page.locator('time').first()).toHaveAttribute('title', /^\d{4}-\d\d-\d\dT/);

  const again = await as('viewer');
  await again.goto('/settings/time-display');
  await expect(again.getByRole('radio', { name: 'UTC' })).toBeChecked();
  await again.getByRole('radio', { name: 'Local time' }).check();
  await again.getByRole('radio', { name: '24-hour' }).check();
  await expect(again.locator('time').first()).toHaveText(/, \d{2}:\d{2}$/);
});

test('everybody changes their own password, and sees and ends their own sessions', async ({
  stranger,
  api,
  failures,
}) => {
  failures.push('status of 401', 'status of 422');
  const username = unique('own');
  const password = 'first long password';
  await api.post('/users', { username, password, role: 'viewer' });
  const [page, other, third] = [await stranger(), await stranger(), await stranger()];
  for (const each of [page, other, third]) {
    await each.goto('/');
    await signIn(each, { username, password });
    await expect(each.getByRole('heading', { level: 1, name: 'Overview' })).toBeVisible();
  }
  await page.getByRole('link', { name: username }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Account' })).toBeVisible();
  const rows = page.getByRole('table', { name: 'Your sessions' }).getByRole('row');
  await expect(rows).toHaveCount(4);
  await expect(rows.filter({ hasText: 'this one' }).getByRole('button')).toHaveCount(0);
  await rows.filter({ hasNotText: 'this one' }).getByRole('button', { name: 'End' }).first().click();
  await expect(page.getByRole('status')).toContainText('Session ended');
  await expect(rows).toHaveCount(3);

  await page.getByLabel('Current password').fill('not this one at all');
  await page.getByLabel('New password').fill('second long password');
  await page.getByRole('button', { name: 'Change password' }).click();
  await expect(page.getByLabel('Current password')).toHaveAttribute('aria-invalid', 'true');
  await page.getByLabel('Current password').fill(password);
  await page.getByLabel('New password').fill('short');
  await page.getByRole('button', { name: 'Change password' }).click();
  await expect(page.getByLabel('New password')).toHaveAttribute('aria-invalid', 'true');
  await page.getByLabel('New password').fill('second long password');
  await page.getByRole('button', { name: 'Change password' }).click();
  await expect(page.getByRole('status')).toContainText('Password changed');
  // The other sessions have ended, this one goes on.
  await expect(rows).toHaveCount(2);
  for (const each of [other, third]) {
    await each.getByRole('link', { name: 'Hosts', exact: true }).click();
    await expect(each.getByRole('button', { name: 'Sign in' })).toBeVisible();
  }
});
