/** Lists that go on say so, and have the rest. */
import type { Page } from '@playwright/test';

import { expect, test, unique } from './support/fixtures';

/** Answers a list page by page, 250 items long. */
async function serve(page: Page, route: RegExp, item: (at: number) => object): Promise<void> {
  const LENGTH = 250;
  await page.route(route, (request) => {
    const query = new URL(request.request().url()).searchParams;
    const start = Number(query.get('cursor') ?? 0);
    const end = Math.min(LENGTH, start + Number(query.get('limit')));
    const items = Array.from({ length: end - start }, (_, i) => item(start + i));
    return request.fulfill({ json: { items, next_cursor: end < LENGTH ? String(end) : null } });
  });
}

const at = (minutes: number) => new Date(Date.UTC(2026, 0, 9) - minutes * 60_000).toISOString();

test('timeline and certificates have an end, and it can be reached', async ({ as, api }) => {
  const { items } = await api.get<{ items: { id: string }[] }>('/hosts');
  const page = await as('viewer');
  await serve(page, /\/hosts\/[^/]+\/events\?/, (n) => ({
    id: `e${n}`,
    at: at(n),
    kind: n === 249 ? 'enrolled' : 'report',
    source: 'server',
    detail: { number: String(n) },
  }));
  await serve(page, /\/hosts\/[^/]+\/enrollments\?/, (n) => ({
    serial: String(n).padStart(32, '0'),
    host_id: items[0]?.id,
    tenant_id: 'default',
    via: 'rotation',
    credential_id: null,
    issued_at: at(n),
    not_before: at(n),
    not_after: at(n - 60),
    peer: null,
    revoked: false,
    revoked_at: null,
    reason: null,
  }));
  await page.goto(`/hosts/${items[0]?.id}`);
  const timeline = page.getByRole('region', { name: 'Timeline' });
  const entries = page.getByRole('list', { name: 'Timeline' }).getByRole('listitem');
  await expect(entries).toHaveCount(100);
  await timeline.getByRole('button', { name: 'Show older' }).click();
  await expect(entries).toHaveCount(200);
  await timeline.getByRole('button', { name: 'Show older' }).click();
  await expect(entries).toHaveCount(250);
  await expect(entries.last()).toContainText('Enrolled');
  await expect(timeline.getByRole('button', { name: 'Show older' })).toHaveCount(0);

  const certificates = page.getByRole('region', { name: 'Certificates' });
  await certificates.getByRole('button', { name: 'Show older' }).click();
  await expect(certificates.getByRole('row')).toHaveCount(201);

  // Whoever looks at something else and comes back finds what was loaded.
  await page.getByRole('link', { name: 'Help', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Help' })).toBeVisible();
  await page.goBack();
  await expect(entries).toHaveCount(250);
});

test('all join tokens can be seen, and what is new does not take the older ones away', async ({
  as,
  api,
}) => {
  test.slow();
  const oldest = unique('oldest');
  await api.post('/agents/enroll-tokens', { name: oldest });
  for (let made = 0; made < 105; made += 1) await api.post('/agents/enroll-tokens', {});
  const page = await as('operator');
  await page.goto('/enroll');
  const table = page.getByRole('table', { name: 'Join tokens' });
  await expect(table.getByRole('row')).toHaveCount(101);
  await expect(table.getByText(oldest)).toHaveCount(0);
  await page.getByRole('button', { name: 'Show older' }).click();
  await expect(table.getByText(oldest)).toBeVisible();

  await page.getByLabel('Label').fill(unique('newest'));
  await page.getByRole('button', { name: 'Create join token' }).click();
  await expect(table.getByRole('row').nth(1)).toContainText('newest');
  await expect(table.getByText(oldest)).toBeVisible();
});
