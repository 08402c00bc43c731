/** Keys that lead somewhere, and what they mean. */

export type Way =
  | { kind: 'go'; path: string }
  | { kind: 'palette' }
  | { kind: 'search' }
  | { kind: 'help' }
  | { kind: 'step'; by: 1 | -1 }
  | { kind: 'choose' };

export interface Pressed {
  key: string;
  ctrl: boolean;
  meta: boolean;
  alt: boolean;
}

/** Where `g` and another key go. */
export const PLACES: Readonly<Record<string, { path: string; title: string }>> = {
  o: { path: '/', title: 'Overview' },
  h: { path: '/hosts', title: 'Hosts' },
  e: { path: '/enroll', title: 'Enroll' },
  a: { path: '/audit', title: 'Audit' },
  s: { path: '/settings', title: 'Settings' },
  c: { path: '/settings/agent-ca', title: 'Agent CA' },
};

/** The two keys of a way belong together for so long. */
export const TOGETHER_MS = 1200;

/** What a key means. `before`: the key that began a way, if one did. `singles`: whether keys without Ctrl mean anything. */
export function wayOf(pressed: Pressed, before: string | null, singles: boolean): Way | 'begins' | null {
  const { key, ctrl, meta, alt } = pressed;
  if ((ctrl || meta) && !alt && key.toLowerCase() === 'k') return { kind: 'palette' };
  if (ctrl || meta || alt || !singles) return null;
  if (before === 'g') {
    const place = PLACES[key];
    return place ? { kind: 'go', path: place.path } : null;
  }
  switch (key) {
    case 'g':
      return 'begins';
    case '/':
      return { kind: 'search' };
    case '?':
      return { kind: 'help' };
    case 'j':
      return { kind: 'step', by: 1 };
    case 'k':
      return { kind: 'step', by: -1 };
    case 'x':
      return { kind: 'choose' };
    default:
      return null;
  }
}

/** The keys, for those who ask. */
export const HELP: readonly { keys: readonly string[]; does: string }[] = [
  { keys: ['Ctrl', 'K'], does: 'Find a host, a page or something to do' },
  { keys: ['/'], does: 'Search on this page' },
  ...Object.entries(PLACES).map(([key, { title }]) => ({ keys: ['g', key], does: `Go to ${title}` })),
  { keys: ['j'], does: 'The next row' },
  { keys: ['k'], does: 'The row before' },
  { keys: ['Enter'], does: 'Open the row' },
  { keys: ['x'], does: 'Select the row' },
  { keys: ['?'], does: 'These keys' },
];

/** A part of a list that fits what was typed: every word somewhere in the text. */
export function fits(text: string, typed: string): boolean {
  const low = text.toLowerCase();
  return typed
    .toLowerCase()
    .split(/\s+/)
    .every((word) => low.includes(word));
}
