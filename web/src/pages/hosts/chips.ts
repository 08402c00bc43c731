/** The filters of an address in words, each with the parameter that it is. */
import type { HostQuery } from '../../api/client';
import { flagName } from '../../hosts';

export interface Chip {
  name: string;
  label: string;
}

const ORDERS: Record<string, string> = { expires: 'certificate expiry', last_seen: 'last report' };

/** In the order in which they are shown; the last one goes first when the line is emptied. */
export function chips(query: HostQuery, secretName: string | null): Chip[] {
  const by = query.sort.replace('-', '');
  const all: (Chip | false | null | '')[] = [
    query.state === 'revoked' && { name: 'state', label: 'Revoked' },
    query.state === 'never_reported' && { name: 'state', label: 'Enrolled, not reporting yet' },
    query.state === 'in_service' && { name: 'state', label: 'Has reported' },
    query.flag && { name: 'flag', label: `Flagged ${flagName(query.flag)}` },
    query.tag && { name: 'tag', label: `Tagged ${query.tag}` },
    query.secret && { name: 'secret', label: `Let in by ${secretName ?? query.secret}` },
    query.os && { name: 'os', label: `System with ${query.os}` },
    query.version && {
      name: 'version',
      label: query.version.startsWith('<')
        ? `Agent older than ${query.version.slice(1)}`
        : `Agent ${query.version}`,
    },
    query.silentFor && { name: 'silent_for', label: `Silent for ${query.silentFor}` },
    query.overdue && { name: 'overdue', label: 'Should have renewed' },
    by in ORDERS && by === 'expires' && { name: 'sort', label: `Sorted by ${ORDERS[by] ?? by}` },
  ];
  return all.filter((chip): chip is Chip => typeof chip === 'object' && chip !== null);
}
