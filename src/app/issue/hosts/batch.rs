//! Many hosts changed at once: one decision, one transaction, and a word about each.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;

use crate::app::access::caller::Caller;
use crate::app::insight::fleet::HostQuery;
use crate::app::issue::hosts::marks::marked;
use crate::app::issue::hosts::{letting_back, taking_out};
use crate::app::{App, Unavailable, entropy};
use crate::domain::host::Host;
use crate::domain::host::tag::{HostMarks, InvalidTag, Tag, changed_tags};
use crate::domain::ids::{HostId, TenantId};
use crate::domain::vocabulary::vocabulary;
use crate::store::{Change, ReadError, Verdict, View};

/// Most hosts of one batch.
pub const BATCH_MAX: usize = 1000;

/// What is done to each.
#[derive(Debug, Clone)]
pub enum BatchOrder {
    /// It is taken out of service.
    Decommission,
    /// It may enroll again.
    ReEnable,
    /// Its tags change.
    Tag {
        /// Those that it has afterwards.
        add: BTreeSet<Tag>,
        /// Those that it has no more, unless they are added.
        remove: BTreeSet<Tag>,
    },
}

/// Which hosts it is about.
#[derive(Debug, Clone)]
pub enum BatchOf {
    /// These.
    Ids(Vec<HostId>),
    /// All that match.
    Matching(Box<HostQuery>),
}

vocabulary! {
    /// What became of one host.
    pub enum BatchOutcome {
        Done = "done",
        /// It was so before.
        Unchanged = "unchanged",
        NotFound = "not_found",
    }
}

/// Why nothing was done about any of them.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// Whoever asked has looked at another set.
    #[error("{found} hosts are meant now, which is another number than was expected. Look at them again.")]
    SetChanged {
        /// How many there are.
        found: usize,
    },
    /// More than [`BATCH_MAX`].
    #[error("A batch takes at most {BATCH_MAX} hosts. Narrow it down, or do it in parts.")]
    TooMany,
    /// One of them would have too many tags.
    #[error("{cause}: {host}")]
    Tags {
        /// The first that would.
        host: HostId,
        /// What is wrong with them.
        cause: InvalidTag,
    },
    /// The store or the machine could not answer; not the caller's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What a batch came to: each host once, in the order in which they were named.
pub type BatchItems = Vec<(HostId, BatchOutcome)>;

impl App {
    /// Changes many hosts of a tenant in one transaction, or none. Repeating it is harmless.
    pub async fn change_hosts(
        self: &Arc<Self>,
        caller: &Caller,
        tenant: TenantId,
        of: BatchOf,
        expect: Option<usize>,
        order: BatchOrder,
    ) -> Result<BatchItems, BatchError> {
        let ids = match of {
            BatchOf::Ids(ids) => {
                let mut seen = BTreeSet::new();
                ids.into_iter().filter(|id| seen.insert(*id)).collect()
            }
            BatchOf::Matching(query) => self.matching(tenant, *query).await?,
        };
        if ids.len() > BATCH_MAX {
            return Err(BatchError::TooMany);
        }
        let mut salted = Vec::with_capacity(ids.len());
        for id in ids {
            salted.push((id, entropy()?));
        }
        let caller = caller.clone();
        self.decide(move |view, now| decide(view, now, &caller, tenant, &salted, expect, &order)).await
    }

    /// The hosts that match; one more than a batch takes where there are more.
    async fn matching(
        self: &Arc<Self>,
        tenant: TenantId,
        query: HostQuery,
    ) -> Result<Vec<HostId>, Unavailable> {
        let listed = self.hosts(tenant, query, BATCH_MAX + 1).await?;
        Ok(listed.hosts.into_iter().map(|detail| detail.now.host.id).collect())
    }
}

fn decide(
    view: &View<'_>,
    now: Timestamp,
    caller: &Caller,
    tenant: TenantId,
    salted: &[(HostId, [u8; 16])],
    expect: Option<usize>,
    order: &BatchOrder,
) -> Result<Verdict<BatchItems, BatchError>, ReadError> {
    let mut items = Vec::with_capacity(salted.len());
    let mut all = Vec::new();
    for &(id, salt) in salted {
        let Some(host) = view.tenant(tenant).host(id)? else {
            items.push((id, BatchOutcome::NotFound));
            continue;
        };
        let changes = match order {
            BatchOrder::Decommission => taking_out(view, now, caller, host, salt)?,
            BatchOrder::ReEnable => letting_back(view, now, caller, host, salt)?,
            BatchOrder::Tag { add, remove } => match tagged(caller, host, add, remove, salt) {
                Ok(changes) => changes,
                Err(cause) => return Ok(Verdict::refuse(BatchError::Tags { host: id, cause })),
            },
        };
        items.push((id, if changes.is_empty() { BatchOutcome::Unchanged } else { BatchOutcome::Done }));
        all.extend(changes);
    }
    let found = items.iter().filter(|(_, outcome)| *outcome != BatchOutcome::NotFound).count();
    if expect.is_some_and(|expect| expect != found) {
        return Ok(Verdict::refuse(BatchError::SetChanged { found }));
    }
    Ok(Verdict::accept(items, all))
}

fn tagged(
    caller: &Caller,
    host: Host,
    add: &BTreeSet<Tag>,
    remove: &BTreeSet<Tag>,
    salt: [u8; 16],
) -> Result<Vec<Change>, InvalidTag> {
    let marks =
        HostMarks { tags: changed_tags(&host.marks.tags, add, remove)?, note: host.marks.note.clone() };
    Ok(marked(caller, host, marks, salt))
}
