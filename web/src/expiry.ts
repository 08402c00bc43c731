/** How near the end of a certificate is, by the thresholds that the server's warnings have (`domain/finding.rs`). */
import type { Timestamp } from './api/types';
import { daysUntil } from './times';

export const SOON_DAYS = 60;
const CRITICAL_DAYS = 7;

export type Nearness = 'expired' | 'critical' | 'soon' | 'far';

export function nearness(at: Timestamp, now: number): Nearness {
  const left = daysUntil(at, now);
  if (left <= 0) return 'expired';
  if (left < CRITICAL_DAYS) return 'critical';
  return left < SOON_DAYS ? 'soon' : 'far';
}
