//! The closed list of what can be written, and what a decision returns.

use jiff::Timestamp;

use crate::domain::enroll::enrollment::{Enrollment, Revocation, SpkiHash};
use crate::domain::enroll::enrollment_secret::EnrollmentSecret;
use crate::domain::enroll::join_token::JoinToken;
use crate::domain::host::{Host, HostFacts, HostTrust};
use crate::domain::identity::clock_marks::ClockMarks;
use crate::domain::identity::deny::{AgentRef, Denial};
use crate::domain::identity::hierarchy::Hierarchy;
use crate::domain::identity::jwt_keys::JwtKeys;
use crate::domain::identity::outage::Outage;
use crate::domain::identity::restore_epoch::{RecoveryBar, RestoreEpoch, RestoreNotice, RolledBack};
use crate::domain::identity::serial::Serial;
use crate::domain::identity::trust_version::TrustEpoch;
use crate::domain::ids::{CredentialId, HostId, TenantId, WebhookId};
use crate::domain::insight::audit::{AuditEvent, MissingRecords};
use crate::domain::insight::online::OnlineSample;
use crate::domain::insight::timeline::{EventKey, HostEvent, Reported};
use crate::domain::people::api_token::ApiToken;
use crate::domain::people::session::{Session, SessionKey};
use crate::domain::people::tenant::Tenant;
use crate::domain::people::user::User;
use crate::domain::webhook::event::WebhookEvent;
use crate::domain::webhook::row::Webhook;
use crate::domain::withdrawal::{StoreId, Suspended};

/// One thing to write. Indexes follow by themselves.
#[derive(Debug)]
pub enum Change {
    /// Writes a tenant's row.
    PutTenant(Tenant),
    /// Puts an agent CA in the place of the one that is stored, if there is one.
    PutHierarchy(Hierarchy),
    /// Puts these keys of JWT-SVIDs in the place of those that are stored.
    PutJwtKeys(JwtKeys),
    /// Writes a host's row, under its id and its identity. `revoked_at` follows from what is denied.
    PutHost(Host),
    /// Records an issued certificate with the indexes that find it by host and by key.
    RecordEnrollment {
        /// What the registry says of it, not revoked.
        enrollment: Enrollment,
        /// DER, as it was signed: dropped once nobody can present it any more.
        certificate: Vec<u8>,
    },
    /// Marks an enrollment as revoked and puts its serial on the deny list.
    RevokeEnrollment {
        /// As it is on record, not revoked yet.
        enrollment: Enrollment,
        /// When and what for, as revocation lists will say it.
        revocation: Revocation,
    },
    /// Marks an enrollment as revoked whose certificate has expired beyond doubt: there is nothing to deny any more.
    MarkRevoked {
        /// As it is on record, not revoked yet.
        enrollment: Enrollment,
        /// When and what for.
        revocation: Revocation,
    },
    /// Denies an identity, with every certificate that it has or gets. Its certificates are revoked by
    /// changes of their own.
    DenyIdentity {
        /// Whether or not it has a host.
        identity: AgentRef,
        /// The moment that goes on record.
        since: Timestamp,
    },
    /// Lets an identity in again, from the moment of the commit on; its old certificates stay denied.
    LiftIdentity(AgentRef),
    /// A denial that is known from elsewhere, of a certificate that may not be on record here.
    Deny(Denial),
    /// Removes a host with everything that hangs on it. Its unexpired serials must have been revoked before:
    /// what denies them stays.
    DeleteHost(Host),
    /// Adds what the server itself has noticed or done to a host's timeline.
    HostEvent {
        /// Whose timeline it is.
        host: HostId,
        /// Entries of one millisecond stand in the order in which they were written.
        event: HostEvent,
    },
    /// Adds what a host's agent has reported, within what is kept of each host.
    ReportedEvents {
        /// Whose timeline it is.
        host: HostId,
        /// The host's, for those who follow it.
        tenant: TenantId,
        /// The oldest reports of the host make way for them.
        events: Vec<Reported>,
    },
    /// Writes a join token's row, and notes whether it is one of the open ones of its tenant.
    PutJoinToken(JoinToken),
    /// Writes an enrollment secret's row.
    PutEnrollmentSecret(EnrollmentSecret),
    /// Writes a person's row, under its id and its username. Where more than preferences is new, whatever is
    /// open on the strength of the person's rights must be proved anew.
    PutUser(User),
    /// Writes a session's row: it was opened, or has been used.
    PutSession(Session),
    /// Removes a session, and ends what is open on its strength.
    EndSession(SessionKey),
    /// Writes an API token's row.
    PutApiToken(ApiToken),
    /// Removes an API token, and ends what is open on its strength. Those that were made with it have changes
    /// of their own.
    DeleteApiToken(CredentialId),
    /// What has to do with webhooks.
    Webhook(WebhookChange),
    /// When hosts last reported, and what they said.
    SaveReport {
        /// Whose report it is.
        host: HostId,
        /// When the host last reported; `None`: it never has.
        at: Option<Timestamp>,
        /// What it said; `None`: what its row says.
        facts: Option<HostFacts>,
        /// The newest SVID that it has shown.
        newest_shown: Option<Serial>,
        /// Whom it has said it trusts.
        trust: HostTrust,
    },
    /// Drops what only unexpired certificates need.
    ForgetExpired {
        /// No certificate that may still be in force has them.
        keys: Vec<SpkiHash>,
        /// Their octets go; what the registry says of them stays.
        certificates: Vec<Serial>,
        /// These go off the deny list: nobody can present them any more.
        denied: Vec<Serial>,
    },
    /// Takes rotations off the record that are past retention. Which keys they had stays.
    TakeEnrollments(Vec<Serial>),
    /// Takes what agents have reported long ago out of timelines.
    TakeReported(Vec<(HostId, EventKey)>),
    /// What watchers of trust know may lack something, so they are told everything anew.
    BeginTrustEpoch(TrustEpoch),
    /// Watchers of trust are told what has not ended by this moment, or by one that is little later.
    JudgeTrust(Timestamp),
    /// What the wall clock has shown while the server ran.
    NoteClock(ClockMarks),
    /// A backup was made, and it was whole.
    BackedUp {
        /// When it was begun.
        at: Timestamp,
        /// Whether somebody asked for it, or the server made it by itself.
        asked_for: bool,
    },
    /// How many hosts were online at a place among the samples; what is a week older goes.
    SampleOnline {
        /// Of the moment.
        place: u32,
        /// Of each tenant that has hosts.
        samples: Vec<(TenantId, OnlineSample)>,
    },
    /// A sign of life: the server serves.
    Alive,
    /// The server has come back. One of the same beginning is replaced.
    RecordOutage(Outage),
    /// What a restore leaves behind, and what follows from it.
    Restored(RestoredChange),
    /// There was no outage that begins then.
    ForgetOutage(Timestamp),
    /// Appends a record to the audit trail, with its place in the chain and the moment of the decision.
    Audit(AuditEvent),
    /// The trail was found to have lost records.
    FindLoss(MissingRecords),
    /// The trail goes on from here, though it has lost records. The change before this one puts that on record.
    AcceptLoss(MissingRecords),
}

/// One thing to write that has to do with webhooks.
#[derive(Debug)]
pub enum WebhookChange {
    /// Writes a webhook's row.
    Put(Webhook),
    /// Removes a webhook with all that waits for it.
    Delete(WebhookId),
    /// Tells every webhook that wants to know. What the audit trail gets is told by itself.
    Tell(WebhookEvent),
    /// Takes events out of a queue.
    Take {
        /// Whose queue it is.
        webhook: WebhookId,
        /// Which.
        numbers: Vec<u64>,
        /// Whether they never arrived.
        dropped: bool,
    },
    /// What comes about by time alone has been told up to this moment.
    LookedAt(Timestamp),
}

/// One thing to write that has to do with restores.
#[derive(Debug)]
pub enum RestoredChange {
    /// Which store this is.
    SetStoreId(StoreId),
    /// Begins a restore epoch, which explains what was found out about the store's age.
    Begin(RestoreEpoch),
    /// The last sign of life was left then: by the server that was lost.
    LastAlive(Timestamp),
    /// Bars SVIDs of an identity that are on no record, unless it is barred for longer.
    Bar(AgentRef, RecoveryBar),
    /// Another machine has taken an identity over: nothing that is on no record comes back of it.
    TakenOver {
        /// Which.
        identity: AgentRef,
        /// The first SVID of the new one.
        by: Serial,
    },
    /// A host got a certificate while a restore epoch is in force.
    Returned {
        /// Which.
        host: HostId,
        /// The SVID that it showed.
        with: Serial,
        /// Which epoch that is, by the moment of the restore.
        restored_at: Timestamp,
    },
    /// Drops what no SVID that is still good can be concerned by.
    Forget {
        /// Bars of these identities.
        bars: Vec<AgentRef>,
        /// That these hosts came back with these SVIDs.
        returned: Vec<(HostId, Serial)>,
    },
    /// The store was found to be older than it had been.
    RolledBack(RolledBack),
    /// Something counts for nothing until the operator confirms it.
    Suspend(Suspended),
    /// It counts again.
    Confirm(Suspended),
    /// What there is to say of a restore until an administrator has seen it.
    Notice(RestoreNotice),
}

/// What a decision came to: an outcome for the caller, and changes to make durable before the caller
/// learns it. A refusal may carry changes too: the record of the refusal.
#[derive(Debug)]
pub struct Verdict<T, E> {
    /// For the caller, once the changes are on disk.
    pub outcome: Result<T, E>,
    /// Applied in this order, in one commit. None: nothing is written.
    pub changes: Vec<Change>,
}

impl<T, E> Verdict<T, E> {
    /// What was asked for is granted, with these changes.
    pub const fn accept(outcome: T, changes: Vec<Change>) -> Self {
        Self { outcome: Ok(outcome), changes }
    }

    /// The same with another word for a refusal.
    pub fn map_err<F>(self, map: impl FnOnce(E) -> F) -> Verdict<T, F> {
        Verdict { outcome: self.outcome.map_err(map), changes: self.changes }
    }

    /// It is refused, and nothing is written.
    pub const fn refuse(error: E) -> Self {
        Self { outcome: Err(error), changes: Vec::new() }
    }
}
