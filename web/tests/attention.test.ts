import { expect, test } from 'vitest';

import type { EnrollmentSecret, Warning } from '../src/api/types';
import { counted, needOf, needOfSecret, ranked } from '../src/attention';

const warning = (changes: Partial<Warning>): Warning => ({
  code: 'something_new',
  severity: 'soon',
  count: 1,
  at: null,
  target: null,
  message: 'Something',
  hint: 'Do it.',
  ...changes,
});

const verb = (changes: Partial<Warning>) => needOf(warning(changes)).verb;

test('each ends in a verb that leads to exactly what it is about', () => {
  const target = '/hosts?state=never_reported&silent_for=1h';
  expect(verb({ target, count: 1 })).toEqual({ kind: 'go', label: 'Show the host', href: target });
  expect(verb({ target, count: 1234 })).toMatchObject({ label: 'Show all 1,234' });
  expect(verb({ code: 'root_expiry', target: '/settings/agent-ca' })).toMatchObject({
    label: 'See how to renew',
  });
  expect(verb({ code: 'root_key_on_disk' })).toMatchObject({ kind: 'go', href: '/settings/agent-ca' });
  expect(verb({ code: 'backup_missing' })).toMatchObject({ kind: 'run', command: /^muster backup / });
  expect(verb({})).toBeNull();
  expect(verb({ target: 'https://elsewhere.example' })).toBeNull();
});

test('a secret that is still tried says how often, and leads to the refusals', () => {
  const secret = { id: 'agrakiuuyzled3t5', name: 'lab' } as EnrollmentSecret;
  const one = needOfSecret({ secret, refused: 1, more: false });
  expect(one.message).toContain('One enrollment with the secret “lab” was refused');
  expect(one.verb).toMatchObject({ href: '/audit?q=agrakiuuyzled3t5&outcome=refused' });
  expect(needOfSecret({ secret, refused: 50, more: true }).message).toContain('50 or more enrollments');
});

test('the critical come first, each rank as it was, and are counted', () => {
  const needs = ranked([
    needOf(warning({ code: 'a', severity: 'tidy' })),
    needOf(warning({ code: 'b', severity: 'soon' })),
    needOf(warning({ code: 'c', severity: 'critical' })),
    needOf(warning({ code: 'd', severity: 'a newer word' as 'soon' })),
  ]);
  expect(needs.map(({ code }) => code)).toEqual(['c', 'b', 'd', 'a']);
  expect(counted(needs)).toBe('1 critical, 2 soon, 1 to tidy');
  expect(counted([])).toBe('');
});
