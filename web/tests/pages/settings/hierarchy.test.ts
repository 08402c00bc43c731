import { expect, test } from 'vitest';

import type { AgentCa } from '../../../src/api/types';
import { family } from '../../../src/pages/settings/agent-ca/hierarchy';

type Certificate = AgentCa['certificates'][number];

const NOW = Date.UTC(2026, 5, 1);
const years = (count: number) => new Date(NOW + count * 365 * 86_400_000).toISOString();

const certificate = (role: 'root' | 'intermediate', changes: Partial<Certificate>): Certificate => ({
  role,
  subject: 'CN=x',
  serial: '1',
  not_before: years(-1),
  not_after: years(1),
  sha256: JSON.stringify([role, changes]),
  issuing_from: null,
  revoked_at: null,
  revocation_published: false,
  ...changes,
});

test('of several intermediates one issues, one waits, and the others are old, revoked or gone', () => {
  const { members, now } = family(
    [
      certificate('root', { not_after: years(9) }),
      certificate('intermediate', { not_before: years(-0.9), issuing_from: years(-0.9) }),
      certificate('intermediate', { not_before: years(-0.5), issuing_from: years(-0.4) }),
      certificate('intermediate', { not_before: years(-0.1), issuing_from: years(0.1) }),
      certificate('intermediate', {
        not_before: years(-0.95),
        issuing_from: years(-0.95),
        revoked_at: years(-0.9),
      }),
      certificate('intermediate', { not_before: years(-2), not_after: years(-1), issuing_from: years(-2) }),
    ],
    NOW,
  );
  expect(members.map(({ standing }) => standing)).toEqual([
    'root',
    'waits',
    'issues',
    'old',
    'revoked',
    'expired',
  ]);
  expect(now).toBeGreaterThan(0);
  for (const { from, until } of members) {
    expect(from).toBeGreaterThanOrEqual(0);
    expect(until).toBeLessThanOrEqual(1);
    expect(until).toBeGreaterThan(from);
  }
});

test('before there is a CA there is no family', () => {
  expect(family([], NOW).members).toEqual([]);
});
