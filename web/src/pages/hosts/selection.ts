/** Which rows are chosen: some, or all that match. Values; whoever holds one replaces it. */

export interface Selection {
  ids: ReadonlySet<string>;
  /** All that match are meant, loaded or not. */
  all: boolean;
  /** From where a range goes on. */
  anchor: string | null;
}

export const NOTHING: Selection = { ids: new Set(), all: false, anchor: null };

export function isChosen(selection: Selection, id: string): boolean {
  return selection.all || selection.ids.has(id);
}

/** One more, or one less. Of all that match, what is left without one is what was loaded. */
export function toggled(selection: Selection, id: string, order: readonly string[]): Selection {
  const ids = new Set(selection.all ? order : selection.ids);
  if (!ids.delete(id)) ids.add(id);
  return { ids, all: false, anchor: id };
}

/** Everything from the anchor to here, as the row at the anchor is. */
export function extended(selection: Selection, id: string, order: readonly string[]): Selection {
  const from = selection.anchor === null ? -1 : order.indexOf(selection.anchor);
  const to = order.indexOf(id);
  if (from < 0 || to < 0) return toggled(selection, id, order);
  const [first, last] = from < to ? [from, to] : [to, from];
  const ids = new Set(selection.all ? order : selection.ids);
  const add = selection.anchor !== null && ids.has(selection.anchor);
  for (const one of order.slice(first, last + 1)) {
    if (add) ids.add(one);
    else ids.delete(one);
  }
  return { ids, all: false, anchor: id };
}

/** All that are loaded; none, where these were all chosen. */
export function toggledAll(selection: Selection, order: readonly string[]): Selection {
  const whole = selection.all || (order.length > 0 && order.every((id) => selection.ids.has(id)));
  return whole ? NOTHING : { ids: new Set(order), all: false, anchor: null };
}

/** How many of the rows are chosen, for the box in the head. */
export function headState(selection: Selection, order: readonly string[]): 'none' | 'some' | 'all' {
  if (selection.all || (order.length > 0 && order.every((id) => selection.ids.has(id)))) return 'all';
  return order.some((id) => selection.ids.has(id)) ? 'some' : 'none';
}
