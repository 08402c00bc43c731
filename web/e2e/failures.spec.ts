import type { Page, Route } from '@playwright/test';

import { expect, test } from './support/fixtures';

function problem(route: Route, status: number, code: string, detail: string, headers = {}): Promise<void> {
  return route.fulfill({
    status,
    headers: { 'content-type': 'application/problem+json', ...headers },
    body: JSON.stringify({ type: 'about:blank', title: code, status, code, detail }),
  });
}

async function submit(page: Page): Promise<void> {
  await page.getByLabel('Secret name').fill('kept');
  await page.getByLabel('Max uses').fill('3');
  await page.getByRole('button', { name: 'Generate secret' }).click();
  await expect(page.getByRole('status')).toContainText('Failed to create enrollment secret');
  await expect(page.getByLabel('Secret name')).toHaveValue('kept');
  await expect(page.getByLabel('Max uses')).toHaveValue('3');
}

const FAILURES: [string, (route: Route) => Promise<void>, RegExp][] = [
  ['409', (route) => problem(route, 409, 'conflict', 'Somebody was quicker.'), /Somebody was quicker\./],
  ['422', (route) => problem(route, 422, 'invalid_name', 'A name is too long.'), /A name is too long\./],
  [
    '429',
    (route) => problem(route, 429, 'throttled', 'Slow down.', { 'retry-after': '12' }),
    /Wait 12 seconds and try again/,
  ],
  ['500', (route) => problem(route, 500, 'internal', 'The server failed.'), /its log says why/],
  [
    '503',
    (route) => problem(route, 503, 'unavailable', 'Not right now.', { 'retry-after': '5' }),
    /Try again in 5/,
  ],
  ['no answer', (route) => route.abort(), /can’t be reached/],
  ['no JSON', (route) => route.fulfill({ status: 200, body: '<html>proxy</html>' }), /Try again/],
];

for (const [name, answer, sentence] of FAILURES) {
  test(`a form survives: ${name}`, async ({ as, failures }) => {
    failures.push(/^\d/.test(name) ? `status of ${name}` : 'net::ERR_FAILED');
    const page = await as('admin');
    await page.goto('/settings/enrollment');
    await page.route('**/v1/enrollment-secrets', (route) =>
      route.request().method() === 'POST' ? answer(route) : route.continue(),
    );
    await submit(page);
    await expect(page.getByRole('status')).toContainText(sentence);
  });
}

test('a list that fails says so, and recovers by itself', async ({ as, failures }) => {
  failures.push('status of 503');
  const page = await as('admin');
  let failing = true;
  await page.route('**/v1/hosts?**', (route) =>
    failing ? problem(route, 503, 'unavailable', 'Not right now.', { 'retry-after': '1' }) : route.continue(),
  );
  await page.goto('/hosts');
  await expect(page.getByText('The hosts could not be loaded.')).toBeVisible();
  failing = false;
  await expect(page.getByRole('table', { name: 'Hosts' })).toBeVisible();
  await expect(page.getByText('The hosts could not be loaded.')).toBeHidden();
});

test('slow answers show that something is coming', async ({ as }) => {
  const page = await as('admin');
  await page.route('**/v1/users**', async (route) => {
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await route.continue();
  });
  await page.goto('/settings/users');
  await expect(page.getByText('Loading…')).toBeAttached();
  await expect(page.getByRole('table', { name: 'Users' })).toBeVisible();
  await expect(page.getByText('Loading…')).toHaveCount(0);
});

test('a server that is away at the start is waited for', async ({ stranger, failures }) => {
  failures.push('net::ERR_FAILED');
  const page = await stranger();
  let away = true;
  await page.route('**/v1/session/if-any', (route) => (away ? route.abort() : route.continue()));
  await page.goto('/');
  await expect(page.getByRole('heading', { name: 'The server can’t be reached' })).toBeVisible();
  away = false;
  await expect(page.getByRole('button', { name: 'Sign in' })).toBeVisible();
});
