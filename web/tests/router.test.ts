import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { Tab } from './support/browser';

let tab: Tab;
let router: (typeof import('../src/router.svelte'))['router'];

/** Opens the program at an address, as a fresh tab does. */
async function open(address: string): Promise<void> {
  tab = Tab.open(address);
  await load();
}

async function load(): Promise<void> {
  vi.resetModules();
  ({ router } = await import('../src/router.svelte'));
}

beforeEach(() => {
  vi.useFakeTimers();
});
afterEach(() => {
  vi.useRealTimers();
});

describe('a link leads to the tenant that is looked at', () => {
  test.each([
    ['/', '/hosts', '/hosts'],
    ['/?tenant=acme', '/hosts', '/hosts?tenant=acme'],
    ['/?tenant=acme', '/hosts?q=a', '/hosts?q=a&tenant=acme'],
    ['/?tenant=a%26b', '/hosts', '/hosts?tenant=a%26b'],
    ['/?tenant=acme', '/hosts?tenant=other', '/hosts?tenant=other'],
    ['/?tenant=acme', '/hosts?tenant=', '/hosts'],
    ['/hosts?q=a', '/audit', '/audit'],
  ])('at %s a link to %s is one to %s', async (at, to, link) => {
    await open(at);
    expect(router.to(to)).toBe(link);
  });
});

describe('a search or a filter', () => {
  test('can be shared, and undone by going back', async () => {
    await open('/hosts');
    router.setQuery({ status: 'offline' });
    router.setQuery({ q: 'web 1', status: null });
    expect(tab.entries).toEqual(['/hosts', '/hosts?status=offline', '[/hosts?q=web+1]']);
    tab.back();
    expect(router.query.get('status')).toBe('offline');
    tab.back();
    expect(router.query.toString()).toBe('');
    tab.forward();
    expect(router.query.get('status')).toBe('offline');
  });

  test('leaves the rest of the address alone', async () => {
    await open('/hosts?tenant=acme&sort=hostname');
    router.setQuery({ q: 'a' });
    expect(tab.address).toBe('/hosts?tenant=acme&sort=hostname&q=a');
  });

  test('that changes nothing is no step', async () => {
    await open('/hosts?q=a');
    router.setQuery({ q: 'a', status: null });
    router.setQuery({ status: '' });
    expect(tab.entries).toEqual(['[/hosts?q=a]']);
  });

  test('that is typed is one step until it is entered', async () => {
    await open('/hosts');
    for (const q of ['w', 'we', 'web']) router.setQuery({ q }, 'typed');
    router.typed();
    for (const q of ['web-', 'web-1']) router.setQuery({ q }, 'typed');
    expect(tab.entries).toEqual(['/hosts', '/hosts?q=web', '[/hosts?q=web-1]']);
  });

  test('that is chosen after typing is a step of its own', async () => {
    await open('/hosts');
    router.setQuery({ q: 'web' }, 'typed');
    router.setQuery({ status: 'online' });
    router.setQuery({ q: 'web-1' }, 'typed');
    expect(tab.entries).toEqual([
      '/hosts',
      '/hosts?q=web',
      '/hosts?q=web&status=online',
      '[/hosts?q=web-1&status=online]',
    ]);
  });

  test('that is put right leaves nothing to go back to', async () => {
    await open('/hosts?tenant=gone');
    router.setQuery({ tenant: null }, 'corrected');
    expect(tab.entries).toEqual(['[/hosts]']);
  });
});

describe('whoever goes back finds what was loaded', () => {
  /** The list of the page that one is on. */
  const list = () => router.keep('list', () => ({}));

  test('by a filter, another page, and forward again', async () => {
    await open('/hosts');
    const loaded = list();
    router.setQuery({ q: 'a' });
    expect(list()).toBe(loaded);
    router.go('/help');
    expect(list()).not.toBe(loaded);
    tab.back();
    expect([router.path, router.query.get('q')]).toEqual(['/hosts', 'a']);
    expect(list()).toBe(loaded);
    tab.back();
    expect(list()).toBe(loaded);
    tab.forward();
    expect(list()).toBe(loaded);
  });

  test('but whoever arrives at the same address anew starts afresh', async () => {
    await open('/hosts');
    const loaded = list();
    const visit = router.visit;
    router.go('/hosts');
    expect(router.visit).not.toBe(visit);
    expect(list()).not.toBe(loaded);
  });

  test('and so does who is sent elsewhere', async () => {
    await open('/settings');
    const loaded = list();
    router.redirect('/settings/users');
    expect(tab.entries).toEqual(['[/settings/users]']);
    expect(list()).not.toBe(loaded);
  });

  test('on the last eight pages', async () => {
    await open('/hosts');
    const lists = [list()];
    for (let page = 1; page <= 8; page += 1) {
      router.go(`/hosts/${page}`);
      lists.push(list());
    }
    for (let page = 8; page >= 1; page -= 1) {
      expect(list()).toBe(lists[page]);
      tab.back();
    }
    expect(list()).not.toBe(lists[0]);
  });

  test('on a page that was returned to of late, however long ago it was first seen', async () => {
    await open('/hosts');
    const first = list();
    for (let page = 1; page < 8; page += 1) {
      router.go(`/hosts/${page}`);
      list();
    }
    for (let page = 1; page < 8; page += 1) tab.back();
    expect(list()).toBe(first);
    router.go('/help');
    list();
    tab.back();
    expect(list()).toBe(first);
  });

  test('under each name its own, made once', async () => {
    await open('/hosts/1');
    const make = vi.fn(() => ({}));
    const one = router.keep('certificates', make);
    expect(router.keep('timeline', make)).not.toBe(one);
    expect(router.keep('certificates', make)).toBe(one);
    expect(make).toHaveBeenCalledTimes(2);
  });

  test('unless somebody else has signed in', async () => {
    await open('/hosts');
    const loaded = list();
    router.forget();
    expect(list()).not.toBe(loaded);
  });
});

test('a place within the page is on no other page, on the way there and back', async () => {
  await open('/help');
  const visit = router.visit;
  const here = () => [router.path, router.visit];
  tab.fragment('#tokens');
  expect(here()).toEqual(['/help', visit]);
  router.go('/hosts');
  expect(here()).not.toEqual(['/help', visit]);
  tab.back();
  expect(here()).toEqual(['/help', visit]);
  tab.back();
  expect(here()).toEqual(['/help', visit]);
});

describe('whoever goes back finds the place again', () => {
  async function leaveAt(place: number): Promise<void> {
    await open('/hosts');
    tab.scrollTo(0, place);
    router.go('/help');
  }

  test('while a page that is arrived at starts at its top', async () => {
    await leaveAt(5000);
    expect(tab.scrollY).toBe(0);
  });

  test('at once where the page is long enough', async () => {
    await leaveAt(5000);
    tab.back();
    expect(tab.scrollY).toBe(5000);
  });

  test('as soon as the page is long enough', async () => {
    await leaveAt(5000);
    tab.resize(1000);
    tab.back();
    expect(tab.scrollY).toBeLessThan(5000);
    tab.resize(3000);
    tab.resize(9000);
    expect(tab.scrollY).toBe(5000);
    // And is then left alone.
    tab.wheel(-100);
    tab.resize(12_000);
    expect(tab.scrollY).toBe(4900);
  });

  test('even if it was left again before the page was long enough', async () => {
    await leaveAt(5000);
    tab.resize(1000);
    tab.back();
    tab.forward();
    tab.resize(9000);
    tab.back();
    expect(tab.scrollY).toBe(5000);
  });

  test('unless somebody moves first', async () => {
    await leaveAt(5000);
    tab.resize(2000);
    tab.back();
    tab.wheel(-300);
    const place = tab.scrollY;
    tab.resize(9000);
    expect(tab.scrollY).toBe(place);
  });

  test('or the page takes too long', async () => {
    await leaveAt(5000);
    tab.resize(1000);
    tab.back();
    vi.advanceTimersByTime(4000);
    tab.resize(9000);
    expect(tab.scrollY).toBeLessThan(5000);
  });
});

test('after a reload, going back still leads to the pages of before it', async () => {
  await open('/hosts');
  router.go('/audit?q=a');
  vi.advanceTimersByTime(1000);
  tab.reload();
  await load();
  const list = router.keep('list', () => ({}));
  expect(router.path).toBe('/audit');
  tab.back();
  expect([router.path, router.query.toString()]).toEqual(['/hosts', '']);
  expect(router.keep('list', () => ({}))).not.toBe(list);
  tab.forward();
  expect([router.path, router.query.get('q')]).toEqual(['/audit', 'a']);
  expect(router.keep('list', () => ({}))).toBe(list);
});

describe('a click', () => {
  const CASES: [string, Parameters<Tab['click']>[0], string, 'ours' | 'the browser’s'][] = [
    ['on a link to a page', { href: '/hosts?q=a' }, '/hosts?q=a', 'ours'],
    ['on a link to the same page', { href: '/help' }, '/help', 'ours'],
    ['on a link to a place of another page', { href: '/hosts#x' }, '/hosts', 'ours'],
    ['on a link to a place of this page', { href: '#tokens' }, '/help', 'the browser’s'],
    ['on a link to another site', { href: 'https://muster.example/' }, '/help', 'the browser’s'],
    ['on a link to a tab of its own', { href: '/hosts', target: '_blank' }, '/help', 'the browser’s'],
    ['on a download', { href: '/agent-ca.crt', download: true }, '/help', 'the browser’s'],
    ['with the middle button', { href: '/hosts', button: 1 }, '/help', 'the browser’s'],
    ['that somebody has seen to', { href: '/hosts', prevented: true }, '/help', 'the browser’s'],
    ['with Ctrl', { href: '/hosts', held: 'ctrlKey' }, '/help', 'the browser’s'],
    ['with ⌘', { href: '/hosts', held: 'metaKey' }, '/help', 'the browser’s'],
    ['with Shift', { href: '/hosts', held: 'shiftKey' }, '/help', 'the browser’s'],
    ['with Alt', { href: '/hosts', held: 'altKey' }, '/help', 'the browser’s'],
  ];
  test.each(CASES)('%s leads to the right page', async (_, how, address, whose) => {
    await open('/help');
    expect(tab.click(how)).toBe(whose);
    expect(tab.address).toBe(address);
  });

  test('on what is no link is nobody’s', async () => {
    await open('/help');
    expect(tab.click({ href: '/hosts' }, 'text')).toBe('the browser’s');
    expect(tab.address).toBe('/help');
  });
});
