/** Hosts as comma-separated values. */
import type { Host } from '../../api/types';
import { line } from '../../csv';

const COLUMNS: readonly (readonly [string, (host: Host) => string | null])[] = [
  ['hostname', (host) => host.hostname],
  ['agent_id', (host) => host.agent_id],
  ['state', (host) => host.state],
  ['status', (host) => host.status],
  ['ips', (host) => host.ips.join(' ')],
  ['os', (host) => host.os],
  ['arch', (host) => host.arch],
  ['agent_version', (host) => host.agent_version],
  ['tags', (host) => host.tags.join(' ')],
  ['flags', (host) => host.flags.join(' ')],
  ['note', (host) => host.note],
  ['first_enrolled_at', (host) => host.first_enrolled_at],
  ['last_seen', (host) => host.last_seen],
  ['svid_not_after', (host) => host.svid_not_after],
  ['decommissioned_at', (host) => host.decommissioned_at],
  ['let_in_by', (host) => host.credential?.name ?? host.credential?.id ?? null],
  ['spiffe_id', (host) => host.spiffe_id],
  ['id', (host) => host.id],
];

export const HEAD = line(COLUMNS.map(([name]) => name));

export function rows(hosts: readonly Host[]): string {
  return hosts.map((host) => line(COLUMNS.map(([, of]) => of(host)))).join('');
}
