/** What went wrong, as a sentence that says what to do. */
import type { ApiError } from './api/client';
import { toasts } from './toasts.svelte';
import { asApiError } from './resource.svelte';

export function sentence(error: ApiError): string {
  const wait = error.retryAfter === null ? 'a minute' : seconds(error.retryAfter);
  switch (error.status) {
    case 0:
      if (error.code === 'timeout') {
        return 'The server took too long to answer. Try again; if it stays slow, look at its load and its log.';
      }
      if (error.code === 'bug') return 'This page failed. Reload it; if it fails again, please report it.';
      return 'The server can’t be reached. Check that it is running and that this machine is connected.';
    case 401:
      return 'Your session has ended. Sign in again to go on.';
    case 403:
      return 'Your role does not allow this. Ask an administrator of this server.';
    case 404:
      return (
        whole(error.detail) ||
        'This no longer exists. Somebody may have removed it; reload to see what is there.'
      );
    case 429:
      return `Too many attempts from this address. Wait ${wait} and try again.`;
    case 400:
    case 409:
    case 413:
    case 422:
      return whole(error.detail) || 'The server did not accept this. Check what you entered and try again.';
    case 502:
    case 503:
    case 504:
      return `${whole(error.detail) || 'The server can’t answer right now.'} Try again in ${wait}.`;
    default:
      return 'The server failed to do this. Try again; if it fails again, its log says why.';
  }
}

/** The server's reasons are clauses; people read sentences. */
function whole(reason: string): string {
  if (reason === '') return '';
  const text = reason.charAt(0).toUpperCase() + reason.slice(1);
  return /[.!?…]$/.test(text) ? text : `${text}.`;
}

function seconds(count: number): string {
  return count === 1 ? 'a second' : `${count} seconds`;
}

/** Tells in a toast that something did not work. */
export function tellFailure(text: string, thrown: unknown): void {
  const error = asApiError(thrown);
  // The login that comes up says it better.
  if (error.status === 401) return;
  if (error.status === 403) toasts.failure('Permission denied', sentence(error));
  else toasts.failure(text, sentence(error));
}
