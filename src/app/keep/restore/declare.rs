//! A restore epoch for a store that is older than it was, without a restore: a virtual machine was set back, or older files were
//! put in place. It is declared while the server serves, or while none does.

use std::collections::BTreeSet;
use std::error::Error;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::confirm::SuspendedCounts;
use super::epoch::Lost;
use super::{
    Denials, LIST_MAX, Restored, ServerFilesAfter, confirm, denied_by, epoch, read_list_of, void_tokens,
};
use crate::app::access::caller::Caller;
use crate::app::keep::revoke_intermediate::denied_intermediates;
use crate::app::{App, Unavailable, entropy};
use crate::ca::crl;
use crate::ca::envelope::{Envelope, EnvelopeSettings};
use crate::ca::parse::revocation_list::RevocationListError;
use crate::ca::revocation;
use crate::domain::enroll::enrollment::Via;
use crate::domain::identity::jwt_keys::JwtKeys;
use crate::domain::identity::outage::Outage;
use crate::domain::identity::restore_epoch::{CLOCKS_APART, RestoreEpoch, RolledBack};
use crate::domain::identity::trust_version::TrustEpoch;
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::network::pin::Pin;
use crate::store::{self, Change, JournalError, ReadError, RestoredChange, Verdict, View};

/// Where the journal of before lies in the data directory while it is compared.
pub const DECLARED_JOURNAL: &str = ".declared.log";
/// Where a revocation list lies there meanwhile.
pub const DECLARED_LIST: &str = ".declared.crl";

/// What an operator declares.
#[derive(Debug, Clone, Copy, Default)]
pub struct Declaration {
    /// Whether the journal of before lies under its name in the data directory.
    pub journal: bool,
    /// The same of a revocation list.
    pub list: bool,
    /// When the server of before was lost, where nothing else tells.
    pub lost_at: Option<Timestamp>,
    /// Nobody comes back whose certificate is on no record.
    pub strict: bool,
    /// Takes it that nothing says who was revoked in the time that was lost.
    pub accept_revocation_loss: bool,
}

/// Why no epoch was begun. Nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum DeclareError {
    /// Nothing can have been lost in a time of which everything is known.
    #[error("the store knows of no time in which its server did not live, so it is not older than it was")]
    NoGap,
    /// Nothing says who was revoked in the time that was lost.
    #[error("there is neither a revocation journal that reaches beyond the store nor a revocation list")]
    RevocationLoss,
    /// No server has been lost yet at that moment.
    #[error("the server can't have been lost at {0}, which is yet to come")]
    LostLater(Timestamp),
    /// It can't be read, or is another store's.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// What was to be compared is not there, or can't be read.
    #[error("cannot read what is to be compared with the store")]
    Read(#[source] std::io::Error),
    /// It is no list that an intermediate of the agent CA has signed.
    #[error("the revocation list can't be used")]
    List(#[from] RevocationListError),
    /// It was signed in a time of which everything is known.
    #[error(
        "the revocation list ({issued_at}) is older than the time that was lost, which begins at {backup_at}"
    )]
    OlderList {
        /// When it was signed.
        issued_at: Timestamp,
        /// The last sign of life before the time that was lost.
        backup_at: Timestamp,
    },
    /// The store or the machine could not answer.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<ReadError> for DeclareError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable(error.into())
    }
}

impl App {
    /// Begins the restore epoch that a restore would have begun, with all that a restore never brings back.
    pub async fn declare(
        self: &Arc<Self>,
        caller: &Caller,
        declaration: Declaration,
        settings: &EnvelopeSettings,
    ) -> Result<Restored, DeclareError> {
        let _one_at_a_time = self.hierarchy_changes.lock().await;
        let list = if declaration.list {
            let path = self.data_dir.join(DECLARED_LIST);
            self.query_long(move |_| read_bounded(&path).map_err(DeclareError::Read)).await?
        } else {
            Vec::new()
        };
        let declaring = Declaring {
            caller: caller.clone(),
            declaration,
            journal: self.data_dir.join(if declaration.journal {
                DECLARED_JOURNAL
            } else {
                store::JOURNAL_NAME
            }),
            list: declaration.list.then_some(list),
            woke: self.woke,
            svid_ttl: self.policy.svid_ttl,
            trust_epoch: TrustEpoch::from_bytes(entropy()?),
        };
        let declared = self.decide(move |view, now| match declaring.decide(view, now) {
            Ok((declared, changes)) => Ok(Verdict::accept(declared, changes)),
            Err(DeclareError::Unavailable(Unavailable::Read(error))) => Err(error),
            Err(error) => Ok(Verdict::refuse(error)),
        });
        let declared = declared.await?;
        self.renew_keys_after(&declared, settings).await;
        self.trust.send_replace(());
        Ok(declared)
    }

    /// What was withdrawn signs nothing any more.
    async fn renew_keys_after(self: &Arc<Self>, declared: &Restored, settings: &EnvelopeSettings) {
        self.jwt.withdraw_signer();
        if declared.intermediates_revoked > 0 {
            *self.authority.write() = None;
            let opened = Envelope::find(settings).ok().flatten().map(|envelope| self.unseal(&envelope));
            if !matches!(opened, Some(Ok(_))) {
                tracing::error!(
                    "AN INTERMEDIATE THAT WAS REVOKED IN THE TIME THAT WAS LOST IS REVOKED AGAIN, and no other one issues; \
                     make one: muster agent-ca renew --now"
                );
            }
        }
        if let Err(error) = self.keep_jwt_keys(settings).await {
            tracing::warn!(error = &error as &dyn Error, "no new key of JWT-SVIDs could be made");
        }
    }
}

fn read_bounded(path: &Path) -> std::io::Result<Vec<u8>> {
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(LIST_MAX).read_to_end(&mut content)?;
    Ok(content)
}

/// Everything the writer needs to decide it. It compares a file with the store, so that nothing changes in between.
struct Declaring {
    caller: Caller,
    declaration: Declaration,
    journal: PathBuf,
    list: Option<Vec<u8>>,
    woke: Option<Outage>,
    svid_ttl: SignedDuration,
    trust_epoch: TrustEpoch,
}

impl Declaring {
    fn decide(self, view: &View<'_>, now: Timestamp) -> Result<(Restored, Vec<Change>), DeclareError> {
        let Declaration { lost_at, strict, accept_revocation_loss, .. } = self.declaration;
        let gap = gap(view, self.woke)?.ok_or(DeclareError::NoGap)?;
        let backup_at = gap.from;
        if let Some(later) = lost_at.filter(|at| at.duration_since(now) > CLOCKS_APART) {
            return Err(DeclareError::LostLater(later));
        }
        // The one beside the store tells where it alone was put back: it was written in that time.
        let given = view.compare_journal(&self.journal, (gap.from, gap.until), now)?;
        let reaches = given.as_ref().is_some_and(|journal| journal.reaches_beyond());
        let list = match (&self.list, view.hierarchy()?) {
            (Some(der), Some(hierarchy)) => Some(read_list_of(&hierarchy, der)?),
            _ => None,
        };
        let listed_at = list.as_ref().map(crl::made_at);
        if let Some(issued_at) = listed_at.filter(|at| at.as_second() < backup_at.as_second()) {
            return Err(DeclareError::OlderList { issued_at, backup_at });
        }
        if !reaches && list.is_none() && !accept_revocation_loss {
            return Err(DeclareError::RevocationLoss);
        }
        let last_sign = given.as_ref().and_then(|journal| journal.alive_then);
        let (lost_at, lost_by) =
            Lost { journal: last_sign, replica: None, told: lost_at, list: listed_at }.at(backup_at);
        let lifetime = epoch::lifetime(view, backup_at, self.svid_ttl)?;
        let begun = RestoreEpoch::new(backup_at, lost_at, now, lifetime, strict);
        let complete = reaches && given.as_ref().is_some_and(|journal| journal.store.is_some());
        let suspend = if complete { Vec::new() } else { confirm::everything(view)? };

        let mut denials = Denials::default();
        let older_journal = given.is_some() && !reaches;
        let withdrawn = given.as_ref().map(|journal| journal.withdrawn.counts().to_vec()).unwrap_or_default();
        let (from_journal, taken) = given.map(|it| (it.denials, it.withdrawn.changes)).unwrap_or_default();
        denials.extend(from_journal);
        if let Some(list) = &list {
            denials.extend(denied_by(list, view)?);
        }
        let (certificates_denied, identities_denied) = denials.count();
        let hierarchies = denied_intermediates(view, |serial| denials.serials.contains(&serial), now)?;
        let intermediates_revoked = hierarchies.as_ref().map_or(0, |(before, after)| {
            revocation::unrevoked(before).len() - revocation::unrevoked(after).len()
        });
        let (tokens, sessions) = (void_tokens(view, now)?, view.sessions()?);
        let declared = Restored {
            created_at: backup_at,
            rows: 0,
            authenticated: true,
            roots: view.hierarchy()?.iter().flat_map(|it| &it.roots).map(|root| Pin::of(root)).collect(),
            server_files: ServerFilesAfter::Kept,
            epoch: begun,
            lost_by,
            hosts: epoch::hosts_in_service(view)?,
            journal: reaches,
            older_journal,
            replica: None,
            withdrawn,
            suspended: SuspendedCounts::of(&suspend),
            missing: None,
            list: list.is_some(),
            certificates_denied,
            identities_denied,
            intermediates_revoked,
            tokens_voided: tokens.len(),
            sessions_ended: sessions.len(),
        };

        let mut changes: Vec<Change> = denials.all.into_iter().map(Change::Deny).collect();
        changes.extend(hierarchies.map(|(_, after)| Change::PutHierarchy(after)));
        changes.extend(taken);
        changes.extend(suspend.into_iter().map(RestoredChange::Suspend).map(Change::Restored));
        changes.push(Change::Restored(RestoredChange::Begin(begun)));
        changes.extend(since_it_woke(view, &begun, gap.until)?);
        // Nobody was there only from the loss on.
        changes.push(Change::ForgetOutage(gap.from));
        if lost_at < gap.until {
            changes.push(Change::RecordOutage(Outage { from: lost_at, until: gap.until }));
        }
        changes.extend(tokens);
        changes.extend(sessions.into_iter().map(|session| Change::EndSession(session.key)));
        changes.push(Change::PutJwtKeys(JwtKeys::default()));
        changes.push(Change::BeginTrustEpoch(self.trust_epoch));
        changes.push(Change::Restored(RestoredChange::Notice(epoch::notice(&declared))));
        let mut event = self.caller.event(AuditAction::StoreDeclare, None, store::FILE_NAME);
        event.detail.insert("older_than", backup_at.to_string());
        super::detail(&declared, &mut event);
        changes.push(Change::Audit(event));
        Ok((declared, changes))
    }
}

/// The time that the store has lost: the one that an agent's certificate has told of, else the last in which nobody lived.
fn gap(view: &View<'_>, woke: Option<Outage>) -> Result<Option<Outage>, ReadError> {
    if let Some(RolledBack { woke_from, woke_at, .. }) = view.rolled_back()? {
        return Ok(Some(Outage { from: woke_from, until: woke_at }));
    }
    let mut last = None;
    view.outages(|outage| {
        last = Some(outage);
        std::ops::ControlFlow::Break(())
    })?;
    Ok(last.or(woke))
}

/// What the store has done since it woke, which the history that was lost knows nothing of: identities that another machine has
/// taken over, and those that have rotated.
fn since_it_woke(
    view: &View<'_>,
    epoch: &RestoreEpoch,
    woke_at: Timestamp,
) -> Result<Vec<Change>, ReadError> {
    let mut enrollments = Vec::new();
    view.enrollments_made_from(woke_at, |enrollment| enrollments.push(enrollment))?;
    let (mut changes, mut rotated) = (Vec::new(), BTreeSet::new());
    for enrollment in enrollments {
        match enrollment.via {
            Via::Token { .. } => {
                let host = view.any_tenant().host(enrollment.host)?;
                let taken = host.map(|host| RestoredChange::TakenOver {
                    identity: host.identity(),
                    by: enrollment.serial,
                });
                changes.extend(taken.map(Change::Restored));
            }
            Via::Rotation { from } if rotated.insert(enrollment.host) => {
                let (host, restored_at) = (enrollment.host, epoch.restored_at);
                changes.push(Change::Restored(RestoredChange::Returned { host, with: from, restored_at }));
            }
            Via::Rotation { .. } | Via::Secret { .. } => {}
        }
    }
    Ok(changes)
}
