/** Which hosts an address asks for, and in which order. */
import type { HostQuery } from '../../api/client';
import type { HostFlag, HostSort, HostState } from '../../api/types';

const STATES: readonly HostState[] = ['decommissioned', 'revoked', 'never_reported', 'in_service'];
const FLAGS: readonly HostFlag[] = ['possible_clone', 'possible_duplicate', 'recovered'];
const SORTS: readonly HostSort[] = [
  'enrolled',
  '-enrolled',
  'hostname',
  '-hostname',
  'last_seen',
  '-last_seen',
  'expires',
  '-expires',
];

/** What is not understood asks for nothing. */
export function hostQuery(address: URLSearchParams): HostQuery {
  const one = <T extends string>(known: readonly T[], name: string): T | null =>
    known.find((value) => value === address.get(name)) ?? null;
  const decommissioned = address.get('decommissioned') === 'true';
  const silentFor = address.get('silent_for');
  return {
    q: address.get('q') ?? '',
    status: one(['online', 'offline'] as const, 'status'),
    state: decommissioned ? 'decommissioned' : one(STATES, 'state'),
    flag: one(FLAGS, 'flag'),
    silentFor: silentFor !== null && /^\d{1,6}[smhd]$/.test(silentFor) ? silentFor : null,
    sort: one(SORTS, 'sort') ?? 'enrolled',
  };
}

/** The changes of an address that take every search and filter away. */
export const EVERYTHING = {
  q: null,
  status: null,
  state: null,
  flag: null,
  silent_for: null,
  decommissioned: null,
} as const;

export function isNarrowed(query: HostQuery): boolean {
  return Boolean(query.q || query.status || query.state || query.flag || query.silentFor);
}
