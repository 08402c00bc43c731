/** The agent CA's certificates as a family with a time each: what stands below what, and what each is good for now. */
import type { AgentCa } from '../../../api/types';

type Certificate = AgentCa['certificates'][number];

export type Standing = 'root' | 'issues' | 'waits' | 'old' | 'revoked' | 'expired';

export interface Member {
  certificate: Certificate;
  standing: Standing;
  /** In words. */
  words: string;
  /** Where its life begins and ends on the common axis, from 0 to 1. */
  from: number;
  until: number;
}

export interface Family {
  members: Member[];
  /** Where the present is on the axis. */
  now: number;
}

const WORDS: Record<Standing, string> = {
  root: 'signs intermediates alone; its key belongs offline',
  issues: 'issues certificates of agents now',
  waits: 'published already, issues later',
  old: 'issues no more; stays until its last certificate has expired',
  revoked: 'revoked',
  expired: 'expired',
};

function standingOf(certificate: Certificate, issuing: Certificate | undefined, now: number): Standing {
  if (Date.parse(certificate.not_after) <= now) return 'expired';
  if (certificate.revoked_at !== null) return 'revoked';
  if (certificate.role === 'root') return 'root';
  if (certificate === issuing) return 'issues';
  const from = certificate.issuing_from === null ? Number.NaN : Date.parse(certificate.issuing_from);
  return from > now ? 'waits' : 'old';
}

/** The intermediate that issues: of those that may by now, the one that began last. */
function issuer(certificates: readonly Certificate[], now: number): Certificate | undefined {
  const may = certificates.filter(
    ({ role, revoked_at, issuing_from, not_after }) =>
      role !== 'root' &&
      revoked_at === null &&
      issuing_from !== null &&
      Date.parse(issuing_from) <= now &&
      Date.parse(not_after) > now,
  );
  return may.toSorted((a, b) => Date.parse(b.issuing_from ?? '') - Date.parse(a.issuing_from ?? ''))[0];
}

export function family(certificates: readonly Certificate[], now: number): Family {
  const issuing = issuer(certificates, now);
  const begin = Math.min(now, ...certificates.map(({ not_before }) => Date.parse(not_before)));
  const end = Math.max(now, ...certificates.map(({ not_after }) => Date.parse(not_after)));
  const span = Math.max(1, end - begin);
  // A year beside ten must still be seen, so that near times get more of the axis.
  const place = (at: number) => Math.sqrt(Math.max(0, at - begin) / span);
  const members = certificates.map((certificate) => {
    const standing = standingOf(certificate, issuing, now);
    return {
      certificate,
      standing,
      words: WORDS[standing],
      from: place(Date.parse(certificate.not_before)),
      until: place(Date.parse(certificate.not_after)),
    };
  });
  // Roots first, each rank the newest first.
  const rank = ({ certificate: { role } }: Member) => (role === 'root' ? 0 : 1);
  const age = ({ certificate: { not_before } }: Member) => Date.parse(not_before);
  return { members: members.toSorted((a, b) => rank(a) - rank(b) || age(b) - age(a)), now: place(now) };
}
