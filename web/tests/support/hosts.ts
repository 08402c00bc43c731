import type { Host } from '../../src/api/types';

/** A host as the server lists it, with what a test is about put in its place. */
export function host(changes: Partial<Host> = {}): Host {
  return {
    id: '01990000-0000-7000-8000-000000000001',
    agent_id: 'agent-1',
    tenant_id: '01990000-0000-7000-8000-0000000000ff',
    spiffe_id: null,
    hostname: 'web-1.example',
    os: 'Debian 12',
    arch: 'x86_64',
    ips: ['10.0.0.1'],
    machine_id: null,
    agent_version: '0.2.0',
    status: 'online',
    state: 'in_service',
    revoked_at: null,
    credential: null,
    first_enrolled_at: '2026-01-01T00:00:00Z',
    last_seen: '2026-01-09T12:00:00Z',
    decommissioned_at: null,
    svid_not_after: '2026-02-01T00:00:00Z',
    svid_issued_at: '2026-01-01T00:00:00Z',
    flags: [],
    tags: [],
    note: null,
    ...changes,
  };
}
