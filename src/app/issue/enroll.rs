//! Enrollment: a machine shows a credential and a CSR, and gets its first SVID.
//!
//! The order of the checks is part of the contract: the secret part must be right; a retry of a request
//! whose answer was lost gets the certificate already issued; then the credential's state is judged. All of
//! it is decided twice, cheaply before anything is signed and finally by the writer, with one function.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use crate::app::access::caller::Caller;
use crate::app::decide::Ready;
use crate::app::insight::timeline::timeline;
use crate::app::issue::credential_row::{Row, find_row};
use crate::app::issue::issuing;
use crate::app::issue::issuing::{Entitlement, IssuedAnswer, IssuingError, PastAnswer, SignedSvid};
use crate::app::issue::refusals::ProofLevel;
use crate::app::issue::revoke::revocations;
use crate::app::pool::Urgency;
use crate::app::{App, Unavailable, entropy};
use crate::ca::parse::csr::{CsrError, VerifiedCsr};
use crate::clock;
use crate::domain::enroll::credential::{Credential, CredentialKind};
use crate::domain::enroll::enrollment::{Enrollment, RevocationReason, SpkiHash};
use crate::domain::enroll::join_token::JoinToken;
use crate::domain::fairness::rate::Rate;
use crate::domain::host::tag::{HostMarks, given_tags};
use crate::domain::host::{Host, HostFacts, tells_machines_apart};
use crate::domain::identity::deny::AgentRef;
use crate::domain::ids::{CredentialId, HostId};
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::insight::audit_reason::AuditReason;
use crate::domain::insight::timeline::TimelineKind;
use crate::store::{Change, ReadError, RestoredChange, Verdict, View};

/// How long a repeated request is answered with the certificate already issued.
const RETRY_WINDOW: SignedDuration = SignedDuration::from_mins(10);

/// Attempts of a decommissioned machine that its timeline tells at once after a quiet time, and in the long run.
pub(crate) const READMISSIONS_TOLD: Rate = Rate { burst: 5.0, per_second: 1.0 / 3_600.0 };

/// How often signing is tried again when the registry changed between signing and deciding.
const ATTEMPTS: usize = 3;

/// A request to enroll, as it came in.
#[derive(Debug)]
pub struct EnrollRequest {
    /// What the machine says it shows; a text of another kind is refused as malformed.
    pub kind: CredentialKind,
    /// As it came; wiped on drop.
    pub credential: Zeroizing<String>,
    /// PEM; must be exactly one PKCS#10 request.
    pub csr: String,
    /// What the machine says of itself.
    pub facts: HostFacts,
    /// The machine's address, as trusted proxies tell it; for the record alone.
    pub peer: Option<IpAddr>,
}

/// Why a machine was not enrolled. What [`EnrollError::Unauthorized`] folds together is told apart on record
/// alone.
#[derive(Debug, thiserror::Error)]
pub enum EnrollError {
    /// Outside, all of these look the same; the reason is for the audit record.
    #[error("This token or secret does not admit anyone.")]
    Unauthorized(AuditReason),
    /// By another machine, or by this one with another key or too long ago for a retry. Only who has its
    /// secret half learns it.
    #[error("This join token has been used. Ask for a new one.")]
    TokenUsed,
    /// Only who has its secret half learns it.
    #[error("This join token has expired. Ask for a new one.")]
    TokenExpired,
    /// Not even a retry is answered. Only who has its secret half learns it.
    #[error("This join token was voided. Ask for a new one.")]
    TokenVoided,
    /// Its last use went to another machine after this one's request was found to be in order.
    #[error("This enrollment secret has admitted as many hosts as it may.")]
    SecretExhausted,
    /// A host has to be re-enabled before its agent id is given out again.
    #[error("the identity that this join token names is revoked")]
    IdentityRevoked,
    /// An enrollment secret was shown by the machine of this host, by its machine id, and the policy lets
    /// none back in like this. The host's timeline tells of it.
    #[error(
        "This machine was decommissioned. If it is to come back, an administrator re-enables its host, or gives it a \
         join token."
    )]
    HostDecommissioned(HostId),
    /// The request is no proof that its sender holds a key that is good enough.
    #[error(transparent)]
    BadCsr(#[from] CsrError),
    /// A certificate that may still be in force has it, and is not of the host that enrolls.
    #[error("the key of this request already belongs to another identity; make a new key")]
    KeyTaken,
    /// The credential is good, and no certificate could be made.
    #[error(transparent)]
    Issuing(#[from] IssuingError),
    /// The store or the machine could not answer; not the agent's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<ReadError> for EnrollError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable(error.into())
    }
}

impl EnrollError {
    /// Whether the caller showed nothing that only a rightful caller has. Only such failures are throttled.
    pub fn proved_nothing(&self) -> bool {
        matches!(
            self,
            Self::Unauthorized(
                AuditReason::UnknownCredential | AuditReason::WrongSecret | AuditReason::MalformedCredential
            )
        )
    }

    /// The true reason, for the audit record; `None` when nothing was refused.
    pub(crate) const fn reason(&self) -> Option<AuditReason> {
        Some(match self {
            Self::Unauthorized(reason) => *reason,
            Self::TokenUsed => AuditReason::TokenUsed,
            Self::TokenExpired => AuditReason::TokenExpired,
            Self::TokenVoided => AuditReason::TokenVoided,
            Self::SecretExhausted => AuditReason::SecretExhausted,
            Self::IdentityRevoked => AuditReason::IdentityRevoked,
            Self::HostDecommissioned(_) => AuditReason::HostDecommissioned,
            Self::BadCsr(_) => AuditReason::BadCsr,
            Self::KeyTaken => AuditReason::KeyTaken,
            Self::Issuing(_) | Self::Unavailable(_) => return None,
        })
    }
}

/// A credential that admits its bearer, and the host that it names, if there is one already.
struct Admitted {
    row: Row,
    host: Option<Host>,
}

impl App {
    /// Enrolls a machine. When this returns `Ok`, everything about it is on disk.
    pub async fn enroll(self: &Arc<Self>, request: EnrollRequest) -> Result<IssuedAnswer, EnrollError> {
        let caller = Caller::Anonymous { address: request.peer };
        match Credential::parse(request.kind, &request.credential) {
            Some(credential) => self.enroll_with(credential, request, &caller).await,
            None => Err(EnrollError::Unauthorized(AuditReason::MalformedCredential)),
        }
    }

    /// Records a refused enrollment with its true reason.
    pub async fn record_refused_enrollment(
        &self,
        error: &EnrollError,
        credential: Option<CredentialId>,
        hostname: Option<&str>,
        peer: Option<IpAddr>,
    ) -> Result<(), Unavailable> {
        let Some(reason) = error.reason() else {
            return Ok(());
        };
        // The tenant of a credential that was not proved is nobody's business, but its owner's.
        let tenant = match credential {
            Some(id) => self.query(|view| {
                let token = view.any_tenant().join_token(id)?.map(|token| token.tenant);
                Ok(token.or(view.any_tenant().enrollment_secret(id)?.map(|secret| secret.tenant)))
            })?,
            None => None,
        };
        let target = credential.map(|id| id.to_string()).unwrap_or_default();
        if let EnrollError::HostDecommissioned(host) = error {
            self.tell_of_attempt(*host, credential, peer).await?;
        }
        let mut event = Caller::Anonymous { address: peer }.event(AuditAction::AgentEnroll, tenant, target);
        let refused = if error.proved_nothing() { ProofLevel::Stranger } else { ProofLevel::Somebody };
        // The same whether there is such a credential or not, so that the time of a refusal does not tell.
        let by = format!("{} {}", event.target, hostname.unwrap_or_default());
        if let Some(name) = hostname.filter(|_| tenant.is_some()) {
            event.name_claimed(name, entropy()?);
        }
        self.record_refusal_by(event, refused, reason, by).await
    }

    /// Has a decommissioned host's timeline say that its machine tried to come back, but not every time.
    async fn tell_of_attempt(
        &self,
        host: HostId,
        credential: Option<CredentialId>,
        peer: Option<IpAddr>,
    ) -> Result<(), Unavailable> {
        if self.readmissions.lock().take(host, 1.0, clock::monotonic()).is_err() {
            return Ok(());
        }
        self.decide(move |view, now| {
            let text = |value: Option<String>| value.unwrap_or_default();
            let detail = [
                ("reason", AuditReason::HostDecommissioned.to_string()),
                ("secret", text(credential.map(|id| id.to_string()))),
                ("peer", text(peer.map(|peer| peer.to_string()))),
            ];
            let known = view.any_tenant().host(host)?.is_some();
            let changes = known.then(|| timeline(host, now, TimelineKind::EnrollmentRefused, detail));
            Ok(Verdict::accept((), changes.into_iter().collect()))
        })
        .await
    }

    async fn enroll_with(
        self: &Arc<Self>,
        credential: Credential,
        request: EnrollRequest,
        caller: &Caller,
    ) -> Result<IssuedAnswer, EnrollError> {
        let EnrollRequest { csr, facts, peer, .. } = request;
        // Before anything that costs CPU, and before the CSR is even looked at.
        let row = self.store.read(|view| find_row(view, &credential, peer))?;
        if matches!(row, Row::Secret(_)) && !self.fleet.is_whole() {
            // Whether the machine is a decommissioned host's is asked of all hosts.
            self.query_long(|app| app.fleet.wait_until_whole()).await?;
        }
        let now = self.clock.now();
        let asked = Arc::new(Asked { credential, csr, facts, peer, caller: caller.clone() });
        for _ in 0..ATTEMPTS {
            let asked = Arc::clone(&asked);
            let decided = self.prepare(Urgency::Ordinary, move |app| {
                Ok(match app.prepare_enrollment(asked)? {
                    Entitlement::Retry(answered) => Ready::Done(Decided::Retry(answered)),
                    Entitlement::Fresh(deciding) => {
                        Ready::Decide(move |view: &View<'_>, now| deciding.decide(view, now))
                    }
                })
            });
            match decided.await {
                Ok(Decided::Issued(signed)) => return Ok(signed.into_svid()),
                Ok(Decided::Retry(answered)) => return Ok(issuing::reissue(self, *answered)?),
                Ok(Decided::Outdated) => {}
                // Without a key this can't be a retry, so the credential's own state is judged first.
                Err(error @ EnrollError::BadCsr(_)) => return Err(row.refusal(now).unwrap_or(error)),
                Err(error) => return Err(error),
            }
        }
        Err(EnrollError::Unavailable(Unavailable::Contended))
    }

    /// Checks, and signs. Blocking.
    fn prepare_enrollment(
        self: &Arc<Self>,
        asked: Arc<Asked>,
    ) -> Result<Entitlement<Box<Deciding>>, EnrollError> {
        let csr = VerifiedCsr::from_pem(&asked.csr)?;
        let signed = match self.sign_enrollment(&asked, &csr)? {
            Entitlement::Retry(answered) => return Ok(Entitlement::Retry(answered)),
            Entitlement::Fresh(signed) => signed,
        };
        let (app, salt) = (Arc::clone(self), entropy()?);
        Ok(Entitlement::Fresh(Box::new(Deciding { app, asked, csr, signed, salt })))
    }

    /// Checks against a snapshot and signs. Blocking.
    fn sign_enrollment(
        &self,
        asked: &Asked,
        csr: &VerifiedCsr,
    ) -> Result<Entitlement<SignedSvid>, EnrollError> {
        let now = self.clock.now();
        let standing = self.store.read(|view| {
            let row = find_row(view, &asked.credential, asked.peer)?;
            self.standing(view, row, csr.spki(), &asked.facts, now)
        });
        let Admitted { row, host } = match standing? {
            Entitlement::Fresh(admitted) => *admitted,
            Entitlement::Retry(answered) => return Ok(Entitlement::Retry(answered)),
        };
        let host_id = match &host {
            Some(host) => host.id,
            None => HostId::new(now, entropy()?),
        };
        let agent = row.agent_for(host_id);
        let newest = host.as_ref().map(|host| host.newest_serial);
        let signed = issuing::sign(self, csr, (host_id, newest), row.tenant(), agent, &asked.facts)??;
        Ok(Entitlement::Fresh(signed))
    }
}

/// What the writer makes of an enrollment for which a certificate was signed.
enum Decided {
    /// It is on record.
    Issued(Box<SignedSvid>),
    /// The request was answered since, by another like it; this is the answer.
    Retry(Box<PastAnswer>),
    /// The host came or went since; what was signed is for another host.
    Outdated,
}

/// An enrollment as it was asked for.
struct Asked {
    credential: Credential,
    /// PEM.
    csr: String,
    facts: HostFacts,
    peer: Option<IpAddr>,
    caller: Caller,
}

/// Everything the writer needs to decide one enrollment.
struct Deciding {
    app: Arc<App>,
    asked: Arc<Asked>,
    csr: VerifiedCsr,
    signed: SignedSvid,
    /// For the host's name in the audit record.
    salt: [u8; 16],
}

impl Deciding {
    fn decide(self, view: &View<'_>, now: Timestamp) -> Result<Verdict<Decided, EnrollError>, ReadError> {
        let judged = find_row(view, &self.asked.credential, self.asked.peer)
            .and_then(|row| self.app.standing(view, row, self.csr.spki(), &self.asked.facts, now));
        let admitted = match judged {
            Ok(Entitlement::Fresh(admitted)) => admitted,
            Ok(Entitlement::Retry(answered)) => {
                return Ok(Verdict::accept(Decided::Retry(answered), Vec::new()));
            }
            Err(EnrollError::Unavailable(Unavailable::Read(error))) => return Err(error),
            // Before signing there was a slot, so another request took the last one in between.
            Err(EnrollError::Unauthorized(AuditReason::Exhausted)) => {
                return Ok(Verdict::refuse(EnrollError::SecretExhausted));
            }
            Err(error) => return Ok(Verdict::refuse(error)),
        };
        let outdated = match &admitted.host {
            Some(host) => host.id != self.signed.host,
            None => view.any_tenant().host(self.signed.host)?.is_some(),
        };
        if outdated {
            return Ok(Verdict::accept(Decided::Outdated, Vec::new()));
        }
        self.accept(view, now, *admitted)
    }

    fn accept(
        self,
        view: &View<'_>,
        now: Timestamp,
        Admitted { row, host }: Admitted,
    ) -> Result<Verdict<Decided, EnrollError>, ReadError> {
        let mut changes = Vec::new();
        if let Some(host) = &host {
            changes.extend(revocations(view, host.id, now, RevocationReason::Superseded)?);
            // What the machine says now replaces what it last reported.
            let (at, newest_shown) = (host.last_seen, host.newest_shown);
            changes.push(Change::SaveReport {
                host: host.id,
                at,
                facts: None,
                newest_shown,
                trust: crate::domain::host::HostTrust::default(),
            });
        }
        if matches!(row, Row::Token(_)) && !view.restore_epochs()?.is_empty() {
            let (identity, by) = (
                AgentRef { tenant: row.tenant(), agent: self.signed.order.id.agent.clone() },
                self.signed.order.serial,
            );
            changes.push(Change::Restored(RestoredChange::TakenOver { identity, by }));
        }
        let enrollment = self.signed.enrollment(&self.csr, row.via(), self.asked.peer);
        let id = &self.signed.order.id;
        let mut event = self.asked.caller.event(AuditAction::AgentEnroll, Some(id.tenant), enrollment.host);
        event.detail.insert("spiffe_id", id.to_string());
        event.detail.insert("serial", enrollment.serial.to_string());
        event.detail.insert("via", enrollment.via.as_str().to_owned());
        event.detail.extend(enrollment.via.credential().map(|id| ("credential", id.to_string())));
        let peer = enrollment.peer.map(|peer| peer.to_string()).unwrap_or_default();
        let told = [
            ("serial", enrollment.serial.to_string()),
            ("via", enrollment.via.as_str().to_owned()),
            ("peer", peer),
        ];
        changes.push(timeline(enrollment.host, now, TimelineKind::Enrolled, told));
        let first_enrolled_at = host.as_ref().map_or(now, |host| host.first_enrolled_at);
        // Whatever people have said of a host, its machine's return changes nothing about it.
        let (known, marks) = host.map(|host| (host.facts, host.marks)).unwrap_or_default();
        let facts = self.asked.facts.clone().or(&known);
        let marks = HostMarks { tags: given_tags(marks.tags, row.tags()), ..marks };
        event.name_host(enrollment.host, facts.hostname.as_deref(), self.salt);
        changes.push(Change::PutHost(Host {
            id: enrollment.host,
            tenant: id.tenant,
            agent: id.agent.clone(),
            facts,
            first_enrolled_at,
            last_seen: None,
            newest_shown: None,
            trust: crate::domain::host::HostTrust::default(),
            decommissioned_at: None,
            revoked_at: None,
            let_in_by: enrollment.via.let_in_by(),
            newest_serial: enrollment.serial,
            svid_not_after: enrollment.not_after,
            flags: BTreeSet::new(),
            marks,
        }));
        changes.push(Change::RecordEnrollment { enrollment, certificate: self.signed.svid.der.clone() });
        changes.push(row.consumed(now));
        changes.push(Change::Audit(event));
        Ok(Verdict::accept(Decided::Issued(Box::new(self.signed)), changes))
    }
}

impl App {
    /// Decides what a caller with a right credential and this key gets. The one place where that is decided.
    fn standing(
        &self,
        view: &View<'_>,
        row: Row,
        key: SpkiHash,
        facts: &HostFacts,
        now: Timestamp,
    ) -> Result<Entitlement<Box<Admitted>>, EnrollError> {
        if let Some(refusal) = row.withdrawn() {
            return Err(refusal);
        }
        let holder = view.holder_of_key(key)?;
        if let Some(enrollment) = &holder
            && enrollment.via == row.via()
            && enrollment.live(now)
            && now.duration_since(enrollment.issued_at) <= RETRY_WINDOW
            && let Some(certificate) = view.certificate(enrollment.serial)?
            && let Some(host) = view.any_tenant().host(enrollment.host)?
        {
            let answered = PastAnswer { enrollment: enrollment.clone(), agent: host.agent, certificate };
            return Ok(Entitlement::Retry(Box::new(answered)));
        }
        if let Some(refusal) = row.refusal(now) {
            return Err(refusal);
        }
        if let Some(host) = self.decommissioned_machine(&row, facts) {
            return Err(EnrollError::HostDecommissioned(host));
        }
        let host = match &row {
            Row::Token(JoinToken { tenant, agent: Some(agent), .. }) => {
                let identity = AgentRef { tenant: *tenant, agent: agent.clone() };
                if view.identity_denied(&identity)?.is_some() {
                    return Err(EnrollError::IdentityRevoked);
                }
                view.host_of(&identity)?
            }
            _ => None,
        };
        let own = |enrollment: &Enrollment| host.as_ref().is_some_and(|host| host.id == enrollment.host);
        if holder.is_some_and(|holder| !holder.expired(now) && !own(&holder)) {
            return Err(EnrollError::KeyTaken);
        }
        Ok(Entitlement::Fresh(Box::new(Admitted { row, host })))
    }

    /// The decommissioned host whose machine shows an enrollment secret, as it does when its image still has it. A
    /// join token is given to one machine, and lets it in.
    fn decommissioned_machine(&self, row: &Row, facts: &HostFacts) -> Option<HostId> {
        let Row::Secret(secret) = row else { return None };
        if self.policy.readmit_decommissioned {
            return None;
        }
        let machine_id = facts.machine_id.as_deref().filter(|machine_id| tells_machines_apart(machine_id))?;
        self.fleet.decommissioned_machine(secret.tenant, machine_id)
    }
}
