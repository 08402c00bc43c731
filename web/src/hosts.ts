/** What a host is called, and how it is. */
import type { Host, HostCredential, HostFlag } from './api/types';

/** A host without a hostname goes by its agent id. */
export function hostName(host: Host): string {
  return host.hostname || host.agent_id;
}

const FLAGS: Record<HostFlag, string> = {
  possible_clone: 'possible clone',
  possible_duplicate: 'possible duplicate',
  recovered: 'came back after a restore',
};

export function flagName(flag: HostFlag): string {
  // A newer server than this page may know more of them.
  return FLAGS[flag] ?? String(flag).replaceAll('_', ' ');
}

export interface Standing {
  words: string;
  kind: 'good' | 'plain' | 'bad' | 'warn';
}

/** How a host is, in the words that all pages use for it. */
export function standing(host: Host): Standing {
  switch (host.state) {
    case 'decommissioned':
      return { words: 'Decommissioned', kind: 'bad' };
    case 'revoked':
      return { words: 'Revoked', kind: 'bad' };
    case 'never_reported':
      return { words: 'Enrolled, not reporting yet', kind: 'warn' };
    default:
      return host.status === 'online'
        ? { words: 'Online', kind: 'good' }
        : { words: 'Offline', kind: 'plain' };
  }
}

/** How a host's certificate is: renewed in time, late with it, or past its end. */
export function renewal(host: Host, now: number): 'fine' | 'late' | 'over' {
  if (host.decommissioned_at !== null || host.revoked_at !== null) return 'fine';
  const end = Date.parse(host.svid_not_after);
  if (end <= now) return 'over';
  const life = end - Date.parse(host.svid_issued_at);
  return host.state === 'in_service' && end - now < life * LATE ? 'late' : 'fine';
}

/** Agents renew when a third of the life is left; with a quarter left, the server calls it overdue. */
const LATE = 1 / 4;

/** The enrollment secret that let a host in, while it lets others in, and so perhaps this one again. */
export function openSecret(host: Host): HostCredential | null {
  const credential = host.credential ?? null;
  return credential?.kind === 'secret' && credential.state === 'active' ? credential : null;
}

/** The subject of a host's certificates in each of the forms in which programs want it (RFC 2253 has the last part first). */
export function subjects(spiffeId: string): { form: string; text: string }[] {
  const found = /^spiffe:\/\/([^/]+)\/tenant\/([^/]+)\/agent\/([^/]+)$/.exec(spiffeId);
  if (!found) return [];
  const [, domain, tenant, agent] = found;
  return [
    { form: 'in order', text: `CN=${agent}, OU=${tenant}, O=${domain}` },
    { form: 'NATS, mosquitto', text: `O=${domain},OU=${tenant},CN=${agent}` },
    { form: 'MariaDB', text: `/CN=${agent}/OU=${tenant}/O=${domain}` },
  ];
}
