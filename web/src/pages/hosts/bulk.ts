/** What is done to many hosts at once, as far as it can be decided without asking anybody. */
import type { Host } from '../../api/types';

/** The most that the server changes in one transaction. */
export const BATCH_MAX = 1000;

/** From how many on the number has to be typed before something that can't be undone. */
export const TYPED_ABOVE = 10;

/** Tags as they are typed: with spaces or commas between. */
export function typedTags(text: string): string[] {
  return [...new Set(text.split(/[\s,]+/).filter((tag) => tag !== ''))];
}

const TAG = /^[a-z0-9._-]{1,63}(:[a-z0-9._-]{1,63})?$/;

/** What is wrong with tags, as a sentence. */
export function tagProblem(tags: readonly string[]): string | undefined {
  const wrong = tags.find((tag) => !TAG.test(tag));
  if (wrong === undefined) return undefined;
  return `“${wrong}” is no tag: write key or key:value, of a-z, 0-9, “.”, “_” and “-”.`;
}

export interface TagChange {
  ids: string[];
  add: string[];
  remove: string[];
}

/** What takes a change of tags back: each host gets what it lacked, or had, before. */
export function undoing(
  before: readonly Host[],
  add: readonly string[],
  remove: readonly string[],
): TagChange[] {
  const back = (
    tag: string,
    changed: (host: Host) => boolean,
    how: (tag: string) => Omit<TagChange, 'ids'>,
  ) => {
    const ids = before.filter(changed).map(({ id }) => id);
    return ids.length > 0 ? [{ ids, ...how(tag) }] : [];
  };
  const added = add.flatMap((tag) =>
    back(
      tag,
      (host) => !host.tags.includes(tag),
      (tag) => ({ add: [], remove: [tag] }),
    ),
  );
  const removed = remove
    .filter((tag) => !add.includes(tag))
    .flatMap((tag) =>
      back(
        tag,
        (host) => host.tags.includes(tag),
        (tag) => ({ add: [tag], remove: [] }),
      ),
    );
  return [...added, ...removed];
}

/** The tags that some of the hosts have, the most frequent first. */
export function tagsOf(hosts: readonly Host[]): string[] {
  const counts = new Map<string, number>();
  for (const tag of hosts.flatMap((host) => host.tags)) counts.set(tag, (counts.get(tag) ?? 0) + 1);
  return [...counts].toSorted(([a, many], [b, few]) => few - many || a.localeCompare(b)).map(([tag]) => tag);
}

/** A part of a list that fits into a sentence's tail: "web-1, web-2 and 7 more". */
export function named(names: readonly string[], most = 3): string {
  const shown = names.slice(0, most);
  const rest = names.length - shown.length;
  if (rest > 0) return `${shown.join(', ')} and ${rest.toLocaleString('en')} more`;
  if (shown.length < 2) return shown.join('');
  return `${shown.slice(0, -1).join(', ')} and ${shown.at(-1) ?? ''}`;
}
