import { expect, test } from 'vitest';

import { type Column, ORDER, columnsFor, widthOf } from '../../../src/pages/hosts/columns';

const ROOT = 16;
/** What a name and the box before it need. */
const NAME = 240 + 44;

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
  expect([...before].toSorted()).toEqual(ORDER.toSorted());
  for (let width = 2000; width >= 300; width -= 1) {
    const now = columnsFor(width, ROOT, false);
    for (const column of before) if (!now.has(column)) lost.push(column);
    before = now;
  }
  expect(lost).toEqual(['enrolled', 'version', 'os', 'tags', 'ips', 'certificate', 'seen', 'status']);
});

test('buttons and larger letters take room from the columns, and what is hidden gives it', () => {
  expect(columnsFor(1200, ROOT, false)).toContain('os');
  expect(columnsFor(1200, ROOT, true)).not.toContain('os');
  expect(columnsFor(1200, 2 * ROOT, false)).toEqual(columnsFor(600, ROOT, false));
  expect(columnsFor(1200, ROOT, true, ['tags', 'ips'])).toContain('os');
  expect(columnsFor(2000, ROOT, true, ['os'])).not.toContain('os');
});
