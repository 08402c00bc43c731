/** What a modal owes everybody, keyboard and screen reader included. */
import { expect, test, unique } from './support/fixtures';

test('a dialog keeps the focus, starts at the safe button, and gives everything back', async ({
  as,
  api,
}) => {
  const name = unique('dialog');
  await api.post('/enrollment-secrets', { name });
  const page = await as('admin', { viewport: { width: 1000, height: 500 } });
  await page.goto('/settings/enrollment');
  const opener = page
    .getByRole('table', { name: 'Active secrets' })
    .getByRole('row')
    .filter({ hasText: name })
    .getByRole('button', { name: 'Revoke' });
  const dialog = page.getByRole('dialog');
  const scrolled = () => page.evaluate(() => scrollY);

  await opener.focus();
  await page.keyboard.press('Enter');
  await expect(dialog).toHaveAccessibleName('Revoke enrollment secret');
  await expect(dialog).toHaveAccessibleDescription(/^Revoke “/);
  await expect(dialog.getByRole('button', { name: 'Cancel' })).toBeFocused();

  // The page behind is out of reach: for the tab key, for the wheel, for screen readers.
  for (let i = 0; i < 6; i++) {
    await page.keyboard.press('Tab');
    const outside = await page.evaluate(
      () => document.activeElement !== document.body && !document.activeElement?.closest('dialog'),
    );
    expect(outside).toBe(false);
  }
  const before = await scrolled();
  await page.mouse.move(500, 450);
  await page.mouse.wheel(0, before > 0 ? -300 : 300);
  await page.evaluate(
    () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))),
  );
  expect(await scrolled()).toBe(before);
  const client = await page.context().newCDPSession(page);
  const { nodes } = await client.send('Accessibility.getFullAXTree');
  const links = nodes.filter((node) => node.role?.value === 'link' && !node.ignored);
  expect(links).toEqual([]);

  await page.keyboard.press('Escape');
  await expect(dialog).toBeHidden();
  await expect(opener).toBeFocused();

  // A click outside is a no; marking text in the dialog and letting go outside is not.
  await opener.click();
  const box = await dialog.boundingBox();
  if (!box) throw new Error('the dialog is not on the screen');
  await page.mouse.move(box.x + box.width / 2, box.y + box.height / 2);
  await page.mouse.down();
  await page.mouse.move(box.x - 40, box.y + 10);
  await page.mouse.up();
  await expect(dialog).toBeVisible();
  await page.mouse.click(box.x - 40, box.y + 10);
  await expect(dialog).toBeHidden();
  await expect(opener).toBeFocused();
});

test('a dialog that asks for something starts there', async ({ as }) => {
  const page = await as('admin');
  await page.goto('/settings/users');
  const row = page.getByRole('table', { name: 'Users' }).getByRole('row').filter({ hasText: 'viewer' });
  await row.first().getByRole('button', { name: 'Set password' }).click();
  await expect(page.getByRole('dialog').getByLabel('New password')).toBeFocused();
});
