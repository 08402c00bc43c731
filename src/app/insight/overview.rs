//! The overview: the state of a tenant's fleet on one page.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::app::insight::findings::{FleetSums, fleet_findings};
use crate::app::insight::fleet::Census;
use crate::app::keep::backup::scheduled::BackupFigures;
use crate::app::keep::replicas::ReplicaFigures;
use crate::app::{App, Unavailable};
use crate::ca::hierarchy::{self, CaRole, CertificateSummary};
use crate::domain::identity::hierarchy::{Hierarchy, IntermediateRevocation};
use crate::domain::ids::TenantId;
use crate::domain::insight::finding::{Finding, ranked};
use crate::domain::network::pin::Pin;
use crate::store::day_of;

/// Days of enrollments that the overview shows.
const DAYS: u32 = 30;

/// A tenant's fleet at a glance.
#[derive(Debug, Clone)]
pub struct Overview {
    /// Of those in service, how many have missed fewer than three reports.
    pub online: usize,
    /// In service.
    pub total: usize,
    /// Out of service.
    pub decommissioned: usize,
    /// In service, enrolled for at least a day, and silent for a day.
    pub not_reported_24h: usize,
    /// The day, counted from the epoch, and how many hosts enrolled on it; oldest first.
    pub enrollments_per_day: Vec<(u32, u64)>,
    /// `None` before the agent CA was made.
    pub agent_ca: Option<AgentCaExpiries>,
    /// Of the SVIDs that are valid now.
    pub forecast: Forecast,
    /// How backups stand.
    pub backups: BackupFigures,
    /// How each replica stands.
    pub replicas: Vec<ReplicaFigures>,
    /// How often the server makes a backup by itself.
    pub backup_every: Option<Duration>,
    /// When each 24th of those SVIDs will have run out if the server stopped now, from the first to the last.
    pub survival: Vec<Timestamp>,
    /// The most urgent first.
    pub warnings: Vec<Finding>,
}

/// When the agent CA's certificates end.
#[derive(Debug, Clone)]
pub struct AgentCaExpiries {
    /// It stands in every SPIFFE ID that the agent CA signs.
    pub trust_domain: String,
    /// The end of the newest root; `None`: it can't be read.
    pub root: Option<Timestamp>,
    /// The end of the intermediate that issues; `None`: it can't be read.
    pub intermediate: Option<Timestamp>,
    /// Whether every root has signed a revocation list; those of before 0.2.0 have not.
    pub roots_have_lists: bool,
    /// That relying parties are yet to be told of a revoked intermediate.
    pub waiting_revocation: Option<WaitingRevocation>,
}

/// A revoked intermediate whose agents still have time to rotate, before relying parties are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingRevocation {
    /// The SHA-256 of the one that was revoked first.
    pub fingerprint: String,
    /// When that was.
    pub since: Timestamp,
    /// When relying parties are told at the latest.
    pub publish_by: Timestamp,
}

/// When SVIDs would have run out if the server stopped now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Forecast {
    /// When the first runs out; `None`: there is no valid SVID.
    pub first: Option<Timestamp>,
    /// When half of them have.
    pub half: Option<Timestamp>,
    /// When the last one has.
    pub all: Option<Timestamp>,
}

impl App {
    /// Puts it together from memory and the store, in the pool for long reads.
    pub async fn overview(self: &Arc<Self>, tenant: TenantId) -> Result<Overview, Unavailable> {
        self.query_long(move |app| app.compose_overview(tenant)).await
    }

    fn compose_overview(&self, tenant: TenantId) -> Result<Overview, Unavailable> {
        let now = self.clock.now();
        let census = self.census_of(tenant, now)?;
        let today = day_of(now);
        let first = today.saturating_sub(DAYS - 1);
        let (counts, stored) =
            self.query(|view| Ok((view.enrollments_per_day(tenant, first, today)?, view.hierarchy()?)))?;
        let agent_ca = stored.map(|stored| AgentCaExpiries::of(&stored));
        let mut warnings = self.findings_about(agent_ca.as_ref());
        warnings.extend(fleet_findings(FleetSums::of(&census)));
        let Census { totals, silent, mut expiries, .. } = census;
        Ok(Overview {
            online: totals.online,
            total: totals.in_service,
            decommissioned: totals.decommissioned,
            not_reported_24h: silent,
            enrollments_per_day: (first..=today).zip(counts).collect(),
            agent_ca,
            survival: survival(&mut expiries),
            forecast: forecast(expiries),
            backups: self.backup_figures()?,
            replicas: self.replica_figures(),
            backup_every: self.backup_schedule().map(|schedule| schedule.every.unsigned_abs()),
            warnings: ranked(warnings),
        })
    }
}

impl AgentCaExpiries {
    pub(crate) fn of(stored: &Hierarchy) -> Self {
        let summaries = hierarchy::describe(stored).unwrap_or_default();
        // Not those that are prepared: they issue nothing.
        let issuing_root = stored.issuing_root().map(|root| Pin::of(root).to_string());
        let issues = |summary: &CertificateSummary| match summary.role {
            CaRole::Root => issuing_root.as_ref() == Some(&summary.fingerprint),
            CaRole::Intermediate => summary.issuing_from.is_some(),
        };
        let expiry = |role: CaRole| {
            let mut of_role = summaries.iter().filter(|summary| summary.role == role);
            of_role.rfind(|summary| issues(summary)).map(|summary| summary.not_after)
        };
        let unpublished = summaries.iter().filter_map(|summary| match summary.revocation {
            Some(IntermediateRevocation { at, published: false }) => Some((at, &summary.fingerprint)),
            _ => None,
        });
        let publish_by = stored.waiting_lists.iter().map(|waiting| waiting.publish_by).min();
        let waiting = unpublished.min().zip(publish_by);
        let waiting_revocation = waiting.map(|((since, fingerprint), publish_by)| WaitingRevocation {
            fingerprint: fingerprint.clone(),
            since,
            publish_by,
        });
        Self {
            trust_domain: stored.trust_domain.to_string(),
            root: expiry(CaRole::Root),
            intermediate: expiry(CaRole::Intermediate),
            roots_have_lists: hierarchy::root_lists(stored).len() == stored.roots.len(),
            waiting_revocation,
        }
    }
}

/// In so many steps the fleet is shown to go.
const STEPS: usize = 24;

/// The first of some moments, and the last of each 24th of them.
fn survival(expiries: &mut [Timestamp]) -> Vec<Timestamp> {
    expiries.sort_unstable();
    let Some(last) = expiries.len().checked_sub(1) else { return Vec::new() };
    (0..=STEPS).map(|step| expiries[last * step / STEPS]).collect()
}

/// The first, the middle and the last of some moments.
fn forecast(mut expiries: Vec<Timestamp>) -> Forecast {
    if expiries.is_empty() {
        return Forecast::default();
    }
    let middle = (expiries.len() - 1) / 2;
    let (earlier, half, later) = expiries.select_nth_unstable(middle);
    let half = *half;
    Forecast {
        first: Some(earlier.iter().min().copied().unwrap_or(half)),
        half: Some(half),
        all: Some(later.iter().max().copied().unwrap_or(half)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_forecast_names_first_half_and_all() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let check = |seconds: &[i64], expected: Option<(i64, i64, i64)>| {
            let made = forecast(seconds.iter().map(|second| at(*second)).collect());
            let wanted = expected.map_or(Forecast::default(), |(first, half, all)| Forecast {
                first: Some(at(first)),
                half: Some(at(half)),
                all: Some(at(all)),
            });
            assert_eq!(made, wanted, "{seconds:?}");
        };
        check(&[], None);
        check(&[5], Some((5, 5, 5)));
        check(&[9, 1], Some((1, 1, 9)));
        check(&[4, 2, 8, 6, 0], Some((0, 4, 8)));
    }
    #[test]
    fn the_survival_curve_goes_from_the_first_to_the_last() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        assert_eq!(survival(&mut []), []);
        assert_eq!(survival(&mut [at(5)]), vec![at(5); 25]);
        let mut many: Vec<_> = (0..=240).rev().map(at).collect();
        assert_eq!(survival(&mut many), (0..=24).map(|step| at(step * 10)).collect::<Vec<_>>());
    }
}
