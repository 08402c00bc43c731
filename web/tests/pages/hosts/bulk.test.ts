import { expect, test } from 'vitest';

import { named, tagProblem, tagsOf, typedTags, undoing } from '../../../src/pages/hosts/bulk';
import { HEAD, rows } from '../../../src/pages/hosts/csv';
import { host } from '../../support/hosts';

test('tags are typed with spaces or commas between, and what is none is named', () => {
  expect(typedTags(' lab,role:web  lab ')).toEqual(['lab', 'role:web']);
  expect(tagProblem(['lab', 'role:web'])).toBeUndefined();
  for (const bad of ['Lab', 'a:b:c', 'a'.repeat(64), 'ä']) expect(tagProblem(['lab', bad])).toContain(bad);
});

test('taking a change of tags back gives each host what it had', () => {
  const before = [
    host({ id: '1', tags: ['lab', 'old'] }),
    host({ id: '2', tags: ['old'] }),
    host({ id: '3', tags: [] }),
  ];
  expect(undoing(before, ['lab'], ['old', 'lab'])).toEqual([
    { ids: ['2', '3'], add: [], remove: ['lab'] },
    { ids: ['1', '2'], add: ['old'], remove: [] },
  ]);
  expect(undoing(before, [], ['nothing'])).toEqual([]);
});

test('tags of many, the most frequent first', () => {
  expect(tagsOf([host({ tags: ['b', 'a'] }), host({ tags: ['b'] }), host({ tags: ['c'] })])).toEqual([
    'b',
    'a',
    'c',
  ]);
});

test('names in a sentence', () => {
  expect(named([])).toBe('');
  expect(named(['a'])).toBe('a');
  expect(named(['a', 'b'])).toBe('a and b');
  expect(named(['a', 'b', 'c'])).toBe('a, b and c');
  expect(named(['a', 'b', 'c', 'd', 'e'])).toBe('a, b, c and 2 more');
});

test('a spreadsheet gets every field as text, and no formula', () => {
  const names = HEAD.trim().split(',');
  const fields = (changes: Parameters<typeof host>[0]) => rows([host(changes)]);
  expect(fields({})).toMatch(/^web-1\.example,agent-1,/);
  expect(fields({}).trim().split(',')).toHaveLength(names.length);
  for (const evil of ['=1+1', '+1', '-1', '@SUM(A1)', '\t=1']) {
    expect(fields({ hostname: evil })).toMatch(new RegExp(`^"?'`));
  }
  expect(fields({ hostname: 'a,"b"\nc' })).toMatch(/^"a,""b""\nc",/);
  expect(rows([])).toBe('');
});
