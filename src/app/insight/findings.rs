//! What the operator has to see to, or soon will have to: for the overview and for `muster check`.

use std::ops::AddAssign;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use crate::app::access::caller::Caller;
use crate::app::insight::fleet::{Census, CensusQuestion};
use crate::app::insight::overview::{AgentCaExpiries, WaitingRevocation};
use crate::app::keep::restore::confirm::SuspendedCounts;
use crate::app::{App, Unavailable};
use crate::ca::envelope::{Envelope, EnvelopeSettings};
use crate::domain::identity::restore_epoch::{RestoreNotice, RolledBack};
use crate::domain::ids::TenantId;
use crate::domain::insight::finding::{Ending, Finding, Severity};
use crate::domain::insight::finding_code::FindingCode;
use crate::store::{Change, ReadError, RestoredChange, Verdict, View};

/// Who has not reported for so long is silent.
pub const SILENT_AFTER: SignedDuration = SignedDuration::from_hours(24);

/// A server that runs publishes a list that waited within seconds.
const PUBLISHED_WITHIN: SignedDuration = SignedDuration::from_mins(1);

impl App {
    /// What concerns the whole deployment, with the hosts of all tenants. Long: not for an async worker.
    pub(crate) fn findings(&self) -> Result<Vec<Finding>, Unavailable> {
        let stored = self.query(|view| view.hierarchy())?;
        let mut findings = self.findings_about(stored.map(|stored| AgentCaExpiries::of(&stored)).as_ref());
        self.fleet.wait_until_whole()?;
        let now = self.clock.now();
        let mut sums = FleetSums::default();
        for tenant in self.fleet.tenants() {
            sums += FleetSums::of(&self.census_of(tenant, now)?);
        }
        findings.extend(fleet_findings(sums));
        Ok(findings)
    }

    /// The same in the pool for long reads.
    pub async fn all_findings(self: &Arc<Self>) -> Result<Vec<Finding>, Unavailable> {
        self.query_long(|app| app.findings()).await
    }

    /// What ends one day and has to be renewed before.
    pub fn agent_ca_endings(&self) -> Result<Vec<Ending>, Unavailable> {
        let stored = self.query(|view| view.hierarchy())?;
        Ok(stored.map(|stored| endings(&AgentCaExpiries::of(&stored))).unwrap_or_default())
    }

    /// A tenant's hosts, summed up.
    pub(crate) fn census_of(&self, tenant: TenantId, now: Timestamp) -> Result<Census, Unavailable> {
        let dns_suffix = self.dns_suffix(tenant)?;
        self.fleet.wait_until_whole()?;
        Ok(self.fleet.census(
            tenant,
            CensusQuestion { now, silent_before: now - SILENT_AFTER, dns_suffix: dns_suffix.as_ref() },
        ))
    }

    /// Takes note that an administrator of everything is shown what there is to say of a restore.
    pub async fn note_restore_seen(&self, caller: &Caller) -> Result<(), Unavailable> {
        let Caller::User { user, .. } = caller else { return Ok(()) };
        let unseen = |view: &View<'_>| Ok(view.restore_notice()?.filter(|notice| notice.seen_at.is_none()));
        if !user.is_global_admin() || self.query(unseen)?.is_none() {
            return Ok(());
        }
        self.decide(move |view, now| {
            let seen = unseen(view)?.map(|notice| RestoreNotice { seen_at: Some(now), ..notice });
            let changes = seen.map(RestoredChange::Notice).map(Change::Restored).into_iter().collect();
            Ok(Verdict::accept((), changes))
        })
        .await
    }

    pub(crate) fn findings_about(&self, agent_ca: Option<&AgentCaExpiries>) -> Vec<Finding> {
        let mut findings = of_agent_ca(agent_ca, self.clock.now());
        // Where the store can't be read, that is found elsewhere.
        findings.extend(self.query(|view| of_restores(view, self.clock.now())).unwrap_or_default());
        if !self.store.takes_writes() {
            findings.push(Finding::new(
                FindingCode::CommitFailed,
                Severity::Critical,
                "The store could not be written, and has not been since",
                "Make room on the disk of the data directory; the server's log says what failed.",
            ));
        }
        findings.extend(self.scrubbed.finding());
        findings.extend(self.backup_findings());
        findings.extend(self.replica_findings());
        findings.extend(self.webhook_findings(self.clock.now()));
        if self.root_key_on_disk() {
            findings.push(Finding::new(
                FindingCode::RootKeyOnDisk,
                Severity::Soon,
                "The agent CA's root key lies on the server's disk",
                "Move root-key.pem to offline storage and delete it from the data directory.",
            ));
        }
        findings
    }
}

/// Whoever loses the data directory would lose what opens its backups, too.
pub fn of_envelope(settings: &EnvelopeSettings) -> Option<Finding> {
    // One that can't be used is told of elsewhere.
    let alone = || Envelope::find(settings).is_ok_and(|found| found.is_some_and(|it| !it.has_recovery()));
    (settings.lies_beside_the_data() && alone()).then(|| {
        Finding::new(
            FindingCode::EnvelopeBesideData,
            Severity::Soon,
            "The envelope key lies in the data directory and nothing else opens what it seals: with that disk, every backup is lost",
            "Keep an identity of age-keygen elsewhere and name its recipient: muster envelope recovery add age1…; or keep the \
             key elsewhere (MUSTER_ENVELOPE_KEY_FILE, or a credential of the unit).",
        )
    })
}

/// What restores have left to do, and that one is due.
fn of_restores(view: &View<'_>, now: Timestamp) -> Result<Vec<Finding>, ReadError> {
    let mut findings = Vec::new();
    if let Some(RolledBack { noticed_at, woke_from, .. }) = view.rolled_back()? {
        let message = format!(
            "The store is older than it was: an agent shows a certificate that was issued after {woke_from:.0}, the store's last sign \
             of life, and is on no record"
        );
        let hint = "Let its agents come back, and nobody who was revoked, on the server's machine: muster restore declare --journal \
                    FILE, with the revocations.log of before";
        findings
            .push(Finding::new(FindingCode::RolledBack, Severity::Critical, message, hint).at(noticed_at));
    }
    let suspended = SuspendedCounts::of(view.all_suspended()?.iter().map(|(what, _)| what));
    if suspended.total() > 0 {
        let SuspendedCounts { secrets, api_tokens, people } = suspended;
        let message = format!(
            "Since a restore {secrets} enrollment secrets, {api_tokens} API tokens and the passwords of {people} \
             people count for nothing"
        );
        let hint = "They may have been revoked or changed in the time that was lost. Look through them and confirm those that are \
                    good: muster restore confirm secrets, api-tokens or people; --list shows them.";
        let count = u64::try_from(suspended.total()).unwrap_or(u64::MAX);
        findings.push(Finding::new(FindingCode::Suspended, Severity::Soon, message, hint).counting(count));
    }
    if let Some(notice) = view.restore_notice()?.filter(|notice| notice.is_open(now)) {
        let hint = "Hosts that came back by themselves are flagged: look through them.";
        let found = Finding::new(FindingCode::Restored, Severity::Tidy, notice.text, hint).at(notice.at);
        findings.push(found.target("/hosts?flag=recovered"));
    }
    Ok(findings)
}

fn of_agent_ca(agent_ca: Option<&AgentCaExpiries>, now: Timestamp) -> Vec<Finding> {
    let Some(agent_ca) = agent_ca else {
        return vec![Finding::new(
            FindingCode::NoAgentCa,
            Severity::Critical,
            "There is no agent CA, so no host can enroll",
            "Create it on the server's machine with: muster agent-ca init",
        )];
    };
    let ends = endings(agent_ca);
    let ends = ends.iter().filter_map(|ending| ending.finding(now)).map(|it| it.target("/settings/agent-ca"));
    let unlisted = (!agent_ca.roots_have_lists).then(|| {
        Finding::new(
            FindingCode::RootListMissing,
            Severity::Soon,
            "The agent CA's root has no revocation list, and some relying parties refuse every agent without it",
            "The next renewal of the intermediate makes it: muster agent-ca renew",
        )
        .target("/settings/agent-ca")
    });
    let waiting = agent_ca.waiting_revocation.as_ref().map(|waiting| of_waiting(waiting, now));
    ends.chain(unlisted).chain(waiting).collect()
}

/// What of the agent CA ends one day.
fn endings(agent_ca: &AgentCaExpiries) -> Vec<Ending> {
    let intermediate = agent_ca.intermediate.map(|at| Ending {
        code: FindingCode::IntermediateExpiry,
        what: "The agent CA's intermediate",
        at,
        hint: "Renew it: muster agent-ca renew --request FILE where the root key is kept offline, else muster agent-ca renew",
    });
    let root = agent_ca.root.map(|at| Ending {
        code: FindingCode::RootExpiry,
        what: "The agent CA's root",
        at,
        hint: "Another root takes its place in three steps, and nobody enrolls again: muster agent-ca prepare-root",
    });
    intermediate.into_iter().chain(root).collect()
}

/// Relying parties still let in what a revoked intermediate has signed.
fn of_waiting(waiting: &WaitingRevocation, now: Timestamp) -> Finding {
    let WaitingRevocation { fingerprint, since, publish_by } = waiting;
    let at_once =
        format!("muster agent-ca revoke-intermediate {} --now", fingerprint.get(..12).unwrap_or(fingerprint));
    let overdue = now.duration_since(*publish_by) > PUBLISHED_WITHIN;
    let (severity, told, hint) = if overdue {
        (
            Severity::Critical,
            format!("it should have been published at {publish_by:.0}"),
            format!(
                "A server that runs publishes it: start it, or see in its log what fails. So does: {at_once}"
            ),
        )
    } else {
        (
            Severity::Soon,
            format!(
                "its agents in session are given time to rotate, and it is published when they have, at {publish_by:.0} at the latest"
            ),
            format!(
                "Until then relying parties let in whoever has its key. To end the waiting, although agents that have not \
                 rotated are refused then: {at_once}"
            ),
        )
    };
    let message = format!(
        "The root's list that names a revoked intermediate has been waiting since {since:.0}: {told}"
    );
    Finding::new(FindingCode::RootListWaiting, severity, message, hint)
        .at(*publish_by)
        .target("/settings/agent-ca")
}

/// Of hosts that somebody should look at, how many there are.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct FleetSums {
    clones: usize,
    duplicates: usize,
    without_dns_name: usize,
    overdue: usize,
    never_reported: usize,
    gone_silent: usize,
}

impl FleetSums {
    pub(crate) const fn of(census: &Census) -> Self {
        let Census { totals, duplicates, without_dns_name, overdue, never_reported, gone_silent, .. } =
            census;
        Self {
            clones: totals.possible_clones,
            duplicates: *duplicates,
            without_dns_name: *without_dns_name,
            overdue: *overdue,
            never_reported: *never_reported,
            gone_silent: *gone_silent,
        }
    }
}

impl AddAssign for FleetSums {
    fn add_assign(&mut self, other: Self) {
        self.clones += other.clones;
        self.duplicates += other.duplicates;
        self.without_dns_name += other.without_dns_name;
        self.overdue += other.overdue;
        self.never_reported += other.never_reported;
        self.gone_silent += other.gone_silent;
    }
}

/// Hosts that may not be who they say they are, or stay behind, each counted as the list that is linked counts it.
pub(crate) fn fleet_findings(sums: FleetSums) -> Vec<Finding> {
    let FleetSums { clones, duplicates, without_dns_name, overdue, never_reported, gone_silent } = sums;
    let counted = |count: usize, code, severity, one: &str, many: &str, hint, target| {
        let message = if count == 1 { one.to_owned() } else { format!("{count} {many}") };
        let counting = u64::try_from(count).unwrap_or(u64::MAX);
        let found = Finding::new(code, severity, message, hint).counting(counting);
        (count > 0).then_some(Finding { target, ..found })
    };
    let clones = counted(
        clones,
        FindingCode::PossibleClones,
        Severity::Critical,
        "One host may share its identity with a copy",
        "hosts may share their identities with copies",
        "Open the flagged hosts; decommission and enroll again those that were cloned.",
        Some("/hosts?flag=possible_clone"),
    );
    let duplicates = counted(
        duplicates,
        FindingCode::PossibleDuplicates,
        Severity::Tidy,
        "One host reports a machine id that another one reports, too",
        "hosts report machine ids that others report, too",
        "A machine that enrolled anew leaves its old row behind; decommission the silent one.",
        Some("/hosts?flag=possible_duplicate"),
    );
    let without_dns_name = counted(
        without_dns_name,
        FindingCode::AgentsWithoutDnsName,
        Severity::Tidy,
        "One agent is older than 0.2.0 and gets no DNS name in its certificate",
        "agents are older than 0.2.0 and get no DNS name in their certificates",
        "Update them ('muster host list' shows versions); they get it with their next rotation.",
        None,
    );
    let overdue = counted(
        overdue,
        FindingCode::AgentsOverdue,
        Severity::Soon,
        "One host reports, and has not rotated its certificate in time",
        "hosts report, and have not rotated their certificates in time",
        "They are left outside when their certificates end: 'muster agent status' there says what keeps it.",
        Some("/hosts?overdue=true&sort=expires"),
    );
    let never_reported = counted(
        never_reported,
        FindingCode::HostsNeverReported,
        Severity::Tidy,
        "One host has enrolled and never reported",
        "hosts have enrolled and never reported",
        "No agent runs there: 'muster agent install' makes it a service. What was only tried out can be decommissioned.",
        Some("/hosts?state=never_reported&silent_for=1h"),
    );
    let gone_silent = counted(
        gone_silent,
        FindingCode::HostsSilent,
        Severity::Tidy,
        "One host has been silent for a day",
        "hosts have been silent for a day",
        "Look whether they are still there; decommission those that are gone.",
        Some("/hosts?state=in_service&silent_for=24h&sort=-last_seen"),
    );
    let found = clones.into_iter().chain(overdue).chain(never_reported).chain(gone_silent);
    found.chain(duplicates).chain(without_dns_name).collect()
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn an_expiry_is_told_before_and_after() {
        let now: Timestamp = "2026-11-26T12:00:00Z".parse().unwrap();
        let days = |days: i64| now + SignedDuration::from_hours(24 * days);
        let of = |intermediate: Timestamp| {
            let expiries = AgentCaExpiries {
                trust_domain: "muster".to_owned(),
                root: Some(days(3_000)),
                roots_have_lists: true,
                intermediate: Some(intermediate),
                waiting_revocation: None,
            };
            of_agent_ca(Some(&expiries), now)
        };
        assert_eq!(of(days(61)), []);
        let soon = &of(days(59))[0];
        assert_eq!(
            (soon.code, soon.severity, soon.at),
            (FindingCode::IntermediateExpiry, Severity::Soon, Some(days(59)))
        );
        let over = &of(days(-1))[0];
        assert_eq!(over.severity, Severity::Critical);
        assert_eq!(over.message, "The agent CA's intermediate expired 1 day ago");
        assert_eq!(of_agent_ca(None, now)[0].code, FindingCode::NoAgentCa);
    }

    #[test]
    fn a_list_that_waits_is_told_with_when_and_why_and_one_that_is_late_is_urgent() {
        let waiting = WaitingRevocation {
            fingerprint: "0123456789abcdef".repeat(4),
            since: "2026-11-26T12:00:00.5Z".parse().unwrap(),
            publish_by: "2026-11-26T12:10:00.5Z".parse().unwrap(),
        };
        let told = |now: &str| of_waiting(&waiting, now.parse().unwrap());
        let soon = told("2026-11-26T12:10:30Z");
        assert_eq!((soon.severity, soon.at), (Severity::Soon, Some(waiting.publish_by)));
        for part in
            ["since 2026-11-26T12:00:00Z: its agents", "rotate", "at 2026-11-26T12:10:00Z at the latest"]
        {
            assert!(soon.message.contains(part), "{part}: {}", soon.message);
        }
        assert!(
            soon.hint.ends_with("muster agent-ca revoke-intermediate 0123456789ab --now"),
            "{}",
            soon.hint
        );
        let late = told("2026-11-26T12:12:00Z");
        assert_eq!(late.severity, Severity::Critical);
        assert!(
            late.message.ends_with("should have been published at 2026-11-26T12:10:00Z"),
            "{}",
            late.message
        );
        assert!(late.hint.contains("--now"), "{}", late.hint);
    }
}
