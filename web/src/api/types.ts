/** What the server's JSON looks like. Times are RFC 3339 in UTC. */

export type Timestamp = string;

export type Role = 'admin' | 'operator' | 'viewer';

export const ROLES: readonly Role[] = ['admin', 'operator', 'viewer'];

export type Permission =
  | 'agent.read'
  | 'agent.write'
  | 'host.write'
  | 'secret.write'
  | 'user.write'
  | 'token.write'
  | 'tenant.write'
  | 'audit.read';

export interface Page<T> {
  items: T[];
  next_cursor: string | null;
}

/** A page of a list whose matching items the server has counted. */
export interface CountedPage<T> extends Page<T> {
  total: number;
}

export interface Problem {
  code: string;
  status: number;
  title: string;
  detail: string;
}

export interface Preferences {
  time_zone: 'local' | 'utc';
  clock: '24h' | '12h';
}

export interface Session {
  user: { id: string; username: string; role: Role; tenant_id: string | null };
  preferences: Preferences;
  permissions: Permission[];
  expires_at: Timestamp;
}

export interface Overview {
  hosts_online: number;
  /** Hosts that are not decommissioned. */
  hosts_total: number;
  hosts_decommissioned: number;
  not_reported_24h: number;
  /** Thirty days, oldest first. */
  enrollments_per_day: { date: string; count: number }[];
  agent_ca: { trust_domain: string; root_not_after: Timestamp; intermediate_not_after: Timestamp } | null;
  server_certificate: { not_after: Timestamp; pin: string } | null;
  outage_forecast: {
    first_expiry: Timestamp | null;
    half_expired: Timestamp | null;
    all_expired: Timestamp | null;
  };
  warnings: { code: string; message: string; hint: string }[];
}

export interface Host {
  id: string;
  agent_id: string;
  tenant_id: string;
  spiffe_id: string | null;
  hostname: string | null;
  os: string | null;
  arch: string | null;
  ips: string[];
  machine_id: string | null;
  agent_version: string | null;
  status: 'online' | 'offline';
  first_enrolled_at: Timestamp;
  last_seen: Timestamp | null;
  decommissioned_at: Timestamp | null;
  svid_not_after: Timestamp | null;
  flags: string[];
}

export interface Enrollment {
  serial: string;
  host_id: string;
  tenant_id: string;
  via: 'token' | 'secret' | 'rotation';
  credential_id: string | null;
  issued_at: Timestamp;
  not_before: Timestamp;
  not_after: Timestamp;
  peer: string | null;
  revoked: boolean;
  revoked_at: Timestamp | null;
  reason: string | null;
}

/** One entry of a host's timeline. */
export interface HostEvent {
  id: string | number;
  at: Timestamp;
  kind: string;
  /** Who says so; what the agent says of itself is no more than that. */
  source: 'server' | 'agent';
  detail: Record<string, unknown> | null;
}

export interface JoinToken {
  id: string;
  tenant_id: string;
  agent_id: string | null;
  name: string | null;
  state: 'open' | 'used' | 'expired' | 'voided';
  created_at: Timestamp;
  expires_at: Timestamp;
  used_at: Timestamp | null;
  voided_at: Timestamp | null;
}

/** The only answer with a join token's text. */
export interface MintedToken extends JoinToken {
  token: string;
  ca_pin: string | null;
}

export interface MintRequest {
  agent_id?: string;
  name?: string;
  ttl_seconds?: number;
}

export interface EnrollmentSecret {
  id: string;
  name: string;
  created_at: Timestamp;
  uses: number;
  max_uses: number | null;
  expires_at: Timestamp | null;
  last_used_at: Timestamp | null;
  revoked_at: Timestamp | null;
}

/** The only answer with an enrollment secret's text. */
export interface CreatedSecret extends EnrollmentSecret {
  secret: string;
}

/** `max_uses` is sent as it was typed; the server says what is wrong with it. */
export interface SecretRequest {
  name: string;
  max_uses?: number | string;
}

export interface User {
  id: string;
  username: string;
  role: Role;
  tenant_id: string | null;
  disabled: boolean;
  created_at: Timestamp;
}

export interface UserRequest {
  username: string;
  password: string;
  role: Role;
  tenant_id?: string | null;
}

export interface UserChange {
  role?: Role;
  disabled?: boolean;
  password?: string;
}

export interface ApiToken {
  id: string;
  name: string;
  permissions: Permission[];
  created_at: Timestamp;
  expires_at: Timestamp | null;
  last_used_at: Timestamp | null;
  created_by: string | null;
}

/** The only answer with an API token's text. */
export interface CreatedApiToken extends ApiToken {
  token: string;
}

export interface ApiTokenRequest {
  name: string;
  permissions: Permission[];
  ttl_seconds?: number;
}

export interface Tenant {
  id: string;
  name: string;
}

export interface AuditRecord {
  seq: number;
  at: Timestamp;
  actor: string;
  source: string | null;
  tenant_id: string | null;
  action: string;
  target: string | null;
  outcome: 'success' | 'refused';
  reason: string | null;
  detail: unknown;
  prev_hash: string;
  hash: string;
}

export interface AgentCa {
  trust_domain: string;
  certificates: CaCertificate[];
  server_pin: string | null;
}

export interface CaCertificate {
  role: string;
  subject: string;
  serial: string;
  not_before: Timestamp;
  not_after: Timestamp;
  sha256: string;
}

/** What server-sent events say: that something changed, and of which host. */
export type LiveKind = 'host' | 'timeline' | 'enrollment' | 'secret' | 'revocation' | 'resync';

export interface LiveEvent {
  kind: LiveKind;
  host_id?: string;
}
