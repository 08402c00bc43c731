//! The restore epoch that a restore begins: when the server was lost, how long its agents may come back, and what is said
//! of it.

use std::ops::ControlFlow;

use jiff::{SignedDuration, Timestamp};

use crate::app::keep::restore::Restored;
use crate::domain::identity::restore_epoch::{LostBy, RestoreEpoch, RestoreNotice};
use crate::domain::insight::audit::AuditEvent;
use crate::store::{ReadError, View};

/// What there is to tell when the server was lost.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Lost {
    /// The last sign of life in its journal.
    pub(crate) journal: Option<Timestamp>,
    /// The last change in its replica.
    pub(crate) replica: Option<Timestamp>,
    /// What the operator says.
    pub(crate) told: Option<Timestamp>,
    /// When it signed its last list.
    pub(crate) list: Option<Timestamp>,
}

impl Lost {
    /// When it was: what it has left itself counts most, and nothing that says less than the rest.
    pub(crate) fn at(self, backup_at: Timestamp) -> (Timestamp, LostBy) {
        let journal = self.journal.map(|at| (at, LostBy::Journal));
        let replica = self.replica.map(|at| (at, LostBy::Replica));
        let left = match (journal, replica) {
            (Some(journal), Some(replica)) if replica.0 > journal.0 => Some(replica),
            (journal, replica) => journal.or(replica),
        };
        let told = self.told.map(|at| (at, LostBy::Told));
        let first = left.or(told).unwrap_or((backup_at, LostBy::Backup));
        let list = self.list.map(|at| (at, LostBy::List)).filter(|(at, _)| *at > first.0);
        let (at, by) = list.unwrap_or(first);
        if at < backup_at { (backup_at, LostBy::Backup) } else { (at, by) }
    }
}

/// How long an SVID may live that was issued in a time that was lost.
pub(crate) fn lifetime(
    view: &View<'_>,
    backup_at: Timestamp,
    svid_ttl: SignedDuration,
) -> Result<SignedDuration, ReadError> {
    let known = view.hierarchy()?.map(|hierarchy| hierarchy.longest_svid_lifetime(backup_at));
    Ok(svid_ttl.max(known.unwrap_or_default()))
}

/// How many hosts are neither decommissioned nor revoked.
pub(crate) fn hosts_in_service(view: &View<'_>) -> Result<usize, ReadError> {
    let mut hosts = 0;
    view.all_hosts(None, |host| {
        hosts += usize::from(host.decommissioned_at.is_none() && host.revoked_at.is_none());
        ControlFlow::Continue(())
    })?;
    Ok(hosts)
}

/// Puts the epoch into a record.
pub(crate) fn tell(epoch: &RestoreEpoch, lost_by: LostBy, event: &mut AuditEvent) {
    event.detail.insert("lost_at", epoch.lost_at.to_string());
    event.detail.insert("lost_at_by", lost_by.to_string());
    event
        .detail
        .insert("comes_back_until", if epoch.strict { "never".to_owned() } else { epoch.until.to_string() });
}

/// What the overview says of a restore.
pub(crate) fn notice(restored: &Restored) -> RestoreNotice {
    let Restored { created_at, epoch, hosts, certificates_denied, identities_denied, suspended, .. } =
        restored;
    let returning = if epoch.strict {
        "agents that rotated since must enroll again".to_owned()
    } else {
        format!("agents that rotated since come back by themselves until {:.0}", epoch.until)
    };
    let known = if restored.journal || restored.list {
        format!(
            "{certificates_denied} certificates and {identities_denied} identities that were revoked since stay out"
        )
    } else {
        "who was revoked since is not known".to_owned()
    };
    let suspended = match suspended.total() {
        0 => String::new(),
        count => format!("; {count} secrets, API tokens and passwords wait to be confirmed"),
    };
    let text = format!(
        "The store was put back to {created_at:.0}, with {hosts} hosts in service; its server was lost at {:.0}; {returning}; \
         {known}{suspended}",
        epoch.lost_at
    );
    RestoreNotice { text, at: epoch.restored_at, seen_at: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loss_is_no_earlier_than_anything_that_the_server_left() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let lost = |journal: Option<i64>, told: Option<i64>, list: Option<i64>| {
            let lost =
                Lost { journal: journal.map(at), replica: None, told: told.map(at), list: list.map(at) };
            let (lost_at, by) = lost.at(at(100));
            (lost_at.as_second(), by)
        };
        assert_eq!(lost(None, None, None), (100, LostBy::Backup));
        assert_eq!(lost(None, Some(150), None), (150, LostBy::Told));
        assert_eq!(lost(Some(200), Some(150), None), (200, LostBy::Journal));
        // Whoever had run out when it was signed is not on it.
        assert_eq!(lost(None, None, Some(160)), (160, LostBy::List));
        assert_eq!(lost(None, Some(150), Some(160)), (160, LostBy::List));
        assert_eq!(lost(Some(200), None, Some(160)), (200, LostBy::Journal));
        assert_eq!(lost(Some(90), None, None), (100, LostBy::Backup));
    }
}
