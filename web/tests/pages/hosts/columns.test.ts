import { expect, test } from 'vitest';

import { type Column, columnsFor, widthOf } from '../../../src/pages/hosts/columns';

const ROOT = 16;
const NAME = 300;

const pixels = (column: Column) => Number.parseFloat(widthOf(column)) * ROOT;

test('names have their room at every width', () => {
  for (let width = 300; width <= 2000; width += 1) {
    const taken = [...columnsFor(width, ROOT, false)].reduce((sum, column) => sum + pixels(column), 0);
    expect(width - taken).toBeGreaterThanOrEqual(NAME);
  }
});

test('the least important column goes first, and on a phone only the name is left', () => {
  const lost: string[] = [];
  let before = columnsFor(2000, ROOT, false);
  for (let width = 2000; width >= 300; width -= 1) {
    const now = columnsFor(width, ROOT, false);
    for (const column of before) if (!now.has(column)) lost.push(column);
    before = now;
  }
  expect(lost).toEqual(['os', 'enrolled', 'ips', 'seen', 'status']);
});

test('buttons and larger letters take room from the columns', () => {
  expect(columnsFor(1130, ROOT, false)).toContain('os');
  expect(columnsFor(1130, ROOT, true)).not.toContain('os');
  expect(columnsFor(1130, 2 * ROOT, false)).toEqual(columnsFor(565, ROOT, false));
});
