/** What the overview tells, and where it leads. */
import type { Page } from '@playwright/test';

import { expect, test } from './support/fixtures';

const days = (count: number) => new Date(Date.now() + count * 86_400_000).toISOString();

const warning = (code: string, severity: string, rest: object = {}) => ({
  code,
  severity,
  count: 1,
  at: null,
  target: null,
  message: `Message of ${code}`,
  hint: `Hint of ${code}.`,
  ...rest,
});

async function serve(page: Page, change: object): Promise<void> {
  await page.route('**/v1/overview**', async (route) => {
    const answer = await route.fetch();
    const overview = (await answer.json()) as object;
    await route.fulfill({ response: answer, json: { ...overview, ...change } });
  });
}

test('what has expired is said in words, in red, in the user’s time format', async ({ as }) => {
  const page = await as('admin');
  await page.goto('/settings/time-display');
  await page.getByRole('radio', { name: '12-hour' }).check();
  await serve(page, {
    agent_ca: { trust_domain: 'x', root_not_after: days(59), intermediate_not_after: '2026-01-27T17:31:59Z' },
    server_certificate: { not_after: days(3), pin: null },
    warnings: [
      warning('intermediate_expiry', 'critical', {
        at: '2026-01-27T17:31:59Z',
        target: '/settings/agent-ca',
      }),
      warning('server_certificate_expiry', 'critical', { at: days(3) }),
      warning('root_expiry', 'soon', { at: days(59), target: '/settings/agent-ca' }),
      warning('something_new', 'tidy'),
    ],
  });
  // Other tests leave secrets that are used up; they are no part of this one.
  await page.route('**/v1/enrollment-secrets?**', (route) =>
    route.fulfill({ json: { items: [], next_cursor: null } }),
  );
  await page.goto('/');
  const warnings = page.getByRole('list', { name: 'Warnings' }).getByRole('listitem');
  await expect(warnings).toHaveCount(4);
  await expect(warnings.nth(0)).toContainText('has expired: it ended 27 Jan 2026, 6:31 PM');
  await expect(warnings.nth(0)).toContainText('No host can enroll or renew its certificate now.');
  await expect(warnings.nth(1)).toContainText('The server’s own certificate expires');
  await expect(warnings.nth(1)).toContainText('in 2 days');
  await expect(warnings.nth(2)).toContainText('The agent CA’s root expires');
  await expect(warnings.nth(3)).toContainText('Message of something_new');
  const colour = (at: number) =>
    warnings.nth(at).evaluate((notice) => getComputedStyle(notice).backgroundColor);
  expect(await colour(0)).toBe(await colour(1));
  expect(await colour(0)).not.toBe(await colour(2));
  // The chips beside the dates have the thresholds of the warnings.
  const chip = (name: string) => page.getByRole('term').filter({ hasText: name }).locator('+ dd');
  await expect(chip('Agent CA intermediate')).toContainText('expired');
  await expect(chip('Server certificate')).toContainText('very soon');
  await expect(chip('Agent CA root')).toContainText('soon');
  // Every page shows how many there are.
  await expect(page.getByRole('navigation')).toContainText('4 warnings');
  await page.getByRole('link', { name: 'Help', exact: true }).click();
  await expect(page.getByRole('navigation')).toContainText('4 warnings');
  await page.goBack();
  await warnings.nth(0).getByRole('link', { name: 'See how to renew' }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Agent CA' })).toBeVisible();
  await page.goto('/settings/time-display');
  await page.getByRole('radio', { name: '24-hour' }).check();
});
