//! How many hosts are online, noted every five minutes, and what became of that over a week.

use crate::app::{App, Unavailable};
use crate::domain::ids::TenantId;
use crate::domain::insight::online::{OnlineSample, lowest, place_of};
use crate::store::{Change, Verdict};

impl App {
    /// Notes how many hosts of each tenant are online, once in each five minutes. `last`: the place of the sample before;
    /// gives the one that is noted by now.
    pub async fn sample_online(&self, last: u32) -> Result<u32, Unavailable> {
        let place = place_of(self.clock.now());
        // Hosts that have not been read yet would be missing.
        if place == last || !self.fleet.is_whole() {
            return Ok(last);
        }
        let count = |count: usize| u32::try_from(count).unwrap_or(u32::MAX);
        let totals = self.fleet.totals_by_tenant().into_iter().filter(|(_, totals)| totals.in_service > 0);
        let samples = totals.map(|(tenant, totals)| {
            let (online, in_service) = (count(totals.online), count(totals.in_service));
            (tenant, OnlineSample { online, in_service })
        });
        let samples: Vec<_> = samples.collect();
        if !samples.is_empty() {
            let change = Change::SampleOnline { place, samples };
            self.decide(move |_, _| Ok(Verdict::<_, Unavailable>::accept((), vec![change]))).await?;
        }
        Ok(place)
    }

    /// The last week of a tenant's fleet, a point for each half hour that there are samples of, oldest first.
    pub fn online_over_a_week(&self, tenant: TenantId) -> Result<Vec<(u32, OnlineSample)>, Unavailable> {
        let samples = self.query(|view| view.online_samples(tenant, place_of(self.clock.now())))?;
        Ok(lowest(samples))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use jiff::{SignedDuration, Timestamp};
    use parking_lot::Mutex;

    use super::*;
    use crate::app::Policy;
    use crate::clock::Clock;
    use crate::domain::host::{Host, HostFacts};
    use crate::domain::identity::serial::Serial;
    use crate::domain::ids::HostId;
    use crate::domain::insight::online::SAMPLES_KEPT;

    const TENANT: TenantId = TenantId::from_bytes([1; 16]);

    #[derive(Debug)]
    struct Moving(Mutex<Timestamp>);

    impl Clock for Moving {
        fn now(&self) -> Timestamp {
            *self.0.lock()
        }

        fn running(&self) -> SignedDuration {
            SignedDuration::ZERO
        }
    }

    #[tokio::test]
    async fn a_sample_is_taken_once_in_five_minutes_and_kept_for_a_week() {
        let directory = tempfile::tempdir().unwrap();
        let clock = Arc::new(Moving(Mutex::new("2026-11-20T00:00:00Z".parse().unwrap())));
        let app = App::open(directory.path(), Arc::clone(&clock) as _, Policy::default(), |_| {}).unwrap();
        let now = clock.now();
        let host = Host {
            id: HostId::from_bytes([7; 16]),
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
            newest_serial: Serial::new(now, [1; 10]),
            svid_not_after: now,
            flags: std::collections::BTreeSet::new(),
            marks: crate::domain::host::tag::HostMarks::default(),
        };
        app.decide(move |_, _| Ok(Verdict::<_, Unavailable>::accept((), vec![Change::PutHost(host)])))
            .await
            .unwrap();
        app.fleet.wait_until_whole().unwrap();
        let first = place_of(now);
        let mut last = 0;
        for _ in 0..2 {
            // Looked at twice in each five minutes, over an hour.
            for _ in 0..24 {
                last = app.sample_online(last).await.unwrap();
                *clock.0.lock() += SignedDuration::from_secs(150);
            }
            let hour = app.online_over_a_week(TENANT).unwrap();
            assert_eq!(hour.len(), 2, "a point for each half hour of the week: {hour:?}");
            assert!(hour.iter().all(|(_, point)| *point == OnlineSample { online: 0, in_service: 1 }));
            *clock.0.lock() += SignedDuration::from_hours(7 * 24);
        }
        let kept = app.query(|view| view.online_samples(TENANT, first + SAMPLES_KEPT - 1)).unwrap();
        assert_eq!(kept.len(), 12, "what is a week older has gone from the disk");
        assert!(app.online_over_a_week(TenantId::from_bytes([2; 16])).unwrap().is_empty());
    }
}
