//! Reading the audit trail, and checking that nobody has written in it or cut it short.

use std::collections::{BTreeMap, HashMap};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use crate::app::{App, Unavailable};
use crate::clock;
use crate::domain::ids::TenantId;
use crate::domain::insight::audit::{
    AuditEvent, AuditOrder, AuditRecord, ChainHead, MissingRecords, Outcome,
};
use crate::domain::insight::audit_action::AuditAction;
use crate::request_id::{RequestId, run_for};
use crate::store::{self, Change, Numbered, ReadError};

/// Records looked at for one page of a search; a search for something rare continues on the next page.
const SCAN_MAX: usize = 20_000;

/// Which records are wanted.
#[derive(Debug, Clone, Default)]
pub struct AuditQuery {
    /// Only this tenant's; `None`: all of them.
    pub tenant: Option<TenantId>,
    /// Only those with this text in any of their words or names, whatever the case.
    pub text: Option<String>,
    /// Exactly this one, such as `user:ada`; as in `AuditEvent::actor`.
    pub actor: Option<String>,
    /// Exactly this one, as `noun.verb`, be it one of another version.
    pub action: Option<String>,
    /// Only what succeeded, or only what was refused.
    pub outcome: Option<Outcome>,
    /// Only those from this moment on.
    pub from: Option<Timestamp>,
    /// Only those before this moment.
    pub until: Option<Timestamp>,
    /// Newest first, or as the chain grows.
    pub order: AuditOrder,
    /// Only those behind this place, in that order.
    pub behind: Option<u64>,
}

impl AuditQuery {
    /// Whether a record is wanted, whosever it is.
    fn wants(&self, record: &AuditRecord) -> bool {
        let same = |wanted: &Option<String>, is: &str| wanted.as_ref().is_none_or(|wanted| wanted == is);
        same(&self.actor, &record.actor)
            && same(&self.action, &record.action)
            && self.outcome.is_none_or(|outcome| outcome == record.outcome)
            && self.from.is_none_or(|from| record.at >= from)
            && self.until.is_none_or(|until| record.at < until)
            && self.text.as_ref().is_none_or(|text| mentions(record, text))
    }
}

/// A stretch of the trail.
#[derive(Debug, Default)]
pub struct AuditPage {
    /// In the order asked for. There may be fewer than the limit, or none, while `next` goes on: a page looks
    /// at so many records and no more.
    pub records: Vec<NumberedRecord>,
    /// Where to go on; `None` at the end of the trail in this direction.
    pub next: Option<u64>,
}

/// A record that was asked for.
#[derive(Debug, Clone)]
pub struct NumberedRecord {
    /// As it stands in the chain; its own number is one among the records of everybody.
    pub record: AuditRecord,
    /// Its number among those of its tenant, if the records of one tenant were asked for.
    pub in_tenant: Option<u64>,
}

/// The state of the hash chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainCheck {
    /// How many there are, as far as the asker may know.
    pub records: u64,
    /// `None`: it is whole, from its first record to the last one that is known to have been there.
    pub broken: Option<Broken>,
}

/// Where the chain is broken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Broken {
    /// The first record that does not continue the chain; `None` when that is not known, or not for the asker.
    pub at: Option<u64>,
    /// A clause about that record, or about the chain's end; for those of one tenant without numbers.
    pub why: String,
}

impl App {
    /// A page of the audit trail.
    pub async fn audit(self: &Arc<Self>, query: AuditQuery, limit: usize) -> Result<AuditPage, Unavailable> {
        self.walk(move |app| app.read_audit(query, limit)).await
    }

    fn read_audit(&self, mut query: AuditQuery, limit: usize) -> Result<AuditPage, Unavailable> {
        query.text = query.text.map(|text| text.to_lowercase());
        let newest_first = query.order == AuditOrder::Newest;
        let mut page = AuditPage::default();
        let mut seen = 0;
        self.query(|view| {
            let end = match query.tenant {
                Some(tenant) => view.audit_end_of(tenant)?,
                None => view.audit_end()?,
            };
            let last = if newest_first { 1 } else { end };
            let mut visit = |record: AuditRecord, place: u64, in_tenant| {
                seen += 1;
                page.next = (place != last).then_some(place);
                if query.wants(&record) {
                    page.records.push(NumberedRecord { record, in_tenant });
                }
                let full = page.records.len() >= limit || seen >= SCAN_MAX;
                if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            };
            match query.tenant {
                Some(tenant) => {
                    view.audit_of(tenant, query.behind, newest_first, |Numbered { record, in_tenant }| {
                        visit(record, in_tenant, Some(in_tenant))
                    })
                }
                None => view.audit(query.behind, newest_first, |record| {
                    let seq = record.seq;
                    visit(record, seq, None)
                }),
            }
        })?;
        Ok(page)
    }

    /// Walks the whole chain from its beginning, and counts the records of one tenant or of all.
    ///
    /// One walk at a time: whoever comes while one goes on waits, and takes the next one's answer with all others
    /// who waited, or the last one's where the trail has not grown since.
    pub async fn verify_audit(
        self: &Arc<Self>,
        counted: Option<TenantId>,
    ) -> Result<ChainCheck, Unavailable> {
        let came = clock::monotonic();
        let mut last = self.verified.lock().await;
        let head = self.query(|view| view.audit_head()).ok();
        let missing = self.store.missing_records();
        let good = last.as_ref().is_some_and(|walk: &Walk| {
            walk.missing == missing && (walk.began >= came || (walk.is_whole() && walk.head == head))
        });
        if !good {
            let app = Arc::clone(self);
            let number = last.as_ref().map_or(1, |walk| walk.number + 1);
            *last = Some(self.verifier.run(move || app.walk_chain(number)).await??);
        }
        let walk = last.as_ref().ok_or(Unavailable::Failed)?;
        Ok(walk.told_to(counted))
    }

    fn walk_chain(&self, number: u64) -> Result<Walk, Unavailable> {
        let began = clock::monotonic();
        self.query(|view| {
            let mut records = 0;
            let mut by_tenant = HashMap::<String, u64>::new();
            let mut head = ChainHead::genesis();
            let mut broken = None;
            let end = view.audit_end()?;
            while head.seq < end {
                let seq = head.seq + 1;
                let why = match view.audit_record(seq) {
                    Ok(Some(record)) if record.follows(&head) => {
                        head = ChainHead { seq, hash: record.hash };
                        records += 1;
                        if let Some(tenant) = record.tenant_id {
                            *by_tenant.entry(tenant).or_default() += 1;
                        }
                        continue;
                    }
                    Ok(Some(_)) => "it does not continue the chain",
                    Ok(None) => "it is missing",
                    Err(ReadError::Checksum { .. } | ReadError::Record { .. }) => "it cannot be read",
                    Err(error) => return Err(error),
                };
                broken = Some((seq, why));
                break;
            }
            // What is there hangs together; whether that is all of it, the marks beside the store know.
            let missing = self.store.missing_records();
            Ok(Walk { number, began, head: Some(head), records, by_tenant, broken, missing })
        })
    }

    /// Puts on record what the trail was found to have lost, and goes on from there. To be called when the
    /// server starts, and while it runs: a store that is opened anew after a failed commit is looked at again.
    pub async fn record_missing_records(&self) -> Result<(), Unavailable> {
        let Some(missing) = self.store.missing_records() else { return Ok(()) };
        let mut event =
            AuditEvent::by_muster("store", AuditAction::AuditRecordsMissing, None, store::JOURNAL_NAME);
        event.detail = detail(&missing);
        self.record(vec![Change::Audit(event), Change::AcceptLoss(missing)]).await
    }
}

/// What the last walk along the chain has found.
#[derive(Debug)]
pub(crate) struct Walk {
    /// How many there have been with it.
    number: u64,
    began: Instant,
    /// How far it came.
    head: Option<ChainHead>,
    records: u64,
    by_tenant: HashMap<String, u64>,
    broken: Option<(u64, &'static str)>,
    missing: Option<MissingRecords>,
}

impl Walk {
    const fn is_whole(&self) -> bool {
        self.broken.is_none() && self.missing.is_none()
    }

    /// What somebody may know of it: those of one tenant learn nothing of the chain's own numbers.
    fn told_to(&self, counted: Option<TenantId>) -> ChainCheck {
        let records = match counted {
            Some(tenant) => self.by_tenant.get(&tenant.to_string()).copied().unwrap_or(0),
            None => self.records,
        };
        let broken = match self.broken {
            Some((seq, why)) if counted.is_none() => Some(Broken { at: Some(seq), why: why.to_owned() }),
            Some(_) => {
                Some(Broken { at: None, why: "a record is damaged or does not belong there".to_owned() })
            }
            None => self.missing.as_ref().map(|missing| cut_short(missing, counted.is_none())),
        };
        ChainCheck { records, broken }
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
pub(crate) fn detail(missing: &MissingRecords) -> BTreeMap<&'static str, String> {
    let after = missing.after.map_or_else(|| "unknown".to_owned(), |after| after.to_string());
    BTreeMap::from([("records_after", after), ("records_seen", missing.seen.seq.to_string())])
}

/// One line of the log for each record, under a target of its own and with the record's fields.
pub(crate) fn log(records: &[(AuditRecord, Option<RequestId>)]) {
    for (record, request) in records {
        run_for(*request, || log_one(record));
    }
}

fn log_one(record: &AuditRecord) {
    let tenant_id = record.tenant_id.as_deref().unwrap_or_default();
    let names = record.names.iter().filter_map(|(key, name)| Some((key, name.name.as_ref()?)));
    tracing::info!(
        target: "audit",
        seq = record.seq,
        at = %record.at,
        actor = record.actor,
        source = record.source,
        tenant_id,
        action = record.action,
        // Lines have a target of their own.
        on = record.target,
        outcome = %record.outcome,
        reason = record.reason.as_deref().unwrap_or_default(),
        detail = %serde_json::json!(record.detail),
        names = %serde_json::json!(names.collect::<BTreeMap<_, _>>()),
        hash = record.hash,
        "audit record"
    );
}

fn mentions(record: &AuditRecord, text: &str) -> bool {
    let outcome = record.outcome.to_string();
    let fields = [&record.actor, &record.source, &record.action, &record.target, &outcome];
    let names = record.names.values().filter_map(|name| name.name.as_ref());
    let optional = record.reason.iter().chain(record.detail.values()).chain(names);
    fields.into_iter().chain(optional).any(|field| field.to_lowercase().contains(text))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::app::Policy;
    use crate::app::access::caller::{Caller, LocalVia};

    #[tokio::test(flavor = "multi_thread")]
    async fn many_who_verify_at_once_cause_one_walk() {
        let room = tempfile::tempdir().unwrap();
        let clock = Arc::new(crate::clock::SystemClock);
        let app = Arc::new(App::open(room.path(), clock, Policy::default(), |_| {}).unwrap());
        let caller = Caller::Local { uid: 0, via: LocalVia::Process };
        let grow = async |name: &str| app.create_tenant(&caller, name.parse().unwrap()).await.unwrap();
        grow("one").await;
        let walks = async || app.verified.lock().await.as_ref().map_or(0, |walk| walk.number);
        let verify_often = async || {
            // They all come while one is at it.
            let busy = app.verified.lock().await;
            let came = Arc::new(std::sync::atomic::AtomicUsize::new(0));
            let tasks: Vec<_> = (0..12)
                .map(|_| {
                    let (app, came) = (Arc::clone(&app), Arc::clone(&came));
                    tokio::spawn(async move {
                        let mut verifying = std::pin::pin!(app.verify_audit(None));
                        let first =
                            std::future::poll_fn(|cx| std::task::Poll::Ready(verifying.as_mut().poll(cx)));
                        assert!(first.await.is_pending());
                        came.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                        verifying.await.unwrap()
                    })
                })
                .collect();
            while came.load(std::sync::atomic::Ordering::SeqCst) < 12 {
                tokio::task::yield_now().await;
            }
            drop(busy);
            for task in tasks {
                let check = task.await.unwrap();
                assert!(check.broken.is_none(), "{check:?}");
            }
        };
        verify_often().await;
        assert_eq!(walks().await, 1);
        verify_often().await;
        assert_eq!(walks().await, 1, "the trail has not grown");
        let tenant = grow("two").await;
        verify_often().await;
        assert_eq!(walks().await, 2);
        assert_eq!(app.verify_audit(None).await.unwrap().records, 2);
        assert_eq!(app.verify_audit(Some(tenant.id)).await.unwrap().records, 1);
    }

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
