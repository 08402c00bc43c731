import { describe, expect, test } from 'vitest';

import { completed, read, suggest } from '../../../src/pages/hosts/filter-line';

describe('the line is read', () => {
  const CASES: [line: string, done: boolean, rest: string, words: string, changes: object][] = [
    ['web 10.0.', false, 'web 10.0.', 'web 10.0.', {}],
    // An address has colons, too.
    ['fe80::1', true, 'fe80::1', 'fe80::1', {}],
    ['tag:lab', false, 'tag:lab', '', {}],
    ['tag:lab ', false, '', '', { tag: 'lab' }],
    ['tag:lab', true, '', '', { tag: 'lab' }],
    ['web TAG:role:web db', false, 'web db', 'web db', { tag: 'role:web' }],
    ['state:revoked', true, '', '', { state: 'revoked', decommissioned: null }],
    ['state:decommissioned', true, '', '', { decommissioned: 'true', state: null, status: null }],
    ['is:offline silent:7d ', false, '', '', { status: 'offline', decommissioned: null, silent_for: '7d' }],
    ['overdue:yes version:<0.2.0', true, '', '', { overdue: 'true', version: '<0.2.0' }],
  ];
  test.each(CASES)('%j, done: %j', (line, done, rest, words, changes) => {
    expect(read(line, done)).toEqual({ rest, words, changes, problem: null });
  });

  test.each(['state:asleep', 'silent:long', 'tag:Web', 'version:new', 'flag:red', 'is:away', 'secret:..'])(
    'a filter that means nothing stays, with what it takes: %s',
    (line) => {
      const reading = read(`${line} web`, true);
      expect(reading).toMatchObject({ rest: `${line} web`, words: 'web', changes: {} });
      expect(reading.problem).toContain(`“${line}” means nothing`);
    },
  );

  test('one that has only begun is no mistake', () => {
    expect(read('tag:', true)).toMatchObject({ rest: 'tag:', problem: null });
  });
});

describe('what may come next', () => {
  const known = { tag: ['lab', 'role:web'], os: ['Debian 12'] };
  const texts = (line: string) => suggest(line, known).map(({ text }) => text);

  test('filters, then their values', () => {
    expect(texts('')).toContain('state:');
    expect(texts('web s')).toEqual(['state:', 'silent:', 'secret:']);
    expect(texts('web ')).toEqual([]);
    expect(texts('flag:')).toHaveLength(3);
    expect(texts('tag:')).toEqual(['tag:lab', 'tag:role:web']);
    expect(texts('tag:we')).toEqual(['tag:role:web']);
    expect(texts('tag:lab')).toEqual([]);
    expect(texts('nothing:')).toEqual([]);
  });

  test('a choice takes the place of the last word', () => {
    const [first] = suggest('web fl', known);
    expect(first && completed('web fl', first)).toBe('web flag:');
    const [tag] = suggest('web tag:l', known);
    expect(tag && completed('web tag:l', tag)).toBe('web tag:lab ');
  });
});
