import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import { toasts } from '../src/toasts.svelte';

const texts = () => toasts.shown.map(({ text }) => text);

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.runAllTimers();
  vi.useRealTimers();
});

test('a failure stays longer than a success, and both go by themselves', () => {
  toasts.success('done');
  toasts.failure('not done');
  vi.advanceTimersByTime(5999);
  expect(texts()).toEqual(['done', 'not done']);
  vi.advanceTimersByTime(1);
  expect(texts()).toEqual(['not done']);
  vi.advanceTimersByTime(4000);
  expect(texts()).toEqual([]);
});

test('one that is closed takes no other with it, then or when its time would have come', () => {
  toasts.success('first');
  vi.advanceTimersByTime(3000);
  toasts.success('second');
  toasts.close(toasts.shown[0]?.id ?? -1);
  expect(texts()).toEqual(['second']);
  vi.advanceTimersByTime(5999);
  expect(texts()).toEqual(['second']);
});

test('the newest eight are shown', () => {
  for (let n = 1; n <= 10; n += 1) toasts.success(String(n));
  expect(texts()).toEqual(['3', '4', '5', '6', '7', '8', '9', '10']);
});

test('nothing is said twice', () => {
  toasts.failure('Try again.', 'Try again.');
  expect(toasts.shown[0]).toMatchObject({ text: 'Try again.', hint: undefined });
});
