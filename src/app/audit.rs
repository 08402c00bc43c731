//! Reading the audit trail, and checking that nobody has written in it or cut it short.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::ops::ControlFlow;
use std::sync::Arc;

use super::{App, Unavailable};
use crate::domain::audit::{AuditEvent, AuditRecord, ChainHead, MissingRecords, Outcome};
use crate::domain::ids::TenantId;
use crate::store::{self, Change, ReadError, Verdict};

/// Records looked at for one page of a search; a search for something rare continues on the next page.
const SCAN_MAX: usize = 20_000;

/// Which records are wanted.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Only this tenant's; `None`: all of them.
    pub tenant: Option<TenantId>,
    /// Only those with this text in actor, action, target, reason or detail, whatever the case.
    pub text: Option<String>,
    pub order: Order,
    /// Only those behind this sequence number, in that order.
    pub behind: Option<u64>,
}

/// The order in which records are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    #[default]
    NewestFirst,
    /// As the chain grows.
    OldestFirst,
}

/// A stretch of the trail.
#[derive(Debug, Default)]
pub struct AuditPage {
    pub records: Vec<AuditRecord>,
    /// Where to go on; `None` at the end of the trail in this direction.
    pub next: Option<u64>,
}

/// The state of the hash chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainCheck {
    /// How many there are, as far as the asker may know.
    pub records: u64,
    pub broken: Option<Broken>,
}

/// Where the chain is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The first record that does not continue the chain; `None` when that is not known, or not for the asker.
    pub at: Option<u64>,
    pub why: String,
}

impl App {
    /// A page of the audit trail.
    pub async fn audit(self: &Arc<Self>, query: AuditQuery, limit: usize) -> Result<AuditPage, Unavailable> {
        let app = Arc::clone(self);
        Ok(self.readers.run(move || app.read_audit(&query, limit)).await??)
    }

    fn read_audit(&self, query: &AuditQuery, limit: usize) -> Result<AuditPage, ReadError> {
        let tenant = query.tenant.map(|tenant| tenant.to_string());
        let text = query.text.as_ref().map(|text| text.to_lowercase());
        let mut page = AuditPage::default();
        let mut seen = 0;
        self.store.read(|view| {
            let newest_first = query.order == Order::NewestFirst;
            let last = if newest_first { 1 } else { view.audit_end()? };
            view.audit(query.behind, newest_first, |record| {
                seen += 1;
                page.next = (record.seq != last).then_some(record.seq);
                let own = tenant.is_none() || record.tenant_id == tenant;
                if own && text.as_ref().is_none_or(|text| mentions(&record, text)) {
                    page.records.push(record);
                }
                let full = page.records.len() >= limit || seen >= SCAN_MAX;
                if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })
        })?;
        Ok(page)
    }

    /// Walks the whole chain from its beginning, and counts the records of one tenant or of all.
    pub async fn verify_audit(
        self: &Arc<Self>,
        counted: Option<TenantId>,
    ) -> Result<ChainCheck, Unavailable> {
        let app = Arc::clone(self);
        Ok(self.readers.run(move || app.walk_chain(counted)).await??)
    }

    fn walk_chain(&self, counted: Option<TenantId>) -> Result<ChainCheck, ReadError> {
        let counted = counted.map(|tenant| tenant.to_string());
        self.store.read(|view| {
            let mut records = 0;
            let mut head = ChainHead::genesis();
            let end = view.audit_end()?;
            while head.seq < end {
                let seq = head.seq + 1;
                let why = match view.audit_record(seq) {
                    Ok(Some(record)) if record.follows(&head) => {
                        head = ChainHead { seq, hash: record.hash };
                        records += u64::from(counted.is_none() || record.tenant_id == counted);
                        continue;
                    }
                    Ok(Some(_)) => "it does not continue the chain",
                    Ok(None) => "it is missing",
                    Err(ReadError::Checksum { .. } | ReadError::Record { .. }) => "it cannot be read",
                    Err(error) => return Err(error),
                };
                return Ok(ChainCheck {
                    records,
                    broken: Some(Broken { at: Some(seq), why: why.to_owned() }),
                });
            }
            // What is there hangs together; whether that is all of it, the marks beside the store know.
            let missing = self.store.missing_records();
            let broken = missing.map(|missing| cut_short(&missing, counted.is_none()));
            Ok(ChainCheck { records, broken })
        })
    }

    /// Puts on record what the trail was found to have lost, and goes on from there. To be called when the
    /// server starts, and while it runs: a store that is opened anew after a failed commit is looked at again.
    pub async fn record_missing_records(&self) -> Result<(), Unavailable> {
        let Some(missing) = self.store.missing_records() else { return Ok(()) };
        let event = AuditEvent {
            actor: "muster".to_owned(),
            source: "store".to_owned(),
            tenant: None,
            action: "audit.records_missing",
            target: store::JOURNAL_NAME.to_owned(),
            outcome: Outcome::Success,
            reason: None,
            detail: detail(&missing),
        };
        let recorded = self.store.write(move |_, _| {
            let changes = vec![Change::Audit(event), Change::AcceptLoss(missing)];
            Ok(Verdict::<(), Infallible>::accept((), changes))
        });
        let Ok(()) = recorded.await?;
        Ok(())
    }
}

/// How many records there were of all tenants is not for one of them to know.
fn cut_short(missing: &MissingRecords, sees_all: bool) -> Broken {
    if sees_all {
        return Broken { at: missing.after.map(|after| after + 1), why: missing.to_string() };
    }
    Broken { at: None, why: "records at its end are missing".to_owned() }
}

/// What a record says of others that are missing.
pub(super) fn detail(missing: &MissingRecords) -> BTreeMap<&'static str, String> {
    let after = missing.after.map_or_else(|| "unknown".to_owned(), |after| after.to_string());
    BTreeMap::from([("records_after", after), ("records_seen", missing.seen.seq.to_string())])
}

fn mentions(record: &AuditRecord, text: &str) -> bool {
    let fields = [&record.actor, &record.source, &record.action, &record.target];
    let optional = record.reason.iter().chain(record.detail.values());
    fields.into_iter().chain(optional).any(|field| field.to_lowercase().contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_does_not_learn_how_many_records_all_of_them_have() {
        let missing = MissingRecords { after: Some(41), seen: ChainHead { seq: 57, hash: String::new() } };
        let told = cut_short(&missing, true);
        assert!(told.at == Some(42) && told.why.contains("41") && told.why.contains("57"), "{told:?}");
        let told = cut_short(&missing, false);
        assert!(told.at.is_none() && !told.why.contains(|c: char| c.is_ascii_digit()), "{told:?}");
        let missing = MissingRecords { after: None, ..missing };
        let told = cut_short(&missing, true);
        assert!(told.at.is_none() && told.why.contains("not known from where"), "{told:?}");
    }
}
