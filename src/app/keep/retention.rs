//! Retention: history that nothing is decided by any more goes, a little at a time.

use std::sync::Arc;

use crate::app::{App, Unavailable};
use crate::store::{Change, OldBy, PastRetention, Verdict};

/// Rows that are looked at from one snapshot.
const LOOKED_AT: usize = 2_000;
/// Rows that go in one commit, so that nobody waits long behind it.
const GO_AT_ONCE: usize = 250;

impl App {
    /// Takes what is past retention off the record; how many certificates and how many reported events.
    pub async fn keep_retention(self: &Arc<Self>) -> Result<(usize, usize), Unavailable> {
        let taken = (self.take_old_enrollments().await?, self.take_old_reports().await?);
        if taken != (0, 0) {
            let (certificates, events) = taken;
            tracing::info!(certificates, events, "history that was past retention went");
        }
        Ok(taken)
    }

    async fn take_old_enrollments(self: &Arc<Self>) -> Result<usize, Unavailable> {
        let marks = Arc::new(self.note_clock().await?);
        let kept = self.policy.retention.enrollments + self.policy.rotation_grace;
        let (mut after, mut taken) = (None, 0);
        loop {
            let (now, seen) = (self.clock.now(), Arc::clone(&marks));
            let look = move |app: &Arc<Self>| {
                app.query(|view| view.past_retention(OldBy { marks: &seen, kept, now }, after, LOOKED_AT))
            };
            let PastRetention { rows, after: next } = self.walk(look).await?;
            for part in rows.chunks(GO_AT_ONCE) {
                let (part, marks) = (part.to_vec(), Arc::clone(&marks));
                taken += self
                    .decide(move |view, now| {
                        let mut going = Vec::with_capacity(part.len());
                        for serial in part {
                            // It may have been revoked since the snapshot.
                            let old = OldBy { marks: &marks, kept, now };
                            if let Some(enrollment) = view.any_tenant().enrollment(serial)?
                                && view.is_past_retention(&enrollment, old)?
                            {
                                going.push(serial);
                            }
                        }
                        let gone = going.len();
                        let changes =
                            if going.is_empty() { vec![] } else { vec![Change::TakeEnrollments(going)] };
                        Ok(Verdict::<_, Unavailable>::accept(gone, changes))
                    })
                    .await?;
            }
            if next.is_none() {
                return Ok(taken);
            }
            after = next;
        }
    }

    async fn take_old_reports(self: &Arc<Self>) -> Result<usize, Unavailable> {
        let marks = Arc::new(self.note_clock().await?);
        let kept = self.policy.retention.events;
        let (mut after, mut taken) = (None, 0);
        loop {
            let (now, seen) = (self.clock.now(), Arc::clone(&marks));
            let look = move |app: &Arc<Self>| {
                app.query(|view| view.old_reports(OldBy { marks: &seen, kept, now }, after, LOOKED_AT))
            };
            let PastRetention { rows, after: next } = self.walk(look).await?;
            for part in rows.chunks(GO_AT_ONCE) {
                let part = part.to_vec();
                taken += part.len();
                self.decide(move |_, _| {
                    Ok(Verdict::<_, Unavailable>::accept((), vec![Change::TakeReported(part)]))
                })
                .await?;
            }
            if next.is_none() {
                return Ok(taken);
            }
            after = next;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::convert::Infallible;
    use std::ops::ControlFlow;

    use jiff::{SignedDuration, Timestamp};
    use parking_lot::Mutex;

    use super::*;
    use crate::app::Policy;
    use crate::clock::Clock;
    use crate::domain::enroll::enrollment::{Enrollment, Revocation, RevocationReason, SpkiHash, Via};
    use crate::domain::host::{Host, HostFacts};
    use crate::domain::identity::serial::Serial;
    use crate::domain::ids::{CredentialId, HostId, TenantId};
    use crate::domain::insight::timeline::Reported;

    const DAY: SignedDuration = SignedDuration::from_hours(24);
    const HOST: HostId = HostId::from_bytes([7; 16]);
    const TENANT: TenantId = TenantId::from_bytes([1; 16]);

    /// A wall clock that is right, and time that the server has run.
    #[derive(Debug)]
    struct Days(Mutex<(Timestamp, SignedDuration)>);

    impl Clock for Days {
        fn now(&self) -> Timestamp {
            self.0.lock().0
        }

        fn running(&self) -> SignedDuration {
            self.0.lock().1
        }
    }

    async fn write(app: &App, changes: Vec<Change>) {
        let decided = app.store.write(move |_, _| Ok(Verdict::<(), Infallible>::accept((), changes))).await;
        let Ok(()) = decided.unwrap();
    }

    fn key(number: u32) -> SpkiHash {
        SpkiHash::of(&number.to_be_bytes())
    }

    /// A rotation, or what it all began with.
    async fn issued(app: &App, number: u32) -> Enrollment {
        let now = app.clock.now();
        let mut octets = [0; 10];
        octets[..4].copy_from_slice(&number.to_be_bytes());
        let serial = Serial::new(now, octets);
        let via = match number {
            0 => Via::Token { id: CredentialId::new(now, [9; 4]) },
            _ => Via::Rotation { from: serial },
        };
        let enrollment = Enrollment {
            serial,
            host: HOST,
            tenant: TENANT,
            via,
            issued_at: now,
            not_before: now,
            not_after: now + DAY,
            peer: None,
            spki: key(number),
            revocation: None,
        };
        let host = Host {
            id: HOST,
            tenant: TENANT,
            agent: "web-1".parse().unwrap(),
            facts: HostFacts::default(),
            first_enrolled_at: now,
            last_seen: None,
            newest_shown: None,
            trust: crate::domain::host::HostTrust::default(),
            decommissioned_at: None,
            revoked_at: None,
            let_in_by: None,
            newest_serial: serial,
            svid_not_after: now + DAY,
            flags: BTreeSet::new(),
            marks: crate::domain::host::tag::HostMarks::default(),
        };
        let recorded = enrollment.clone();
        write(
            app,
            vec![Change::PutHost(host), Change::RecordEnrollment { enrollment, certificate: vec![1] }],
        )
        .await;
        recorded
    }

    #[tokio::test]
    async fn rotations_go_when_they_are_old_and_what_matters_of_them_stays() {
        let directory = tempfile::tempdir().unwrap();
        let begins = Timestamp::from_second(1_790_000_000).unwrap();
        let clock = Arc::new(Days(Mutex::new((begins, SignedDuration::ZERO))));
        let app = App::open(directory.path(), Arc::clone(&clock) as _, Policy::default(), |_| {}).unwrap();
        let app = Arc::new(app);
        let on_record = || {
            let mut serials = Vec::new();
            let mut visit = |enrollment: Enrollment| {
                serials.push(enrollment.serial);
                ControlFlow::Continue(())
            };
            app.store.read(|view| view.any_tenant().enrollments_of(HOST, None, &mut visit)).unwrap();
            serials
        };
        let mut all = Vec::new();
        for day in 0..200 {
            let enrollment = issued(&app, day).await;
            if day == 3 {
                let revocation = Revocation { at: clock.now(), reason: RevocationReason::Revoked };
                write(&app, vec![Change::RevokeEnrollment { enrollment: enrollment.clone(), revocation }])
                    .await;
            }
            if day == 5 {
                let event =
                    Reported::new("started".to_owned(), None, Default::default(), clock.now()).unwrap();
                write(&app, vec![Change::ReportedEvents { host: HOST, tenant: TENANT, events: vec![event] }])
                    .await;
            }
            all.push(enrollment.serial);
            *clock.0.lock() = (clock.now() + DAY, clock.running() + DAY);
            app.keep_retention().await.unwrap();
            app.forget_expired().await.unwrap();
        }
        let kept = on_record();
        // What it began with, what was revoked, and those of the last ninety days and the one that just ends.
        assert!(kept.contains(&all[0]) && kept.contains(&all[3]) && kept.contains(&all[199]));
        assert!(!kept.contains(&all[1]) && !kept.contains(&all[100]) && kept.contains(&all[115]));
        let taken = app.store.read(|view| view.taken_by_retention(HOST)).unwrap();
        assert_eq!(usize::try_from(taken).unwrap() + kept.len(), all.len());
        for number in [1, 100, 115, 199] {
            assert!(app.store.read(|view| view.host_has_used_key(HOST, key(number))).unwrap(), "{number}");
        }
        assert!(!app.store.read(|view| view.host_has_used_key(HOST, key(1_000))).unwrap());
        let now = clock.now();
        app.store.check(now, &mut |_| {}).unwrap();

        // A clock that is ahead for an afternoon takes nothing.
        let ran = clock.running();
        *clock.0.lock() = (now + DAY * 400, ran + DAY / 12);
        assert_eq!(app.keep_retention().await.unwrap(), (0, 0));
        *clock.0.lock() = (now + DAY * 400, ran + DAY / 4);
        assert_eq!(app.keep_retention().await.unwrap(), (0, 0));
        // A host that was away for long keeps its newest, however old; the report has gone.
        *clock.0.lock() = (now + DAY * 400, ran + DAY * 3);
        assert!(app.keep_retention().await.unwrap().1 == 1);
        assert_eq!(on_record().len(), 3);
        let host = app.store.read(|view| view.any_tenant().host(HOST)).unwrap().unwrap();
        write(&app, vec![Change::DeleteHost(host)]).await;
        assert_eq!(app.store.read(|view| view.taken_by_retention(HOST)).unwrap(), 0);
    }
}
