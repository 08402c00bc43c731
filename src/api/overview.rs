//! The overview, and what there is to see to.

use std::borrow::Cow;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::api::encoding::word::Word;
use crate::domain::insight::finding::Severity;
use crate::domain::replicas::ReplicaState;

/// `GET /v1/overview`
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct OverviewAnswer {
    pub(crate) hosts_online: usize,
    pub(crate) hosts_total: usize,
    pub(crate) hosts_decommissioned: usize,
    pub(crate) not_reported_24h: usize,
    /// The last 30 days, oldest first.
    pub(crate) enrollments_per_day: Vec<DayCount>,
    pub(crate) agent_ca: Option<AgentCaExpiry>,
    pub(crate) server_certificate: Option<ServerCertificateItem>,
    pub(crate) server: ServerItem,
    pub(crate) backups: BackupsItem,
    /// How each replica stands that is set.
    // Servers before 0.2.0 do not send it.
    #[serde(default)]
    #[schemars(!default)]
    pub(crate) replicas: Vec<ReplicaGlance>,
    pub(crate) outage_forecast: ForecastItem,
    /// When each 24th of the SVIDs that are valid now will have run out if the server stopped now, from the first to the last:
    /// 25 moments, or none where there is no SVID.
    // Servers before 0.2.0 do not send it.
    #[serde(default)]
    #[schemars(!default)]
    pub(crate) survival: Vec<Timestamp>,
    pub(crate) warnings: Vec<WarningItem>,
}

#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct DayCount {
    /// `YYYY-MM-DD`, UTC.
    pub(crate) date: String,
    pub(crate) count: u64,
}

#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct AgentCaExpiry {
    pub(crate) trust_domain: String,
    pub(crate) root_not_after: Option<Timestamp>,
    pub(crate) intermediate_not_after: Option<Timestamp>,
}

#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct ServerCertificateItem {
    pub(crate) not_after: Timestamp,
    pub(crate) pin: Option<String>,
}

/// The server itself.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct ServerItem {
    pub(crate) version: String,
    /// Whether it serves; a command that has opened the store of a stopped server says no.
    pub(crate) serving: bool,
    /// Since when.
    pub(crate) since: Option<Timestamp>,
    /// The address that is given out.
    pub(crate) url: Option<String>,
    /// Why an enrollment that arrives now would not be answered with a certificate.
    pub(crate) not_ready: Option<String>,
}

/// How backups stand.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct BackupsItem {
    /// When the newest was begun, by the server or by somebody.
    pub(crate) newest_at: Option<Timestamp>,
    /// How often the server makes one by itself.
    pub(crate) every_seconds: Option<u64>,
    /// Whether its last attempt came to nothing.
    pub(crate) failed: bool,
}

/// How a replica stands.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct ReplicaGlance {
    pub(crate) url: String,
    pub(crate) state: Word<ReplicaState>,
    /// For how long the oldest change has been waiting that it lacks.
    pub(crate) lag_seconds: i64,
}

/// When SVIDs would have run out if the server stopped now.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct ForecastItem {
    pub(crate) first_expiry: Option<Timestamp>,
    pub(crate) half_expired: Option<Timestamp>,
    pub(crate) all_expired: Option<Timestamp>,
}

/// Something to do, and how. The most urgent comes first.
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct WarningItem {
    pub(crate) code: Cow<'static, str>,
    /// `critical`: something is broken or will be within days. `soon`: somebody has to act in the coming weeks.
    /// `tidy`: something is better put in order.
    pub(crate) severity: Word<Severity>,
    /// How many things it is about.
    pub(crate) count: u64,
    /// When what it warns of happens, or has happened.
    pub(crate) at: Option<Timestamp>,
    /// The path of the page that lists exactly what is counted.
    pub(crate) target: Option<Cow<'static, str>>,
    pub(crate) message: String,
    pub(crate) hint: String,
}

/// `GET /v1/overview/online`
#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct OnlineHistoryAnswer {
    /// The last week, oldest first: of each half hour that was looked at, the five minutes with the fewest online.
    pub(crate) points: Vec<OnlinePoint>,
}

#[derive(Serialize, JsonSchema, Deserialize)]
pub(crate) struct OnlinePoint {
    pub(crate) at: Timestamp,
    pub(crate) online: u32,
    pub(crate) total: u32,
}
