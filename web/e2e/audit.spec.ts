import { expect, test, unique } from './support/fixtures';

test('records are searched, opened and followed', async ({ as, api }) => {
  const page = await as('operator');
  await page.getByRole('link', { name: 'Audit', exact: true }).click();
  const table = page.getByRole('table', { name: 'Audit records' });
  await expect(table.getByRole('row').nth(1)).toBeVisible();
  await table
    .getByRole('button', { name: /^More about record/ })
    .first()
    .click();
  await expect(table).toContainText('Hash before');

  await page.getByRole('checkbox', { name: 'Follow' }).check();
  const name = unique('followed');
  const { id } = await api.post<{ id: string }>('/enrollment-secrets', { name });
  await page.getByRole('searchbox', { name: 'Search audit' }).fill(id);
  await expect(table.getByRole('row')).toHaveCount(2);
  await expect(page).toHaveURL(/q=/);
  await api.post(`/enrollment-secrets/${id}/revoke`);
  await expect(table.getByRole('row')).toHaveCount(3);

  await page.getByRole('searchbox', { name: 'Search audit' }).fill('nothing like this was ever recorded');
  await expect(page.getByText('No record matches')).toBeVisible();
});
