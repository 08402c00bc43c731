/** What many hosts at once, tags, notes and keys are like. */
import { readFile } from 'node:fs/promises';

import { expect, test, unique } from './support/fixtures';
import { enrolled } from './support/hosts';

test('hosts are chosen, tagged and found by it, and the tag is taken back', async ({ as, server, api }) => {
  const hosts = [await enrolled(server, api), await enrolled(server, api)];
  const page = await as('admin');
  await page.goto('/hosts');
  const tag = unique('lab');
  for (const host of hosts) {
    await page.locator(`tr[data-host="${host.id}"]`).getByRole('checkbox').check();
  }
  const bar = page.getByRole('toolbar', { name: 'Selected hosts' });
  await expect(bar).toContainText('2 hosts selected');
  await bar.getByRole('button', { name: 'Tag…' }).click();
  const dialog = page.getByRole('dialog');
  for (const host of hosts) await expect(dialog).toContainText(host.name);
  await dialog.getByLabel('Tags to add').fill('Not A Tag');
  await dialog.getByRole('button', { name: 'Change tags' }).click();
  await expect(dialog).toContainText('is no tag');
  await dialog.getByLabel('Tags to add').fill(tag);
  await dialog.getByRole('button', { name: 'Change tags' }).click();
  await expect(dialog).toBeHidden();

  // The line makes a filter of what is typed, and the address keeps it.
  const line = page.getByRole('searchbox', { name: 'Search hosts' });
  await line.fill(`tag:${tag} `);
  await expect(page).toHaveURL((url) => url.searchParams.get('tag') === tag);
  await expect(line).toHaveValue('');
  await expect(page.locator('tr.host')).toHaveCount(2);
  await line.fill('state:asleep ');
  await expect(page.getByRole('alert')).toContainText('state: takes one of');
  await line.fill('');

  // All that match, as a file.
  await page.getByRole('checkbox', { name: 'Select all that are listed' }).check();
  const saving = page.waitForEvent('download');
  await bar.getByRole('button', { name: 'Export CSV' }).click();
  const text = await readFile(await (await saving).path(), 'utf8');
  expect(text.trim().split('\r\n')).toHaveLength(3);
  expect(text).toContain(tag);

  await page.getByRole('status').getByRole('button', { name: 'Undo' }).click();
  await expect(page.getByText('No host matches')).toBeVisible();
});

test('many are decommissioned once their number is typed', async ({ as, server, api, failures }) => {
  // The copies below are no hosts, so others are found than were expected, and nothing is done.
  failures.push('status of 409');
  const tag = unique('many');
  for (let count = 0; count < 3; count += 1) {
    const { id } = await enrolled(server, api);
    await api.post('/hosts/batch', { action: 'tag', ids: [id], add: [tag] });
  }
  const page = await as('admin');
  // As many as are needed to be asked for their number.
  await page.route('**/v1/hosts?**', async (route) => {
    const answer = await route.fetch();
    const list = (await answer.json()) as { items: object[]; total: number };
    const copies = Array.from({ length: 9 }, (_, at) => ({
      ...list.items[0],
      id: `00000000-0000-7000-8000-00000000000${at}`,
    }));
    if (list.items.length > 0) list.items.push(...copies);
    await route.fulfill({ response: answer, json: { ...list, total: list.items.length } });
  });
  await page.goto(`/hosts?tag=${tag}`);
  await page.getByRole('checkbox', { name: 'Select all that are listed' }).check();
  await page.getByRole('button', { name: 'Decommission selected…' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByRole('button', { name: 'Decommission' }).click();
  await expect(dialog).toContainText('Type 12 to go on.');
  const asked = page.waitForRequest('**/v1/hosts/batch**');
  await dialog.getByLabel('Type 12 to confirm').fill('12');
  await dialog.getByRole('button', { name: 'Decommission' }).click();
  expect((await asked).postDataJSON()).toMatchObject({ action: 'decommission', expect: 12 });
  await expect(page.getByRole('status')).toContainText('3 hosts are meant now');
  await expect(page.locator('tr.host')).toHaveCount(12);
});

test('a host has tags and a note, and says what its certificate is up to', async ({ as, server, api }) => {
  const host = await enrolled(server, api);
  const page = await as('admin');
  await page.goto(`/hosts/${host.id}`);
  await expect(page.getByText('no agent has ever reported from there')).toBeVisible();
  await expect(page.getByRole('img', { name: /of its certificate’s life have passed/ })).toBeVisible();
  await page.getByLabel('Add tags').fill('role:web');
  await page.getByRole('button', { name: 'Add', exact: true }).click();
  await expect(page.getByRole('link', { name: 'role:web', exact: true })).toBeVisible();
  await page.getByRole('button', { name: 'Write a note' }).click();
  await page.getByLabel(`Note about ${host.name}`).fill('rack 4\nunit 7');
  await page.getByRole('button', { name: 'Save the note' }).click();
  await expect(page.getByText('unit 7')).toBeVisible();
  await page.getByRole('status').getByRole('button', { name: 'Undo' }).last().click();
  await expect(page.getByText('unit 7')).toHaveCount(0);
  await expect(page.getByRole('list', { name: 'Audit' })).toContainText(
    `changed what is said of ${host.name}`,
  );
});

test('keys lead to pages, rows and hosts, and not where somebody types', async ({ as, server, api }) => {
  const host = await enrolled(server, api);
  const page = await as('admin');
  await page.keyboard.press('g');
  await page.keyboard.press('h');
  await expect(page.getByRole('heading', { level: 1, name: 'Hosts' })).toBeVisible();
  await expect(page.locator('tr.host').first()).toBeVisible();
  await page.keyboard.press('j');
  await page.keyboard.press('j');
  await page.keyboard.press('k');
  await expect(page.locator('tr.host').first().getByRole('link').first()).toBeFocused();
  await page.keyboard.press('x');
  await expect(page.getByRole('toolbar', { name: 'Selected hosts' })).toContainText('1 host selected');
  await page.keyboard.press('/');
  const line = page.getByRole('searchbox', { name: 'Search hosts' });
  await expect(line).toBeFocused();
  await page.keyboard.type('jgh?');
  await expect(line).toHaveValue('jgh?');

  await page.keyboard.press('Control+k');
  const find = page.getByRole('combobox', { name: /^Find a host/ });
  await expect(find).toBeFocused();
  await find.fill(host.agent_id);
  await expect(page.getByRole('option').first()).toContainText(host.name);
  await page.keyboard.press('Enter');
  await expect(page).toHaveURL(`/hosts/${host.id}`);
  await page.keyboard.press('?');
  await expect(page.getByRole('dialog', { name: 'Keys' })).toBeVisible();
});
