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
