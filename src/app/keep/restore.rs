//! Restoring a backup where no store is, without bringing anybody back who was revoked since.

pub mod confirm;
pub mod declare;
pub mod epoch;
pub mod from_replica;

use std::collections::BTreeSet;
use std::io::BufRead;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use crate::app::access::caller::Caller;
use crate::app::keep::backup::contents::{self, BesideTheStore};
use crate::app::keep::restore::confirm::SuspendedCounts;
use crate::app::keep::revoke_intermediate::denied_intermediates;
use crate::ca::crl::{self, ListedReason};
use crate::ca::envelope::{Envelope, EnvelopeError};
use crate::ca::parse::revocation_list;
use crate::ca::parse::revocation_list::{RevocationList, RevocationListError};
use crate::ca::revocation;
use crate::ca::seal::Unauthenticated;
use crate::ca::server::{KeptServerFiles, PutBackError};
use crate::domain::enroll::enrollment::{RevocationReason, SVID_LIFETIME_MAX};
use crate::domain::enroll::join_token::{JoinToken, JoinTokenState};
use crate::domain::identity::deny::{AgentRef, Denial};
use crate::domain::identity::hierarchy::Hierarchy;
use crate::domain::identity::jwt_keys::JwtKeys;
use crate::domain::identity::restore_epoch::{CLOCKS_APART, LostBy, RestoreEpoch};
use crate::domain::identity::serial::Serial;
use crate::domain::insight::audit::{AuditEvent, MissingRecords};
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::network::pin::Pin;
use crate::replica::history::HistoryError;
use crate::replica::state::StateFile;
use crate::store::{self, Change, ReadError, RestoredChange, Restoring, View};

/// Why nothing was restored. The data directory is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// There is a store already, or what was unsealed makes none.
    #[error(transparent)]
    Store(#[from] store::SnapshotReadError),
    /// It is another one than the backup's, or the backup is unauthenticated and that was not accepted.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Without one the list's signature can't be checked.
    #[error("the backup has no agent CA, so no revocation list can belong to it")]
    NoAgentCa,
    /// Another deployment's backup would put other people in charge, and no agent would trust it.
    #[error("the root of the agent CA in the backup is {}, not the one that was expected", listed(.found))]
    OtherRoot {
        /// The SHA-256 of each root in the backup.
        found: Vec<Pin>,
    },
    /// Agents trust the server by what lies in `tls/`.
    #[error(transparent)]
    ServerFiles(#[from] PutBackError),
    /// It is no list that an intermediate of the backup's agent CA has signed.
    #[error("the revocation list can't be used")]
    List(#[from] RevocationListError),
    /// The times of lists count in whole seconds, so one of the backup's own second is taken.
    #[error("the revocation list ({issued_at}) is older than the backup ({created_at}) and says nothing new")]
    OlderList {
        /// When it was signed.
        issued_at: Timestamp,
        /// When the backup was begun.
        created_at: Timestamp,
    },
    /// Nothing says who was revoked after the backup.
    #[error("there is neither a revocation journal that reaches beyond the backup nor a revocation list")]
    RevocationLoss,
    /// It can't be read, or is not what was written.
    #[error(transparent)]
    Replica(#[from] HistoryError),
    /// What comes back of it could not be put together.
    #[error("cannot write into the data directory")]
    Scratch(#[source] std::io::Error),
    /// No server has been lost yet at that moment.
    #[error("the server can't have been lost at {0}, which is yet to come")]
    LostLater(Timestamp),
}

impl From<ReadError> for RestoreError {
    fn from(error: ReadError) -> Self {
        Self::Store(error.into())
    }
}

/// What an operator asks of a restore, beside the backup.
#[derive(Debug, Default)]
pub struct RestoreWishes {
    /// Shows whom a backup puts in charge that is not authenticated, and takes it.
    pub accept_unauthenticated: Option<fn(&InCharge)>,
    /// A revocation list, DER.
    pub list: Option<Vec<u8>>,
    /// Takes a backup where nothing says who was revoked since.
    pub accept_revocation_loss: bool,
    /// Nobody comes back whose certificate is on no record.
    pub strict: bool,
    /// When the server was lost, where nothing else tells.
    pub lost_at: Option<Timestamp>,
    /// Lifetime of the SVIDs that this server issues.
    pub svid_ttl: SignedDuration,
    /// A root that the backup's agent CA must have.
    pub root: Option<Pin>,
    /// Takes another agent CA's all the same.
    pub accept_other_root: bool,
    /// Leaves `tls/` as it is.
    pub keep_tls: bool,
}

/// What a restore did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Restored {
    /// When the backup was begun: everything answered before is in it.
    pub created_at: Timestamp,
    /// How many the backup had, of all tables together.
    pub rows: u64,
    /// Whether the backup was sealed by whoever has the envelope.
    pub authenticated: bool,
    /// The SHA-256 of each root of the agent CA.
    pub roots: Vec<Pin>,
    /// What became of the server's own certificate.
    pub server_files: ServerFilesAfter,
    /// The time that was lost.
    pub epoch: RestoreEpoch,
    /// What says when the server was lost.
    pub lost_by: LostBy,
    /// Hosts in the backup that are in service: whoever of them has rotated since comes back by itself.
    pub hosts: usize,
    /// Whether there was a revocation journal beside the store's place that reaches beyond the backup.
    pub journal: bool,
    /// Whether there was one that does not.
    pub older_journal: bool,
    /// The last change that its replica has, where it came back from that.
    pub replica: Option<Timestamp>,
    /// What was taken from somebody after the backup, and is again: how many of each.
    pub withdrawn: Vec<(&'static str, usize)>,
    /// What counts for nothing until the operator confirms it.
    pub suspended: SuspendedCounts,
    /// Records of the audit trail that the journal has seen and the backup lacks.
    pub missing: Option<MissingRecords>,
    /// Whether a revocation list was given.
    pub list: bool,
    /// What either of them denied that the backup did not.
    pub certificates_denied: usize,
    /// The same of identities. A list names none, so whoever held a certificate on it that was not merely
    /// superseded counts.
    pub identities_denied: usize,
    /// Intermediates of the agent CA that were revoked after the backup, and are again. The root's list lacks them.
    pub intermediates_revoked: usize,
    /// Join tokens that were open in the backup. They may have been used since.
    pub tokens_voided: usize,
    /// All that were in the backup: whoever held one signs in again.
    pub sessions_ended: usize,
}

/// What became of `tls/`, by which agents trust the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServerFilesAfter {
    /// The backup's are in their place.
    Restored,
    /// What was there stays; who trusts the one trusts the other, or the operator wants it so.
    Kept,
    /// The backup has none.
    NotInBackup,
}

/// Whom a backup would put in charge: what an operator looks at who can't know where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InCharge {
    /// The SHA-256 of each root.
    pub roots: Vec<String>,
    /// Those who may do everything everywhere.
    pub administrators: Vec<String>,
}

/// Restores the backup `sealed` into a data directory without a store. Blocking and long.
///
/// A backup that is not authenticated is taken only if somebody accepts it, who is first shown whom it puts in charge.
pub fn restore(
    data_dir: &Path,
    sealed: impl BufRead,
    envelope: &Envelope,
    wishes: &RestoreWishes,
    caller: &Caller,
    now: Timestamp,
) -> Result<Restored, RestoreError> {
    begins(data_dir, wishes, now)?;
    let accept_unauthenticated = wishes.accept_unauthenticated;
    let unauthenticated =
        if accept_unauthenticated.is_some() { Unauthenticated::Accept } else { Unauthenticated::Refuse };
    let mut opening = envelope.opening(sealed, unauthenticated)?;
    let authenticated = opening.is_authenticated();
    // It comes back only when the whole backup has been read and its authentication code is right.
    let mut beside = BesideTheStore::default();
    let restoring = Restoring::read(data_dir, &mut opening, &mut |name, piece| beside.take(name, piece))?;
    if let Some(show) = accept_unauthenticated.filter(|_| !authenticated) {
        show(&restoring.view(in_charge)?);
    }
    let journal = data_dir.join(store::JOURNAL_NAME);
    let unpacked = Unpacked { restoring, beside, authenticated, journal, replica: None };
    unpacked.put_in_place(data_dir, wishes, caller, now)
}

/// What can be refused before anything is read.
fn begins(data_dir: &Path, wishes: &RestoreWishes, now: Timestamp) -> Result<(), RestoreError> {
    Restoring::vacant(data_dir)?;
    match wishes.lost_at.filter(|at| at.duration_since(now) > CLOCKS_APART) {
        Some(later) => Err(RestoreError::LostLater(later)),
        None => Ok(()),
    }
}

/// A store that came out of a backup or of a replica, and what is known beside it.
struct Unpacked {
    restoring: Restoring,
    beside: BesideTheStore,
    authenticated: bool,
    /// Says what was taken away after it, if it is there.
    journal: PathBuf,
    /// The last change in the replica that it came out of.
    replica: Option<Timestamp>,
}

impl Unpacked {
    /// Takes from it whatever a restore never brings back, and gives it its place.
    fn put_in_place(
        self,
        data_dir: &Path,
        wishes: &RestoreWishes,
        caller: &Caller,
        now: Timestamp,
    ) -> Result<Restored, RestoreError> {
        let Self { restoring, beside, authenticated, journal, replica } = self;
        let roots = expected_roots(&restoring, wishes)?;
        let server_files = match wishes.keep_tls {
            true => KeptServerFiles::default(),
            false => beside.to_put_back(data_dir)?,
        };
        let list = wishes.list.as_deref().map(|der| read_list(&restoring, der)).transpose()?;
        let from_journal = restoring.unknown_in(&journal, now)?;
        let created_at = restoring.created_at;
        // The one that a backup was made beside says nothing of what came after it, but is as good as any for what came before.
        let journal = from_journal.as_ref().filter(|journal| journal.reaches_beyond());
        // A replica has every change up to its last.
        if journal.is_none() && list.is_none() && replica.is_none() && !wishes.accept_revocation_loss {
            return Err(RestoreError::RevocationLoss);
        }
        let lost = epoch::Lost {
            journal: journal.and_then(|journal| journal.last_sign),
            replica,
            told: wishes.lost_at,
            list: list.as_ref().map(crl::made_at),
        };
        let (lost_at, lost_by) = lost.at(created_at);
        let lifetime = restoring.view(|view| epoch::lifetime(view, created_at, wishes.svid_ttl))?;
        let epoch = RestoreEpoch::new(created_at, lost_at, now, lifetime, wishes.strict);
        // What the journal keeps of people and credentials it has kept since it says whose it is.
        let complete = replica.is_some() || journal.is_some_and(|journal| journal.store.is_some());
        let suspend = if complete { Vec::new() } else { restoring.view(confirm::everything)? };

        let mut restored = Restored {
            created_at,
            rows: restoring.rows,
            authenticated,
            roots,
            server_files: match (server_files.is_empty(), beside.server().is_empty()) {
                (false, _) => ServerFilesAfter::Restored,
                (true, false) => ServerFilesAfter::Kept,
                (true, true) => ServerFilesAfter::NotInBackup,
            },
            epoch,
            lost_by,
            hosts: restoring.view(epoch::hosts_in_service)?,
            journal: journal.is_some(),
            older_journal: from_journal.is_some() && journal.is_none(),
            replica,
            withdrawn: from_journal
                .as_ref()
                .map(|journal| journal.withdrawn.counts().to_vec())
                .unwrap_or_default(),
            suspended: SuspendedCounts::of(&suspend),
            missing: from_journal.as_ref().and_then(|only_there| only_there.records.clone()),
            list: list.is_some(),
            certificates_denied: 0,
            identities_denied: 0,
            intermediates_revoked: 0,
            tokens_voided: 0,
            sessions_ended: 0,
        };
        let mut denials = Denials::default();
        let store = from_journal.as_ref().and_then(|journal| journal.store);
        let unnamed = restoring.view(|view| view.store_id())?.is_none();
        let (from_journal, withdrawn) =
            from_journal.map(|it| (it.denials, it.withdrawn.changes)).unwrap_or_default();
        denials.extend(from_journal);
        if let Some(list) = &list {
            denials.extend(restoring.view(|view| denied_by(list, view))?);
        }
        (restored.certificates_denied, restored.identities_denied) = denials.count();
        let in_journal = |serial| denials.serials.contains(&serial);
        let hierarchies = restoring.view(|view| denied_intermediates(view, in_journal, now))?;
        restored.intermediates_revoked = hierarchies.as_ref().map_or(0, |(before, after)| {
            revocation::unrevoked(before).len() - revocation::unrevoked(after).len()
        });
        let mut changes: Vec<Change> = denials.all.into_iter().map(Change::Deny).collect();
        changes.extend(hierarchies.map(|(_, after)| Change::PutHierarchy(after)));
        changes.extend(withdrawn);
        changes.extend(store.filter(|_| unnamed).map(RestoredChange::SetStoreId).map(Change::Restored));
        changes.extend(suspend.into_iter().map(RestoredChange::Suspend).map(Change::Restored));
        changes.push(Change::Restored(RestoredChange::Begin(epoch)));
        // The outage that lets come back who ran out because nobody was there begins with the loss.
        changes.push(Change::Restored(RestoredChange::LastAlive(epoch.lost_at)));
        let tokens = restoring.view(|view| void_tokens(view, now))?;
        restored.tokens_voided = tokens.len();
        changes.extend(tokens);
        let sessions = restoring.view(|view| view.sessions())?;
        restored.sessions_ended = sessions.len();
        changes.extend(sessions.into_iter().map(|session| Change::EndSession(session.key)));
        // Whoever held the keys of then may have signed with them since; the server makes new ones when it starts.
        if !restoring.view(|view| view.jwt_keys())?.keys.is_empty() {
            changes.push(Change::PutJwtKeys(JwtKeys::default()));
        }
        changes.push(Change::Restored(RestoredChange::Notice(epoch::notice(&restored))));
        changes.push(Change::Audit(event(caller, &restored)));
        changes.extend(restored.missing.clone().map(Change::AcceptLoss));
        restoring.write(changes, now)?;
        // The store comes last: without it, a restore that was cut off is begun anew.
        contents::put_back(&server_files, data_dir).map_err(PutBackError::from)?;
        beside.put_recovery_back(data_dir)?;
        // Whatever the lost server wrote to replicas, this one has not written it.
        StateFile::forget(data_dir).map_err(RestoreError::Scratch)?;
        restoring.put_in_place()?;
        Ok(restored)
    }
}

/// The roots in the backup, if the one that was expected is among them.
fn expected_roots(restoring: &Restoring, wishes: &RestoreWishes) -> Result<Vec<Pin>, RestoreError> {
    let hierarchy = restoring.view(|view| view.hierarchy())?;
    let found: Vec<Pin> = hierarchy.iter().flat_map(|it| &it.roots).map(|root| Pin::of(root)).collect();
    let fits = wishes.root.is_none_or(|root| found.contains(&root)) || wishes.accept_other_root;
    if fits { Ok(found) } else { Err(RestoreError::OtherRoot { found }) }
}

fn listed(roots: &[Pin]) -> String {
    let roots: Vec<_> = roots.iter().map(ToString::to_string).collect();
    if roots.is_empty() { "none".to_owned() } else { roots.join(", ") }
}

fn in_charge(view: &View<'_>) -> Result<InCharge, ReadError> {
    let roots = view.hierarchy()?.map(|hierarchy| hierarchy.roots).unwrap_or_default();
    let mut administrators = Vec::new();
    view.any_tenant().users(None, |user| {
        if user.is_global_admin() {
            administrators.push(user.username.as_str().to_owned());
        }
        ControlFlow::Continue(())
    })?;
    Ok(InCharge { roots: roots.iter().map(|root| Pin::of(root).to_string()).collect(), administrators })
}

/// Longest revocation list that is read, in octets: a million entries.
pub const LIST_MAX: u64 = 64 << 20;

pub(crate) fn read_list_of(hierarchy: &Hierarchy, der: &[u8]) -> Result<RevocationList, RevocationListError> {
    revocation_list::read(der, hierarchy)
}

fn read_list(restoring: &Restoring, der: &[u8]) -> Result<RevocationList, RestoreError> {
    let hierarchy = restoring.view(|view| view.hierarchy())?.ok_or(RestoreError::NoAgentCa)?;
    let list = read_list_of(&hierarchy, der)?;
    let (issued_at, created_at) = (crl::made_at(&list), restoring.created_at);
    if issued_at.as_second() < created_at.as_second() {
        return Err(RestoreError::OlderList { issued_at, created_at });
    }
    Ok(list)
}

/// What a list denies and the backup does not. A list names no identities, so whoever held a certificate on it
/// that was not merely superseded is denied altogether: to let one host back in again is one command.
fn denied_by(list: &RevocationList, view: &View<'_>) -> Result<Vec<Denial>, ReadError> {
    let mut denials = Vec::new();
    for &(serial, since, reason) in &list.revoked {
        // What an intermediate signed that was revoked is on lists for relying parties; nobody denied the agents themselves.
        let ListedReason::Revoked(reason) = reason else { continue };
        if view.serial_denied(serial)? {
            continue;
        }
        let Some(enrollment) = view.any_tenant().enrollment(serial)? else {
            // Whether it has expired is for housekeeping to find out: this clock may be wrong.
            denials.push(Denial::Serial { serial, not_after: since + SVID_LIFETIME_MAX, since, reason });
            continue;
        };
        if enrollment.revocation.is_some() {
            continue;
        }
        denials.push(Denial::Serial { serial, not_after: enrollment.not_after, since, reason });
        let Some(host) =
            view.any_tenant().host(enrollment.host)?.filter(|_| reason != RevocationReason::Superseded)
        else {
            continue;
        };
        let identity = host.identity();
        if view.identity_denied(&identity)?.is_none() {
            denials.push(Denial::Identity { identity, since });
        }
    }
    Ok(denials)
}

/// Denials, each once.
#[derive(Default)]
struct Denials {
    all: Vec<Denial>,
    serials: BTreeSet<Serial>,
    identities: BTreeSet<AgentRef>,
}

impl Denials {
    fn extend(&mut self, denials: Vec<Denial>) {
        for denial in denials {
            let new = match &denial {
                Denial::Serial { serial, .. } => self.serials.insert(*serial),
                Denial::Identity { identity, .. } => self.identities.insert(identity.clone()),
                // A restore lets nobody in.
                Denial::Lifted { .. } => false,
            };
            if new {
                self.all.push(denial);
            }
        }
    }

    fn count(&self) -> (usize, usize) {
        (self.serials.len(), self.identities.len())
    }
}

fn void_tokens(view: &View<'_>, now: Timestamp) -> Result<Vec<Change>, ReadError> {
    let mut changes = Vec::new();
    view.any_tenant().join_tokens(None, |token| {
        // One that has expired by this clock may be good again once the clock is right.
        if matches!(token.state(now), JoinTokenState::Open | JoinTokenState::Expired) {
            changes.push(Change::PutJoinToken(JoinToken { voided_at: Some(now), ..token }));
        }
        ControlFlow::Continue(())
    })?;
    Ok(changes)
}

fn event(caller: &Caller, restored: &Restored) -> AuditEvent {
    let mut event = caller.event(AuditAction::StoreRestore, None, store::FILE_NAME);
    event.detail.insert("backup_of", restored.created_at.to_string());
    event.detail.insert("authenticated", restored.authenticated.to_string());
    if let Some(missing) = &restored.missing {
        event.detail.extend(crate::app::insight::audit::detail(missing));
    }
    detail(restored, &mut event);
    event
}

/// What a record says of it, and of an epoch that was declared.
fn detail(restored: &Restored, event: &mut AuditEvent) {
    let present = |present| if present { "applied" } else { "missing" };
    event.detail.insert("journal", present(restored.journal).to_owned());
    event.detail.insert("crl", present(restored.list).to_owned());
    event.detail.insert("certificates_denied", restored.certificates_denied.to_string());
    event.detail.insert("identities_denied", restored.identities_denied.to_string());
    event.detail.insert("intermediates_revoked", restored.intermediates_revoked.to_string());
    event.detail.insert("tokens_voided", restored.tokens_voided.to_string());
    event.detail.insert("sessions_ended", restored.sessions_ended.to_string());
    epoch::tell(&restored.epoch, restored.lost_by, event);
    let told = restored.withdrawn.iter().copied().chain(restored.suspended.by_name());
    event.detail.extend(told.filter(|(_, count)| *count > 0).map(|(name, count)| (name, count.to_string())));
}
