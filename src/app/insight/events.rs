//! What happens, as it happens: one broadcast in the process that pages follow.
//!
//! An event says what kind of thing changed and which row, never what it now says: whoever hears it asks
//! the API, which checks permissions. A bounded memory lets a listener that was away go on where it left
//! off; one that was away for longer is told to look at everything again.

use std::collections::{HashMap, VecDeque};

use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::domain::ids::TenantId;
use crate::domain::insight::live_kind::LiveKind;
use crate::domain::people::access::AccessChange;

/// Events kept for listeners that come back, and waiting for one that is slow.
const KEPT: usize = 1_024;

/// Something happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServerEvent {
    /// What a listener that comes back names as the last one it has heard.
    pub id: EventId,
    /// What kind of thing changed.
    pub kind: LiveKind,
    /// Whose it is; `None`: everybody's.
    pub tenant: Option<TenantId>,
    /// The id of the row that it is about.
    pub subject: Option<String>,
}

/// The run of the server and the number of the event in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EventId {
    /// Differs from run to run of the server, and from tenant to tenant.
    pub run: u64,
    /// Counted from 1 among what is told to the same tenant's listeners.
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

/// The broadcast: a ring for each tenant, so that what one tenant's agents do neither pushes out what others have
/// not heard yet nor shows in the numbers of their events, and one for those who hear of all tenants.
#[derive(Debug)]
pub struct Events {
    run: u64,
    rings: Mutex<HashMap<Option<TenantId>, Ring>>,
    /// Changes of rights are for the ends of streams, never for clients: they have no number and displace no event.
    access: broadcast::Sender<AccessChange>,
}

#[derive(Debug)]
struct Ring {
    /// Tells this run of the server, and this ring, from others.
    run: u64,
    last: u64,
    events: VecDeque<ServerEvent>,
    sender: broadcast::Sender<ServerEvent>,
}

impl Ring {
    fn new(run: u64, tenant: Option<TenantId>) -> Self {
        let [_, _, _, _, _, _, _, _, own @ ..] = tenant.map_or([0; 16], |tenant| *tenant.as_bytes());
        let run = run ^ u64::from_be_bytes(own);
        Self { run, last: 0, events: VecDeque::new(), sender: broadcast::Sender::new(KEPT) }
    }

    fn tell(&mut self, kind: LiveKind, tenant: Option<TenantId>, subject: Option<String>) {
        self.last += 1;
        let event = ServerEvent { id: EventId { run: self.run, number: self.last }, kind, tenant, subject };
        if self.events.len() == KEPT {
            self.events.pop_front();
        }
        self.events.push_back(event.clone());
        // Sent under the lock, so that events arrive in the order of their numbers. Nobody listening is fine.
        let _ = self.sender.send(event);
    }
}

impl Events {
    /// `run` tells this run of the server from others.
    pub fn new(run: u64) -> Self {
        let all = HashMap::from([(None, Ring::new(run, None))]);
        Self { run, rings: Mutex::new(all), access: broadcast::Sender::new(KEPT) }
    }

    pub(crate) fn tell_access(&self, change: AccessChange) {
        // Nobody listening is fine.
        let _ = self.access.send(change);
    }

    /// Hears whose rights change from now on.
    pub fn listen_to_access(&self) -> broadcast::Receiver<AccessChange> {
        self.access.subscribe()
    }

    pub(crate) fn tell(&self, kind: LiveKind, tenant: Option<TenantId>, subject: Option<String>) {
        let mut rings = self.rings.lock();
        if tenant.is_none() {
            rings.values_mut().for_each(|ring| ring.tell(kind, tenant, subject.clone()));
            return;
        }
        rings.entry(None).or_insert_with(|| Ring::new(self.run, None)).tell(kind, tenant, subject.clone());
        rings.entry(tenant).or_insert_with(|| Ring::new(self.run, tenant)).tell(kind, tenant, subject);
    }

    /// Listens from now on to what concerns a tenant, or all of them; first comes what was missed since `last`, or
    /// `None` if that is no longer known.
    pub fn listen(
        &self,
        tenant: Option<TenantId>,
        last: Option<EventId>,
    ) -> (Option<Vec<ServerEvent>>, broadcast::Receiver<ServerEvent>) {
        let mut rings = self.rings.lock();
        let ring = rings.entry(tenant).or_insert_with(|| Ring::new(self.run, tenant));
        let receiver = ring.sender.subscribe();
        let Some(last) = last else {
            return (Some(Vec::new()), receiver);
        };
        let oldest = ring.events.front().map_or(ring.last + 1, |event| event.id.number);
        let known = last.run == ring.run && last.number <= ring.last && last.number + 1 >= oldest;
        let missed = || ring.events.iter().filter(|event| event.id.number > last.number).cloned().collect();
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
    use crate::domain::people::user::{PasswordHash, Preferences, Role, TimeZone, User};
    use crate::store::{Change, Verdict};

    /// Every stream in the process wakes for a change of rights, so there is none without one.
    #[tokio::test]
    async fn preferences_are_no_change_of_rights_and_a_change_names_whom_it_concerns() {
        let directory = tempfile::tempdir().unwrap();
        let app = App::open(directory.path(), Arc::new(SystemClock), Policy::default(), |_| {}).unwrap();
        let put = async |user: &User| {
            let change = Change::PutUser(user.clone());
            let written =
                app.store.write(move |_, _| Ok(Verdict::<(), Infallible>::accept((), vec![change])));
            let Ok(()) = written.await.unwrap();
        };
        let user = User {
            id: UserId::from_bytes([7; 16]),
            username: "watcher".parse().unwrap(),
            role: Role::Viewer,
            tenant: None,
            password: PasswordHash::from_phc(String::new()),
            created_at: Timestamp::UNIX_EPOCH,
            password_set_at: None,
            disabled_at: None,
            preferences: Preferences::default(),
        };
        put(&user).await;
        let mut changes = app.events.listen_to_access();
        let mut events = app.events.listen(None, None).1;
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
            events.tell(LiveKind::Host, None, None);
        }
        let missed =
            |run, number| events.listen(None, Some(EventId { run, number })).0.map(|events| events.len());
        assert_eq!((missed(7, 10), missed(7, 4), missed(7, 0)), (Some(0), Some(6), Some(10)));
        assert_eq!((missed(6, 4), missed(7, 11)), (None, None), "another run, a number from the future");
        for _ in 0..KEPT {
            events.tell(LiveKind::Host, None, None);
        }
        assert_eq!(missed(7, 4), None, "forgotten");
        assert_eq!("7-12".parse(), Ok(EventId { run: 7, number: 12 }));
        assert!("7".parse::<EventId>().is_err() && "x-1".parse::<EventId>().is_err());
    }

    #[test]
    fn one_tenant_pushes_nothing_of_another_out_and_shows_in_no_number() {
        let events = Events::new(7);
        let [quiet, loud] = [1, 2].map(|octet| TenantId::from_bytes([octet; 16]));
        let (_, mut heard) = events.listen(Some(quiet), None);
        events.tell(LiveKind::Host, Some(quiet), Some("first".to_owned()));
        let first = heard.try_recv().unwrap();
        for _ in 0..3 * KEPT {
            events.tell(LiveKind::Host, Some(loud), None);
        }
        events.tell(LiveKind::Host, Some(quiet), Some("second".to_owned()));
        let second = heard.try_recv().unwrap();
        assert_eq!((second.id.number, second.subject.as_deref()), (first.id.number + 1, Some("second")));
        let missed = events.listen(Some(quiet), Some(first.id)).0.unwrap();
        assert_eq!(missed, [second]);
        assert_eq!(events.listen(Some(loud), Some(first.id)).0, None, "an id of another ring");
        events.tell(LiveKind::Resync, None, None);
        assert_eq!(
            heard.try_recv().unwrap().kind,
            LiveKind::Resync,
            "what concerns everybody reaches everybody"
        );
    }
}
