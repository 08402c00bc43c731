import type { Page } from '@playwright/test';

import { endSession, expect, signIn, test, unique } from './support/fixtures';
import { enrolled } from './support/hosts';

const SECRET = /^mes_\S+$/;

const active = (page: Page) => page.getByRole('table', { name: 'Active secrets' });
const revoked = (page: Page) => page.getByRole('table', { name: 'Revoked secrets' });

async function generate(page: Page, name: string, maxUses = ''): Promise<void> {
  await page.getByLabel('Secret name').fill(name);
  await page.getByLabel('Max uses').fill(maxUses);
  await page.getByRole('button', { name: 'Generate secret' }).click();
}

async function open(page: Page): Promise<void> {
  await page.getByRole('link', { name: 'Enrollment', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Enrollment' })).toBeVisible();
}

test('a secret is shown once, copied, and gone', async ({ as }) => {
  const page = await as('admin', { permissions: ['clipboard-read', 'clipboard-write'] });
  await open(page);
  const name = unique('rack');
  await generate(page, name, '50');
  await expect(page.getByRole('status')).toContainText('Enrollment secret created');
  const message = page.getByText(`Secret created for ${name}. Copy it now — it will not be shown again.`);
  await expect(message).toBeVisible();
  // What there is to do now is to copy it.
  await expect(page.getByRole('button', { name: 'Copy to clipboard' })).toBeFocused();
  const secret = (await page.getByText(SECRET).textContent()) ?? '';
  await page.getByRole('button', { name: 'Copy to clipboard' }).click();
  expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(secret);
  const row = active(page).getByRole('row').filter({ hasText: name });
  await expect(row.getByRole('cell').nth(2)).toHaveText('0 / 50');
  await expect(row.getByRole('cell').nth(3)).toHaveText('never');
  await expect(row.getByRole('cell').nth(4)).toHaveText('never');

  const brief = unique('brief');
  await page.getByLabel('Expires').selectOption('In 7 days');
  await generate(page, brief);
  const expiry = active(page).getByRole('row').filter({ hasText: brief }).getByRole('cell').nth(3);
  const ends = Date.parse((await expiry.locator('time').getAttribute('datetime')) ?? '');
  expect(Math.round((ends - Date.now()) / 86_400_000)).toBe(7);
  await expect(page.getByLabel('Expires')).toHaveValue('');

  await page.getByRole('button', { name: 'Dismiss' }).click();
  await expect(message).toBeHidden();
  expect(await page.content()).not.toContain(secret);
});

test('the card goes with navigation, refresh, the next secret, its revocation and the session', async ({
  as,
  server,
  api,
  failures,
}) => {
  failures.push('status of 401');
  const page = await as('admin');
  await open(page);
  const shown = page.getByText(SECRET);

  await generate(page, unique('navigation'));
  await expect(shown).toBeVisible();
  await page.getByRole('link', { name: 'Hosts', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Hosts' })).toBeVisible();
  await page.goBack();
  await expect(active(page)).toBeVisible();
  await expect(shown).toHaveCount(0);

  await generate(page, unique('refresh'));
  await expect(shown).toBeVisible();
  await page.reload();
  await expect(active(page)).toBeVisible();
  await expect(shown).toHaveCount(0);

  await generate(page, unique('first'));
  const first = (await shown.textContent()) ?? '';
  const next = unique('next');
  await generate(page, next);
  await expect(page.getByText(`Secret created for ${next}.`)).toBeVisible();
  expect(await page.content()).not.toContain(first);

  await active(page)
    .getByRole('row')
    .filter({ hasText: next })
    .getByRole('button', { name: 'Revoke' })
    .click();
  await page.getByRole('dialog').getByRole('button', { name: 'Revoke' }).click();
  await expect(shown).toHaveCount(0);

  // Somebody else may revoke it, too.
  const theirs = unique('theirs');
  await generate(page, theirs);
  await expect(shown).toBeVisible();
  const { items } = await api.get<{ items: { id: string; name: string }[] }>(
    '/enrollment-secrets?state=active',
  );
  await api.post(`/enrollment-secrets/${items.find((item) => item.name === theirs)?.id}/revoke`);
  await expect(shown).toHaveCount(0);

  await generate(page, unique('session'));
  await expect(shown).toBeVisible();
  await endSession(page);
  await expect(page.getByRole('button', { name: 'Sign in' })).toBeVisible({ timeout: 10_000 });
  await expect(shown).toHaveCount(0);
  // Something was lost, and that is said.
  await expect(page.getByText('The text of the enrollment secret that was shown is gone')).toBeVisible();
  await expect(page.getByText('nothing is lost')).toHaveCount(0);
  await signIn(page, server.admin);
  await expect(active(page)).toBeVisible();
  await expect(shown).toHaveCount(0);
});

test('what is refused stays in the form, with the reason at the field', async ({ as, failures }) => {
  failures.push('status of 400', 'status of 422');
  const page = await as('admin');
  await open(page);
  const name = unique('refused');
  for (const typed of ['0', '-1', 'many']) {
    await generate(page, name, typed);
    await expect(page.getByRole('status')).toContainText('Failed to create enrollment secret');
    await expect(page.getByLabel('Secret name')).toHaveValue(name);
    await expect(page.getByLabel('Max uses')).toHaveValue(typed);
    await expect(page.getByLabel('Max uses')).toHaveAttribute('aria-invalid', 'true');
  }
  await generate(page, '');
  await expect(page.getByLabel('Secret name')).toHaveAttribute('aria-invalid', 'true');
  await expect(active(page).getByRole('row').filter({ hasText: name })).toHaveCount(0);
});

test('revoking asks, and moves the secret to the revoked ones for everybody who looks', async ({ as }) => {
  const page = await as('admin');
  const other = await as('admin');
  await open(page);
  await open(other);
  const name = unique('retired');
  await generate(page, name);
  const row = active(page).getByRole('row').filter({ hasText: name });
  await expect(row.getByRole('cell').nth(2)).toHaveText('None yet');
  await expect(active(other).getByRole('row').filter({ hasText: name })).toBeVisible({ timeout: 2000 });

  await row.getByRole('button', { name: 'Revoke' }).click();
  const dialog = page.getByRole('dialog');
  await expect(dialog).toContainText(
    `Revoke “${name}”? No new agents will be able to enroll using this secret. Already-enrolled agents are unaffected.`,
  );
  await dialog.getByRole('button', { name: 'Revoke' }).click();
  await expect(row).toHaveCount(0);
  const gone = revoked(page).getByRole('row').filter({ hasText: name });
  await expect(gone).toBeVisible();
  await expect(gone.getByRole('button')).toHaveCount(0);
  await expect(revoked(other).getByRole('row').filter({ hasText: name })).toBeVisible({ timeout: 2000 });
});

test('a use is counted before the eyes', async ({ as, server, api }) => {
  // A machine all of whose hosts were decommissioned is refused, and all tests run on one.
  await enrolled(server, api);
  const page = await as('admin');
  await open(page);
  const name = unique('counted');
  await generate(page, name, '2');
  const secret = (await page.getByText(SECRET).textContent()) ?? '';
  const ca = await page.request.get('/v1/agent-ca');
  const { server_pin } = (await ca.json()) as { server_pin: string };
  const uses = active(page).getByRole('row').filter({ hasText: name }).getByRole('cell').nth(2);
  for (const expected of ['1 / 2', '2 / 2']) {
    const host = new URL(server.url).host;
    await server.enroll(`muster://${host}/?pin=${server_pin}#${secret}`, unique('counted'));
    await expect(uses).toHaveText(expected, { timeout: 2000 });
  }

  // Whoever comes after the last one is refused, and that is seen here as well.
  const row = active(page).getByRole('row').filter({ hasText: name });
  await expect(row).not.toContainText('refused');
  const host = new URL(server.url).host;
  const late = server.enroll(`muster://${host}/?pin=${server_pin}#${secret}`, unique('late'));
  await expect(late).rejects.toThrow();
  await page.reload();
  await row.getByRole('link', { name: '1 refused' }).click();
  await expect(page.getByRole('table', { name: 'Audit records' })).toContainText('refused');
});

test('the page has its parts in order, and the card stays until somebody is done with it', async ({
  as,
  api,
}) => {
  const old = await api.post<{ id: string }>('/enrollment-secrets', { name: unique('old') });
  await api.post(`/enrollment-secrets/${old.id}/revoke`);
  const page = await as('admin');
  await open(page);
  const name = unique('kept');
  await generate(page, name);
  const message = page.getByText(`Secret created for ${name}.`);
  const parts = [
    message,
    active(page),
    revoked(page),
    page.getByRole('heading', { level: 2, name: 'Generate secret' }),
  ];
  const tops = [];
  for (const part of parts) tops.push((await part.boundingBox())?.y ?? Number.NaN);
  expect(tops).toEqual(tops.toSorted((a, b) => a - b));
  await expect(revoked(page).getByRole('button')).toHaveCount(0);

  // Neither the end of the toast nor what happens elsewhere takes the card away.
  const elsewhere = unique('elsewhere');
  await api.post('/enrollment-secrets', { name: elsewhere });
  await expect(active(page)).toContainText(elsewhere);
  await expect(page.getByRole('status')).not.toContainText('Enrollment secret created', { timeout: 10_000 });
  await expect(message).toBeVisible();

  // And nothing of it is kept where another page could find it.
  const kept = await page.evaluate(async () => ({
    local: localStorage.length,
    session: sessionStorage.length,
    databases: (await indexedDB.databases()).length,
    history: typeof history.state,
    cookies: document.cookie,
  }));
  expect(kept).toEqual({ local: 0, session: 0, databases: 0, history: 'number', cookies: '' });
});

test('uses are counted in exactly these words, and expired secrets stay where they are', async ({ as }) => {
  const secret = (name: string, uses: number, max_uses: number | null, expires_at: string | null = null) => ({
    id: name,
    tenant_id: 'default',
    name,
    created_at: '2026-01-01T00:00:00Z',
    uses,
    max_uses,
    expires_at,
    last_used_at: null,
    revoked_at: null,
  });
  const cases: [ReturnType<typeof secret>, string][] = [
    [secret('capped', 12, 50), '12 / 50'],
    [secret('without limit', 12, null), '12'],
    [secret('unused', 0, null), 'None yet'],
    [secret('fresh', 0, 50), '0 / 50'],
    [secret('exhausted', 50, 50), '50 / 50'],
    [secret('over', 3, null, '2026-01-02T00:00:00Z'), '3'],
  ];
  const page = await as('admin');
  await page.route('**/v1/enrollment-secrets?**', (route) => {
    const wanted = new URL(route.request().url()).searchParams.get('state') === 'active';
    return route.fulfill({ json: { items: wanted ? cases.map(([item]) => item) : [], next_cursor: null } });
  });
  await open(page);
  for (const [{ name }, words] of cases) {
    const cells = active(page).getByRole('row').filter({ hasText: name }).getByRole('cell');
    await expect(cells.nth(0)).toHaveText(name === 'over' ? /^over\s+expired$/ : name);
    await expect(cells.nth(2)).toHaveText(words);
    expect(await cells.nth(2).evaluate((cell) => cell.childElementCount)).toBe(0);
  }
  await expect(revoked(page)).toHaveCount(0);
  await expect(page.getByText('Revoked secrets')).toHaveCount(0);
});
