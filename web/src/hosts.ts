/** What a host is called. */
import type { Host, HostFlag } from './api/types';

/** A host without a hostname goes by its agent id. */
export function hostName(host: Host): string {
  return host.hostname || host.agent_id;
}

const FLAGS: Record<HostFlag, string> = {
  possible_clone: 'possible clone',
  possible_duplicate: 'possible duplicate',
};

export function flagName(flag: HostFlag): string {
  // A newer server than this page may know more of them.
  return FLAGS[flag] ?? String(flag).replaceAll('_', ' ');
}
