/** All hosts that match, fetched to the end. */
import { type HostQuery, api } from '../../api/client';
import type { Host } from '../../api/types';

/** The most that the server puts on a page. */
const PAGE = 500;

/** Brings one page after the other; who has enough stops asking. */
export async function* pagesOf(query: HostQuery, signal?: AbortSignal): AsyncGenerator<Host[]> {
  let cursor: string | null = null;
  do {
    const page: Awaited<ReturnType<typeof api.hosts>> = await api.hosts(query, PAGE, cursor, signal);
    yield page.items;
    cursor = page.next_cursor;
  } while (cursor !== null);
}

/** At most `most` of them, and one more where there are more. */
export async function allHosts(query: HostQuery, most: number): Promise<Host[]> {
  const hosts: Host[] = [];
  for await (const page of pagesOf(query)) {
    hosts.push(...page);
    if (hosts.length > most) break;
  }
  return hosts.slice(0, most + 1);
}

/** Gives a text to the browser as a file. */
export function download(name: string, type: string, parts: readonly string[]): void {
  const address = URL.createObjectURL(new Blob([...parts], { type }));
  const link = document.createElement('a');
  link.href = address;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}
