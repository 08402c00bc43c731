//! The closed list of what can be written, and what a decision returns.

use jiff::Timestamp;

use crate::domain::enroll::enrollment::{Enrollment, Revocation, SpkiHash};
use crate::domain::enroll::enrollment_secret::EnrollmentSecret;
use crate::domain::enroll::join_token::JoinToken;
use crate::domain::host::{Host, HostFacts};
use crate::domain::identity::clock_marks::ClockMarks;
use crate::domain::identity::deny::{AgentRef, Denial};
use crate::domain::identity::hierarchy::Hierarchy;
use crate::domain::identity::outage::Outage;
use crate::domain::identity::serial::Serial;
use crate::domain::ids::{CredentialId, HostId, TenantId};
use crate::domain::insight::audit::{AuditEvent, MissingRecords};
use crate::domain::insight::timeline::{HostEvent, Reported};
use crate::domain::people::api_token::ApiToken;
use crate::domain::people::session::{Session, SessionKey};
use crate::domain::people::tenant::Tenant;
use crate::domain::people::user::User;

/// One thing to write. Indexes follow by themselves.
#[derive(Debug)]
pub enum Change {
    PutTenant(Tenant),
    PutHierarchy(Hierarchy),
    PutHost(Host),
    /// Records an issued certificate with the indexes that find it by host and by key.
    RecordEnrollment {
        enrollment: Enrollment,
        certificate: Vec<u8>,
    },
    /// Marks an enrollment as revoked and puts its serial on the deny list.
    RevokeEnrollment {
        enrollment: Enrollment,
        revocation: Revocation,
    },
    /// Marks an enrollment as revoked whose certificate has expired beyond doubt: there is nothing to deny any more.
    MarkRevoked {
        enrollment: Enrollment,
        revocation: Revocation,
    },
    DenyIdentity {
        identity: AgentRef,
        since: Timestamp,
    },
    LiftIdentity(AgentRef),
    /// A denial that is known from elsewhere, of a certificate that may not be on record here.
    Deny(Denial),
    /// Removes a host with everything that hangs on it. Its unexpired serials must have been revoked before:
    /// what denies them stays.
    DeleteHost(Host),
    HostEvent {
        host: HostId,
        event: HostEvent,
    },
    /// Adds what a host's agent has reported, within what is kept of each host.
    ReportedEvents {
        host: HostId,
        tenant: TenantId,
        events: Vec<Reported>,
    },
    PutJoinToken(JoinToken),
    PutEnrollmentSecret(EnrollmentSecret),
    PutUser(User),
    PutSession(Session),
    EndSession(SessionKey),
    PutApiToken(ApiToken),
    DeleteApiToken(CredentialId),
    /// When hosts last reported, and what they said.
    SaveReport {
        host: HostId,
        at: Option<Timestamp>,
        facts: Option<HostFacts>,
        newest_shown: Option<Serial>,
    },
    /// Drops what only unexpired certificates need.
    ForgetExpired {
        keys: Vec<SpkiHash>,
        certificates: Vec<Serial>,
        denied: Vec<Serial>,
    },
    /// What the wall clock has shown while the server ran.
    NoteClock(ClockMarks),
    /// A sign of life: the server serves.
    Alive,
    /// The server has come back. One of the same beginning is replaced.
    RecordOutage(Outage),
    /// There was no outage that begins then.
    ForgetOutage(Timestamp),
    Audit(AuditEvent),
    /// The trail was found to have lost records.
    FindLoss(MissingRecords),
    /// The trail goes on from here, though it has lost records. The change before this one puts that on record.
    AcceptLoss(MissingRecords),
}

/// What a decision came to: an outcome for the caller, and changes to make durable before the caller
/// learns it. A refusal may carry changes too: the record of the refusal.
#[derive(Debug)]
pub struct Verdict<T, E> {
    pub outcome: Result<T, E>,
    pub changes: Vec<Change>,
}

impl<T, E> Verdict<T, E> {
    pub const fn accept(outcome: T, changes: Vec<Change>) -> Self {
        Self { outcome: Ok(outcome), changes }
    }

    pub const fn refuse(error: E) -> Self {
        Self { outcome: Err(error), changes: Vec::new() }
    }
}
