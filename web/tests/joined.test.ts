import { describe, expect, test } from 'vitest';

import { below, placed } from '../src/joined';

const itself = (item: string) => item;
const letters = (text: string) => [...text];

describe('below a fresh first page stays what it does not hold', () => {
  test.each([
    ['nothing is new', 'dc', 'dcba', 'ba'],
    ['something is new', 'fed', 'dcba', 'cba'],
    ['something is gone from the fresh page’s midst', 'db', 'dcba', 'a'],
    ['the fresh page holds it all', 'dcba', 'dcba', ''],
  ])('%s', (_, fresh, before, stays) => {
    expect(below(letters(fresh), letters(before), itself)).toEqual(letters(stays));
  });

  test.each([
    ['nothing was there', ''],
    ['more is new than a page holds, so that there would be a gap', 'cba'],
  ])('and nothing at all where %s', (_, before) => {
    expect(below(letters('fed'), letters(before), itself)).toBeNull();
  });
});

describe('a page that has come is put among the others', () => {
  const cut = (text: string, at = 0) => ({ from: String(at), items: letters(text), next: String(at + 1) });
  test.each([
    ['behind them', ['dc'], 1, 'ba', ['dc', 'ba']],
    ['as the first', [], 0, 'dc', ['dc']],
    ['in the place of what it was', ['fe', 'dc', 'ba'], 1, 'dx', ['fe', 'dx', 'ba']],
    ['with an item that stood on a page before it', ['fe', 'dc'], 2, 'eba', ['f', 'dc', 'eba']],
    ['with an item that stood on a page behind it', ['fe', 'dc', 'ba'], 0, 'fb', ['fb', 'dc', 'a']],
  ])('%s', (_, before, at, page, after) => {
    const pages = before.map((text) => cut(text));
    const all = placed(pages, at, cut(page, 7), itself);
    expect(all.map(({ items }) => items.join(''))).toEqual(after);
    expect(all[at]).toEqual(cut(page, 7));
    // What was there is not changed: somebody may still be looking at it.
    expect(pages).toEqual(before.map((text) => cut(text)));
  });
});
