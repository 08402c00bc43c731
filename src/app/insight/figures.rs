//! Figures of the whole deployment, for whoever watches it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use parking_lot::Mutex;

use crate::app::insight::overview::AgentCaExpiries;
use crate::app::keep::backup::scheduled::BackupFigures;
use crate::app::keep::replicas::ReplicaFigures;
use crate::app::webhooks::queue::WebhookFigures;
use crate::app::{App, Unavailable};
use crate::domain::insight::audit::{AuditKind, Outcome};
use crate::domain::insight::audit_action::AuditAction;
use crate::store::{BesideTheFile, CommitFigures};

/// How the deployment is.
#[derive(Debug, Clone)]
pub struct Figures {
    /// Hosts in service.
    pub hosts: usize,
    /// Of those in service, how many have missed fewer than three reports.
    pub online: usize,
    /// Hosts in service whose identity may be in use on two machines.
    pub possible_clones: usize,
    /// JWT-SVIDs that were signed since this process started.
    pub signed_jwt_svids: u64,
    /// Certificates on the deny list.
    pub denied_serials: usize,
    /// Identities on the deny list.
    pub denied_identities: usize,
    /// Whether an enrollment that arrives now would be answered with a certificate.
    pub ready: bool,
    /// Commits to disk that failed since this process started.
    pub failed_commits: u64,
    /// How the others have gone.
    pub commits: CommitFigures,
    /// How much waits for its turn, by what for.
    pub queues: [(&'static str, usize); 5],
    /// Sessions of agents that are open.
    pub sessions: usize,
    /// Watches of trust that are open.
    pub trust_watchers: usize,
    /// Requests and messages of agents that were refused since this process started because there were too many.
    pub agents_throttled: u64,
    /// How long the store's file is.
    pub store_octets: u64,
    /// What it has beside the file.
    pub beside: BesideTheFile,
    /// Enrollments since this process started.
    pub enrollments: u64,
    /// Rotations since this process started.
    pub rotations: u64,
    /// Whether the last look at all of the store found damage.
    pub store_damaged: bool,
    /// How webhooks go.
    pub webhooks: WebhookFigures,
    /// How backups stand.
    pub backups: BackupFigures,
    /// How replicas stand.
    pub replicas: Vec<ReplicaFigures>,
    /// `None` before the agent CA was made.
    pub agent_ca: Option<AgentCaExpiries>,
    /// Records that the audit trail got since this process started, by what they say.
    pub audited: BTreeMap<AuditKind, u64>,
    /// Refusals since this process started, those included that were folded into a count.
    pub refused: BTreeMap<AuditKind, u64>,
}

/// Counts what the audit trail gets, as the store publishes it. Actions and reasons are words of ours, so there
/// are only so many.
#[derive(Debug, Default)]
pub(crate) struct Counts {
    audited: Mutex<BTreeMap<AuditKind, u64>>,
    refused: Mutex<BTreeMap<AuditKind, u64>>,
}

impl Counts {
    pub(crate) fn add(&self, audited: &[AuditKind]) {
        if audited.is_empty() {
            return;
        }
        let mut counts = self.audited.lock();
        for kind in audited {
            *counts.entry(*kind).or_default() += 1;
        }
    }

    /// Counts a refusal, whether it is recorded by itself or folded into another.
    pub(crate) fn refused(&self, kind: AuditKind) {
        *self.refused.lock().entry(kind).or_default() += 1;
    }
}

impl App {
    /// Takes stock of all tenants together.
    pub async fn figures(self: &Arc<Self>) -> Result<Figures, Unavailable> {
        self.query_long(|app| app.measure()).await
    }

    fn measure(&self) -> Result<Figures, Unavailable> {
        let stored = self.query(|view| view.hierarchy())?;
        self.fleet.wait_until_whole()?;
        let totals = self.fleet.totals();
        let (denied_serials, denied_identities) = self.store.deny_list().size();
        let audited = self.counts.audited.lock().clone();
        let done = |action| {
            let of_kind =
                audited.iter().filter(|(it, _)| it.action == action && it.outcome == Outcome::Success);
            of_kind.map(|(_, count)| count).sum()
        };
        Ok(Figures {
            commits: self.store.commits(),
            queues: [
                ("issuing", self.pool.waiting()),
                ("reading", self.readers.waiting()),
                ("walking", self.walkers.waiting()),
                ("verifying", self.verifier.waiting()),
                ("writing", self.store.waiting()),
            ],
            sessions: self.live_counts.sessions.get(),
            trust_watchers: self.live_counts.trust_watchers.get(),
            agents_throttled: self.live_counts.throttled.load(Ordering::Relaxed),
            store_octets: self.store.file_octets(),
            beside: self.store.beside_the_file(),
            enrollments: done(AuditAction::AgentEnroll),
            rotations: done(AuditAction::AgentRotate),
            hosts: totals.in_service,
            online: totals.online,
            possible_clones: totals.possible_clones,
            signed_jwt_svids: self.jwt.count(),
            denied_serials,
            denied_identities,
            ready: self.readiness().is_ok(),
            failed_commits: self.store.failed_commits(),
            store_damaged: self.scrubbed.finding().is_some(),
            webhooks: self.webhook_figures()?,
            backups: self.backup_figures()?,
            replicas: self.replica_figures(),
            agent_ca: stored.map(|stored| AgentCaExpiries::of(&stored)),
            audited,
            refused: self.counts.refused.lock().clone(),
        })
    }
}
