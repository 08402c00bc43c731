import { endSession, expect, signIn, test, unique } from './support/fixtures';

test('after a session ends the same user finds the form as it was', async ({ as, server, failures }) => {
  failures.push('status of 401');
  const page = await as('admin');
  await page.goto('/settings/enrollment');
  const name = unique('unfinished');
  await page.getByLabel('Secret name').fill(name);
  await page.getByLabel('Max uses').fill('7');
  await endSession(page);
  await page.getByRole('button', { name: 'Generate secret' }).click();
  await expect(page.getByText('Your session has ended.', { exact: false }).first()).toBeVisible();
  await expect(page.getByText('nothing is lost')).toBeVisible();
  await expect(page.getByRole('heading', { name: 'Active secrets' })).toBeHidden();

  await signIn(page, server.admin);
  await expect(page).toHaveURL(/\/settings\/enrollment$/);
  await expect(page).toHaveTitle('Enrollment · Muster');
  await expect(page.getByLabel('Secret name')).toHaveValue(name);
  await expect(page.getByLabel('Max uses')).toHaveValue('7');
  await page.getByRole('button', { name: 'Generate secret' }).click();
  await expect(page.getByText(`Secret created for ${name}.`)).toBeVisible();
});

test('another user finds nothing of it', async ({ as, failures }) => {
  failures.push('status of 401');
  const page = await as('admin');
  await page.goto('/settings/enrollment');
  await page.getByLabel('Secret name').fill('not for your eyes');
  await endSession(page);
  await page.getByRole('button', { name: 'Generate secret' }).click();
  await signIn(page, { username: 'viewer', password: 'correct horse battery staple' });
  await expect(page.getByRole('heading', { level: 1, name: 'Permission denied' })).toBeVisible();
  expect(await page.content()).not.toContain('not for your eyes');
});

test('an open dialog does not stand before the login', async ({ as, server, api, failures }) => {
  failures.push('status of 401');
  const name = unique('dialog');
  await api.post('/enrollment-secrets', { name });
  const page = await as('admin');
  await page.goto('/settings/enrollment');
  await page.getByRole('row').filter({ hasText: name }).getByRole('button', { name: 'Revoke' }).click();
  await expect(page.getByRole('dialog')).toBeVisible();
  await endSession(page);
  await api.post('/enrollment-secrets', { name: unique('nudge') });
  await signIn(page, server.admin);
  await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
  await expect(page.getByRole('status')).toContainText('Enrollment secret revoked');
});

test('a restart of the server is told and survived', async ({ as, server, failures }) => {
  failures.push('net::ERR_');
  test.slow();
  const page = await as('admin');
  await page.goto('/hosts');
  await expect(page.getByRole('table', { name: 'Hosts' })).toBeVisible();
  await server.restart(async () => {
    await expect(page.getByText('The connection to the server is lost.')).toBeVisible({ timeout: 10_000 });
    await expect(page.getByRole('table', { name: 'Hosts' })).toBeVisible();
  });
  await expect(page.getByText('The connection to the server is lost.')).toBeHidden({ timeout: 15_000 });
  await expect(page.getByText(/hosts online$/)).toBeVisible();
});

test('a stream of events that is dead is told, although nothing says that it ended', async ({
  as,
  server,
}) => {
  test.slow();
  const page = await as('viewer');
  await page.clock.install();
  const beats = page.waitForRequest('**/v1/events');
  await page.goto('/hosts');
  await beats;
  await expect(page.getByRole('table', { name: 'Hosts' })).toBeVisible();
  const lost = page.getByText('The connection to the server is lost.');
  // A stream that beats is not lost, however long nothing else happens.
  await page.clock.runFor(30_000);
  await expect(lost).toHaveCount(0);
  // The server is halted, as a closed lid does it: its connections stay, and carry nothing.
  server.freeze();
  try {
    await page.clock.fastForward(46_000);
    await expect(lost).toBeVisible();
    await expect(page.getByRole('table', { name: 'Hosts' })).toBeVisible();
  } finally {
    server.thaw();
  }
  await expect(async () => {
    await page.clock.fastForward(5000);
    await expect(lost).toHaveCount(0, { timeout: 1000 });
  }).toPass({ timeout: 20_000 });
});
