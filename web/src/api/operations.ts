/**
 * What the API's document says of each operation, as types: where it is, what it takes, what it answers.
 *
 * These thirty lines stand where `openapi-fetch` could. It answers `{ data, error }`, lets any body pass for a
 * success, and knows neither time-outs nor our problems, so everything in `request.ts` would be needed around it;
 * what would be left for it is building addresses, for more code than the rest of the client has.
 */
import type { paths } from './schema';

export type Verb = 'get' | 'post' | 'put' | 'patch' | 'delete';

/** The paths that take a verb. */
export type PathOf<V extends Verb> = {
  [P in keyof paths]: paths[P] extends Record<V, { responses: unknown }> ? P : never;
}[keyof paths];

export type Operation<V extends Verb, P extends keyof paths> = V extends keyof paths[P] ? paths[P][V] : never;

type Json<Content> = Content extends { content: { 'application/json': infer T } } ? T : undefined;

type Parameters<O, In extends 'path' | 'query'> = O extends { parameters: { [K in In]?: infer T } }
  ? Exclude<T, undefined>
  : never;

type Body<O> = O extends { requestBody?: infer B } ? Json<NonNullable<B>> : never;

type With<Name extends string, T> = [T] extends [never] ? Partial<Record<Name, never>> : Record<Name, T>;

/** A parameter without a value is left out. */
type Valued<T> = { [K in keyof T]?: T[K] | null | undefined };

type Optional<Name extends string, T> = [T] extends [never]
  ? Partial<Record<Name, never>>
  : Partial<Record<Name, Valued<T>>>;

/** What a request consists of, and nothing else. */
export type Input<O> = With<'path', Parameters<O, 'path'>> &
  Optional<'query', Parameters<O, 'query'>> &
  With<'body', Body<O>> & { signal?: AbortSignal | undefined };

/** What a success brings; `undefined` where the answer may be empty. */
export type Answer<O> = O extends { responses: infer R } ? Json<R[keyof R & (200 | 201 | 204)]> : never;
