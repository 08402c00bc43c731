/** A host that moved between pages while they were fetched is shown once, as it was seen last. */
import type { Host } from '../../api/types';

export function distinct(hosts: Host[]): Host[] {
  const seen = new Map<string, Host>();
  for (const host of hosts) seen.set(host.id, host);
  return [...seen.values()];
}
