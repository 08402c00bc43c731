import { expect, test } from 'vitest';

import { nearness } from '../src/expiry';

const DAY = 86_400_000;
const NOW = Date.parse('2026-01-09T12:00:00Z');

test.each([
  ['ended a day ago', -DAY, 'expired'],
  ['ends now', 0, 'expired'],
  ['ends in a moment', 1, 'critical'],
  ['ends just within 7 days', 7 * DAY - 1, 'critical'],
  ['ends in 7 days', 7 * DAY, 'soon'],
  ['ends just within 60 days', 60 * DAY - 1, 'soon'],
  ['ends in 60 days', 60 * DAY, 'far'],
])('the badge goes by the thresholds of the server’s warnings: what %s is %3$s', (_, by, near) => {
  expect(nearness(new Date(NOW + by).toISOString(), NOW)).toBe(near);
});
