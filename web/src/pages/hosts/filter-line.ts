/**
 * The filter line: words, and filters as people type them, such as `tag:role:web` or `silent:24h`. A filter that is
 * complete goes into the address; what is left is what is searched for.
 */
import type { HostFlag, HostState } from '../../api/types';

/** A filter as it is typed, and the parameter of the address that it becomes. */
export interface FilterKey {
  key: string;
  /** What it is for, beside it in the list of suggestions. */
  about: string;
  /** What may stand behind it; nothing where the fleet decides. */
  values?: readonly { value: string; about: string }[];
  fits: (value: string) => boolean;
  /** What is wanted, as a clause. */
  wants: string;
}

export type Changes = Record<string, string | null>;

const STATES: readonly { value: HostState; about: string }[] = [
  { value: 'in_service', about: 'has reported, and may connect' },
  { value: 'never_reported', about: 'enrolled, not reporting yet' },
  { value: 'revoked', about: 'refused everywhere' },
  { value: 'decommissioned', about: 'taken out of service' },
];

const FLAGS: readonly { value: HostFlag; about: string }[] = [
  { value: 'possible_clone', about: 'two machines may share its identity' },
  { value: 'possible_duplicate', about: 'another host has its machine id' },
  { value: 'recovered', about: 'came back after a restore' },
];

const among = (values: readonly { value: string }[]) => (text: string) =>
  values.some(({ value }) => value === text);

const listed = (values: readonly { value: string }[]) =>
  `one of ${values.map(({ value }) => value).join(', ')}`;

const STATUSES = [
  { value: 'online', about: 'reports now' },
  { value: 'offline', about: 'does not' },
] as const;

const TIMES = [
  { value: '1h', about: 'an hour' },
  { value: '24h', about: 'a day' },
  { value: '7d', about: 'a week' },
] as const;

const TAG = /^[a-z0-9._-]{1,63}(:[a-z0-9._-]{1,63})?$/;

export const KEYS: readonly FilterKey[] = [
  { key: 'is', about: 'online or offline', values: STATUSES, fits: among(STATUSES), wants: listed(STATUSES) },
  { key: 'state', about: 'how it stands', values: STATES, fits: among(STATES), wants: listed(STATES) },
  {
    key: 'flag',
    about: 'what somebody should look at',
    values: FLAGS,
    fits: among(FLAGS),
    wants: listed(FLAGS),
  },
  {
    key: 'tag',
    about: 'what people say of it',
    fits: (text) => TAG.test(text),
    wants: 'a whole tag, such as role:web',
  },
  {
    key: 'silent',
    about: 'not heard of for so long',
    values: TIMES,
    fits: (text) => /^\d{1,6}[smhd]$/.test(text),
    wants: 'a time, such as 24h or 7d',
  },
  {
    key: 'overdue',
    about: 'should have renewed its certificate',
    values: [{ value: 'yes', about: 'and has not' }],
    fits: (text) => text === 'yes',
    wants: 'yes',
  },
  {
    key: 'os',
    about: 'part of its system',
    fits: (text) => text !== '',
    wants: 'part of a system, such as debian',
  },
  {
    key: 'version',
    about: 'of its agent, or older',
    fits: (text) => /^<?\d+\.\d+\.\d+([-+].*)?$/.test(text),
    wants: 'a version, such as 0.2.0, or <0.2.0 for older ones',
  },
  {
    key: 'secret',
    about: 'what let it in',
    fits: (text) => /^[a-z0-9]{8,40}$/.test(text),
    wants: 'the id of an enrollment secret or join token',
  },
];

/** What the address becomes with a filter. */
function changes(key: string, value: string): Changes {
  switch (key) {
    case 'is':
      return { status: value, decommissioned: null };
    case 'state':
      return value === 'decommissioned'
        ? { decommissioned: 'true', state: null, status: null }
        : { state: value, decommissioned: null };
    case 'silent':
      return { silent_for: value };
    case 'overdue':
      return { overdue: 'true' };
    default:
      return { [key]: value };
  }
}

export interface Reading {
  /** What stays in the line. */
  rest: string;
  /** What is searched for meanwhile: the rest without filters that are still being typed. */
  words: string;
  /** What the filters that were complete change of the address. */
  changes: Changes;
  /** What is wrong with a filter, as a sentence. */
  problem: string | null;
}

/**
 * Reads the line. A filter is complete when something follows it, or when the whole line is (`done`). One that means
 * nothing stays, with the reason.
 */
export function read(line: string, done: boolean): Reading {
  const kept: string[] = [];
  const words: string[] = [];
  let changed: Changes = {};
  let problem: string | null = null;
  const parts = line.split(/\s+/).filter((part) => part !== '');
  const open = !done && !/\s$/.test(line);
  for (const [at, part] of parts.entries()) {
    const colon = part.indexOf(':');
    const filter = KEYS.find(({ key }) => colon > 0 && key === part.slice(0, colon).toLowerCase());
    const last = at === parts.length - 1;
    if (!filter) {
      kept.push(part);
      words.push(part);
      continue;
    }
    const value = part.slice(colon + 1);
    if (last && open) {
      kept.push(part);
    } else if (filter.fits(value)) {
      changed = { ...changed, ...changes(filter.key, value) };
    } else {
      kept.push(part);
      problem = value ? `“${part}” means nothing: ${filter.key}: takes ${filter.wants}.` : null;
    }
  }
  return { rest: kept.join(' '), words: words.join(' '), changes: changed, problem };
}

export interface Suggestion {
  /** What the last word of the line becomes. */
  text: string;
  about: string;
  /** Whether it is a whole filter and not only its beginning. */
  whole: boolean;
}

/** Most suggestions that are shown at a time. */
const SHOWN = 8;

/** What the last word of the line may become. `known`: what the fleet has behind each filter. */
export function suggest(line: string, known: Readonly<Record<string, readonly string[]>>): Suggestion[] {
  const last = /\S*$/.exec(line)?.[0].toLowerCase() ?? '';
  const colon = last.indexOf(':');
  if (colon < 0) {
    return KEYS.filter(({ key }) => key.startsWith(last) && (last !== '' || line.trim() === ''))
      .map(({ key, about }) => ({ text: `${key}:`, about, whole: false }))
      .slice(0, KEYS.length);
  }
  const filter = KEYS.find(({ key }) => key === last.slice(0, colon));
  if (!filter) return [];
  const value = last.slice(colon + 1);
  const values = filter.values ?? (known[filter.key] ?? []).map((one) => ({ value: one, about: '' }));
  return values
    .filter((one) => one.value.toLowerCase().includes(value) && one.value !== value)
    .map((one) => ({ text: `${filter.key}:${one.value}`, about: one.about, whole: true }))
    .slice(0, SHOWN);
}

/** The line with its last word replaced by what was chosen. */
export function completed(line: string, suggestion: Suggestion): string {
  return line.replace(/\S*$/, suggestion.text) + (suggestion.whole ? ' ' : '');
}
