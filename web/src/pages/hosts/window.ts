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

/**
 * The rows to draw, when the table's first row is `top` pixels below the upper edge of the view (negative
 * when it has been scrolled past).
 */
export function rowsInView(count: number, top: number, viewHeight: number, rowHeight: number): Window {
  if (count <= WHOLE_UP_TO) return { first: 0, end: count };
  const first = Math.floor(-top / rowHeight) - MARGIN;
  const end = Math.ceil((viewHeight - top) / rowHeight) + MARGIN;
  return { first: Math.min(Math.max(0, first), count), end: Math.min(Math.max(0, end), count) };
}
