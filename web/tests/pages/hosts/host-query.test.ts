import { describe, expect, test } from 'vitest';

import { ANY_HOST, type HostQuery } from '../../../src/api/client';
import { EVERYTHING, filterOf, hostQuery, isNarrowed } from '../../../src/pages/hosts/host-query';

const ALL = ANY_HOST;

const asked = (address: string) => hostQuery(new URLSearchParams(address));

describe('an address asks for hosts', () => {
  const CASES: [string, Partial<HostQuery>][] = [
    ['', {}],
    ['q=web+1', { q: 'web 1' }],
    ['status=offline', { status: 'offline' }],
    ['state=revoked', { state: 'revoked' }],
    ['decommissioned=true', { state: 'decommissioned' }],
    ['decommissioned=true&state=revoked', { state: 'decommissioned' }],
    ['flag=possible_clone', { flag: 'possible_clone' }],
    ['silent_for=24h', { silentFor: '24h' }],
    ['tag=role:web&os=Debian&version=%3C0.2.0', { tag: 'role:web', os: 'Debian', version: '<0.2.0' }],
    ['secret=agrakiuuyzled3t5&overdue=true', { secret: 'agrakiuuyzled3t5', overdue: true }],
    ['sort=-last_seen', { sort: '-last_seen' }],
  ];
  test.each(CASES)('%j', (address, query) => {
    expect(asked(address)).toEqual({ ...ALL, ...query });
  });
});

test.each([
  'status=asleep',
  'state=gone',
  'decommissioned=yes',
  'flag=',
  'silent_for=long',
  'silent_for=-1h',
  'silent_for=1234567h',
  'tag=Web',
  'secret=..%2F',
  'version=new',
  'overdue=yes',
  'sort=colour',
  'unheard=of',
])('what an address asks for beyond understanding narrows nothing: %s', (address) => {
  expect(asked(address)).toEqual(ALL);
  expect(isNarrowed(asked(address))).toBe(false);
});

test('an order narrows nothing, everything else does', () => {
  expect(isNarrowed(asked('sort=hostname'))).toBe(false);
  for (const address of [
    'q=a',
    'status=online',
    'state=revoked',
    'flag=possible_clone',
    'silent_for=1d',
    'tag=a',
    'overdue=true',
  ]) {
    expect(isNarrowed(asked(address))).toBe(true);
  }
});

test('clearing search and filters leaves nothing that narrows', () => {
  const address = new URLSearchParams(
    'q=a&status=online&state=revoked&flag=possible_clone&silent_for=1d&decommissioned=true&tag=a&os=b&version=1.0.0&overdue=true&secret=agrakiuuyzled3t5&sort=hostname',
  );
  for (const name of Object.keys(EVERYTHING)) address.delete(name);
  expect(hostQuery(address)).toEqual({ ...ALL, sort: 'hostname' });
});

test('a batch about all that match names what the address asks for, and no more', () => {
  const query = asked('q=web&tag=lab&silent_for=7d&overdue=true&sort=hostname');
  expect(filterOf(query)).toEqual({ q: 'web', tag: 'lab', silent_for: '7d', overdue: true });
  expect(filterOf(asked(''))).toEqual({});
});
