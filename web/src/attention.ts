/** What needs somebody, in an order, each with a verb that leads to exactly what it is about. */
import type { EnrollmentSecret, Warning } from './api/types';

/** What somebody does about it: goes to a page, or runs a command on the server's machine. */
export type Verb = { kind: 'go'; label: string; href: string } | { kind: 'run'; command: string };

export interface Need {
  code: string;
  severity: 'critical' | 'soon' | 'tidy';
  at: string | null;
  message: string;
  hint: string;
  verb: Verb | null;
}

export const RANKS = ['critical', 'soon', 'tidy'] as const;

/** Of findings that no page lists: what helps on the server's machine. */
const COMMANDS: Record<string, string> = {
  backup_failed: 'muster backup /path/on/another/disk/muster.backup',
  backup_missing: 'muster backup /path/on/another/disk/muster.backup',
  backup_same_disk: 'muster backup /path/on/another/disk/muster.backup',
  chain_broken: 'muster audit verify',
  commit_failed: 'muster check',
  envelope_beside_data: 'muster envelope recovery add age1…',
  no_agent_ca: 'muster agent-ca init > root-key.pem',
  replica_behind: 'muster replica status',
  rolled_back: 'muster restore declare --journal revocations.log',
  store_damaged: 'muster check',
  suspended: 'muster restore confirm secrets --list',
  unsafe_replica: 'muster replica status',
};

/** Where the agent CA's page says more than a command could. */
const ON_THE_CA_PAGE = ['root_key_on_disk', 'server_certificate_expiry', 'server_certificate_names'];

const RENEWALS = ['intermediate_expiry', 'root_expiry', 'server_certificate_expiry', 'root_list_missing'];

function goes(warning: Warning, href: string): Verb {
  if (href.startsWith('/hosts')) {
    const label = warning.count === 1 ? 'Show the host' : `Show all ${warning.count.toLocaleString('en')}`;
    return { kind: 'go', label, href };
  }
  return { kind: 'go', label: RENEWALS.includes(warning.code) ? 'See how to renew' : 'See what to do', href };
}

function verbOf(warning: Warning): Verb | null {
  if (warning.target?.startsWith('/')) return goes(warning, warning.target);
  if (ON_THE_CA_PAGE.includes(warning.code)) return goes(warning, '/settings/agent-ca');
  const command = COMMANDS[warning.code];
  return command === undefined ? null : { kind: 'run', command };
}

export function needOf(warning: Warning): Need {
  const { code, at, message, hint } = warning;
  // A newer server may know more of them; none is too unimportant to be read.
  const severity = RANKS.find((rank) => rank === warning.severity) ?? 'soon';
  return { code, severity, at, message, hint, verb: verbOf(warning) };
}

/** A secret that admits nobody any more, and machines that try it all the same. */
export interface Refused {
  secret: EnrollmentSecret;
  refused: number;
  /** Whether there are more than were counted. */
  more: boolean;
}

export function needOfSecret({ secret, refused, more }: Refused): Need {
  const many = `${refused.toLocaleString('en')}${more ? ' or more' : ''}`;
  const times = refused === 1 ? 'One enrollment' : `${many} enrollments`;
  return {
    code: 'secret_refuses',
    severity: 'soon',
    at: null,
    message: `${times} with the secret “${secret.name}” ${refused === 1 ? 'was' : 'were'} refused in the last day: it admits nobody any more`,
    hint: 'Give those machines another secret, or revoke this one where they should not come.',
    verb: {
      kind: 'go',
      label: refused === 1 ? 'Show the refusal' : 'Show the refusals',
      href: `/audit?${new URLSearchParams({ q: secret.id, outcome: 'refused' }).toString()}`,
    },
  };
}

/** The most urgent first; the server has ranked its own. */
export function ranked(needs: readonly Need[]): Need[] {
  return needs.toSorted((a, b) => RANKS.indexOf(a.severity) - RANKS.indexOf(b.severity));
}

/** How many there are of each rank that there are any of: "2 critical, 1 to tidy". */
export function counted(needs: readonly Need[]): string {
  const words = { critical: 'critical', soon: 'soon', tidy: 'to tidy' };
  return RANKS.flatMap((rank) => {
    const count = needs.filter((need) => need.severity === rank).length;
    return count > 0 ? [`${count} ${words[rank]}`] : [];
  }).join(', ');
}
