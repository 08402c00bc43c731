/** Taking a host out of service, and with it the secret that let it in, if that is wanted. */
import { api } from './api/client';
import type { Host } from './api/types';
import { hostName } from './hosts';
import { tellFailure } from './sentences';
import { toasts } from './toasts.svelte';

/** Whether the host is out. What became of it, and of the secret, is told. */
export async function decommission(host: Host, secret: string | null): Promise<boolean> {
  try {
    await api.decommission(host.id);
  } catch (error) {
    tellFailure(`${hostName(host)} was not decommissioned`, error);
    return false;
  }
  toasts.success(`${hostName(host)} decommissioned`);
  if (secret === null) return true;
  try {
    await api.revokeSecret(secret);
    toasts.success('Enrollment secret revoked');
  } catch (error) {
    tellFailure('Failed to revoke the enrollment secret', error);
  }
  return true;
}
