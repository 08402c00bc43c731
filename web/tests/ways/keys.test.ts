import { expect, test } from 'vitest';

import { type Pressed, fits, wayOf } from '../../src/ways/keys';

const plain = (key: string): Pressed => ({ key, ctrl: false, meta: false, alt: false });

test('single keys and pairs lead somewhere', () => {
  expect(wayOf(plain('/'), null, true)).toEqual({ kind: 'search' });
  expect(wayOf(plain('j'), null, true)).toEqual({ kind: 'step', by: 1 });
  expect(wayOf(plain('k'), null, true)).toEqual({ kind: 'step', by: -1 });
  expect(wayOf(plain('g'), null, true)).toBe('begins');
  expect(wayOf(plain('h'), 'g', true)).toEqual({ kind: 'go', path: '/hosts' });
  expect(wayOf(plain('h'), null, true)).toBeNull();
  expect(wayOf(plain('q'), 'g', true)).toBeNull();
});

test('where somebody types, or has switched them off, only Ctrl+K means something', () => {
  for (const key of ['/', 'j', 'g', '?', 'x']) expect(wayOf(plain(key), null, false)).toBeNull();
  expect(wayOf({ ...plain('k'), ctrl: true }, null, false)).toEqual({ kind: 'palette' });
  expect(wayOf({ ...plain('K'), meta: true }, null, true)).toEqual({ kind: 'palette' });
  // What belongs to the browser stays with it.
  for (const key of ['j', '/', 'g']) expect(wayOf({ ...plain(key), ctrl: true }, null, true)).toBeNull();
  expect(wayOf({ ...plain('k'), alt: true }, null, true)).toBeNull();
});

test('what is found has every word somewhere', () => {
  expect(fits('Page Agent CA', 'ca ag')).toBe(true);
  expect(fits('Page Agent CA', 'hosts')).toBe(false);
  expect(fits('anything', '')).toBe(true);
});
