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
  // The way that also runs the agent stands first; the server is this machine, which is no address for others.
  await expect(page.getByRole('heading', { level: 3 })).toHaveText(['Service', 'Only enroll', 'Container']);
  await expect(page.getByText(`sudo muster agent install '${link}'`)).toBeVisible();
  await expect(page.getByText('leads every machine to itself')).toBeVisible();
  const steps = page.getByRole('list', { name: 'How far the machine has come' }).getByRole('listitem');
  await expect(steps.nth(0)).toContainText('Waiting for the machine');

  await page.clock.install();
  await server.enroll(link, agentId);
  await expect(steps.nth(1)).toContainText('enrolled');
  await expect(steps.nth(1)).toContainText('done:');
  await expect(shown).toHaveCount(0);
  // Nobody runs an agent there, and that is said, with what to do.
  await expect(steps.nth(2)).toContainText('awaited:');
  await expect(page.getByText('No agent runs on')).toHaveCount(0);
  await page.clock.fastForward(31_000);
  await expect(page.getByText('No agent runs on')).toBeVisible();

  const agent = server.run(agentId);
  await expect(steps.nth(2)).toContainText('First report received', { timeout: 15_000 });
  await expect(page.getByText('No agent runs on')).toHaveCount(0);
  agent.kill();
  await steps.nth(1).getByRole('link').click();
  await expect(page.getByText(agentId, { exact: true }).first()).toBeVisible();
});

test('a host that never reported says so, everywhere', async ({ as, server, api }) => {
  const agentId = unique('silent');
  await server.enroll(await api.joinLink(agentId), agentId);
  const page = await as('viewer');
  await page.goto(`/hosts?q=${agentId}`);
  await page.goto('/hosts');
  const row = page.getByRole('row').filter({ hasText: 'Enrolled, not reporting yet' });
  await row.first().getByRole('link').click();
  await expect(page.getByRole('heading', { level: 1 })).not.toHaveText('Hosts');
  await expect(page.getByRole('main').getByText('Enrolled, not reporting yet')).toBeVisible();
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
