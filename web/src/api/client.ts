/** Everything the pages ask of the server, by name. */
import type { Answer, Input, Operation, PathOf, Verb } from './operations';
import { ApiError, address, ask } from './request';
import type {
  ApiTokenRequest,
  HostBatch,
  HostChange,
  HostFlag,
  HostSort,
  HostState,
  HostStatus,
  MintRequest,
  Outcome,
  Page,
  Preferences,
  SecretRequest,
  UserChange,
  UserRequest,
} from './types';

export { ApiError };

/** The most items the server puts on a page. */
const PAGE_MAX = 500;

/** What the client must be told by the session it works for. */
interface Surroundings {
  /** Changes whenever somebody signs in; a refusal of an earlier session's request says nothing now. */
  epoch(): number;
  /** Whether pages stand out of sight, waiting for their user to come back; until then they ask nothing. */
  away(): boolean;
  refused(): void;
  forbidden(): void;
  /** The tenant that a user of all tenants has chosen. */
  tenant(): string | null;
}

let surroundings: Surroundings = {
  epoch: () => 0,
  away: () => false,
  refused: () => undefined,
  forbidden: () => undefined,
  tenant: () => null,
};

export function attach(to: Surroundings): void {
  surroundings = to;
}

/**
 * A request within the session: its refusal tells the session. When the session has ended, nothing is sent: a page that
 * its user left behind would ask in the name of whoever signs in next.
 */
async function request<V extends Verb, P extends PathOf<V>>(
  verb: V,
  path: P,
  input: Input<Operation<V, P>>,
): Promise<Answer<Operation<V, P>>> {
  if (surroundings.away()) throw new ApiError(401, 'unauthenticated', 'Your session has ended.');
  const epoch = surroundings.epoch();
  try {
    return await ask(verb, path, input);
  } catch (error) {
    if (error instanceof ApiError && epoch === surroundings.epoch()) {
      if (error.status === 401) surroundings.refused();
      if (error.status === 403) surroundings.forbidden();
    }
    throw error;
  }
}

/** Follows a list to its end. For lists that people make by hand, whose length has a human scale. */
async function all<T>(fetch: (cursor: string | null) => Promise<Page<T>>): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | null = null;
  do {
    const page: Page<T> = await fetch(cursor);
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor !== null);
  return items;
}

export interface HostQuery {
  q: string;
  status: HostStatus | null;
  state: HostState | null;
  flag: HostFlag | null;
  tag: string | null;
  /** The id of what let them in. */
  secret: string | null;
  os: string | null;
  version: string | null;
  /** Not heard of for so long: a duration as the server writes them. */
  silentFor: string | null;
  overdue: boolean;
  sort: HostSort;
}

/** Every host in service, the newest first. */
export const ANY_HOST: HostQuery = {
  q: '',
  status: null,
  state: null,
  flag: null,
  tag: null,
  secret: null,
  os: null,
  version: null,
  silentFor: null,
  overdue: false,
  sort: 'enrolled',
};

export interface AuditQuery {
  q: string;
  actor: string;
  action: string;
  outcome: Outcome | null;
  from: string;
  until: string;
  /** Of all tenants, and of none. */
  spanning: boolean;
}

const limit = PAGE_MAX;
/** For the operations that tenants divide; the others don't take it. */
const tenant = () => surroundings.tenant();
/** For lists that can span all tenants, and what belongs to none. */
const within = (all: boolean) => (all ? null : tenant());
/** Of people and tokens, those that can act in the tenant: its own, and those of all tenants. */
function acting<T extends { tenant_id: string | null }>(spanning: boolean, items: T[]): T[] {
  const here = within(spanning);
  return here === null ? items : items.filter(({ tenant_id }) => tenant_id === null || tenant_id === here);
}

export const api = {
  /** Of all tenants that the user may see: the stream outlives the choice of one. */
  eventsUrl: () => address('get', '/v1/events', {}),

  // Sessions answer 401 as part of their normal work, so they go past the session's own watch.
  session: () => ask('get', '/v1/session/if-any', {}),
  signIn: (username: string, password: string) =>
    ask('post', '/v1/session', { body: { username, password } }),
  signOut: () => ask('delete', '/v1/session', {}),
  /** Asked before any page is: which of them is meant has to be known first. */
  tenants: () => all((cursor) => ask('get', '/v1/tenants', { query: { limit, cursor } })),
  savePreferences: (body: Preferences) => request('put', '/v1/session/preferences', { body }),

  overview: (signal?: AbortSignal) => request('get', '/v1/overview', { query: { tenant: tenant() }, signal }),

  onlineHistory: (signal?: AbortSignal) =>
    request('get', '/v1/overview/online', { query: { tenant: tenant() }, signal }),

  hosts: (query: HostQuery, limit: number, cursor: string | null, signal?: AbortSignal) =>
    request('get', '/v1/hosts', {
      query: {
        q: query.q,
        status: query.status,
        state: query.state,
        flag: query.flag,
        tag: query.tag,
        secret: query.secret,
        os: query.os,
        version: query.version,
        silent_for: query.silentFor,
        overdue: query.overdue || null,
        sort: query.sort === 'enrolled' ? null : query.sort,
        limit,
        cursor,
        tenant: tenant(),
      },
      signal,
    }),
  host: (id: string, signal?: AbortSignal) =>
    request('get', '/v1/hosts/{id}', { path: { id }, query: { tenant: tenant() }, signal }),
  enrollments: (id: string, limit: number, cursor: string | null, signal?: AbortSignal) =>
    request('get', '/v1/hosts/{id}/enrollments', {
      path: { id },
      query: { limit, cursor, tenant: tenant() },
      signal,
    }),
  hostEvents: (id: string, limit: number, cursor: string | null, signal?: AbortSignal) =>
    request('get', '/v1/hosts/{id}/events', {
      path: { id },
      query: { limit, cursor, tenant: tenant() },
      signal,
    }),
  decommission: (id: string) =>
    request('post', '/v1/hosts/{id}/decommission', { path: { id }, query: { tenant: tenant() } }),
  reEnable: (id: string) =>
    request('post', '/v1/hosts/{id}/re-enable', { path: { id }, query: { tenant: tenant() } }),
  changeHost: (id: string, body: HostChange) =>
    request('patch', '/v1/hosts/{id}', { path: { id }, query: { tenant: tenant() }, body }),
  /** All of them or none. */
  changeHosts: (body: HostBatch) => request('post', '/v1/hosts/batch', { query: { tenant: tenant() }, body }),
  deleteHost: (id: string) =>
    request('delete', '/v1/hosts/{id}', { path: { id }, query: { tenant: tenant() } }),

  mintToken: (body: MintRequest) =>
    request('post', '/v1/agents/enroll-tokens', { query: { tenant: tenant() }, body }),
  tokens: (limit: number, cursor: string | null, signal?: AbortSignal) =>
    request('get', '/v1/agents/enroll-tokens', { query: { limit, cursor, tenant: tenant() }, signal }),
  voidToken: (id: string) =>
    request('delete', '/v1/agents/enroll-tokens/{id}', { path: { id }, query: { tenant: tenant() } }),

  secrets: (state: 'active' | 'revoked', signal?: AbortSignal) =>
    all((cursor) =>
      request('get', '/v1/enrollment-secrets', { query: { state, limit, cursor, tenant: tenant() }, signal }),
    ),
  createSecret: (body: SecretRequest) =>
    request('post', '/v1/enrollment-secrets', { query: { tenant: tenant() }, body }),
  revokeSecret: (id: string) =>
    request('post', '/v1/enrollment-secrets/{id}/revoke', { path: { id }, query: { tenant: tenant() } }),

  users: async (spanning: boolean, signal?: AbortSignal) =>
    acting(
      spanning,
      await all((cursor) => request('get', '/v1/users', { query: { limit, cursor }, signal })),
    ),
  createUser: (body: UserRequest) => request('post', '/v1/users', { body }),
  changeUser: (id: string, body: UserChange) => request('patch', '/v1/users/{id}', { path: { id }, body }),

  apiTokens: async (spanning: boolean, signal?: AbortSignal) =>
    acting(
      spanning,
      await all((cursor) => request('get', '/v1/api-tokens', { query: { limit, cursor }, signal })),
    ),
  createApiToken: (body: ApiTokenRequest) =>
    request('post', '/v1/api-tokens', { query: { tenant: tenant() }, body }),
  revokeApiToken: (id: string) => request('delete', '/v1/api-tokens/{id}', { path: { id } }),

  ownSessions: (signal?: AbortSignal) =>
    all((cursor) => request('get', '/v1/account/sessions', { query: { limit, cursor }, signal })),
  endOwnSession: (id: string) => request('delete', '/v1/account/sessions/{id}', { path: { id } }),
  changeOwnPassword: (current: string, fresh: string, end_api_tokens: boolean) =>
    request('put', '/v1/account/password', { body: { current, new: fresh, end_api_tokens } }),

  audit: ({ spanning, ...query }: AuditQuery, limit: number, cursor: string | null, signal?: AbortSignal) =>
    request('get', '/v1/audit', { query: { ...query, limit, cursor, tenant: within(spanning) }, signal }),

  verifyAudit: () => request('get', '/v1/audit/verify', {}),

  agentCa: (signal?: AbortSignal) => request('get', '/v1/agent-ca', { signal }),
};
