//! What happens, as it happens: one broadcast in the process that pages follow.
//!
//! An event says what kind of thing changed and which row, never what it now says: whoever hears it asks
//! the API, which checks permissions. A bounded memory lets a listener that was away go on where it left
//! off; one that was away for longer is told to look at everything again.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use tokio::sync::broadcast;

use crate::domain::access::AccessChange;
use crate::domain::ids::TenantId;

/// Events kept for listeners that come back, and waiting for one that is slow.
const KEPT: usize = 1_024;

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    pub id: EventId,
    pub kind: EventKind,
    /// Whose it is; `None`: everybody's.
    pub tenant: Option<TenantId>,
    /// The id of the row that it is about.
    pub subject: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EventKind {
    Host,
    /// A host's agent has reported something for its timeline.
    Timeline,
    Enrollment,
    Secret,
    Revocation,
    /// Too much happened to tell: look at everything again.
    Resync,
}

impl EventKind {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Host => "host",
            Self::Timeline => "timeline",
            Self::Enrollment => "enrollment",
            Self::Secret => "secret",
            Self::Revocation => "revocation",
            Self::Resync => "resync",
        }
    }
}

/// The run of the server and the number of the event in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventId {
    pub run: u64,
    pub number: u64,
}

impl std::fmt::Display for EventId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}-{}", self.run, self.number)
    }
}

impl std::str::FromStr for EventId {
    type Err = std::num::ParseIntError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (run, number) = text.split_once('-').unwrap_or((text, ""));
        Ok(Self { run: run.parse()?, number: number.parse()? })
    }
}

/// The broadcast.
#[derive(Debug)]
pub struct Events {
    run: u64,
    sender: broadcast::Sender<Event>,
    /// Changes of rights are for the ends of streams, never for clients: they have no number and displace no event.
    access: broadcast::Sender<AccessChange>,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    last: u64,
    events: VecDeque<Event>,
}

impl Events {
    /// `run` tells this run of the server from others.
    pub fn new(run: u64) -> Self {
        let (sender, access) = (broadcast::Sender::new(KEPT), broadcast::Sender::new(KEPT));
        Self { run, sender, access, kept: Mutex::default() }
    }

    pub(super) fn tell_access(&self, change: AccessChange) {
        // Nobody listening is fine.
        let _ = self.access.send(change);
    }

    /// Hears whose rights change from now on.
    pub fn listen_to_access(&self) -> broadcast::Receiver<AccessChange> {
        self.access.subscribe()
    }

    pub(super) fn tell(&self, kind: EventKind, tenant: Option<TenantId>, subject: Option<String>) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.last += 1;
        let event = Event { id: EventId { run: self.run, number: kept.last }, kind, tenant, subject };
        if kept.events.len() == KEPT {
            kept.events.pop_front();
        }
        kept.events.push_back(event.clone());
        // Sent under the lock, so that events arrive in the order of their numbers. Nobody listening is fine.
        let _ = self.sender.send(event);
    }

    /// Listens from now on; first comes what was missed since `last`, or `None` if that is no longer known.
    pub fn listen(&self, last: Option<EventId>) -> (Option<Vec<Event>>, broadcast::Receiver<Event>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let receiver = self.sender.subscribe();
        let Some(last) = last else {
            return (Some(Vec::new()), receiver);
        };
        let oldest = kept.events.front().map_or(kept.last + 1, |event| event.id.number);
        let known = last.run == self.run && last.number <= kept.last && last.number + 1 >= oldest;
        let missed = || kept.events.iter().filter(|event| event.id.number > last.number).cloned().collect();
        (known.then(missed), receiver)
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::Arc;

    use jiff::Timestamp;

    use super::*;
    use crate::app::{App, Policy};
    use crate::clock::SystemClock;
    use crate::domain::ids::UserId;
    use crate::domain::user::{PasswordHash, Preferences, Role, TimeZone, User};
    use crate::store::{Change, Verdict};

    /// Every stream in the process wakes for a change of rights, so there is none without one.
    #[tokio::test]
    async fn preferences_are_no_change_of_rights_and_a_change_names_whom_it_concerns() {
        let directory = tempfile::tempdir().unwrap();
        let app = App::open(directory.path(), Arc::new(SystemClock), Policy::default(), |_| {}).unwrap();
        let put = async |user: &User| {
            let change = Change::PutUser(user.clone());
            let written =
                app.store().write(move |_, _| Ok(Verdict::<(), Infallible>::accept((), vec![change])));
            let Ok(()) = written.await.unwrap();
        };
        let user = User {
            id: UserId::from_bytes([7; 16]),
            username: "watcher".parse().unwrap(),
            role: Role::Viewer,
            tenant: None,
            password: PasswordHash::from_phc(String::new()),
            created_at: Timestamp::UNIX_EPOCH,
            disabled_at: None,
            preferences: Preferences::default(),
        };
        put(&user).await;
        let mut changes = app.events().listen_to_access();
        let mut events = app.events().listen(None).1;
        put(&User {
            preferences: Preferences { time_zone: TimeZone::Utc, ..user.preferences },
            ..user.clone()
        })
        .await;
        assert!(changes.try_recv().is_err());
        put(&User { role: Role::Admin, ..user.clone() }).await;
        assert_eq!(changes.try_recv().ok(), Some(AccessChange::User(user.id)));
        assert!(events.try_recv().is_err(), "rights are no event");
    }

    #[test]
    fn a_listener_goes_on_where_it_left_off_or_is_told_that_it_cannot() {
        let events = Events::new(7);
        for _ in 0..10 {
            events.tell(EventKind::Host, None, None);
        }
        let missed = |run, number| events.listen(Some(EventId { run, number })).0.map(|events| events.len());
        assert_eq!((missed(7, 10), missed(7, 4), missed(7, 0)), (Some(0), Some(6), Some(10)));
        assert_eq!((missed(6, 4), missed(7, 11)), (None, None), "another run, a number from the future");
        for _ in 0..KEPT {
            events.tell(EventKind::Host, None, None);
        }
        assert_eq!(missed(7, 4), None, "forgotten");
        assert_eq!("7-12".parse(), Ok(EventId { run: 7, number: 12 }));
        assert!("7".parse::<EventId>().is_err() && "x-1".parse::<EventId>().is_err());
    }
}
