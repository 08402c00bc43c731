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

const newestFirst = () => new Paged<Item>(server.fetch, (item) => item.id, null);

async function loaded(pages = 1): Promise<Paged<Item>> {
  const list = newestFirst();
  await list.reload();
  for (let page = 1; page < pages; page += 1) await list.more();
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
    await list.more();
    expect([...extent(list), list.next !== null]).toEqual([250, 51, 200, true]);
    await list.more();
    expect([...extent(list), list.next !== null]).toEqual([250, 1, 250, false]);
    await list.more();
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
    const both = [list.more(), list.more()];
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
    await list.more();
    expect(extent(list)).toEqual([253, 1, 253]);
    expect(list.next).toBeNull();
  });

  test('and more than a page leaves no gap: the list starts anew', async () => {
    const list = await loaded(2);
    server.list = items(351, 1);
    await list.reload();
    expect(extent(list)).toEqual([351, 252, 100]);
    await list.more();
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
    await list.more();
    expect([list.busy, list.error?.status, extent(list)]).toEqual([false, 503, [250, 151, 100]]);
    await list.more();
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

describe('what changes while something else is on its way is not missed', () => {
  test('such as the older ones', async () => {
    const list = await loaded();
    server.hold();
    const more = list.more();
    server.list = items(251, 1);
    await list.reload();
    await server.release();
    await more;
    expect([extent(list), list.busy]).toEqual([[251, 51, 201], false]);
  });

  test('nor is it when somebody asks for the older ones meanwhile', async () => {
    const list = await loaded();
    server.list = items(251, 1);
    server.hold();
    const work = [list.reload(), list.more()];
    await server.release();
    await Promise.all(work);
    expect(extent(list)).toEqual([251, 51, 201]);
  });

  test('and what is taken off does not come back with an answer from before', async () => {
    const list = await loaded();
    server.hold();
    const reloaded = list.reload();
    server.list = server.list.filter((item) => item.id !== 200);
    list.remove(200);
    await server.release();
    await reloaded;
    expect(list.items?.some((item) => item.id === 200)).toBe(false);
  });
});

test('what is taken off after the page was left is gone, and nobody asks for the rest', async () => {
  const list = await loaded();
  server.hold();
  const reloaded = list.reload();
  list.stop();
  list.remove(200);
  await server.release();
  await reloaded;
  expect([list.items?.some((item) => item.id === 200), server.asked.length]).toEqual([false, 2]);
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

describe('another question', () => {
  const inquired = (kept = 1) =>
    new Paged<Item, { q: string }>(server.fetch, (item) => item.id, { q: '' }, { kept });
  const EVEN = { q: 'even' };
  const ODD = { q: 'odd' };

  beforeEach(() => {
    server.list = items(500, 1);
    server.matches = ({ id }, question) => {
      const { q } = question as { q: string };
      return q === '' || id % 2 === (q === 'even' ? 0 : 1);
    };
  });

  /** Which questions the items of a list are no answer to. */
  const strays = (list: Paged<Item, { q: string }>, q: { q: string }) =>
    list.items?.filter((item) => !server.matches(item, q)).map(({ id }) => id);

  test('leaves what is there until it is answered, and then starts anew', async () => {
    const list = inquired();
    await list.reload();
    await list.more();
    server.hold();
    const asked = list.ask(EVEN);
    expect(extent(list)).toEqual([500, 301, 200]);
    await server.release();
    await asked;
    expect([extent(list), list.total]).toEqual([[500, 302, 100], 250]);
    await list.more();
    expect([extent(list), strays(list, EVEN)]).toEqual([[500, 102, 200], []]);
  });

  test('that is the same as before asks what is new, with all that was loaded', async () => {
    const list = inquired();
    await list.ask(EVEN);
    await list.more();
    server.list = items(502, 1);
    await list.ask({ ...EVEN });
    expect(extent(list)).toEqual([502, 102, 201]);
  });

  test('makes the answer to the one before worthless, whichever comes first', async () => {
    const list = inquired();
    server.hold();
    const asked = [list.ask(EVEN), list.ask(ODD)];
    await server.release();
    await Promise.all(asked);
    expect([list.items?.length, strays(list, ODD), list.error]).toEqual([100, [], undefined]);
  });

  test('that fails is asked again, and nothing of what was there is taken for an answer', async () => {
    const list = inquired();
    await list.reload();
    await list.more();
    server.failures.push(unavailable());
    await list.ask(EVEN);
    expect([list.error?.status, extent(list)]).toEqual([503, [500, 301, 200]]);
    await vi.advanceTimersByTimeAsync(5000);
    expect([extent(list), strays(list, EVEN)]).toEqual([[500, 302, 100], []]);
  });

  test('that something changes under is asked again, just so', async () => {
    const list = inquired();
    await list.reload();
    await list.more();
    server.hold();
    const work = [list.ask(EVEN), list.reload()];
    await server.release();
    await Promise.all(work);
    expect([extent(list), strays(list, EVEN)]).toEqual([[500, 302, 100], []]);
  });

  test('is not continued where the answer to the one before ended', async () => {
    const list = inquired();
    await list.reload();
    server.hold();
    const work = [list.ask(EVEN), list.more()];
    await server.release();
    await Promise.all(work);
    expect([extent(list), strays(list, EVEN)]).toEqual([[500, 302, 100], []]);
  });

  test('frees whoever waited for more of the one before, and is not disturbed by what comes of that', async () => {
    const list = inquired();
    await list.reload();
    server.hold();
    const work = [list.more(), list.ask(EVEN)];
    expect(list.busy).toBe(false);
    await server.release(1);
    work.push(list.more());
    await server.release(0);
    expect([list.busy, extent(list)]).toEqual([true, [500, 302, 100]]);
    await server.release();
    await Promise.all(work);
    expect([list.busy, extent(list), strays(list, EVEN)]).toEqual([false, [500, 102, 200], []]);
  });

  test('that was asked before is answered at once with what was loaded then, and brought up to date', async () => {
    const list = inquired(2);
    await list.reload();
    await list.more();
    await list.ask(EVEN);
    server.list = items(501, 1);
    server.hold();
    const asked = list.ask({ q: '' });
    expect([extent(list), list.total]).toEqual([[500, 301, 200], 500]);
    await server.release();
    await asked;
    expect([extent(list), list.total]).toEqual([[501, 301, 201], 501]);
  });

  test('takes the place of the one that was asked longest ago', async () => {
    const list = inquired(2);
    await list.reload();
    await list.more();
    await list.ask(EVEN);
    await list.ask(ODD);
    await list.ask({ q: '' });
    expect(extent(list)).toEqual([500, 401, 100]);
  });

  test('that was returned to of late is kept', async () => {
    const list = inquired(2);
    await list.reload();
    await list.more();
    await list.ask(EVEN);
    await list.ask({ q: '' });
    await list.ask(ODD);
    await list.ask({ q: '' });
    expect(extent(list)).toEqual([500, 301, 200]);
  });
});

describe('a list whose items change their places', () => {
  /** Ten pages, of which the third and the fourth are in view. */
  async function scrolled(): Promise<Paged<Item>> {
    const list = new Paged<Item>(server.fetch, (item) => item.id, null, { moving: true });
    await list.reload();
    for (let page = 1; page < 10; page += 1) await list.more();
    list.look(250, 350);
    server.asked.length = 0;
    return list;
  }
  const ranks = new Map<number, number>();
  const cursors = () => server.asked.map(({ cursor }) => cursor);
  const numbers = (list: Paged<Item>) => list.items?.map(({ id }) => id) ?? [];

  beforeEach(() => {
    ranks.clear();
    server.list = items(999, 0);
    server.rank = ({ id }) => ranks.get(id) ?? id;
  });

  test('fetches again what is in view, and nothing else', async () => {
    const list = await scrolled();
    server.list = server.list.map((item) => ({ ...item, name: 'renamed' }));
    await list.reload();
    await list.reload();
    expect(cursors()).toEqual(['199', '299', '199', '299']);
    const renamed = list.items?.filter(({ name }) => name === 'renamed').map(({ id }) => id);
    expect([renamed?.[0], renamed?.at(-1), renamed?.length]).toEqual([200, 399, 200]);
    expect(numbers(list)).toHaveLength(1000);
  });

  test('fetches its beginning again while nobody has said what is in view', async () => {
    const list = new Paged<Item>(server.fetch, (item) => item.id, null, { moving: true });
    await list.reload();
    await list.more();
    await list.reload();
    expect(cursors()).toEqual([null, '99', null]);
  });

  test('ends where a page no longer leads to the one behind it, and goes on from there', async () => {
    const list = await scrolled();
    server.list = server.list.filter(({ id }) => id !== 250);
    await list.reload();
    expect(cursors()).toEqual(['199']);
    expect([list.items?.at(-1)?.id, list.items?.length, list.next]).toEqual([300, 300, '300']);
    for (let page = 3; page < 10; page += 1) await list.more();
    expect(numbers(list)).toEqual(Array.from({ length: 1000 }, (_, id) => id).filter((id) => id !== 250));
  });

  test.each([
    ['above', 20, 249],
    ['below', 900, 250],
  ])('has an item that moved into view from %s there, and nowhere else', async (_, from, at) => {
    const list = await scrolled();
    // To the very place of one that is gone, so that no page begins or ends elsewhere.
    server.list = server.list.filter(({ id }) => id !== 250);
    ranks.set(from, 250);
    await list.reload();
    expect(cursors()).toEqual(['199', '299']);
    expect(numbers(list).indexOf(from)).toBe(at);
    expect(numbers(list).lastIndexOf(from)).toBe(at);
  });

  test('shows an item that two pages have as it is by now', async () => {
    const list = await scrolled();
    server.list = server.list
      .filter(({ id }) => id !== 250)
      .map((item) => (item.id === 900 ? { ...item, name: 'renamed' } : item));
    ranks.set(900, 250);
    await list.reload();
    expect(list.items?.find(({ id }) => id === 900)?.name).toBe('renamed');
  });

  test('loses at once what the server has said is gone, and counts the rest', async () => {
    const list = await scrolled();
    expect(list.total).toBe(1000);
    list.remove(300);
    expect([numbers(list).includes(300), list.items?.length, list.total]).toEqual([false, 999, 999]);
    expect(cursors()).toEqual([]);
  });
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

  test('another question is asked at once, and one that came up meanwhile when the list is returned to', async () => {
    let question = $state({ q: 'a' });
    const list = new Paged<Item, { q: string }>(server.fetch, (item) => item.id, { q: 'a' });
    const visit = () =>
      $effect.root(() => {
        paged(
          list,
          () => false,
          () => question,
        );
      });
    leave = visit();
    flushSync();
    await settled();
    question = { q: 'b' };
    flushSync();
    await settled();
    leave();
    question = { q: 'c' };
    flushSync();
    leave = visit();
    flushSync();
    await settled();
    expect(server.asked.map((asked) => (asked.question as { q: string }).q)).toEqual(['a', 'b', 'c']);
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

  test('a list that was left is not tried again', async () => {
    server.failures.push(unavailable());
    show();
    await settled();
    leave();
    await vi.advanceTimersByTimeAsync(60_000);
    expect(server.asked).toHaveLength(1);
  });

  test('a list that was left asks for nothing more, and goes on where it was when one comes back', async () => {
    const list = show();
    await settled();
    await list.more();
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
