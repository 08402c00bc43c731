/** Audit records as sentences: who did what to whom, and where that leads. */
import type { AuditRecord } from './api/types';

/** A part of a sentence; `name` is text from elsewhere. */
export type Part = { text: string } | { name: string; href: string | null };

interface Deed {
  /** "decommissioned", of what was done. */
  past: string;
  /** "decommission", of what was refused. */
  infinitive: string;
  /** Where the target has a page. */
  page?: (target: string) => string;
}

const host = (target: string) => `/hosts/${encodeURIComponent(target)}`;
const at = (address: string) => () => address;

const DEEDS: Record<string, Deed> = {
  'agent.revoke': { past: 'revoked the identity of', infinitive: 'revoke the identity of', page: host },
  'agent.rotate': { past: 'renewed the certificate of', infinitive: 'renew the certificate of' },
  'agent_ca.destroy_key': {
    past: 'destroyed the key of an old intermediate of',
    infinitive: 'destroy the key of',
    page: at('/settings/agent-ca'),
  },
  'agent_ca.init': {
    past: 'made the agent CA',
    infinitive: 'make the agent CA',
    page: at('/settings/agent-ca'),
  },
  'agent_ca.publish_list': {
    past: 'published the root’s revocation list of',
    infinitive: 'publish the root’s revocation list of',
    page: at('/settings/agent-ca'),
  },
  'agent_ca.renew': {
    past: 'renewed the intermediate of',
    infinitive: 'renew the intermediate of',
    page: at('/settings/agent-ca'),
  },
  'agent_ca.reseal': { past: 'sealed anew', infinitive: 'seal anew' },
  'agent_ca.revoke_intermediate': {
    past: 'revoked an intermediate of',
    infinitive: 'revoke an intermediate of',
    page: at('/settings/agent-ca'),
  },
  'api_token.create': {
    past: 'made the API token',
    infinitive: 'make the API token',
    page: at('/settings/api-tokens'),
  },
  'api_token.revoke': {
    past: 'revoked the API token',
    infinitive: 'revoke the API token',
    page: at('/settings/api-tokens'),
  },
  'api_token.use': { past: 'used the API token', infinitive: 'use the API token' },
  'audit.records_missing': { past: 'found that records are missing from', infinitive: 'read' },
  'certificate.deny': { past: 'denied a certificate that was shown by', infinitive: 'deny a certificate of' },
  'enrollment_secret.create': {
    past: 'made the enrollment secret',
    infinitive: 'make the enrollment secret',
    page: at('/settings/enrollment'),
  },
  'enrollment_secret.revoke': {
    past: 'revoked the enrollment secret',
    infinitive: 'revoke the enrollment secret',
    page: at('/settings/enrollment'),
  },
  'envelope.add_recovery': {
    past: 'added a second way to the envelope',
    infinitive: 'add a second way to the envelope',
  },
  'envelope.remove_recovery': {
    past: 'removed a way to the envelope',
    infinitive: 'remove a way to the envelope',
  },
  'host.change': { past: 'changed what is said of', infinitive: 'change what is said of', page: host },
  'host.decommission': { past: 'decommissioned', infinitive: 'decommission', page: host },
  'host.delete': { past: 'deleted', infinitive: 'delete' },
  'host.possible_clone': { past: 'suspects a copy of', infinitive: 'suspect a copy of', page: host },
  'host.re_enable': { past: 're-enabled', infinitive: 're-enable', page: host },
  'join_token.mint': { past: 'made the join token', infinitive: 'make the join token', page: at('/enroll') },
  'join_token.void': {
    past: 'voided the join token',
    infinitive: 'void the join token',
    page: at('/enroll'),
  },
  'request.denied': { past: 'asked for', infinitive: 'use' },
  'session.create': { past: 'signed in', infinitive: 'sign in' },
  'session.end': { past: 'signed out', infinitive: 'sign out' },
  'session.use': { past: 'used a session', infinitive: 'use a session that is not there' },
  'store.backup': { past: 'made a backup', infinitive: 'make a backup' },
  'store.confirm': { past: 'confirmed after a restore', infinitive: 'confirm after a restore' },
  'store.declare': {
    past: 'declared the store to be restored',
    infinitive: 'declare the store to be restored',
  },
  'store.replay_revocations': {
    past: 'put revocations of the journal in force',
    infinitive: 'put revocations in force',
  },
  'store.restore': { past: 'restored the store', infinitive: 'restore the store' },
  'store.rolled_back': { past: 'found that the store is older than it was', infinitive: 'read the store' },
  'tenant.create': { past: 'made the tenant', infinitive: 'make the tenant' },
  'user.change': { past: 'changed the user', infinitive: 'change the user', page: at('/settings/users') },
  'user.create': { past: 'added the user', infinitive: 'add the user', page: at('/settings/users') },
  'user.preferences': { past: 'changed their preferences', infinitive: 'change their preferences' },
};

/** Of these nothing is added: who did it is whom it is about, or there is one of it. */
const ALONE = [
  'agent_ca.init',
  'envelope.add_recovery',
  'envelope.remove_recovery',
  'session.create',
  'session.end',
  'session.use',
  'store.backup',
  'store.confirm',
  'store.declare',
  'store.replay_revocations',
  'store.restore',
  'store.rolled_back',
  'user.preferences',
];

const REASONS: Record<string, string> = {
  bad_chain: 'another CA issued its certificate',
  bad_csr: 'its request can’t be used',
  bad_proof: 'it does not hold the key of its certificate',
  exhausted: 'the secret is used up',
  expired: 'it has expired',
  host_decommissioned: 'its host is decommissioned',
  identity_revoked: 'its identity is revoked',
  key_reused: 'it used that key before',
  key_taken: 'another identity holds that key',
  maker_gone: 'whoever made the token is gone',
  malformed_credential: 'what it showed is no credential',
  malformed_token: 'what it showed is no token',
  permission_denied: 'the permission is missing',
  revoked: 'it is revoked',
  secret_exhausted: 'another one took the last use',
  suspended: 'nobody has confirmed it since a restore',
  svid_expired: 'its certificate has expired',
  token_expired: 'the token has expired',
  token_used: 'the token was used before',
  token_voided: 'the token was voided',
  too_often: 'it asked too often',
  unknown_credential: 'nobody knows that credential',
  unknown_serial: 'its certificate is on no record',
  unknown_session: 'there is no such session',
  unknown_token: 'nobody knows that token',
  wrong_credentials: 'username or password are wrong',
  wrong_password: 'the password is wrong',
  wrong_secret: 'the secret part is wrong',
};

function who(actor: string): Part {
  const [kind, ...rest] = actor.split(':');
  const name = rest.join(':');
  switch (kind) {
    case 'user':
      return { name, href: `/audit?${new URLSearchParams({ actor }).toString()}` };
    case 'local':
      return { text: 'The local operator' };
    case 'token':
      return { name: `API token ${name}`, href: `/audit?${new URLSearchParams({ actor }).toString()}` };
    case 'agent':
      return { name, href: null };
    case 'muster':
      return { text: 'Muster' };
    case 'anonymous':
      return { text: 'Somebody' };
    default:
      return { name: actor, href: null };
  }
}

/** What the target is called, where the record knows. */
function named(record: AuditRecord): string {
  const hostname = record.names?.hostname?.name;
  const { detail, target } = record;
  return hostname ?? detail.name ?? detail.username ?? detail.agent_id ?? target ?? '';
}

/** What follows the deed: how often, and what else is worth a clause. */
function tail(record: AuditRecord): string {
  const { detail, reason, outcome } = record;
  const clauses: string[] = [];
  if (detail.added) clauses.push(`added ${detail.added}`);
  if (detail.removed) clauses.push(`took away ${detail.removed}`);
  if (record.action === 'host.change' && detail.note) clauses.push(`note ${detail.note}`);
  if (outcome === 'refused' && reason) clauses.push(REASONS[reason] ?? reason.replaceAll('_', ' '));
  const times = Number(detail.repeats);
  if (times > 1) clauses.push(`${times.toLocaleString('en')} times`);
  return clauses.length > 0 ? `: ${clauses.join('; ')}` : '';
}

function enrolled(record: AuditRecord): Part[] {
  const { detail, target, names, outcome } = record;
  const hostname = names?.hostname?.name;
  const via = { token: 'a join token', secret: 'an enrollment secret' }[detail.via ?? ''];
  if (outcome === 'refused') {
    const subject: Part = hostname ? { name: hostname, href: null } : { text: 'A machine' };
    return [subject, { text: ` was refused to enroll${tail(record)}` }];
  }
  const subject: Part = {
    name: hostname ?? spiffeAgent(detail.spiffe_id ?? '') ?? target ?? '',
    href: target ? host(target) : null,
  };
  return [subject, { text: ` enrolled${via ? ` with ${via}` : ''}${tail(record)}` }];
}

/** The agent in a SPIFFE id. */
function spiffeAgent(id: string): string | undefined {
  return /\/agent\/([^/]+)$/.exec(id)?.[1];
}

export function sentenceOf(record: AuditRecord): Part[] {
  const { action, actor, outcome, target } = record;
  if (action === 'agent.enroll') return enrolled(record);
  const deed = DEEDS[action] ?? {
    past: `did ${action.replaceAll(/[._]/g, ' ')}:`,
    infinitive: `do ${action.replaceAll(/[._]/g, ' ')}:`,
  };
  const refused = outcome === 'refused';
  const did = refused ? `was refused to ${deed.infinitive}` : deed.past;
  // Agents renew for themselves, and show by it who they are.
  if (action === 'agent.rotate') {
    const name =
      record.names?.hostname?.name ?? spiffeAgent(target ?? record.detail.spiffe_id ?? '') ?? target ?? '';
    const page = target && !target.includes('/') ? host(target) : null;
    const words = refused ? ' was refused to renew its certificate' : ' renewed its certificate';
    return [{ name, href: page }, { text: words + tail(record) }];
  }
  const name = named(record);
  if (ALONE.includes(action) || name === '') {
    const subject: Part =
      action.startsWith('session.') && actor === 'anonymous' && target
        ? { name: target, href: null }
        : who(actor);
    return [subject, { text: ` ${did}${tail(record)}` }];
  }
  const href = target && deed.page ? deed.page(target) : null;
  return [who(actor), { text: ` ${did} ` }, { name, href }, { text: tail(record) }];
}

/** The same as plain text. */
export function plainSentence(record: AuditRecord): string {
  return sentenceOf(record)
    .map((part) => ('text' in part ? part.text : part.name))
    .join('');
}

/** The address of one record: the moment at which it was written, and its number. */
export function addressOf(record: AuditRecord): string {
  const until = new Date(Date.parse(record.at) + 1).toISOString();
  return `/audit?${new URLSearchParams({ from: record.at, until, record: String(record.seq) }).toString()}`;
}
