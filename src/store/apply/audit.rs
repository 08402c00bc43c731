//! Writing the audit trail, with what is told of it.

use jiff::Timestamp;

use super::Batch;
use crate::domain::insight::audit::{AuditEvent, KnownLoss};
use crate::store::ReadError;
use crate::store::rows::Table;
use crate::store::view::meta;

impl Batch {
    pub(super) fn audit(&mut self, event: AuditEvent, now: Timestamp) -> Result<(), ReadError> {
        let host = event.host;
        self.tell_of_audit(&event, now)?;
        let record = self.chain.link(now, event);
        self.put(Table::Audit, &record.seq.to_be_bytes(), &record)?;
        self.index_audit(&record, host)?;
        self.published.records.push((record, self.request));
        Ok(())
    }

    pub(super) fn loss(&mut self, loss: &KnownLoss) -> Result<(), ReadError> {
        self.put(Table::Meta, meta::AUDIT_LOSS, loss)
    }
}
