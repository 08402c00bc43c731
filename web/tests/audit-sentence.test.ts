import { describe, expect, test } from 'vitest';

import type { AuditRecord } from '../src/api/types';
import { addressOf, plainSentence, sentenceOf } from '../src/audit-sentence';

const HOST = '01990000-0000-7000-8000-000000000001';

function record(changes: Partial<AuditRecord>): AuditRecord {
  return {
    seq: 7,
    at: '2026-11-28T05:46:38.628Z',
    actor: 'user:olga',
    source: '127.0.0.1',
    tenant_id: null,
    action: 'host.decommission',
    target: HOST,
    outcome: 'success',
    reason: null,
    detail: {},
    names: {},
    prev_hash: null,
    hash: null,
    ...changes,
  } as AuditRecord;
}

const named = (name: string | null) => ({ hostname: { name, salt: null, hash: '' } });

describe('records are sentences', () => {
  const CASES: [Partial<AuditRecord>, string][] = [
    [{ names: named('web-1') }, 'olga decommissioned web-1'],
    // A name that was destroyed with its host leaves the id.
    [{ names: named(null) }, `olga decommissioned ${HOST}`],
    [
      { actor: 'local:0', action: 'user.create', detail: { username: 'max' } },
      'The local operator added the user max',
    ],
    [
      {
        action: 'host.change',
        names: named('web-1'),
        detail: { added: 'lab', removed: 'eu us', note: 'written' },
      },
      'olga changed what is said of web-1: added lab; took away eu us; note written',
    ],
    [
      {
        actor: 'anonymous',
        action: 'agent.enroll',
        names: named('web-7'),
        outcome: 'refused',
        reason: 'exhausted',
        detail: { repeats: '12' },
      },
      'web-7 was refused to enroll: the secret is used up; 12 times',
    ],
    [
      { actor: 'anonymous', action: 'agent.enroll', names: named('web-1'), detail: { via: 'token' } },
      'web-1 enrolled with a join token',
    ],
    [
      {
        actor: 'anonymous',
        action: 'agent.rotate',
        outcome: 'refused',
        reason: 'identity_revoked',
        target: 'spiffe://m/tenant/t/agent/web-9',
      },
      'web-9 was refused to renew its certificate: its identity is revoked',
    ],
    [{ action: 'session.create', target: 'olga' }, 'olga signed in'],
    [
      {
        actor: 'anonymous',
        action: 'session.create',
        target: 'admin',
        outcome: 'refused',
        reason: 'wrong_credentials',
      },
      'admin was refused to sign in: username or password are wrong',
    ],
    [{ actor: 'muster', action: 'store.backup', target: 'store' }, 'Muster made a backup'],
    [{ action: 'something.newer', target: 'x' }, 'olga did something newer: x'],
    [
      { outcome: 'refused', reason: 'a_newer_reason', names: named('w') },
      'olga was refused to decommission w: a newer reason',
    ],
  ];
  test.each(CASES)('%j', (changes, sentence) => {
    expect(plainSentence(record(changes))).toBe(sentence);
  });
});

test('names lead to what they name', () => {
  const parts = sentenceOf(record({ names: named('web-1') }));
  expect(parts).toContainEqual({ name: 'web-1', href: `/hosts/${HOST}` });
  expect(parts).toContainEqual({ name: 'olga', href: '/audit?actor=user%3Aolga' });
  // What was deleted has no page.
  expect(sentenceOf(record({ action: 'host.delete', names: named('web-1') }))).toContainEqual({
    name: 'web-1',
    href: null,
  });
});

test('a record has an address', () => {
  const address = new URL(addressOf(record({})), 'https://x');
  expect(Object.fromEntries(address.searchParams)).toEqual({
    from: '2026-11-28T05:46:38.628Z',
    until: '2026-11-28T05:46:38.629Z',
    record: '7',
  });
});
