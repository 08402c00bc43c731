import { describe, expect, test } from 'vitest';

import { pieces, plain } from '../src/names';

describe('a character that would not be seen stands as its code point', () => {
  test.each([
    ['a zero-width space', 'web\u200B-12', 'web⟨U+200B⟩-12'],
    ['a turn of the reading order', 'a\u202Eb', 'a⟨U+202E⟩b'],
    ['an isolate', '\u2066a', '⟨U+2066⟩a'],
    ['a tab', 'a\tb', 'a⟨U+0009⟩b'],
    ['an end of line', 'a\nb', 'a⟨U+000A⟩b'],
    ['a line separator', 'a\u2028b', 'a⟨U+2028⟩b'],
    ['a byte order mark', '\uFEFFa', '⟨U+FEFF⟩a'],
    ['a soft hyphen', 'a\u00ADb', 'a⟨U+00AD⟩b'],
    ['a filler', 'a\u3164', 'a⟨U+3164⟩'],
    ['a tag', 'a\u{E0061}', 'a⟨U+E0061⟩'],
    ['half a character', 'a\uD800', 'a⟨U+D800⟩'],
    ['several in a row', '\u200B\u200C', '⟨U+200B⟩⟨U+200C⟩'],
  ])('%s', (_, name, shown) => {
    expect(plain(name)).toBe(shown);
  });
});

test.each(['', 'web-1.example', 'Zoë', '日本', '😀', '<b>&lt;</b>', 'U+200B'])(
  'a name that can be seen is shown as it is: %j',
  (name) => {
    expect(plain(name)).toBe(name);
  },
);

test.each(['שרת', 'خادم', 'a-שרת', '\u{10800}', '\u{1E900}'])(
  'a name that is read from right to left leaves the order of what stands around it alone: %j',
  (name) => {
    expect(plain(name)).toBe(`\u2068${name}\u2069`);
  },
);

test('only what stands for something unseen is marked, so that a name can’t pass its own text off as such', () => {
  expect(pieces('a\u200Bb')).toEqual([
    { text: 'a', unseen: false },
    { text: 'U+200B', unseen: true },
    { text: 'b', unseen: false },
  ]);
  expect(pieces('aU+200Bb')).toEqual([{ text: 'aU+200Bb', unseen: false }]);
});
