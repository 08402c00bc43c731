/** Short names for what the API's document describes. `schema.ts` is made from it by `npm run schema`. */
import type { components } from './schema';

type Schemas = components['schemas'];

/** RFC 3339 in UTC. */
export type Timestamp = string;

/** One page of a list. */
export interface Page<T> {
  items: T[];
  next_cursor: string | null;
  /** How many there are on all pages together, where the server counts them. */
  total?: number;
}

export type Problem = Schemas['ProblemDocument'];

export type Role = Schemas['Role'];
export type Permission = Schemas['PermissionName'];
export type Preferences = Schemas['PreferencesBody'];
export type Session = Schemas['SessionAnswer'];
export type SessionUser = Schemas['SessionUser'];

export type Overview = Schemas['OverviewAnswer'];
export type Warning = Schemas['WarningItem'];

export type HostCredential = Schemas['HostCredential'];
export type Host = Schemas['HostItem'];
export type HostChange = Schemas['HostPatch'];
export type HostBatch = Schemas['HostBatchBody'];
export type HostFlag = Schemas['HostFlag'];
export type HostStatus = Schemas['HostStatus'];
export type HostState = Schemas['HostState'];
/** The newest first where nothing is said; `-` turns an order round. */
type HostOrder = 'enrolled' | 'hostname' | 'last_seen' | 'expires';
export type HostSort = HostOrder | `-${HostOrder}`;
export type Enrollment = Schemas['EnrollmentItem'];
export type HostEvent = Schemas['HostEventItem'];

export type JoinToken = Schemas['TokenItem'];
export type MintedToken = Schemas['MintedToken'];
export type MintRequest = Schemas['MintBody'];

export type EnrollmentSecret = Schemas['SecretItem'];
export type CreatedSecret = Schemas['CreatedSecret'];
export type SecretRequest = Schemas['SecretBody'];

export type User = Schemas['UserItem'];
export type UserRequest = Schemas['UserBody'];
export type UserChange = Schemas['UserPatch'];

export type ApiToken = Schemas['ApiTokenItem'];
export type CreatedApiToken = Schemas['CreatedApiToken'];
export type ApiTokenRequest = Schemas['ApiTokenBody'];

export type OwnSession = Schemas['SessionItem'];

export type Tenant = Schemas['TenantItem'];
export type AuditRecord = Schemas['AuditRecord'];
export type Outcome = Schemas['Outcome'];
export type AgentCa = Schemas['AgentCaAnswer'];

export type LiveKind = Schemas['LiveKind'];
export type LiveEvent = Schemas['LiveEvent'];
