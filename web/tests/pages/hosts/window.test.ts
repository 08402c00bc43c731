import { describe, expect, test } from 'vitest';

import { offsetsOf, rowAt, rowsInView } from '../../../src/pages/hosts/window';

const USUAL = 50;
const VIEW = 800;

const ids = (count: number) => Array.from({ length: count }, (_, at) => `host-${at}`);
/** Every seventh row is taller, as one with a long name is. */
const tall = (count: number) =>
  new Map(
    ids(count)
      .filter((_, at) => at % 7 === 0)
      .map((id) => [id, 90]),
  );

test('rows of another height move all that follow', () => {
  expect([...offsetsOf(ids(4), 50, new Map([['host-1', 80]]))]).toEqual([0, 50, 130, 180, 230]);
});

describe('the row at a distance', () => {
  const offsets = offsetsOf(ids(4), 50, new Map([['host-1', 80]]));
  test.each([
    [-1, 0],
    [0, 0],
    [49, 0],
    [50, 1],
    [129, 1],
    [130, 2],
    [229, 3],
    [230, 4],
    [1e9, 4],
  ])('of %i pixels is number %i', (distance, row) => {
    expect(rowAt(offsets, distance)).toBe(row);
  });

  test('is the first of none in an empty table', () => {
    expect(rowAt(offsetsOf([], 50, new Map()), 100)).toBe(0);
  });
});

test('a few rows more are drawn on both sides, so that quick scrolling shows no gaps', () => {
  const offsets = offsetsOf(ids(1000), USUAL, new Map());
  expect(rowsInView(offsets, -20_000, VIEW)).toEqual({ first: 400 - 12, end: 416 + 1 + 12 });
});

describe('wherever a long table is scrolled to, the view is full of rows and the page as long as it was', () => {
  const count = 3000;
  const offsets = offsetsOf(ids(count), USUAL, tall(count));
  const length = offsets[count] ?? 0;
  const TOPS = [400, 0, -1, -49, -50, -12_345.5, -length / 2, -(length - VIEW), -(length - 1)];
  test.each(TOPS)('its first row at %d pixels', (top) => {
    const { first, end } = rowsInView(offsets, top, VIEW);
    const from = top + (offsets[first] ?? Number.NaN);
    const to = top + (offsets[end] ?? Number.NaN);
    expect(from).toBeLessThanOrEqual(Math.max(0, top));
    expect(to).toBeGreaterThanOrEqual(Math.min(VIEW, top + length));
    // And no more are drawn than a quick turn of the wheel needs.
    expect(end - first).toBeLessThanOrEqual(VIEW / USUAL + 1 + 2 * 12 + 1);
  });

  test.each([
    ['below the view', 5000, 0],
    ['above the view', -length - 5000, count],
  ])('%s', (_, top, near) => {
    const { first, end } = rowsInView(offsets, top, VIEW);
    expect(first).toBeLessThanOrEqual(near);
    expect(end).toBeGreaterThanOrEqual(near);
    expect(end - first).toBeLessThanOrEqual(30);
  });
});

test('a short table is drawn whole, so that the browser’s own search finds everything in it', () => {
  const short = offsetsOf(ids(150), USUAL, new Map());
  expect(rowsInView(short, -2000, VIEW)).toEqual({ first: 0, end: 150 });
  const longer = offsetsOf(ids(151), USUAL, new Map());
  expect(rowsInView(longer, -2000, VIEW).first).toBeGreaterThan(0);
  expect(rowsInView(offsetsOf([], USUAL, new Map()), 0, VIEW)).toEqual({ first: 0, end: 0 });
});
