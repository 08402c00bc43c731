import { expect, test } from 'vitest';

import { readWays, withView } from '../src/own';

const DEFAULT = { density: 'comfortable', hidden: [], views: [], keys: true };

test.each([null, '', 'null', '[]', '{', '1', '{"density":"huge","hidden":3,"views":[1,null,{"name":2}]}'])(
  'what was kept and can’t be used is as if it were not there: %j',
  (text) => {
    expect(readWays(text)).toEqual(DEFAULT);
  },
);

test('what was kept comes back, within bounds', () => {
  const views = Array.from({ length: 40 }, (_, at) => ({ name: `v${at}`, query: 'x'.repeat(900) }));
  const ways = readWays(JSON.stringify({ density: 'compact', hidden: ['os'], views, more: 1 }));
  expect(ways).toMatchObject({ density: 'compact', hidden: ['os'] });
  expect(ways.views).toHaveLength(24);
  expect(ways.views[0]?.query).toHaveLength(500);
});

test('a view takes the place of the one of its name', () => {
  const views = withView([{ name: 'b', query: '1' }], { name: 'a', query: '2' });
  expect(withView(views, { name: 'b', query: '3' })).toEqual([
    { name: 'a', query: '2' },
    { name: 'b', query: '3' },
  ]);
});
