/** Times as the user wants to read them. */
import type { Preferences, Timestamp } from './api/types';

export type Precision = 'day' | 'minute' | 'second';

const formatters = new Map<string, Intl.DateTimeFormat>();

/** Formatters are expensive to make and tables are full of times, so each is made once. */
function formatter(locale: string, options: Intl.DateTimeFormatOptions): Intl.DateTimeFormat {
  const key = locale + JSON.stringify(options);
  const known = formatters.get(key);
  if (known) return known;
  const made = new Intl.DateTimeFormat(locale, options);
  formatters.set(key, made);
  return made;
}

export function formatTime(at: Timestamp, preferences: Preferences, precision: Precision = 'minute'): string {
  const moment = new Date(at);
  if (Number.isNaN(moment.getTime())) return at;
  const utc = preferences.time_zone === 'utc';
  const zone = utc ? { timeZone: 'UTC' } : {};
  const date = formatter('en-GB', { ...zone, day: 'numeric', month: 'short', year: 'numeric' }).format(
    moment,
  );
  if (precision === 'day') return date;
  const seconds = precision === 'second' ? { second: '2-digit' as const } : {};
  const twelve = preferences.clock === '12h';
  const time = formatter(twelve ? 'en-US' : 'en-GB', {
    ...zone,
    ...seconds,
    hour: twelve ? 'numeric' : '2-digit',
    minute: '2-digit',
    hour12: twelve,
  }).format(moment);
  return `${date}, ${time}${utc ? ' UTC' : ''}`;
}

const UNITS: readonly [Intl.RelativeTimeFormatUnit, number][] = [
  ['year', 365 * 86_400],
  ['month', 30 * 86_400],
  ['day', 86_400],
  ['hour', 3600],
  ['minute', 60],
];

const relative = new Intl.RelativeTimeFormat('en', { numeric: 'always' });

/** How far a time is from now, in the largest unit that fits: "in 3 days", "5 minutes ago". */
export function fromNow(at: Timestamp, now: number): string {
  const seconds = (Date.parse(at) - now) / 1000;
  for (const [unit, length] of UNITS) {
    if (Math.abs(seconds) >= length) return relative.format(Math.trunc(seconds / length), unit);
  }
  return seconds > 0 ? 'in under a minute' : 'just now';
}

/** Whether something that may expire has. */
export function isPast(at: Timestamp | null, now: number): boolean {
  return at !== null && Date.parse(at) <= now;
}

export function daysUntil(at: Timestamp, now: number): number {
  return (Date.parse(at) - now) / 86_400_000;
}

/** A moment as a field for date and time holds it, in the user's zone. */
export function toField(at: Timestamp, utc: boolean): string {
  const moment = new Date(at);
  if (Number.isNaN(moment.getTime())) return '';
  const shifted = utc ? moment : new Date(moment.getTime() - moment.getTimezoneOffset() * 60_000);
  return shifted.toISOString().slice(0, 16);
}

/** The moment that such a field holds, or nothing. */
export function fromField(text: string, utc: boolean): Timestamp | null {
  const moment = new Date(utc ? `${text}Z` : text);
  return Number.isNaN(moment.getTime()) ? null : moment.toISOString();
}

/** How long something still holds: "14 h left", "3 d left", "expired". */
export function left(at: Timestamp, now: number): string {
  const seconds = (Date.parse(at) - now) / 1000;
  if (Number.isNaN(seconds)) return at;
  if (seconds <= 0) return 'expired';
  if (seconds < 3600) return `${Math.max(1, Math.floor(seconds / 60))} min left`;
  if (seconds < 2 * 86_400) return `${Math.floor(seconds / 3600)} h left`;
  return `${Math.floor(seconds / 86_400)} d left`;
}

/** How far a time is from now, as short as it can be read: "5 min ago", "3 d ago". */
export function ago(at: Timestamp, now: number): string {
  const seconds = (now - Date.parse(at)) / 1000;
  if (Number.isNaN(seconds)) return at;
  if (seconds < 60) return 'just now';
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 2 * 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  if (seconds < 365 * 86_400) return `${Math.floor(seconds / 86_400)} d ago`;
  return `${Math.floor(seconds / (365 * 86_400))} y ago`;
}
