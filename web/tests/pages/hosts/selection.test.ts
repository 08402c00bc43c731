import { expect, test } from 'vitest';

import {
  NOTHING,
  type Selection,
  extended,
  headState,
  isChosen,
  toggled,
  toggledAll,
} from '../../../src/pages/hosts/selection';

const ORDER = ['a', 'b', 'c', 'd', 'e'];

const chosen = (selection: Selection) => ORDER.filter((id) => isChosen(selection, id)).join('');

test('one, a range in either direction, and a range taken out again', () => {
  const one = toggled(NOTHING, 'b', ORDER);
  expect(chosen(one)).toBe('b');
  const range = extended(one, 'd', ORDER);
  expect(chosen(range)).toBe('bcd');
  expect(chosen(extended(toggled(NOTHING, 'd', ORDER), 'a', ORDER))).toBe('abcd');
  const without = toggled(range, 'c', ORDER);
  expect(chosen(extended(without, 'd', ORDER))).toBe('b');
  // Without a beginning, or with one that has gone, a range is one.
  expect(chosen(extended(NOTHING, 'c', ORDER))).toBe('c');
  expect(chosen(extended({ ...one, anchor: 'gone' }, 'c', ORDER))).toBe('bc');
});

test('all that are listed, all that match, and all but one', () => {
  expect(headState(NOTHING, ORDER)).toBe('none');
  const all = toggledAll(NOTHING, ORDER);
  expect([chosen(all), headState(all, ORDER), all.all]).toEqual(['abcde', 'all', false]);
  expect(toggledAll(all, ORDER)).toEqual(NOTHING);
  const matching: Selection = { ...NOTHING, all: true };
  expect(isChosen(matching, 'far away')).toBe(true);
  const but = toggled(matching, 'b', ORDER);
  expect([chosen(but), headState(but, ORDER), but.all]).toEqual(['acde', 'some', false]);
  expect(headState(NOTHING, [])).toBe('none');
});
