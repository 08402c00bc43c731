/** The API as a test uses it to prepare things and to look behind the pages. */
import { type APIRequestContext, expect, request } from '@playwright/test';

import type { Server } from './server';

export class Api {
  private constructor(
    private readonly context: APIRequestContext,
    private readonly origin: string,
  ) {}

  static async signedIn(server: Server): Promise<Api> {
    const context = await request.newContext({
      baseURL: server.url,
      ignoreHTTPSErrors: true,
      extraHTTPHeaders: { origin: server.url },
    });
    const answer = await context.post('/v1/session', { data: server.admin });
    expect(answer.status()).toBe(200);
    return new Api(context, server.url);
  }

  async get<T>(path: string): Promise<T> {
    const answer = await this.context.get(`/v1${path}`);
    expect(answer.ok(), `GET ${path}`).toBe(true);
    return (await answer.json()) as T;
  }

  async post<T>(path: string, data?: unknown): Promise<T> {
    const answer = await this.context.post(`/v1${path}`, data === undefined ? {} : { data });
    expect(answer.ok(), `POST ${path}: ${await answer.text()}`).toBe(true);
    return (await answer.json()) as T;
  }

  /** A link with which many machines may join. */
  async secretLink(name: string): Promise<{ id: string; link: string }> {
    const { id, secret } = await this.post<{ id: string; secret: string }>('/enrollment-secrets', { name });
    const { server_pin } = await this.get<{ server_pin: string }>('/agent-ca');
    return { id, link: `muster://${new URL(this.origin).host}/?pin=${server_pin}#${secret}` };
  }

  /** A join link as the Enroll page would show it. */
  async joinLink(agentId: string): Promise<string> {
    const minted = await this.post<{ token: string; ca_pin: string }>('/agents/enroll-tokens', {
      agent_id: agentId,
    });
    return `muster://${new URL(this.origin).host}/?pin=${minted.ca_pin}#${minted.token}`;
  }
}
