import { expect, test, unique } from './support/fixtures';

test('a token becomes a command, and the host that uses it appears', async ({ as, server }) => {
  const page = await as('operator');
  await page.getByRole('link', { name: 'Enroll', exact: true }).click();
  const agentId = unique('joined');
  await page.getByLabel('Label').fill('rack 7');
  await page.getByLabel('Agent id').fill(agentId);
  await page.getByRole('button', { name: 'Create join token' }).click();

  const shown = page.getByText(/^muster agent enroll 'muster:/);
  const command = (await shown.textContent()) ?? '';
  const link = /'(muster:\/\/[^']+)'/.exec(command)?.[1] ?? '';
  expect(link).toMatch(
    new RegExp(`^muster://${new URL(server.url).host}/\\?pin=[0-9a-f]{64}#mjt_[^']+$`.replaceAll('.', '\\.')),
  );
  expect(command).toMatch(/ --dir \S+$/);
  await page.getByRole('button', { name: 'Show QR code' }).click();
  await expect(page.getByRole('img', { name: 'QR code of the join link' })).toBeVisible();
  await expect(page.getByText('Waiting for the host to appear…')).toBeVisible();

  await server.enroll(link, agentId);
  await expect(page.getByText('has enrolled.')).toBeVisible();
  await expect(shown).toHaveCount(0);
  await page.getByRole('link', { name: 'Look at it' }).click();
  await expect(page.getByText(agentId, { exact: true }).first()).toBeVisible();
});

test('the token is nowhere after leaving', async ({ as }) => {
  const page = await as('operator');
  await page.goto('/enroll');
  await page.getByRole('button', { name: 'Create join token' }).click();
  const token =
    /#(mjt_[^']+)'/.exec((await page.getByText(/^muster agent enroll/).textContent()) ?? '')?.[1] ?? '';
  expect(token).not.toBe('');
  await page.getByRole('link', { name: 'Hosts', exact: true }).click();
  await expect(page.getByRole('heading', { level: 1, name: 'Hosts' })).toBeVisible();
  expect(await page.content()).not.toContain(token);
  expect(page.url()).not.toContain('mjt_');
});

test('a token can be voided, and a bad agent id is refused at the field', async ({ as, failures }) => {
  failures.push('status of 422');
  const page = await as('operator');
  await page.goto('/enroll');
  await page.getByLabel('Agent id').fill('not/an/id');
  await page.getByRole('button', { name: 'Create join token' }).click();
  await expect(page.getByLabel('Agent id')).toHaveAttribute('aria-invalid', 'true');

  const label = unique('mistake');
  await page.getByLabel('Agent id').fill('');
  await page.getByLabel('Label').fill(label);
  await page.getByRole('button', { name: 'Create join token' }).click();
  const row = page.getByRole('table', { name: 'Join tokens' }).getByRole('row').filter({ hasText: label });
  await row.getByRole('button', { name: 'Void' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Void' }).click();
  await expect(row).toContainText('voided');
  await expect(page.getByText('This token is voided and admits nobody any more.')).toBeVisible();
});
