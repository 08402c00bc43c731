//! What the operator has to see to, or soon will have to: for the overview and for `muster check`.

use jiff::{SignedDuration, Timestamp};

use crate::app::access::caller::Caller;
use crate::app::insight::overview::{AgentCaExpiries, WaitingRevocation};
use crate::app::keep::restore::confirm::SuspendedCounts;
use crate::app::{App, Unavailable};
use crate::ca::envelope::{Envelope, EnvelopeSettings};
use crate::domain::identity::restore_epoch::{RestoreNotice, RolledBack};
use crate::domain::insight::finding::{Finding, Severity};
use crate::store::{Change, ReadError, RestoredChange, Verdict, View};

/// A server that runs publishes a list that waited within seconds.
const PUBLISHED_WITHIN: SignedDuration = SignedDuration::from_mins(1);

impl App {
    /// What concerns the whole deployment, as far as the store knows.
    pub fn findings(&self) -> Result<Vec<Finding>, Unavailable> {
        let stored = self.query(|view| view.hierarchy())?;
        Ok(self.findings_about(stored.map(|stored| AgentCaExpiries::of(&stored)).as_ref()))
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
                "commit_failed",
                Severity::Critical,
                "The store could not be written, and has not been since",
                "Make room on the disk of the data directory; the server's log says what failed.",
            ));
        }
        findings.extend(self.scrubbed.finding());
        findings.extend(self.backup_findings());
        findings.extend(self.replica_findings());
        findings
    }
}

/// Whoever loses the data directory would lose what opens its backups, too.
pub fn of_envelope(settings: &EnvelopeSettings) -> Option<Finding> {
    // One that can't be used is told of elsewhere.
    let alone = || Envelope::find(settings).is_ok_and(|found| found.is_some_and(|it| !it.has_recovery()));
    (settings.lies_beside_the_data() && alone()).then(|| {
        Finding::new(
            "envelope_beside_data",
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
        findings.push(Finding::new("rolled_back", Severity::Critical, message, hint).at(noticed_at));
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
        findings.push(Finding::new("suspended", Severity::Soon, message, hint).counting(count));
    }
    if let Some(notice) = view.restore_notice()?.filter(|notice| notice.is_open(now)) {
        let hint = "Hosts that came back by themselves are flagged: look through them.";
        let found = Finding::new("restored", Severity::Tidy, notice.text, hint).at(notice.at);
        findings.push(found.target("/hosts?flag=recovered"));
    }
    Ok(findings)
}

fn of_agent_ca(agent_ca: Option<&AgentCaExpiries>, now: Timestamp) -> Vec<Finding> {
    let Some(agent_ca) = agent_ca else {
        return vec![Finding::new(
            "no_agent_ca",
            Severity::Critical,
            "There is no agent CA, so no host can enroll",
            "Create it on the server's machine with: muster agent-ca init",
        )];
    };
    let expiry = |code, what, at: Option<Timestamp>, hint| {
        at.and_then(|at| Finding::expiry(code, what, at, now, hint))
            .map(|finding| finding.target("/settings/agent-ca"))
    };
    let intermediate = expiry(
        "intermediate_expiry",
        "The agent CA's intermediate",
        agent_ca.intermediate,
        "Renew it: muster agent-ca renew --request FILE where the root key is kept offline, else muster agent-ca renew",
    );
    let root = expiry(
        "root_expiry",
        "The agent CA's root",
        agent_ca.root,
        "Another root takes its place in three steps, and nobody enrolls again: muster agent-ca prepare-root",
    );
    let unlisted = (!agent_ca.roots_have_lists).then(|| {
        Finding::new(
            "root_list_missing",
            Severity::Soon,
            "The agent CA's root has no revocation list, and some relying parties refuse every agent without it",
            "The next renewal of the intermediate makes it: muster agent-ca renew",
        )
        .target("/settings/agent-ca")
    });
    let waiting = agent_ca.waiting_revocation.as_ref().map(|waiting| of_waiting(waiting, now));
    intermediate.into_iter().chain(root).chain(unlisted).chain(waiting).collect()
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
    Finding::new("root_list_waiting", severity, message, hint).at(*publish_by).target("/settings/agent-ca")
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
            ("intermediate_expiry", Severity::Soon, Some(days(59)))
        );
        let over = &of(days(-1))[0];
        assert_eq!(over.severity, Severity::Critical);
        assert_eq!(over.message, "The agent CA's intermediate expired 1 day ago");
        assert_eq!(of_agent_ca(None, now)[0].code, "no_agent_ca");
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
