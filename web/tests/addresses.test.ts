import { expect, test } from 'vitest';

import { pageAt } from '../src/addresses';

const ROUTES = [{ path: '/' }, { path: '/hosts' }, { path: '/settings/users' }];

const page = (path: string) => ({ kind: 'page', route: { path } });
const host = (id: string) => ({ kind: 'host', id });
const settings = { kind: 'settings' };
const nothing = { kind: 'nothing' };

test.each([
  ['/', page('/')],
  ['//', nothing],
  ['/hosts', page('/hosts')],
  ['/hosts/', page('/hosts')],
  ['/hosts/01990000-0000-7000-8000-000000000001', host('01990000-0000-7000-8000-000000000001')],
  ['/hosts/a/', host('a')],
  ['/hosts/a%20b', host('a b')],
  // A stray percent sign is no reason to fail.
  ['/hosts/100%', host('100%')],
  ['/hosts/a/events', nothing],
  ['/settings', settings],
  ['/settings/', settings],
  ['/settings/users', page('/settings/users')],
  ['/settings/unheard-of', nothing],
  ['/Hosts', nothing],
  ['/unheard-of', nothing],
])('%s leads to %o', (address, found) => {
  expect(pageAt(address, ROUTES)).toEqual(found);
});
