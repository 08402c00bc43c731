/**
 * Which columns a table of hosts has room for. Names are never cut: they have the room that the others leave, and
 * the least important go first. Widths are in pixels at the default size of letters, and grow with it.
 */

export type Column = 'status' | 'seen' | 'ips' | 'enrolled' | 'os';

/** From the one that goes last to the one that goes first, with the width that each takes. */
const COLUMNS: readonly (readonly [Column, number])[] = [
  ['status', 136],
  ['seen', 172],
  ['ips', 150],
  ['enrolled', 172],
  ['os', 200],
];

/** What a hostname needs to stand mostly on one line. */
const NAME = 300;

/** The buttons at the end of a row. */
const ACTIONS = 164;

const ROOT = 16;

export function columnsFor(width: number, letters: number, actions: boolean): ReadonlySet<Column> {
  const scale = letters / ROOT;
  let left = width / scale - NAME - (actions ? ACTIONS : 0);
  const chosen = new Set<Column>();
  for (const [column, takes] of COLUMNS) {
    left -= takes;
    if (left < 0) break;
    chosen.add(column);
  }
  return chosen;
}

export function widthOf(column: Column): string {
  return `${(COLUMNS.find(([name]) => name === column)?.[1] ?? 0) / ROOT}rem`;
}

export const ACTIONS_WIDTH = `${ACTIONS / ROOT}rem`;
