/**
 * How the server is spoken to. Every answer that is not a success becomes an `ApiError`; nothing secret is ever
 * put into an address.
 */
import type { Answer, Input, Operation, PathOf, Verb } from './operations';
import type { Problem } from './types';

/** The server answers within 30 seconds or not at all. */
const PATIENCE_MS = 35_000;

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

interface Parts {
  path?: Record<string, string>;
  query?: Record<string, unknown>;
  body?: unknown;
  signal?: AbortSignal | undefined;
}

/** The address of an operation. */
export function address<V extends Verb, P extends PathOf<V>>(
  _verb: V,
  path: P,
  input: Pick<Input<Operation<V, P>>, 'path' | 'query'>,
): string {
  return filledIn(path, input as Parts);
}

function filledIn(template: string, { path = {}, query = {} }: Parts): string {
  const filled = template.replaceAll(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(path[name] ?? ''));
  const params = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) {
    if (value !== null && value !== undefined && value !== '') params.set(name, String(value));
  }
  const text = params.toString();
  return text ? `${filled}?${text}` : filled;
}

/** Sends a request as the document describes it, and brings what the document promises. */
export async function ask<V extends Verb, P extends PathOf<V>>(
  verb: V,
  path: P,
  input: Input<Operation<V, P>>,
): Promise<Answer<Operation<V, P>>> {
  const parts = input as Parts;
  return (await send(verb, filledIn(path, parts), parts)) as Answer<Operation<V, P>>;
}

async function send(verb: Verb, url: string, { body, signal }: Parts): Promise<unknown> {
  const limit = AbortSignal.timeout(PATIENCE_MS);
  const init: RequestInit = {
    method: verb.toUpperCase(),
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
  // Only an answer that says so may be empty; from anything else an empty text is as strange as a web page.
  if (response.ok && (content !== undefined || response.status === 204)) return content;
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
