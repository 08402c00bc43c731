import { describe, expect, test } from 'vitest';

import { below, continued } from '../src/joined';

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

test('a page behind others adds what they don’t have, in its order', () => {
  expect(continued(letters('dc'), letters('ba'), itself)).toEqual(letters('dcba'));
  expect(continued(letters('dc'), letters('cba'), itself)).toEqual(letters('dcba'));
  expect(continued([], letters('ba'), itself)).toEqual(letters('ba'));
});
