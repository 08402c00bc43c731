import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import type { LiveEvent } from '../src/api/types';
import { FakeEvents } from './support/server';

let live: (typeof import('../src/live.svelte'))['live'];
let told: LiveEvent[];

const resyncs = () => told.filter(({ kind }) => kind === 'resync').length;

beforeEach(async () => {
  vi.useFakeTimers();
  vi.resetModules();
  vi.stubGlobal('EventSource', FakeEvents);
  FakeEvents.opened = [];
  ({ live } = await import('../src/live.svelte'));
  told = [];
  live.listen((event) => told.push(event));
  live.start();
  FakeEvents.last.onopen?.();
});
afterEach(() => {
  live.stop();
  vi.useRealTimers();
});

test('an event says what it is about, as far as it can be read', () => {
  FakeEvents.last.send('host', { host_id: 'a' });
  FakeEvents.last.send('secret', { secret_id: 'b' });
  FakeEvents.last.send('host', 'no JSON');
  FakeEvents.last.send('host', 'null');
  FakeEvents.last.send('unheard-of', {});
  expect(told).toEqual([
    { kind: 'host', host_id: 'a' },
    { kind: 'secret' },
    { kind: 'host' },
    { kind: 'host' },
  ]);
});

test('whoever does not listen any more is told nothing', () => {
  const heard = vi.fn();
  const stop = live.listen(heard);
  stop();
  FakeEvents.last.send('host');
  expect(heard).not.toHaveBeenCalled();
});

describe('a connection that breaks', () => {
  test('for a moment is not mentioned, but everything is looked at again', () => {
    FakeEvents.last.fail();
    vi.advanceTimersByTime(2999);
    expect([live.lost, resyncs()]).toEqual([false, 0]);
    FakeEvents.last.onopen?.();
    expect(resyncs()).toBe(1);
    vi.advanceTimersByTime(60_000);
    expect(live.lost).toBe(false);
  });

  test('for longer is mentioned until it is back', () => {
    FakeEvents.last.fail();
    vi.advanceTimersByTime(3000);
    expect(live.lost).toBe(true);
    FakeEvents.last.onopen?.();
    expect([live.lost, resyncs()]).toEqual([false, 1]);
  });

  test('and that the browser gives up on is begun anew, and mentioned as soon as another', () => {
    const closed = vi.spyOn(live, 'onClosed');
    FakeEvents.last.fail('gives up');
    expect(closed).toHaveBeenCalledTimes(1);
    vi.advanceTimersByTime(1999);
    expect(FakeEvents.opened).toHaveLength(1);
    vi.advanceTimersByTime(1);
    expect(FakeEvents.opened).toHaveLength(2);
    FakeEvents.last.fail('gives up');
    vi.advanceTimersByTime(1000);
    expect(live.lost).toBe(true);
    vi.advanceTimersByTime(1000);
    expect([FakeEvents.opened.length, live.lost]).toEqual([3, true]);
    FakeEvents.last.onopen?.();
    expect([live.lost, resyncs()]).toEqual([false, 1]);
  });
});

test('a connection that is back before its loss was mentioned is not mentioned afterwards', () => {
  FakeEvents.last.fail('gives up');
  vi.advanceTimersByTime(2000);
  FakeEvents.last.onopen?.();
  vi.advanceTimersByTime(60_000);
  expect([live.lost, resyncs()]).toEqual([false, 1]);
});

test('an event is word enough that the connection is back', () => {
  FakeEvents.last.fail();
  vi.advanceTimersByTime(3000);
  expect(live.lost).toBe(true);
  FakeEvents.last.send('host');
  expect([live.lost, resyncs()]).toEqual([false, 1]);
});

describe('a connection on which nothing is heard', () => {
  test('for three heartbeats is lost, whatever the browser takes it for, and begun anew', () => {
    FakeEvents.last.send('heartbeat');
    vi.advanceTimersByTime(44_999);
    expect([live.lost, FakeEvents.opened.length]).toEqual([false, 1]);
    vi.advanceTimersByTime(1);
    expect([live.lost, FakeEvents.opened.length]).toEqual([true, 2]);
    FakeEvents.last.onopen?.();
    expect([live.lost, resyncs()]).toEqual([false, 1]);
  });

  test('but events, or heartbeats, is alive', () => {
    FakeEvents.last.send('heartbeat');
    for (const kind of ['host', 'heartbeat', 'timeline']) {
      vi.advanceTimersByTime(40_000);
      FakeEvents.last.send(kind);
    }
    expect([live.lost, FakeEvents.opened.length]).toEqual([false, 1]);
  });

  test('is taken for alive where heartbeats have never come through', () => {
    vi.advanceTimersByTime(600_000);
    expect([live.lost, FakeEvents.opened.length]).toEqual([false, 1]);
  });
});

test('once stopped, nothing is mentioned or begun anew', () => {
  FakeEvents.last.send('heartbeat');
  FakeEvents.last.fail('gives up');
  live.stop();
  vi.advanceTimersByTime(600_000);
  expect([live.lost, FakeEvents.opened.length]).toEqual([false, 1]);
});
