/** Names are text on every page, whatever they look like; the watch over each page hears scripts that run. */
import { expect, test, unique } from './support/fixtures';

const NAMES = [
  '<script>alert(1)</script>',
  '"><img src=x onerror=alert(2)>',
  "'-alert(3)-'",
  '<svg/onload=alert(4)>',
  'javascript:alert(5)',
  '{{constructor.constructor("alert(6)")()}}',
  '${alert(7)}',
  '{@html "<b>8</b>"}',
  '</title><script>alert(9)</script>',
  '<iframe srcdoc="<script>alert(10)</script>">',
  '&lt;b&gt;11&lt;/b&gt;',
  'a\u202Eb',
  'web\u200B-12',
];

/** Characters that would not be seen, or would turn others round, stand as their code points. */
const asShown = (name: string) =>
  name.replaceAll(/[\u202E\u200B]/g, (c) => `U+${c.charCodeAt(0).toString(16).toUpperCase()}`);
const titled = (name: string) => asShown(name).replaceAll(/U\+\w{4}/g, '⟨$&⟩');

test('names are text on every page that shows them', async ({ as, api }) => {
  test.slow();
  for (const name of NAMES) {
    await api.post('/enrollment-secrets', { name });
    await api.post('/agents/enroll-tokens', { name });
    await api.post('/api-tokens', { name, permissions: ['agent.read'] });
  }
  await api.post('/tenants', { name: `${NAMES[0]} ${unique('t')}` });
  const { items } = await api.get<{ items: Record<string, unknown>[] }>('/hosts');
  const host = items[0];
  if (!host) throw new Error('there is no host');
  const named = (at: number) => ({ ...host, hostname: NAMES[at], os: NAMES[at], ips: [NAMES[at]] });

  const page = await as('admin');
  await page.route('**/v1/hosts?**', (route) => {
    const list = NAMES.map((_, at) => ({ ...named(at), id: `${String(host.id).slice(0, -2)}${10 + at}` }));
    return route.fulfill({ json: { items: list, next_cursor: null, total: list.length } });
  });
  for (const address of ['/hosts', '/enroll', '/settings/enrollment', '/settings/api-tokens']) {
    await page.goto(address);
    for (const name of NAMES)
      await expect(page.getByRole('main').getByText(asShown(name)).first(), address).toBeVisible();
    expect(await page.locator('body').innerText(), address).not.toMatch(/[\u202E\u200B]/);
    await expect(page.locator('main :is(script, iframe, img, b, svg[onload])')).toHaveCount(0);
  }
  await page.goto('/audit?q=web');
  await expect(page.getByRole('table', { name: 'Audit records' })).toBeVisible();
  await page.getByRole('button', { name: 'More' }).first().click();
  await expect(page.getByText('webU+200B-12').first()).toBeVisible();
  expect(await page.locator('body').innerText()).not.toMatch(/[\u202E\u200B]/);

  let shown = 0;
  await page.route(new RegExp(`/v1/hosts/${String(host.id)}(\\?|$)`), (route) =>
    route.fulfill({ json: named(shown) }),
  );
  for (const [at, name] of NAMES.entries()) {
    if (at % 3 !== 0 && at < 11) continue;
    shown = at;
    await page.goto(`/hosts/${String(host.id)}`);
    await expect(page.getByRole('heading', { level: 1, name: asShown(name), exact: true })).toBeVisible();
    await expect(page).toHaveTitle(`${titled(name)} · Muster`);
  }
});
