/** Pages of one list put together, each item once. */

/** What was there, below a fresh first page. `null`: the two don't meet, and what was there is no continuation. */
export function below<T>(fresh: readonly T[], before: readonly T[], key: (item: T) => unknown): T[] | null {
  const known = new Set(fresh.map(key));
  const last = before.findLastIndex((item) => known.has(key(item)));
  return last < 0 ? null : before.slice(last + 1);
}

/** Another page behind what is there. */
export function continued<T>(before: readonly T[], more: readonly T[], key: (item: T) => unknown): T[] {
  const known = new Set(before.map(key));
  return [...before, ...more.filter((item) => !known.has(key(item)))];
}
