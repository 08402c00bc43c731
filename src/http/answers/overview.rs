//! The overview, and what there is to see to: what goes over the wire, made from what the use cases answer.

use jiff::Timestamp;

use crate::api::overview::{
    AgentCaExpiry, BackupsItem, DayCount, ForecastItem, OverviewAnswer, ReplicaGlance, ServerCertificateItem,
    ServerItem, WarningItem,
};
use crate::app::insight::overview::Overview;
use crate::app::keep::replicas::ReplicaFigures;
use crate::domain::insight::finding::Finding;

impl From<Finding> for WarningItem {
    fn from(finding: Finding) -> Self {
        let Finding { code, severity, count, at, target, message, hint } = finding;
        Self {
            code: code.as_str().into(),
            severity: severity.into(),
            count,
            at,
            target: target.map(Into::into),
            message,
            hint,
        }
    }
}

impl From<&ReplicaFigures> for ReplicaGlance {
    fn from(figures: &ReplicaFigures) -> Self {
        Self {
            url: figures.standing.url.clone(),
            state: figures.standing.state.into(),
            lag_seconds: figures.lag.as_secs(),
        }
    }
}

impl OverviewAnswer {
    pub(crate) fn new(
        overview: Overview,
        server: ServerItem,
        server_certificate: Option<ServerCertificateItem>,
    ) -> Self {
        let day = |(day, count): (u32, u64)| {
            let at = Timestamp::from_second(i64::from(day) * 86_400).unwrap_or(Timestamp::UNIX_EPOCH);
            DayCount { date: at.strftime("%Y-%m-%d").to_string(), count }
        };
        Self {
            hosts_online: overview.online,
            hosts_total: overview.total,
            hosts_decommissioned: overview.decommissioned,
            not_reported_24h: overview.not_reported_24h,
            enrollments_per_day: overview.enrollments_per_day.into_iter().map(day).collect(),
            agent_ca: overview.agent_ca.map(|ca| AgentCaExpiry {
                trust_domain: ca.trust_domain,
                root_not_after: ca.root,
                intermediate_not_after: ca.intermediate,
            }),
            server_certificate,
            server,
            backups: BackupsItem {
                newest_at: overview.backups.newest,
                every_seconds: overview.backup_every.map(|every| every.as_secs()),
                failed: overview.backups.failed,
            },
            replicas: overview.replicas.iter().map(ReplicaGlance::from).collect(),
            outage_forecast: ForecastItem {
                first_expiry: overview.forecast.first,
                half_expired: overview.forecast.half,
                all_expired: overview.forecast.all,
            },
            survival: overview.survival,
            warnings: overview.warnings.into_iter().map(WarningItem::from).collect(),
        }
    }
}
