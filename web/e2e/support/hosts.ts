/** Hosts that tests enroll for themselves. */
import type { Api } from './api';
import { unique } from './fixtures';
import type { Server } from './server';

export interface Host {
  id: string;
  agent_id: string;
  hostname: string | null;
}

/** A host of the test's own, known by its agent id. */
export async function enrolled(server: Server, api: Api): Promise<Host & { name: string }> {
  const agentId = unique('host');
  await server.enroll(await api.joinLink(agentId), agentId);
  const { items } = await api.get<{ items: Host[] }>('/hosts?limit=500');
  const host = items.find((host) => host.agent_id === agentId);
  if (!host) throw new Error('the host that was enrolled is not listed');
  return { ...host, name: host.hostname ?? host.agent_id };
}
