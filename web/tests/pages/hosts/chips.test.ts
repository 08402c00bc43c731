import { expect, test } from 'vitest';

import { chips } from '../../../src/pages/hosts/chips';
import { EVERYTHING, hostQuery } from '../../../src/pages/hosts/host-query';

const labels = (address: string, secretName: string | null = null) =>
  chips(hostQuery(new URLSearchParams(address)), secretName).map(({ label }) => label);

test('each filter of an address is said in words', () => {
  expect(labels('')).toEqual([]);
  expect(labels('q=web&status=online&decommissioned=true')).toEqual([]);
  expect(labels('state=never_reported&silent_for=1h')).toEqual([
    'Enrolled, not reporting yet',
    'Silent for 1h',
  ]);
  expect(labels('version=%3C0.2.0&os=debian')).toEqual(['System with debian', 'Agent older than 0.2.0']);
  expect(labels('secret=agrakiuuyzled3t5')).toEqual(['Let in by agrakiuuyzled3t5']);
  expect(labels('secret=agrakiuuyzled3t5', 'rack 4')).toEqual(['Let in by rack 4']);
  expect(labels('tag=role:web&overdue=true&sort=-expires')).toEqual([
    'Tagged role:web',
    'Should have renewed',
    'Sorted by certificate expiry',
  ]);
});

test('taking all of them away leaves none but the order', () => {
  const all =
    'state=revoked&flag=recovered&tag=a&secret=agrakiuuyzled3t5&os=b&version=1.0.0&silent_for=1h&overdue=true&sort=expires';
  const address = new URLSearchParams(all);
  expect(chips(hostQuery(address), null)).toHaveLength(9);
  for (const name of Object.keys(EVERYTHING)) address.delete(name);
  expect(chips(hostQuery(address), null).map(({ name }) => name)).toEqual(['sort']);
});
