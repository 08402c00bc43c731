//! Figures for Prometheus, for loopback and API tokens only.

use std::collections::BTreeMap;

use axum::extract::{FromRequestParts, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use jiff::Timestamp;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::app::access::caller::Caller;
use crate::app::insight::figures::Figures;
use crate::app::keep::replicas::ReplicaFigures;
use crate::domain::insight::audit::AuditKind;
use crate::domain::insight::audit_reason::AuditReason;
use crate::domain::replicas::ReplicaState;
use crate::http::Shared;
use crate::http::input::extract::Known;
use crate::http::openapi::describe::Input;
use crate::http::problem::Problem;
use crate::http::reply::{Media, OpenMetrics};
use crate::http::transport::origin::Transport;
use crate::http::transport::proxies::is_of_this_machine;

/// Proof that the caller is on this machine or holds an API token.
#[derive(Debug)]
pub(crate) struct MayMeasure;

impl FromRequestParts<Shared> for MayMeasure {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        let own = match parts.extensions.get::<Transport>() {
            Some(Transport::Tls { peer }) => {
                is_of_this_machine(&shared.trusted_proxies, peer.ip(), &parts.headers)
            }
            Some(Transport::Socket { .. } | Transport::Process { .. }) => true,
            Some(Transport::Plain { .. }) | None => false,
        };
        if own {
            return Ok(Self);
        }
        match Known::from_request_parts(parts, shared).await {
            // The figures are the whole deployment's, so a token of one tenant does not see them.
            Ok(Known(caller @ (Caller::Token(_) | Caller::Local { .. }))) if caller.tenant().is_none() => {
                Ok(Self)
            }
            _ => Err(Problem::permission_denied()),
        }
    }
}

impl Input for MayMeasure {}

pub(crate) async fn show(
    _: MayMeasure,
    State(shared): State<Shared>,
    headers: HeaderMap,
) -> Result<Media<OpenMetrics>, Problem> {
    let figures = shared.app.figures().await?;
    let certificate = shared.facts.certificate();
    let mut text = String::new();
    let until = certificate.map(|certificate| certificate.facts.not_after);
    encode(&mut text, &registry(&figures, until, &shared.facts.refused_handshakes.counts()))
        .map_err(|_| Problem::internal())?;
    let accepted = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    if accepted.into_iter().any(|kinds| kinds.contains("application/openmetrics-text")) {
        return Ok(Media::new(([(header::CONTENT_TYPE, OPENMETRICS)], text)));
    }
    Ok(Media::new(([(header::CONTENT_TYPE, PROMETHEUS_TEXT)], prometheus_text(&text))))
}

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const PROMETHEUS_TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The same figures in the older format, which is what who does not ask for OpenMetrics can read: there a counter's
/// help and type go by the name of its samples, `_total` included, and nothing marks the end.
fn prometheus_text(openmetrics: &str) -> String {
    let counters: Vec<&str> = openmetrics
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.strip_suffix(" counter"))
        .collect();
    let mut text = String::with_capacity(openmetrics.len() + 6 * counters.len());
    for line in openmetrics.lines().filter(|line| *line != "# EOF") {
        let about =
            ["# HELP ", "# TYPE "].into_iter().find_map(|kind| Some((kind, line.strip_prefix(kind)?)));
        match about.and_then(|(kind, rest)| Some((kind, rest.split_once(' ')?))) {
            Some((kind, (name, rest))) if counters.contains(&name) => {
                text.extend([kind, name, "_total ", rest]);
            }
            _ => text.push_str(line),
        }
        text.push('\n');
    }
    text
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, prometheus_client::encoding::EncodeLabelSet)]
struct ReplicaLabel {
    replica: String,
}

/// All figures, under the names that they have for good.
fn registry(
    figures: &Figures,
    certificate_until: Option<Timestamp>,
    refused_handshakes: &BTreeMap<(&'static str, &'static str), u64>,
) -> Registry {
    let mut registry = Registry::with_prefix("muster");
    let mut gauge = |name: &str, help: &str, value: i64| {
        let gauge: Gauge = Gauge::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    let number = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    gauge("hosts", "Hosts that are not decommissioned", number(figures.hosts));
    gauge("hosts_online", "Hosts that have reported lately", number(figures.online));
    gauge("possible_clones", "Hosts whose identity may be in use twice", number(figures.possible_clones));
    gauge("denied_serials", "Revoked certificates that may not have expired", number(figures.denied_serials));
    gauge("denied_identities", "Revoked identities", number(figures.denied_identities));
    let damaged = "Whether the last look at all of the store found damage";
    gauge("store_damaged", damaged, i64::from(figures.store_damaged));
    gauge("ready", "Whether an enrollment that arrives now would be answered", i64::from(figures.ready));
    let backups = &figures.backups;
    gauge(
        "backup_failed",
        "Whether the server could not back itself up when it last tried",
        i64::from(backups.failed),
    );
    let newest = "When the newest backup was begun, by the server or by somebody, seconds since the epoch";
    let octets = backups.octets.map(|octets| i64::try_from(octets).unwrap_or(i64::MAX));
    for (name, help, value) in [
        ("backup_newest_seconds", newest, backups.newest.map(Timestamp::as_second)),
        ("backup_size_bytes", "How long the newest backup is that the server made by itself", octets),
    ] {
        if let Some(value) = value {
            gauge(name, help, value);
        }
    }
    replicas(&mut registry, &figures.replicas);
    let mut gauge = |name: &str, help: &str, value: i64| {
        let gauge: Gauge = Gauge::default();
        gauge.set(value);
        registry.register(name, help, gauge);
    };
    // When what must be renewed in time runs out; seconds since the epoch, to compare with time().
    let (root, intermediate) =
        figures.agent_ca.as_ref().map_or((None, None), |ca| (ca.root, ca.intermediate));
    for (name, help, until) in [
        ("agent_ca_root_not_after_seconds", "When the agent CA's root expires", root),
        ("agent_ca_intermediate_not_after_seconds", "When the agent CA's intermediate expires", intermediate),
        ("server_certificate_not_after_seconds", "When the server's certificate expires", certificate_until),
    ] {
        if let Some(until) = until {
            gauge(name, help, until.as_second());
        }
    }
    let refusals = figures.refused.iter().map(|(kind, count)| (labels(*kind), *count));
    let handshakes = refused_handshakes
        .iter()
        .map(|((listener, cause), count)| ([("listener", *listener), ("cause", *cause)], *count));
    let audited = figures.audited.iter().map(|(kind, count)| {
        let [action, reason] = labels(*kind);
        ([action, ("outcome", kind.outcome.as_str()), reason], *count)
    });
    registry.register(
        "refused_handshakes",
        "TLS handshakes since the start in which one side refused the other, or went away",
        counters(handshakes),
    );
    registry.register(
        "refusals",
        "What was refused since the start and why, repeats included that the audit trail has as a count",
        counters(refusals),
    );
    let signed_jwt_svids: Counter = Counter::default();
    signed_jwt_svids.inc_by(figures.signed_jwt_svids);
    registry.register("jwt_svids", "JWT-SVIDs signed since the start", signed_jwt_svids);
    let failed_commits: Counter = Counter::default();
    failed_commits.inc_by(figures.failed_commits);
    registry.register("failed_commits", "Commits to disk that failed since the start", failed_commits);
    registry.register(
        "audit_records",
        "What the audit trail got since the start: enrollments, rotations, revocations, refusals, clones",
        counters(audited),
    );
    registry
}

/// A label's name and value.
type Label = (&'static str, &'static str);

fn labels(kind: AuditKind) -> [Label; 2] {
    [("action", kind.action.as_str()), ("reason", kind.reason.map_or("", AuditReason::as_str))]
}

/// Counts by their labels.
fn counters<const N: usize>(counts: impl Iterator<Item = ([Label; N], u64)>) -> Family<[Label; N], Counter> {
    let family = Family::<[Label; N], Counter>::default();
    for (labels, count) in counts {
        family.get_or_create(&labels).inc_by(count);
    }
    family
}

/// How each replica stands, by its address.
fn replicas(registry: &mut Registry, replicas: &[ReplicaFigures]) {
    if replicas.is_empty() {
        return;
    }
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    type Value<'v> = &'v dyn Fn(&ReplicaFigures) -> i64;
    let all: [(&str, &str, Value<'_>); 6] = [
        ("replica_following", "Whether a replica takes what is written", &|it| {
            i64::from(it.standing.state == ReplicaState::Following)
        }),
        (
            "replica_lag_seconds",
            "For how long the oldest change has been waiting that a replica lacks",
            &|it| it.lag.as_secs(),
        ),
        ("replica_unsent_frames", "Changes that a replica lacks", &|it| number(it.unsent)),
        (
            "replica_last_frame_seconds",
            "When the last change was written that a replica has, seconds since the epoch; 0 before the first",
            &|it| it.standing.last_frame_at.map_or(0, Timestamp::as_second),
        ),
        ("replica_failures", "Attempts to write to a replica that failed since the process started", &|it| {
            number(it.standing.failures)
        }),
        ("replica_sent_bytes", "What was sent to a replica in segments since the process started", &|it| {
            number(it.standing.sent_octets)
        }),
    ];
    for (name, help, value) in all {
        let family: Family<ReplicaLabel, Gauge> = Family::default();
        for figures in replicas {
            let label = ReplicaLabel { replica: figures.standing.url.clone() };
            family.get_or_create(&label).set(value(figures));
        }
        registry.register(name, help, family);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_have_help_and_type_under_the_name_of_their_samples() {
        let openmetrics = "# HELP muster_a Some things.\n# TYPE muster_a counter\nmuster_a_total{of=\"x\"} 1\n\
                           # HELP muster_b Other things.\n# TYPE muster_b gauge\nmuster_b 2\n# EOF\n";
        let expected = "# HELP muster_a_total Some things.\n# TYPE muster_a_total counter\nmuster_a_total{of=\"x\"} 1\n\
                        # HELP muster_b Other things.\n# TYPE muster_b gauge\nmuster_b 2\n";
        assert_eq!(prometheus_text(openmetrics), expected);
    }
}
