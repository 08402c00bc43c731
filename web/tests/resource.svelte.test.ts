import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { ApiError } from '../src/api/client';
import { Resource } from '../src/resource.svelte';
import { settled } from './support/server';

/** Requests that are under way, to be answered in any order. */
let requests: { resolve: (answer: string) => void; reject: (error: ApiError) => void }[];

const fetched = () =>
  new Resource(() => new Promise<string>((resolve, reject) => requests.push({ resolve, reject })));

const unavailable = new ApiError(503, 'unavailable', '');

beforeEach(() => {
  vi.useFakeTimers();
  requests = [];
});
afterEach(() => {
  vi.useRealTimers();
});

test('what is fetched is loading until it is there or has failed', async () => {
  const resource = fetched();
  void resource.reload();
  expect(resource.loading).toBe(true);
  requests[0]?.reject(unavailable);
  await settled();
  expect([resource.loading, resource.error]).toEqual([false, unavailable]);
  void resource.reload();
  requests[1]?.resolve('there');
  await settled();
  expect([resource.loading, resource.data, resource.error]).toEqual([false, 'there', undefined]);
});

test('what was there stays while it fails to be fetched again, and the failure passes by itself', async () => {
  const resource = fetched();
  void resource.reload();
  requests[0]?.resolve('old');
  await settled();
  void resource.reload();
  requests[1]?.reject(unavailable);
  await settled();
  expect([resource.data, resource.error]).toEqual(['old', unavailable]);
  await vi.advanceTimersByTimeAsync(5000);
  requests[2]?.resolve('new');
  await settled();
  expect([resource.data, resource.error]).toEqual(['new', undefined]);
});

test('an answer that comes after a newer one says nothing', async () => {
  const resource = fetched();
  void resource.reload();
  void resource.reload();
  requests[1]?.resolve('new');
  await settled();
  requests[0]?.resolve('old');
  await settled();
  expect(resource.data).toBe('new');
});

test('nor does one that comes after a newer failure, or a failure after a newer answer', async () => {
  const resource = fetched();
  for (let request = 0; request < 3; request += 1) void resource.reload();
  requests[2]?.reject(unavailable);
  await settled();
  requests[0]?.resolve('old');
  await settled();
  expect([resource.data, resource.error]).toEqual([undefined, unavailable]);
  void resource.reload();
  requests[3]?.resolve('new');
  await settled();
  requests[1]?.reject(unavailable);
  await settled();
  expect([resource.data, resource.error]).toEqual(['new', undefined]);
});

test('what is no longer looked at is not tried again', async () => {
  const resource = fetched();
  void resource.reload();
  requests[0]?.reject(unavailable);
  await settled();
  resource.stop();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(requests).toHaveLength(1);
});
