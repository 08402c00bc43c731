/** Audit records as comma-separated values. */
import type { AuditRecord } from '../../api/types';
import { plainSentence } from '../../audit-sentence';
import { line } from '../../csv';

export const HEAD = line([
  'record',
  'at',
  'sentence',
  'actor',
  'source',
  'action',
  'target',
  'outcome',
  'reason',
  'detail',
]);

export function rows(records: readonly AuditRecord[]): string {
  return records
    .map((record) => {
      const { seq, at, actor, source, action, target, outcome, reason, detail } = record;
      const more = Object.entries(detail)
        .map(([name, value]) => `${name}=${value}`)
        .join('; ');
      return line([
        String(seq),
        at,
        plainSentence(record),
        actor,
        source,
        action,
        target,
        outcome,
        reason,
        more,
      ]);
    })
    .join('');
}
