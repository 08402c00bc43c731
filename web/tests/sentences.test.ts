import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { ApiError } from '../src/api/client';
import { sentence, tellFailure } from '../src/sentences';
import { toasts } from '../src/toasts.svelte';

describe('what went wrong is said in a sentence with what to do', () => {
  const CASES: [string, ApiError, RegExp][] = [
    ['no answer', new ApiError(0, 'unreachable', ''), /can’t be reached\. Check that it is running/],
    ['no answer in time', new ApiError(0, 'timeout', ''), /took too long to answer\. Try again/],
    ['a fault of the page', new ApiError(0, 'bug', 'x is undefined'), /^This page failed\. Reload it/],
    ['no session', new ApiError(401, 'unauthenticated', ''), /Sign in again/],
    ['no right', new ApiError(403, 'forbidden', 'x'), /^Your role does not allow this\./],
    ['nothing there', new ApiError(404, 'not_found', ''), /^This no longer exists\./],
    ['nothing there, with a reason', new ApiError(404, 'x', 'no such host'), /^No such host\.$/],
    ['a conflict', new ApiError(409, 'x', 'the name is taken'), /^The name is taken\.$/],
    ['something invalid', new ApiError(422, 'x', 'is it 12 long?'), /^Is it 12 long\?$/],
    ['something invalid, without a reason', new ApiError(400, 'x', ''), /Check what you entered/],
    ['too much', new ApiError(413, 'x', 'the body is too large'), /^The body is too large\.$/],
    ['too often', new ApiError(429, 'x', '', 30), /Wait 30 seconds and try again\.$/],
    ['too often, by a little', new ApiError(429, 'x', '', 1), /Wait a second and try again\.$/],
    ['too often, for who knows how long', new ApiError(429, 'x', ''), /Wait a minute and try again\.$/],
    [
      'a server at work',
      new ApiError(503, 'x', 'the CA is away', 5),
      /^The CA is away\. Try again in 5 seconds\.$/,
    ],
    ['something between', new ApiError(502, 'x', ''), /can’t answer right now\. Try again in a minute\.$/],
    [
      'a fault of the server',
      new ApiError(500, 'internal', 'a secret path'),
      /^The server failed .* log says why\.$/,
    ],
    ['what nobody thought of', new ApiError(418, 'teapot', 'x'), /^The server failed /],
  ];
  test.each(CASES)('%s', (_, error, said) => {
    expect(sentence(error)).toMatch(said);
  });
});

describe('a failure is told', () => {
  beforeEach(() => {
    vi.useFakeTimers();
  });
  afterEach(() => {
    vi.runAllTimers();
    vi.useRealTimers();
  });

  test('as what did not work, and why', () => {
    tellFailure('The user was not added', new ApiError(409, 'x', 'the name is taken'));
    expect(toasts.shown).toMatchObject([
      { kind: 'failure', text: 'The user was not added', hint: 'The name is taken.' },
    ]);
  });

  test('as a matter of rights where it is one', () => {
    tellFailure('The user was not added', new ApiError(403, 'forbidden', ''));
    expect(toasts.shown).toMatchObject([{ text: 'Permission denied' }]);
  });

  test('by the login alone when the session has ended', () => {
    tellFailure('The user was not added', new ApiError(401, 'x', ''));
    expect(toasts.shown).toEqual([]);
  });

  test('as the page’s own where it is no answer of the server', () => {
    tellFailure('The user was not added', new TypeError('x is undefined'));
    expect(toasts.shown).toMatchObject([{ hint: expect.stringMatching(/^This page failed/) as string }]);
  });
});
