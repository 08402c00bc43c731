/**
 * Which columns a table of hosts has room for. Names are never cut: they have the room that the others leave, and
 * the least important go first. Widths are in pixels at the default size of letters, and grow with it.
 */

export type Column = 'status' | 'seen' | 'certificate' | 'ips' | 'os' | 'tags' | 'version' | 'enrolled';

/** From the one that goes last to the one that goes first, with its name and the width that it takes. */
const COLUMNS: readonly (readonly [Column, string, number])[] = [
  ['status', 'Status', 148],
  ['seen', 'Last seen', 116],
  ['certificate', 'Certificate', 116],
  ['ips', 'IP addresses', 150],
  ['tags', 'Tags', 170],
  ['os', 'OS', 200],
  ['version', 'Agent', 112],
  ['enrolled', 'Enrolled', 124],
];

/** As they stand beside each other. */
export const ORDER: readonly Column[] = [
  'status',
  'ips',
  'os',
  'tags',
  'certificate',
  'seen',
  'version',
  'enrolled',
];

/** What a hostname needs to stand mostly on one line. */
const NAME = 240;

/** The box that chooses a row. */
const CHOICE = 44;

/** The buttons at the end of a row. */
const ACTIONS = 164;

const ROOT = 16;

/** `hidden`: what the user does not want to see. */
export function columnsFor(
  width: number,
  letters: number,
  actions: boolean,
  hidden: readonly Column[] = [],
): ReadonlySet<Column> {
  const scale = letters / ROOT;
  let left = width / scale - NAME - CHOICE - (actions ? ACTIONS : 0);
  const chosen = new Set<Column>();
  for (const [column, , takes] of COLUMNS) {
    if (hidden.includes(column)) continue;
    left -= takes;
    if (left < 0) break;
    chosen.add(column);
  }
  return chosen;
}

const found = (column: Column) => COLUMNS.find(([name]) => name === column);

export function titleOf(column: Column): string {
  return found(column)?.[1] ?? column;
}

export function widthOf(column: Column): string {
  return `${(found(column)?.[2] ?? 0) / ROOT}rem`;
}

export const ACTIONS_WIDTH = `${ACTIONS / ROOT}rem`;
export const CHOICE_WIDTH = `${CHOICE / ROOT}rem`;
