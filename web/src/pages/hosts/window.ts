/** Which rows of a long table are worth drawing. */

/** Rows drawn above and below what is in view, so that quick scrolling shows no gaps. */
const MARGIN = 12;

/** Shorter tables are drawn whole: searching in the page and printing then find everything. */
const WHOLE_UP_TO = 150;

export interface Window {
  first: number;
  /** One past the last. */
  end: number;
}

/** Where the rows of a table begin, in pixels from its first one, and where the last one ends. */
export type Offsets = Float64Array;

/** Rows have a usual height, and some another, because a long name wraps. */
export function offsetsOf(
  ids: readonly string[],
  usual: number,
  others: ReadonlyMap<string, number>,
): Offsets {
  const offsets = new Float64Array(ids.length + 1);
  let at = 0;
  for (const [index, id] of ids.entries()) {
    at += others.get(id) ?? usual;
    offsets[index + 1] = at;
  }
  return offsets;
}

/** The row that is at a distance from the first one. */
export function rowAt(offsets: Offsets, distance: number): number {
  let low = 0;
  let high = Math.max(0, offsets.length - 1);
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((offsets[middle + 1] ?? 0) <= distance) low = middle + 1;
    else high = middle;
  }
  return low;
}

/**
 * The rows to draw, when the table's first row is `top` pixels below the upper edge of the view (negative
 * when it has been scrolled past).
 */
export function rowsInView(offsets: Offsets, top: number, viewHeight: number): Window {
  const count = offsets.length - 1;
  if (count <= WHOLE_UP_TO) return { first: 0, end: count };
  const first = rowAt(offsets, -top) - MARGIN;
  const end = rowAt(offsets, viewHeight - top) + 1 + MARGIN;
  return { first: Math.min(Math.max(0, first), count), end: Math.min(Math.max(0, end), count) };
}
