import { describe, expect, test } from 'vitest';

import type { Host, HostCredential, HostFlag } from '../src/api/types';
import { flagName, hostName, openSecret, standing, subjects } from '../src/hosts';
import { host } from './support/hosts';

test.each([
  ['web-1.example', 'web-1.example'],
  [null, 'agent-1'],
  ['', 'agent-1'],
])('a host with the hostname %j is called %s', (hostname, name) => {
  expect(hostName(host({ hostname }))).toBe(name);
});

describe('how a host is', () => {
  const CASES: [Partial<Host>, string, string][] = [
    [{ state: 'in_service', status: 'online' }, 'Online', 'good'],
    [{ state: 'in_service', status: 'offline' }, 'Offline', 'plain'],
    [{ state: 'never_reported', status: 'offline' }, 'Enrolled, not reporting yet', 'warn'],
    // A connection that has not ended yet makes none of these better.
    [{ state: 'revoked', status: 'online' }, 'Revoked', 'bad'],
    [{ state: 'decommissioned', status: 'online' }, 'Decommissioned', 'bad'],
  ];
  test.each(CASES)('%o: %s', (changes, words, kind) => {
    expect(standing(host(changes))).toEqual({ words, kind });
  });
});

test('a flag that only a newer server knows is readable all the same', () => {
  expect(flagName('possible_clone')).toBe('possible clone');
  expect(flagName('clock_far_off' as HostFlag)).toBe('clock far off');
});

describe('whoever decommissions a host is asked about the secret that would let it in again', () => {
  const secret: HostCredential = { kind: 'secret', id: 's1', name: 'rack 4', state: 'active' };
  const CASES: [string, HostCredential | null, boolean][] = [
    ['an active secret', secret, true],
    ['a revoked secret', { ...secret, state: 'revoked' }, false],
    ['a join token', { ...secret, kind: 'token', state: 'used' }, false],
    ['nobody knows what', null, false],
  ];
  test.each(CASES)('let in by %s: %3$s', (_, credential, asked) => {
    expect(openSecret(host({ credential }))).toBe(asked ? credential : null);
  });
});

test('a subject has the same parts in every form', () => {
  const texts = subjects('spiffe://muster/tenant/t-1/agent/web-1').map(({ text }) => text);
  expect(texts).toEqual([
    'CN=web-1, OU=t-1, O=muster',
    'O=muster,OU=t-1,CN=web-1',
    '/CN=web-1/OU=t-1/O=muster',
  ]);
  expect(subjects('')).toEqual([]);
});
