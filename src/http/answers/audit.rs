//! The audit trail: what goes over the wire, made from what the use cases answer.

use crate::api::audit::AuditItem;
use crate::app::insight::audit::NumberedRecord;

impl AuditItem {
    /// A record as somebody may see it: how much others do shows neither in numbers nor in hashes.
    pub(crate) fn new(NumberedRecord { record, in_tenant }: NumberedRecord, sees_all: bool) -> Self {
        Self {
            seq: if sees_all { record.seq } else { in_tenant.unwrap_or(0) },
            at: record.at,
            actor: record.actor,
            source: record.source,
            tenant_id: record.tenant_id,
            action: record.action,
            target: record.target,
            outcome: record.outcome.into(),
            reason: record.reason,
            detail: record.detail,
            names: record.names,
            prev_hash: sees_all.then_some(record.prev_hash),
            hash: sees_all.then_some(record.hash),
        }
    }
}
