import { flushSync } from 'svelte';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { ApiError } from '../src/api/client';
import { live } from '../src/live.svelte';
import { Paged, paged } from '../src/paged.svelte';
import { FakeEvents, FakeServer, type Item, items, settled } from './support/server';

const PAGE = 100;

const unavailable = (retryAfter: number | null = null) =>
  new ApiError(503, 'unavailable', 'the store is away', retryAfter);

let server: FakeServer;

/** Of a list: the numbers that it begins and ends with, and how many there are. */
const extent = ({ items }: { items: Item[] | undefined }) => [
  items?.[0]?.id,
  items?.at(-1)?.id,
  items?.length,
];

beforeEach(() => {
  vi.useFakeTimers();
  server = new FakeServer(items(250, 1));
});
afterEach(() => {
  vi.useRealTimers();
});

const newestFirst = () => new Paged(server.fetch, (item) => item.id);

async function loaded(pages = 1): Promise<Paged<Item>> {
  const list = newestFirst();
  await list.reload();
  for (let page = 1; page < pages; page += 1) await list.older();
  return list;
}

describe('a list', () => {
  test('is loading until there is something to show', async () => {
    server.hold();
    const list = newestFirst();
    const reloaded = list.reload();
    expect([list.loading, list.items]).toEqual([true, undefined]);
    await server.release();
    await reloaded;
    expect([list.loading, list.items?.length]).toEqual([false, PAGE]);
  });

  test('goes on, a page at a time, to its end', async () => {
    const list = await loaded();
    expect([...extent(list), list.next !== null]).toEqual([250, 151, 100, true]);
    await list.older();
    expect([...extent(list), list.next !== null]).toEqual([250, 51, 200, true]);
    await list.older();
    expect([...extent(list), list.next !== null]).toEqual([250, 1, 250, false]);
    await list.older();
    expect(server.asked).toHaveLength(3);
  });

  test('that is empty is not loading', async () => {
    server.list = [];
    const list = await loaded();
    expect([list.items, list.next, list.loading]).toEqual([[], null, false]);
  });

  test('asks once for what somebody asks for twice', async () => {
    const list = await loaded();
    server.hold();
    const both = [list.older(), list.older()];
    expect(list.busy).toBe(true);
    await server.release();
    await Promise.all(both);
    expect([list.busy, extent(list)]).toEqual([false, [250, 51, 200]]);
    expect(server.asked).toHaveLength(2);
  });
});

describe('what is new', () => {
  test('comes on top of all that was loaded, and the end is where it was', async () => {
    const list = await loaded(2);
    server.list = items(253, 1);
    await list.reload();
    expect(extent(list)).toEqual([253, 51, 203]);
    await list.older();
    expect(extent(list)).toEqual([253, 1, 253]);
    expect(list.next).toBeNull();
  });

  test('and more than a page leaves no gap: the list starts anew', async () => {
    const list = await loaded(2);
    server.list = items(351, 1);
    await list.reload();
    expect(extent(list)).toEqual([351, 252, 100]);
    await list.older();
    expect(extent(list)).toEqual([351, 152, 200]);
  });

  test('is how an item is now', async () => {
    const list = await loaded(2);
    server.list = server.list.map((item) => (item.id === 200 ? { ...item, name: 'other' } : item));
    await list.reload();
    expect(list.items?.find((item) => item.id === 200)?.name).toBe('other');
    expect(extent(list)).toEqual([250, 51, 200]);
  });

  test('is that an item is gone', async () => {
    const list = await loaded(2);
    server.list = server.list.filter((item) => item.id !== 200);
    await list.reload();
    expect(list.items?.some((item) => item.id === 200)).toBe(false);
    expect(extent(list)).toEqual([250, 51, 199]);
  });

  test('is that nearly all are gone', async () => {
    const list = await loaded(2);
    server.list = items(250, 240);
    await list.reload();
    expect([...extent(list), list.next]).toEqual([250, 240, 11, null]);
  });
});

describe('after a failure', () => {
  test('that may pass, what was there stays, and the list tries again by itself', async () => {
    const list = await loaded();
    server.list = items(251, 1);
    server.failures.push(unavailable(), unavailable());
    await list.reload();
    expect([list.error?.status, extent(list)]).toEqual([503, [250, 151, 100]]);
    await vi.advanceTimersByTimeAsync(4999);
    expect(server.asked).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(1);
    expect([server.asked.length, list.error?.status]).toEqual([3, 503]);
    await vi.advanceTimersByTimeAsync(5000);
    expect([list.error, list.items?.[0]?.id]).toEqual([undefined, 251]);
  });

  test('it waits as long as the server says', async () => {
    server.failures.push(unavailable(30));
    const list = await loaded();
    expect([list.loading, list.items]).toEqual([false, undefined]);
    await vi.advanceTimersByTimeAsync(29_999);
    expect(server.asked).toHaveLength(1);
    await vi.advanceTimersByTimeAsync(1);
    expect(extent(list)).toEqual([250, 151, 100]);
  });

  test.each([400, 401, 403, 404])('that will not pass (%i), it does not try again', async (status) => {
    server.failures.push(new ApiError(status, 'x', ''));
    const list = await loaded();
    await vi.advanceTimersByTimeAsync(60_000);
    expect([list.error?.status, server.asked.length]).toEqual([status, 1]);
  });

  test('to have the older ones, they can be asked for again', async () => {
    const list = await loaded();
    server.failures.push(unavailable());
    await list.older();
    expect([list.busy, list.error?.status, extent(list)]).toEqual([false, 503, [250, 151, 100]]);
    await list.older();
    expect([list.error, extent(list)]).toEqual([undefined, [250, 51, 200]]);
  });

  test('it is left alone once nobody looks', async () => {
    server.failures.push(unavailable());
    const list = await loaded();
    list.stop();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(server.asked).toHaveLength(1);
  });
});

test('an answer that comes after the page was left changes nothing', async () => {
  const list = await loaded();
  server.hold();
  server.list = items(251, 1);
  const reloaded = list.reload();
  list.stop();
  await server.release();
  await reloaded;
  expect([extent(list), list.error]).toEqual([[250, 151, 100], undefined]);
});

describe('with the page', () => {
  let leave: () => void;
  let hidden: boolean;
  let turnTo: () => void;

  function show(list = newestFirst()): Paged<Item> {
    leave = $effect.root(() => {
      paged(list, (event) => event.kind === 'host');
    });
    flushSync();
    return list;
  }

  beforeEach(() => {
    hidden = false;
    vi.stubGlobal('EventSource', FakeEvents);
    vi.stubGlobal('document', {
      get hidden() {
        return hidden;
      },
      addEventListener: (_: string, listener: () => void) => (turnTo = listener),
      removeEventListener: () => (turnTo = () => undefined),
    });
    live.start();
  });
  afterEach(() => {
    leave();
    live.stop();
  });

  test('a list is there at once, and follows the events that concern it', async () => {
    const list = show();
    await settled();
    expect(extent(list)).toEqual([250, 151, 100]);
    server.list = items(251, 1);
    FakeEvents.last.send('secret');
    await vi.advanceTimersByTimeAsync(5000);
    expect(server.asked).toHaveLength(1);
    FakeEvents.last.send('host');
    await vi.advanceTimersByTimeAsync(150);
    expect(list.items?.[0]?.id).toBe(251);
    server.list = items(252, 1);
    FakeEvents.last.send('resync');
    await vi.advanceTimersByTimeAsync(1000);
    expect(list.items?.[0]?.id).toBe(252);
  });

  test('a burst of events is one change, and a stream of them no more than one a second', async () => {
    show();
    await vi.advanceTimersByTimeAsync(5000);
    for (let event = 0; event < 1000; event += 1) {
      FakeEvents.last.send('host');
      await vi.advanceTimersByTimeAsync(10);
    }
    await vi.advanceTimersByTimeAsync(5000);
    // Ten seconds of events: the first look, one that begins each second, and one for what came last.
    expect(server.asked.length).toBeGreaterThanOrEqual(10);
    expect(server.asked.length).toBeLessThanOrEqual(12);
  });

  test('a tab that is not seen asks for nothing, and catches up when it is', async () => {
    const list = show();
    await settled();
    hidden = true;
    server.list = items(251, 1);
    FakeEvents.last.send('host');
    await vi.advanceTimersByTimeAsync(5000);
    expect(server.asked).toHaveLength(1);
    hidden = false;
    turnTo();
    await vi.advanceTimersByTimeAsync(150);
    expect(list.items?.[0]?.id).toBe(251);
  });

  test('a list that was left asks for nothing more, and goes on where it was when one comes back', async () => {
    const list = show();
    await settled();
    await list.older();
    leave();
    FakeEvents.last.send('host');
    await vi.advanceTimersByTimeAsync(5000);
    expect(server.asked).toHaveLength(2);
    server.list = items(251, 1);
    show(list);
    await settled();
    expect(extent(list)).toEqual([251, 51, 201]);
  });
});
