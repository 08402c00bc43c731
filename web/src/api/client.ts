/**
 * The one place that speaks to the server. Every answer that is not a success becomes an `ApiError`;
 * nothing secret is ever put into an address.
 */
import type {
  AgentCa,
  ApiToken,
  ApiTokenRequest,
  AuditRecord,
  CountedPage,
  CreatedApiToken,
  CreatedSecret,
  Enrollment,
  EnrollmentSecret,
  Host,
  HostEvent,
  JoinToken,
  MintRequest,
  MintedToken,
  Overview,
  Page,
  Preferences,
  Problem,
  SecretRequest,
  Session,
  Tenant,
  User,
  UserChange,
  UserRequest,
} from './types';

const BASE = '/v1';

/** The server answers within 30 seconds or not at all. */
const PATIENCE_MS = 35_000;

/** The most items the server puts on a page. */
const PAGE_MAX = 500;

/** Why a request did not succeed. `status` 0: no answer came. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    readonly detail: string,
    readonly retryAfter: number | null = null,
  ) {
    super(detail);
    this.name = 'ApiError';
  }
}

type Query = Record<string, string | number | null | undefined>;

/** What the client must be told by the session it works for. */
interface Surroundings {
  /** Changes whenever somebody signs in; a refusal of an earlier session's request says nothing now. */
  epoch(): number;
  refused(): void;
  forbidden(): void;
  /** The tenant that a user of all tenants has chosen. */
  tenant(): string | null;
}

let surroundings: Surroundings = {
  epoch: () => 0,
  refused: () => undefined,
  forbidden: () => undefined,
  tenant: () => null,
};

export function attach(to: Surroundings): void {
  surroundings = to;
}

/** The address of a route, with the chosen tenant when it is one that tenants divide. */
function address(path: string, query: Query = {}, inTenant = true): string {
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries({ ...query, tenant: inTenant ? surroundings.tenant() : null })) {
    if (value !== null && value !== undefined && value !== '') params.set(name, String(value));
  }
  const text = params.toString();
  return `${BASE}${path}${text ? `?${text}` : ''}`;
}

async function send(method: string, url: string, body?: unknown, signal?: AbortSignal): Promise<unknown> {
  const limit = AbortSignal.timeout(PATIENCE_MS);
  const init: RequestInit = {
    method,
    headers: { accept: 'application/json, application/problem+json' },
    credentials: 'same-origin',
    cache: 'no-store',
    signal: signal ? AbortSignal.any([signal, limit]) : limit,
  };
  if (body !== undefined) {
    init.body = JSON.stringify(body);
    init.headers = { ...init.headers, 'content-type': 'application/json' };
  }
  let response: Response;
  let text: string;
  try {
    response = await fetch(url, init);
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    if (limit.aborted) throw new ApiError(0, 'timeout', 'The server took too long to answer.');
    throw new ApiError(0, 'unreachable', 'The server could not be reached.');
  }
  const content = parsed(text);
  if (response.ok && (content !== undefined || text === '')) return content;
  throw problem(response, content);
}

function parsed(text: string): unknown {
  try {
    return text === '' ? undefined : JSON.parse(text);
  } catch {
    return undefined;
  }
}

function problem(response: Response, content: unknown): ApiError {
  const document = (typeof content === 'object' && content !== null ? content : {}) as Partial<Problem>;
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN);
  return new ApiError(
    // A success that is not JSON comes from something between us and the server.
    response.ok ? 502 : response.status,
    document.code ?? 'unknown',
    document.detail ?? '',
    Number.isFinite(seconds) ? seconds : null,
  );
}

/** A request within the session: its refusal tells the session. */
async function request<T>(method: string, url: string, body?: unknown, signal?: AbortSignal): Promise<T> {
  const epoch = surroundings.epoch();
  try {
    return (await send(method, url, body, signal)) as T;
  } catch (error) {
    if (error instanceof ApiError && epoch === surroundings.epoch()) {
      if (error.status === 401) surroundings.refused();
      if (error.status === 403) surroundings.forbidden();
    }
    throw error;
  }
}

const get = <T>(path: string, query?: Query, signal?: AbortSignal) =>
  request<T>('GET', address(path, query), undefined, signal);
const post = <T>(path: string, body?: unknown) => request<T>('POST', address(path), body);
const remove = (path: string) => request<unknown>('DELETE', address(path));

const part = encodeURIComponent;

/** Follows a list to its end. For lists that people make by hand, whose length has a human scale. */
async function all<T>(path: string, query: Query = {}, signal?: AbortSignal): Promise<T[]> {
  const items: T[] = [];
  let cursor: string | null = null;
  do {
    const page: Page<T> = await get(path, { ...query, limit: PAGE_MAX, cursor }, signal);
    items.push(...page.items);
    cursor = page.next_cursor;
  } while (cursor !== null);
  return items;
}

export interface HostQuery {
  q: string;
  status: string;
  decommissioned: boolean;
}

export const api = {
  eventsUrl: () => address('/events'),

  // Sessions answer 401 as part of their normal work, so they go past the session's own watch.
  session: (signal?: AbortSignal) =>
    send('GET', address('/session', {}, false), undefined, signal) as Promise<Session>,
  signIn: (username: string, password: string) =>
    send('POST', address('/session', {}, false), { username, password }) as Promise<Session>,
  signOut: () => send('DELETE', address('/session', {}, false)),
  savePreferences: (preferences: Preferences) =>
    request<Session>('PUT', address('/session/preferences', {}, false), preferences),

  overview: (signal?: AbortSignal) => get<Overview>('/overview', {}, signal),

  hosts: (query: HostQuery, limit: number, cursor: string | null, signal?: AbortSignal) =>
    get<CountedPage<Host>>(
      '/hosts',
      {
        q: query.q,
        status: query.status,
        decommissioned: query.decommissioned ? 'true' : null,
        limit,
        cursor,
      },
      signal,
    ),
  host: (id: string, signal?: AbortSignal) => get<Host>(`/hosts/${part(id)}`, {}, signal),
  enrollments: (id: string, signal?: AbortSignal) =>
    get<Page<Enrollment>>(`/hosts/${part(id)}/enrollments`, {}, signal),
  hostEvents: (id: string, signal?: AbortSignal) =>
    get<Page<HostEvent>>(`/hosts/${part(id)}/events`, {}, signal),
  decommission: (id: string) => post<Host>(`/hosts/${part(id)}/decommission`),
  reEnable: (id: string) => post<Host>(`/hosts/${part(id)}/re-enable`),
  deleteHost: (id: string) => remove(`/hosts/${part(id)}`),

  mintToken: (body: MintRequest) => post<MintedToken>('/agents/enroll-tokens', body),
  tokens: (signal?: AbortSignal) => all<JoinToken>('/agents/enroll-tokens', {}, signal),
  voidToken: (id: string) => remove(`/agents/enroll-tokens/${part(id)}`),

  secrets: (state: 'active' | 'revoked', signal?: AbortSignal) =>
    all<EnrollmentSecret>('/enrollment-secrets', { state }, signal),
  createSecret: (body: SecretRequest) => post<CreatedSecret>('/enrollment-secrets', body),
  revokeSecret: (id: string) => post<unknown>(`/enrollment-secrets/${part(id)}/revoke`),

  users: (signal?: AbortSignal) => all<User>('/users', {}, signal),
  createUser: (body: UserRequest) => post<User>('/users', body),
  changeUser: (id: string, body: UserChange) => request<User>('PATCH', address(`/users/${part(id)}`), body),

  apiTokens: (signal?: AbortSignal) => all<ApiToken>('/api-tokens', {}, signal),
  createApiToken: (body: ApiTokenRequest) => post<CreatedApiToken>('/api-tokens', body),
  revokeApiToken: (id: string) => remove(`/api-tokens/${part(id)}`),

  tenants: async (signal?: AbortSignal) => {
    const url = address('/tenants', { limit: PAGE_MAX }, false);
    return (await request<Page<Tenant>>('GET', url, undefined, signal)).items;
  },

  audit: (q: string, limit: number, cursor: string | null, signal?: AbortSignal) =>
    get<Page<AuditRecord>>('/audit', { q, limit, cursor }, signal),

  agentCa: (signal?: AbortSignal) =>
    request<AgentCa>('GET', address('/agent-ca', {}, false), undefined, signal),
};
