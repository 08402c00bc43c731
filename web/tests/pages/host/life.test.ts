import { describe, expect, test } from 'vitest';

import type { Host } from '../../../src/api/types';
import { renewal } from '../../../src/hosts';
import { commands, explain, life, quoted } from '../../../src/pages/host/life';
import { host } from '../../support/hosts';

const hour = (at: number) => Date.UTC(2026, 0, 1, at);
const day = (changes: Partial<Host> = {}) =>
  host({
    svid_issued_at: new Date(hour(0)).toISOString(),
    svid_not_after: new Date(hour(24)).toISOString(),
    ...changes,
  });

test('a certificate is renewed from two thirds of its life on', () => {
  expect(life(day(), hour(12))).toMatchObject({
    renews: hour(16),
    overdue: hour(18),
    ends: hour(24),
    now: 0.5,
  });
  expect(life(day(), hour(30))?.now).toBeGreaterThan(1);
  expect(life(day({ svid_issued_at: day().svid_not_after }), hour(1))).toBeNull();
});

test('late is a quarter of the life before its end, however long that is', () => {
  expect(renewal(day(), hour(17))).toBe('fine');
  expect(renewal(day(), hour(19))).toBe('late');
  expect(renewal(day({ state: 'never_reported' }), hour(19))).toBe('fine');
  expect(renewal(day(), hour(24))).toBe('over');
  expect(renewal(day({ revoked_at: day().svid_not_after }), hour(30))).toBe('fine');
});

describe('why it is not there, and whether it comes back by itself', () => {
  const offline = { status: 'offline', last_seen: new Date(hour(2)).toISOString() } as const;
  const CASES: [Partial<Host>, number, { kind: string; token: boolean; title: RegExp } | null][] = [
    [{}, 12, null],
    [{}, 19, { kind: 'warning', token: false, title: /has not renewed/ }],
    [offline, 12, { kind: 'info', token: false, title: /comes back by itself/ }],
    [offline, 30, { kind: 'failure', token: true, title: /can’t come back by itself/ }],
    [
      { state: 'never_reported', status: 'offline', last_seen: null },
      1,
      { kind: 'warning', token: false, title: /no agent has ever reported/ },
    ],
    [
      { state: 'never_reported', status: 'offline', last_seen: null },
      30,
      { kind: 'failure', token: true, title: /no agent has ever reported/ },
    ],
    [{ ...offline, state: 'decommissioned' }, 30, null],
    [{ ...offline, state: 'revoked' }, 30, null],
  ];
  test.each(CASES)('%j at %d', (changes, at, expected) => {
    const found = explain(day(changes), hour(at));
    if (expected === null) expect(found).toBeNull();
    else
      expect(found).toMatchObject({
        kind: expected.kind,
        token: expected.token,
        title: expect.stringMatching(expected.title) as string,
      });
  });
});

test('commands can be pasted, whatever the names are', () => {
  expect(quoted('web-1.example')).toBe('web-1.example');
  expect(quoted("it's; rm -rf /")).toBe(`'it'\\''s; rm -rf /'`);
  const lines = (of: Host) => commands(of).map(({ line }) => line);
  expect(lines(day())).toContain(`muster host decommission ${day().id}`);
  expect(lines(day({ decommissioned_at: day().svid_not_after }))).toContain(
    `muster host re-enable ${day().id}`,
  );
});
