import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';

import { ANY_HOST, ApiError, api, attach } from '../../src/api/client';

const json = (body: unknown, init?: ResponseInit) => () => Promise.resolve(Response.json(body, init));

let asked: { method: string; url: string; body: unknown }[];
let answers: (() => Promise<Response>)[];
let tenant: string | null;
let epoch: number;
let away: boolean;
const refused = vi.fn();
const forbidden = vi.fn();

const addresses = () => asked.map(({ url }) => url);
const failure = async (work: Promise<unknown>) =>
  work.then(
    () => null,
    (error: unknown) => error,
  );

beforeEach(() => {
  asked = [];
  answers = [];
  tenant = null;
  epoch = 1;
  away = false;
  refused.mockClear();
  forbidden.mockClear();
  attach({ epoch: () => epoch, away: () => away, tenant: () => tenant, refused, forbidden });
  vi.stubGlobal('fetch', (url: string, init: RequestInit) => {
    asked.push({ method: init.method ?? '', url, body: init.body });
    return (answers.shift() ?? json({ items: [], next_cursor: null }))();
  });
});
afterEach(() => {
  attach({
    epoch: () => 0,
    away: () => false,
    tenant: () => null,
    refused: () => undefined,
    forbidden: () => undefined,
  });
});

describe('a request', () => {
  test('names what is asked for, and nothing that is not', async () => {
    tenant = 't1';
    await api.hosts(ANY_HOST, 100, null);
    await api.hosts({ ...ANY_HOST, q: 'a&b', status: 'offline', sort: '-hostname' }, 100, 'c=1');
    expect(addresses()).toEqual([
      '/v1/hosts?limit=100&tenant=t1',
      '/v1/hosts?q=a%26b&status=offline&sort=-hostname&limit=100&cursor=c%3D1&tenant=t1',
    ]);
  });

  test('leads to one thing, whatever its id is made of', async () => {
    await api.host('a/../b?c#d');
    expect(addresses()).toEqual(['/v1/hosts/a%2F..%2Fb%3Fc%23d']);
  });

  test('carries secrets in its body, never in its address', async () => {
    await api.signIn('admin', 'hunter2');
    expect(asked).toEqual([
      {
        method: 'POST',
        url: '/v1/session',
        body: JSON.stringify({ username: 'admin', password: 'hunter2' }),
      },
    ]);
  });
});

test('a list that people make by hand is followed to its end', async () => {
  answers.push(
    json({ items: [{ id: 'a' }], next_cursor: '1' }),
    json({ items: [{ id: 'b' }], next_cursor: null }),
  );
  expect(await api.tenants()).toEqual([{ id: 'a' }, { id: 'b' }]);
  expect(addresses()).toEqual(['/v1/tenants?limit=500', '/v1/tenants?limit=500&cursor=1']);
});

test('the users of a tenant are its own and those of all tenants, unless all are looked at', async () => {
  tenant = 't1';
  const items = [{ tenant_id: 't1' }, { tenant_id: 't2' }, { tenant_id: null }];
  answers.push(json({ items, next_cursor: null }), json({ items, next_cursor: null }));
  expect(await api.users(false)).toEqual([{ tenant_id: 't1' }, { tenant_id: null }]);
  expect(await api.users(true)).toEqual(items);
});

describe('what is no success', () => {
  test('is what the server says of it', async () => {
    const problem = { code: 'name_taken', detail: 'the name is taken' };
    answers.push(json(problem, { status: 409, headers: { 'retry-after': '7' } }));
    expect(await failure(api.tenants())).toEqual(new ApiError(409, 'name_taken', 'the name is taken', 7));
  });

  test.each([
    ['a web page in place of an answer', 200, '<!doctype html>', 502],
    ['nothing in place of an answer', 200, '', 502],
    ['an error of something in between', 504, '<h1>Gateway Timeout</h1>', 504],
    ['an error without a document', 500, '', 500],
    ['an error whose document is none', 500, '[]', 500],
  ])('is a failure without a reason where it is %s', async (_, status, body, taken) => {
    answers.push(() => Promise.resolve(new Response(body, { status })));
    expect(await failure(api.tenants())).toMatchObject({
      status: taken,
      code: 'unknown',
      detail: '',
      retryAfter: null,
    });
  });

  test('is that no answer came', async () => {
    answers.push(() => Promise.reject(new TypeError('fetch failed')));
    expect(await failure(api.tenants())).toMatchObject({ status: 0, code: 'unreachable' });
  });

  test('is nobody’s failure where nobody waits for it any more', async () => {
    const left = new AbortController();
    answers.push(() => {
      left.abort();
      return Promise.reject(new DOMException('aborted', 'AbortError'));
    });
    expect(await failure(api.overview(left.signal))).not.toBeInstanceOf(ApiError);
  });

  test('but an answer that says it is empty is one', async () => {
    answers.push(() => Promise.resolve(new Response(null, { status: 204 })));
    expect(await api.signOut()).toBeUndefined();
  });
});

describe('the session hears', () => {
  test.each([
    [401, 1, 0],
    [403, 0, 1],
    [404, 0, 0],
    [500, 0, 0],
  ])('of %i what concerns it', async (status, ended, denied) => {
    answers.push(json({}, { status }));
    await failure(api.agentCa());
    expect([refused.mock.calls.length, forbidden.mock.calls.length]).toEqual([ended, denied]);
  });

  test('nothing of what was asked before somebody signed in', async () => {
    answers.push(() => {
      epoch += 1;
      return json({}, { status: 401 })();
    });
    await failure(api.agentCa());
    expect(refused).not.toHaveBeenCalled();
  });

  test('nothing of a page that its user has left: it asks nothing, so that nobody else asks in its place', async () => {
    away = true;
    const problem = await failure(api.agentCa());
    expect(problem).toMatchObject({ status: 401 });
    expect(asked).toEqual([]);
    expect(refused).not.toHaveBeenCalled();
    // What comes back is the session itself, and what it has to know first.
    await api.session();
    await api.tenants();
    expect(addresses()).toEqual(['/v1/session/if-any', '/v1/tenants?limit=500']);
  });

  test('nothing of a login that fails', async () => {
    answers.push(json({}, { status: 401 }));
    await failure(api.signIn('admin', 'wrong'));
    expect(refused).not.toHaveBeenCalled();
  });
});
