/** How often an enrollment secret was used, and how often it may be. */
import type { EnrollmentSecret } from '../../../api/types';

export function usesText({ uses, max_uses }: Pick<EnrollmentSecret, 'uses' | 'max_uses'>): string {
  if (max_uses !== null) return `${uses} / ${max_uses}`;
  return uses === 0 ? 'None yet' : String(uses);
}

/**
 * A cap as it was typed: a number when it is one, nothing when nothing was typed, and otherwise the very text,
 * for the server to refuse with its reason.
 */
export function typedCap(text: string): number | string | undefined {
  const typed = text.trim();
  if (typed === '') return undefined;
  return /^[+-]?\d+$/.test(typed) ? Number(typed) : typed;
}
