//! Every figure under the name that it has for good; `docs/metrics.md` lists them, and a test holds the two together.

use std::collections::BTreeMap;

use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::app::insight::figures::Figures;
use crate::app::keep::replicas::ReplicaFigures;
use crate::domain::insight::audit::AuditKind;
use crate::domain::insight::audit_reason::AuditReason;
use crate::domain::insight::finding::Finding;
use crate::domain::replicas::ReplicaState;
use crate::process::ProcessUsage;

/// What is measured at the listeners, beside what the use cases know.
pub(crate) struct AtTheDoors {
    pub(crate) certificate_until: Option<Timestamp>,
    /// By listener and cause.
    pub(crate) refused_handshakes: BTreeMap<(&'static str, &'static str), u64>,
    /// By listener and what became of them.
    pub(crate) shed: BTreeMap<(&'static str, &'static str), u64>,
    /// By status and code.
    pub(crate) answers: BTreeMap<(u16, &'static str), u64>,
    /// Event streams that are open.
    pub(crate) streams: usize,
}

/// All of it.
pub(crate) fn registry(
    figures: &Figures,
    doors: &AtTheDoors,
    findings: &[Finding],
    usage: &ProcessUsage,
) -> Registry {
    let mut registry = Registry::default();
    process(&mut Families(&mut registry), usage);
    let mut families = Families(registry.sub_registry_with_prefix("muster"));
    families.labelled("build_info", "The version that runs; always 1", [([("version", VERSION)], 1)]);
    fleet(&mut families, figures);
    ends(&mut families, figures, doors.certificate_until);
    kept(&mut families, figures);
    replicas(&mut families, &figures.replicas);
    queued(&mut families, figures);
    at_the_doors(&mut families, doors);
    counted(&mut families, figures);
    told(&mut families, figures);
    let severity = |it: &Finding| [("code", it.code.as_str()), ("severity", it.severity.as_str())];
    families.labelled(
        "findings",
        "What needs somebody, by code: how many things it is about; docs/findings.md has the codes",
        findings.iter().map(|finding| (severity(finding), number(finding.count))),
    );
    registry
}

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn fleet(families: &mut Families<'_>, figures: &Figures) {
    families.gauge("hosts", "Hosts that are not decommissioned", number(figures.hosts));
    families.gauge("hosts_online", "Hosts that have reported lately", number(figures.online));
    families.gauge(
        "possible_clones",
        "Hosts whose identity may be in use twice",
        number(figures.possible_clones),
    );
    families.gauge("sessions", "Sessions of agents that are open", number(figures.sessions));
    families.gauge("trust_watchers", "Watches of trust that are open", number(figures.trust_watchers));
    families.gauge(
        "denied_serials",
        "Revoked certificates that may not have expired",
        number(figures.denied_serials),
    );
    families.gauge("denied_identities", "Revoked identities", number(figures.denied_identities));
    families.gauge(
        "ready",
        "Whether an enrollment that arrives now would be answered",
        i64::from(figures.ready),
    );
}

/// When what must be renewed in time runs out; seconds since the epoch, to compare with `time()`.
fn ends(families: &mut Families<'_>, figures: &Figures, certificate: Option<Timestamp>) {
    let agent_ca = figures.agent_ca.as_ref();
    for (name, help, until) in [
        (
            "agent_ca_root_not_after_seconds",
            "When the agent CA's root expires",
            agent_ca.and_then(|ca| ca.root),
        ),
        (
            "agent_ca_intermediate_not_after_seconds",
            "When the agent CA's intermediate expires",
            agent_ca.and_then(|ca| ca.intermediate),
        ),
        ("server_certificate_not_after_seconds", "When the server's certificate expires", certificate),
    ] {
        families.known(name, help, until.map(Timestamp::as_second));
    }
}

/// What lies on disk.
fn kept(families: &mut Families<'_>, figures: &Figures) {
    let damaged = "Whether the last look at all of the store found damage";
    families.gauge("store_damaged", damaged, i64::from(figures.store_damaged));
    families.gauge("store_size_bytes", "How long the store's file is", number(figures.store_octets));
    families.gauge(
        "change_log_size_bytes",
        "How long the change log is, which holds what the store's file lacks",
        number(figures.beside.change_log),
    );
    families.gauge(
        "journal_size_bytes",
        "How long the revocation journal is",
        number(figures.beside.journal),
    );
    let written = figures.beside.journal_written.map(Timestamp::as_second);
    let help = "When the revocation journal was last written to, seconds since the epoch";
    families.known("journal_written_seconds", help, written);
    let backups = &figures.backups;
    families.gauge(
        "backup_failed",
        "Whether the server could not back itself up when it last tried",
        i64::from(backups.failed),
    );
    families.known(
        "backup_newest_seconds",
        "When the newest backup was begun, by the server or by somebody, seconds since the epoch",
        backups.newest.map(Timestamp::as_second),
    );
    families.known(
        "backup_size_bytes",
        "How long the newest backup is that the server made by itself",
        backups.octets.map(number),
    );
    families.counter("failed_commits", "Commits to disk that failed since the start", figures.failed_commits);
    let help = "From the first look at a batch of decisions until it was on disk";
    families.0.register("commit_duration_seconds", help, figures.commits.seconds.clone());
    let help = "How many decisions shared a commit";
    families.0.register("commit_decisions", help, figures.commits.decisions.clone());
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReplicaLabel {
    replica: String,
}

/// How each replica stands, by its address.
fn replicas(families: &mut Families<'_>, replicas: &[ReplicaFigures]) {
    if replicas.is_empty() {
        return;
    }
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
        families.0.register(name, help, family);
    }
}

fn queued(families: &mut Families<'_>, figures: &Figures) {
    families.labelled(
        "queue_length",
        "How much waits for its turn: signing, long reads, walks, verification of the audit trail, the writer",
        figures.queues.map(|(queue, length)| ([("queue", queue)], number(length))),
    );
}

fn at_the_doors(families: &mut Families<'_>, doors: &AtTheDoors) {
    families.counters(
        "refused_handshakes",
        "TLS handshakes since the start in which one side refused the other, or went away",
        doors.refused_handshakes.iter().map(|(&(listener, cause), count)| {
            ([("listener", listener.to_owned()), ("cause", cause.to_owned())], *count)
        }),
    );
    families.counters(
        "shed_connections",
        "Connections since the start that were turned away or had to make way, as there was no room for all",
        doors.shed.iter().map(|(&(listener, what), count)| {
            ([("listener", listener.to_owned()), ("what", what.to_owned())], *count)
        }),
    );
    families.counters(
        "http_answers",
        "Requests over HTTP that were answered since the start, by status and the code of the refusal",
        doors.answers.iter().map(|(&(status, code), count)| {
            ([("status", status.to_string()), ("code", code.to_owned())], *count)
        }),
    );
    families.gauge("event_streams", "Streams of events to people that are open", number(doors.streams));
}

fn counted(families: &mut Families<'_>, figures: &Figures) {
    families.counter("enrollments", "Enrollments since the start", figures.enrollments);
    families.counter("rotations", "Rotations since the start", figures.rotations);
    families.counter("jwt_svids", "JWT-SVIDs signed since the start", figures.signed_jwt_svids);
    families.counter(
        "throttled_agents",
        "Requests and messages of agents since the start that were refused because there were too many",
        figures.agents_throttled,
    );
    families.counters(
        "refusals",
        "What was refused since the start and why, repeats included that the audit trail has as a count",
        figures.refused.iter().map(|(kind, count)| (labels(*kind), *count)),
    );
    families.counters(
        "audit_records",
        "What the audit trail got since the start: enrollments, rotations, revocations, refusals, clones",
        figures.audited.iter().map(|(kind, count)| {
            let [action, reason] = labels(*kind);
            ([action, ("outcome", kind.outcome.to_string()), reason], *count)
        }),
    );
}

fn told(families: &mut Families<'_>, figures: &Figures) {
    let webhooks = &figures.webhooks;
    families.gauge("webhooks", "Receivers that are told of events", number(webhooks.webhooks));
    families.gauge("webhook_events_waiting", "Events that wait for a receiver", number(webhooks.waiting));
    let help = "Events that arrived at a receiver since the start";
    families.counter("webhook_events_delivered", help, webhooks.delivered);
    let help = "Events that never arrived, since their webhooks were made: too many waited, or for too long";
    families.counter("webhook_events_dropped", help, webhooks.dropped);
}

/// The process, under the names that every exporter gives these.
fn process(families: &mut Families<'_>, usage: &ProcessUsage) {
    let cpu: Counter<f64, std::sync::atomic::AtomicU64> = Counter::default();
    if let Some(used) = usage.cpu {
        cpu.inc_by(used.as_secs_f64());
        families.0.register("process_cpu_seconds", "Processor time that the process has used", cpu);
    }
    for (name, help, value) in [
        ("process_resident_memory_bytes", "Memory that the process has in use", usage.resident),
        ("process_virtual_memory_bytes", "Address space of the process", usage.virtual_memory),
        ("process_threads", "Threads of the process", usage.threads),
        ("process_open_fds", "Files and connections that are open", usage.open_files),
        ("process_max_fds", "How many may be", usage.max_files),
        ("process_start_time_seconds", "When the process began, seconds since the epoch", usage.began),
    ] {
        families.known(name, help, value.map(number));
    }
}

/// Where families are entered.
struct Families<'r>(&'r mut Registry);

impl Families<'_> {
    fn gauge(&mut self, name: &str, help: &str, value: i64) {
        let gauge: Gauge = Gauge::default();
        gauge.set(value);
        self.0.register(name, help, gauge);
    }

    /// One that is left out while there is nothing to tell.
    fn known(&mut self, name: &str, help: &str, value: Option<i64>) {
        if let Some(value) = value {
            self.gauge(name, help, value);
        }
    }

    fn labelled<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        values: impl IntoIterator<Item = ([(&'static str, &'static str); N], i64)>,
    ) where
        [(&'static str, &'static str); N]: EncodeLabelSet,
    {
        let family = Family::<[(&'static str, &'static str); N], Gauge>::default();
        for (labels, value) in values {
            family.get_or_create(&labels).set(value);
        }
        self.0.register(name, help, family);
    }

    fn counter(&mut self, name: &str, help: &str, count: u64) {
        let counter: Counter = Counter::default();
        counter.inc_by(count);
        self.0.register(name, help, counter);
    }

    fn counters<const N: usize>(
        &mut self,
        name: &str,
        help: &str,
        counts: impl IntoIterator<Item = ([Label; N], u64)>,
    ) {
        let family = Family::<[Label; N], Counter>::default();
        for (labels, count) in counts {
            family.get_or_create(&labels).inc_by(count);
        }
        self.0.register(name, help, family);
    }
}

/// A label's name and value.
type Label = (&'static str, String);

fn labels(kind: AuditKind) -> [Label; 2] {
    let reason = kind.reason.map_or("", AuditReason::as_str);
    [("action", kind.action.as_str().to_owned()), ("reason", reason.to_owned())]
}

/// A figure as Prometheus takes it.
fn number(count: impl TryInto<i64>) -> i64 {
    count.try_into().unwrap_or(i64::MAX)
}
