/** What a host is called. */
import type { Host } from './api/types';

/** A host without a hostname goes by its agent id. */
export function hostName(host: Host): string {
  return host.hostname || host.agent_id;
}

const FLAGS: Record<string, string> = {
  possible_clone: 'possible clone',
  possible_duplicate: 'possible duplicate',
};

export function flagName(flag: string): string {
  return FLAGS[flag] ?? flag.replaceAll('_', ' ');
}
