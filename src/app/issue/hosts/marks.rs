//! What people say of a host, changed: its tags and its note.

use std::collections::BTreeSet;

use crate::app::access::caller::Caller;
use crate::app::issue::hosts::{HostDetail, HostError};
use crate::app::{App, entropy};
use crate::domain::host::Host;
use crate::domain::host::tag::{HostMarks, HostNote, Tag};
use crate::domain::ids::{HostId, TenantId};
use crate::domain::insight::audit_action::AuditAction;
use crate::store::Change;

/// What is to be said of a host; what is left out stays.
#[derive(Debug, Clone, Default)]
pub struct MarksChange {
    /// The whole list.
    pub tags: Option<BTreeSet<Tag>>,
    /// `Some(None)` takes the note away.
    pub note: Option<Option<HostNote>>,
}

/// What writes a host with other marks; nothing, where it has these. The note itself stands in no record: it may be
/// rewritten because it should not have been written.
pub(super) fn marked(caller: &Caller, host: Host, marks: HostMarks, salt: [u8; 16]) -> Vec<Change> {
    if host.marks == marks {
        return Vec::new();
    }
    let listed = |of: &BTreeSet<Tag>, others: &BTreeSet<Tag>| {
        let listed: Vec<_> = of.difference(others).map(Tag::as_str).collect();
        (!listed.is_empty()).then(|| listed.join(" "))
    };
    let mut event = caller.event(AuditAction::HostChange, Some(host.tenant), host.id);
    let (before, after) = (&host.marks.tags, &marks.tags);
    event.detail.extend(listed(after, before).map(|tags| ("added", tags)));
    event.detail.extend(listed(before, after).map(|tags| ("removed", tags)));
    if host.marks.note != marks.note {
        let what = if marks.note.is_some() { "written" } else { "removed" };
        event.detail.insert("note", what.to_owned());
    }
    event.name_host(host.id, host.facts.hostname.as_deref(), salt);
    vec![Change::PutHost(Host { marks, ..host }), Change::Audit(event)]
}

impl App {
    /// Changes what people say of a host. Repeating it is harmless.
    pub async fn mark_host(
        &self,
        caller: &Caller,
        tenant: TenantId,
        id: HostId,
        change: MarksChange,
    ) -> Result<HostDetail, HostError> {
        let (caller, salt) = (caller.clone(), entropy()?);
        self.change_host(tenant, id, move |_, _, host| {
            let HostMarks { tags, note } = host.marks.clone();
            let marks = HostMarks { tags: change.tags.unwrap_or(tags), note: change.note.unwrap_or(note) };
            Ok(marked(&caller, host, marks, salt))
        })
        .await?;
        self.host_in_detail(tenant, id)
    }
}
