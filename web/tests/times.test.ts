import { describe, expect, test } from 'vitest';

import type { Preferences } from '../src/api/types';
import { formatTime, fromField, fromNow, isPast, toField, type Precision, ago, left } from '../src/times';

const NOW = Date.parse('2026-01-09T12:00:00Z');
const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

const later = (by: number) => new Date(NOW + by).toISOString();

describe('a time is written as the user chose', () => {
  const CASES: [Preferences['time_zone'], Preferences['clock'], Precision, string, string][] = [
    ['utc', '24h', 'minute', '2026-01-09T15:04:05Z', '9 Jan 2026, 15:04 UTC'],
    ['utc', '24h', 'second', '2026-01-09T15:04:05Z', '9 Jan 2026, 15:04:05 UTC'],
    ['utc', '24h', 'day', '2026-01-09T15:04:05Z', '9 Jan 2026'],
    ['utc', '24h', 'minute', '2026-01-09T00:00:00Z', '9 Jan 2026, 00:00 UTC'],
    ['utc', '12h', 'minute', '2026-01-09T15:04:05Z', '9 Jan 2026, 3:04 PM UTC'],
    ['utc', '12h', 'second', '2026-01-09T09:04:05Z', '9 Jan 2026, 9:04:05 AM UTC'],
    ['utc', '12h', 'minute', '2026-01-09T00:00:00Z', '9 Jan 2026, 12:00 AM UTC'],
    ['utc', '12h', 'minute', '2026-01-09T12:00:00Z', '9 Jan 2026, 12:00 PM UTC'],
    // The tests' own zone is an hour ahead in winter, and two in summer.
    ['local', '24h', 'minute', '2026-01-09T23:30:00Z', '10 Jan 2026, 00:30'],
    ['local', '24h', 'day', '2026-01-09T23:30:00Z', '10 Jan 2026'],
    ['local', '24h', 'minute', '2026-07-09T12:00:00Z', '9 Jul 2026, 14:00'],
    ['local', '12h', 'minute', '2026-07-09T12:00:00Z', '9 Jul 2026, 2:00 PM'],
  ];
  test.each(CASES)('%s, %s, to the %s: %s is %s', (time_zone, clock, precision, at, shown) => {
    const text = formatTime(at, { time_zone, clock }, precision);
    // Which kind of space stands before AM and PM is the platform's own.
    expect(text.replaceAll(/\s/g, ' ')).toBe(shown);
  });

  test('what is no time is shown as it came', () => {
    expect(formatTime('soon', { time_zone: 'utc', clock: '24h' })).toBe('soon');
  });
});

describe('how far a time is from now is said in the largest unit that fits', () => {
  const CASES: [number, string][] = [
    [0, 'just now'],
    [-59 * SECOND, 'just now'],
    [59 * SECOND, 'in under a minute'],
    [MINUTE, 'in 1 minute'],
    [-MINUTE, '1 minute ago'],
    [HOUR - SECOND, 'in 59 minutes'],
    [HOUR, 'in 1 hour'],
    [-(DAY - SECOND), '23 hours ago'],
    [DAY, 'in 1 day'],
    [30 * DAY - SECOND, 'in 29 days'],
    [30 * DAY, 'in 1 month'],
    [-365 * DAY, '1 year ago'],
    [3 * 365 * DAY, 'in 3 years'],
  ];
  test.each(CASES)('%i ms: %s', (by, said) => {
    expect(fromNow(later(by), NOW)).toBe(said);
  });
});

test('what expires is past from the very moment on, and what never expires never is', () => {
  expect(isPast(later(1), NOW)).toBe(false);
  expect(isPast(later(0), NOW)).toBe(true);
  expect(isPast(later(-1), NOW)).toBe(true);
  expect(isPast(null, NOW)).toBe(false);
});

describe('a field for date and time', () => {
  const CASES: [string, boolean, string][] = [
    ['2026-01-09T15:04:59Z', true, '2026-01-09T15:04'],
    ['2026-01-09T15:04:00Z', false, '2026-01-09T16:04'],
    ['2026-07-09T15:04:00Z', false, '2026-07-09T17:04'],
    ['2026-01-09T23:30:00Z', false, '2026-01-10T00:30'],
    ['', true, ''],
    ['yesterday', false, ''],
  ];
  test.each(CASES)('holds %j (UTC: %s) as %j', (at, utc, held) => {
    expect(toField(at, utc)).toBe(held);
  });

  test.each([true, false])('means the moment that was put into it (UTC: %s)', (utc) => {
    // Half-hours of a year: the hour that an autumn night has twice is the only one that a field can't tell.
    const twice = (at: number) =>
      !utc && at >= Date.parse('2026-10-25T00:00Z') && at < Date.parse('2026-10-25T02:00Z');
    for (let at = Date.parse('2026-01-01T00:00Z'); at < Date.parse('2027-01-01T00:00Z'); at += HOUR / 2) {
      const moment = new Date(at).toISOString();
      if (!twice(at)) expect(fromField(toField(moment, utc), utc)).toBe(moment);
    }
  });

  test.each([true, false])('that is empty or half filled in means no moment (UTC: %s)', (utc) => {
    expect(fromField('', utc)).toBeNull();
    expect(fromField('2026-13-01T00:00', utc)).toBeNull();
  });
});

test('what is left, and how long ago, as short as they can be read', () => {
  const now = Date.UTC(2026, 0, 10);
  const at = (seconds: number) => new Date(now + seconds * 1000).toISOString();
  const HOUR = 3600;
  expect([-5, 30, 90, 14.5 * HOUR, 47 * HOUR, 49 * HOUR].map((s) => left(at(s), now))).toEqual([
    'expired',
    '1 min left',
    '1 min left',
    '14 h left',
    '47 h left',
    '2 d left',
  ]);
  expect([30, -59, -61, -5 * HOUR, -72 * HOUR, -800 * 24 * HOUR].map((s) => ago(at(s), now))).toEqual([
    'just now',
    'just now',
    '1 min ago',
    '5 h ago',
    '3 d ago',
    '2 y ago',
  ]);
  expect(left('nonsense', now)).toBe('nonsense');
});
