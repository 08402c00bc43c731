import { expect, signIn, test } from './support/fixtures';

test('a wrong password and an unknown user get the same sentence, and the name stays', async ({
  server,
  stranger,
  failures,
}) => {
  failures.push('status of 401');
  const page = await stranger();
  await page.goto('/');
  await expect(page).toHaveTitle('Sign in · Muster');
  for (const username of [server.admin.username, 'nobody']) {
    await signIn(page, { username, password: 'not this one at all' });
    await expect(page.getByText('Wrong username or password.')).toBeVisible();
    await expect(page.getByLabel('Username')).toHaveValue(username);
    await expect(page.getByLabel('Password')).toHaveValue('');
  }
});

test('a long password can be pasted', async ({ stranger }) => {
  const page = await stranger();
  await page.goto('/');
  const long = 'x'.repeat(256);
  await page.getByLabel('Password').fill(long);
  await expect(page.getByLabel('Password')).toHaveValue(long);
});

test('signing in leads to the address that was asked for', async ({ server, stranger }) => {
  const page = await stranger();
  await page.goto('/hosts?q=nothing-like-it');
  await signIn(page, server.admin);
  await expect(page.getByRole('heading', { level: 1, name: 'Hosts' })).toBeVisible();
  await expect(page).toHaveURL(/\/hosts\?q=nothing-like-it$/);
  await expect(page.getByText('No host matches')).toBeVisible();
});

test('signing out ends the session and leaves nothing behind', async ({ as }) => {
  const page = await as('admin');
  await page.getByRole('button', { name: 'Sign out' }).click();
  await expect(page.getByRole('button', { name: 'Sign in' })).toBeVisible();
  await expect(page.getByRole('heading', { name: 'Overview' })).toHaveCount(0);
  await page.reload();
  await expect(page.getByRole('button', { name: 'Sign in' })).toBeVisible();
  const kept = await page.evaluate(async () => ({
    local: localStorage.length,
    session: sessionStorage.length,
    databases: (await indexedDB.databases()).length,
  }));
  expect(kept).toEqual({ local: 0, session: 0, databases: 0 });
});

test('too many failures say how long to wait', async ({ stranger, failures }) => {
  failures.push('status of 429');
  const page = await stranger();
  await page.goto('/');
  await page.route('**/v1/session', (route) =>
    route.fulfill({
      status: 429,
      headers: { 'retry-after': '30', 'content-type': 'application/problem+json' },
      body: JSON.stringify({ code: 'throttled', status: 429, title: 'Too Many Requests', detail: 'Wait.' }),
    }),
  );
  await signIn(page, { username: 'admin', password: 'whatever it is' });
  await expect(page.getByText('Wait 30 seconds and try again.')).toBeVisible();
});
