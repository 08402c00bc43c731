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
  const like = (form: RegExp, name: string): string | null => {
    const value = address.get(name);
    return value !== null && form.test(value) ? value : null;
  };
  const decommissioned = address.get('decommissioned') === 'true';
  return {
    q: address.get('q') ?? '',
    status: one(['online', 'offline'] as const, 'status'),
    state: decommissioned ? 'decommissioned' : one(STATES, 'state'),
    flag: one(FLAGS, 'flag'),
    tag: like(/^[a-z0-9._-]{1,63}(:[a-z0-9._-]{1,63})?$/, 'tag'),
    secret: like(/^[a-z0-9]{8,40}$/, 'secret'),
    os: like(/./, 'os'),
    version: like(/^<?\d+\.\d+\.\d+([-+].*)?$/, 'version'),
    silentFor: like(/^\d{1,6}[smhd]$/, 'silent_for'),
    overdue: address.get('overdue') === 'true',
    sort: one(SORTS, 'sort') ?? 'enrolled',
  };
}

/** The changes of an address that take every search and filter away. */
export const EVERYTHING = {
  q: null,
  status: null,
  state: null,
  flag: null,
  tag: null,
  secret: null,
  os: null,
  version: null,
  silent_for: null,
  overdue: null,
  decommissioned: null,
} as const;

export function isNarrowed(query: HostQuery): boolean {
  const { q, status, state } = query;
  return Boolean(q || status || state) || isFiltered(query);
}

/** Whether something beside words and how hosts stand is asked for. */
export function isFiltered({ flag, tag, secret, os, version, silentFor, overdue }: HostQuery): boolean {
  return Boolean(flag || tag || secret || os || version || silentFor || overdue);
}

/** The same as the body of a batch has it. */
export function filterOf(query: HostQuery): Record<string, string | boolean> {
  const { q, status, state, flag, tag, secret, os, version, silentFor, overdue } = query;
  const all = { q, status, state, flag, tag, secret, os, version, silent_for: silentFor, overdue };
  return Object.fromEntries(Object.entries(all).flatMap(([name, value]) => (value ? [[name, value]] : [])));
}
