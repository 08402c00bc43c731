//! Rotation: the holder of an SVID proves it and gets the next one, for a new key.

pub mod error;
mod recovery;

use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;

use crate::app::access::caller::Caller;
use crate::app::decide::Ready;
use crate::app::insight::timeline::timeline;
use crate::app::issue::clones::Suspicion;
use crate::app::issue::issuing::{Entitlement, IssuedAnswer, IssuingError, PastAnswer, SignedSvid};
use crate::app::issue::refusals::ProofLevel as Whom;
use crate::app::issue::rotate::error::{RotateError, RotateRefusal};
use crate::app::issue::{clones, issuing};
use crate::app::keep::outages::excused;
use crate::app::pool::Urgency;
use crate::app::{App, Unavailable, entropy};
use crate::ca::parse::csr::VerifiedCsr;
use crate::ca::parse::presented::PresentedChain;
use crate::clock;
use crate::domain::enroll::enrollment::{Enrollment, SpkiHash, Via};
use crate::domain::fairness::rate::Rate;
use crate::domain::host::{ClonePolicy, Host, HostFlag};
use crate::domain::identity::deny::AgentRef;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::SpiffeId;
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::insight::timeline::TimelineKind;
use crate::store::{Change, ReadError, Verdict, View};

/// Rotations of a host at once after a quiet time.
const BURST: f64 = 100.0;
/// Rotations of a host in one lifetime of an SVID, in the long run.
const PER_LIFETIME: f64 = 30.0;

/// How often a host may rotate.
pub(crate) fn rate(lifetime: jiff::SignedDuration) -> Rate {
    Rate { burst: BURST, per_second: PER_LIFETIME / lifetime.as_secs_f64().max(1.0) }
}

/// A request to rotate, as it came in.
#[derive(Debug)]
pub struct RotateRequest {
    /// The current leaf and its intermediate, PEM.
    pub chain: String,
    /// PEM; for a key that the host has never had.
    pub csr: String,
    /// ASN.1 DER ECDSA signature by the current key over the CSR's DER.
    pub proof: Vec<u8>,
    /// The machine's address; for the record alone.
    pub peer: Option<IpAddr>,
}

/// A request to renew, as it came over the connection of the agent itself.
#[derive(Debug)]
pub struct RenewRequest {
    /// Whose certificate the connection has shown, and which: both admitted at its handshake.
    pub holder: AgentRef,
    /// Of that certificate.
    pub serial: Serial,
    /// DER; for a key that the host has never had.
    pub csr: Vec<u8>,
    /// The machine's address; for the record alone.
    pub peer: Option<IpAddr>,
}

/// A request whose proof was good: the caller holds the current key.
struct Proven {
    current: CurrentSvid,
    csr: VerifiedCsr,
}

/// The SVID that a request is made with.
struct CurrentSvid {
    holder: AgentRef,
    serial: Serial,
    by: ProvenBy,
}

/// How its sender has shown to hold it.
enum ProvenBy {
    /// By a signature over the request, for which the certificate came with it.
    Signature(ShownCertificate),
    /// By a handshake, in which the certificate was compared with the one on record. Whoever can have one is not expired.
    Connection,
}

/// What a certificate says that came with a request. Its chain is good.
struct ShownCertificate {
    key: SpkiHash,
    not_after: Timestamp,
    /// DER.
    issuer: Vec<u8>,
    issuer_serial: Option<Serial>,
}

/// The right to a new certificate.
struct Renewal {
    host: Box<Host>,
    by: Right,
    /// The key is that of its successor, whose answer was lost.
    lost: bool,
}

/// What a right to a new certificate rests on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Right {
    /// The certificate on record, in its time.
    Current,
    /// The same after its end.
    Expired,
    /// One that is on no record, because the store was restored.
    Returned {
        /// When that was.
        restored_at: Timestamp,
        /// Another of its identity got a certificate since.
        perhaps_cloned: bool,
    },
}

/// What a rotation comes to.
type Outcome = Entitlement<Box<SignedSvid>>;

/// What is left to do for a right to a new certificate: it is signed, and the writer decides.
struct Deciding {
    terms: Terms,
    proven: Proven,
    signed: Box<SignedSvid>,
    peer: Option<IpAddr>,
    salt: [u8; 16],
    salts_of_clone: clones::Salts,
}

impl App {
    /// Rotates an identity. When this returns `Ok`, the new certificate is on record and on disk.
    pub async fn rotate(self: &Arc<Self>, request: RotateRequest) -> Result<IssuedAnswer, RotateRefusal> {
        let outcome = self.prepare(Urgency::Urgent, move |app| {
            let (presented, ready) = app.prepare_rotation(&request)?;
            let naming = |error| RotateRefusal { error, presented: Some(presented) };
            Ok(match ready {
                Err(error) => return Err(naming(error)),
                Ok(Ready::Done(outcome)) => Ready::Done(outcome),
                Ok(Ready::Decide(deciding)) => {
                    Ready::Decide(move |view: &View<'_>, now| Ok(deciding.decide(view, now)?.map_err(naming)))
                }
            })
        });
        Ok(self.answer_rotation(outcome.await?)?)
    }

    /// The same over the agent's own connection.
    pub async fn renew(self: &Arc<Self>, request: RenewRequest) -> Result<IssuedAnswer, RotateRefusal> {
        let RenewRequest { holder, serial, csr, peer } = request;
        let Some(authority) = self.authority() else {
            return Err(RotateError::from(IssuingError::NoAuthority).into());
        };
        let trust_domain = authority.trust_domain().clone();
        let id = SpiffeId { trust_domain, tenant: holder.tenant, agent: holder.agent.clone() };
        let outcome = self.prepare(Urgency::Urgent, move |app| {
            let csr = VerifiedCsr::from_der(csr)?;
            let current = CurrentSvid { holder, serial, by: ProvenBy::Connection };
            Ok(match app.entitle(Proven { current, csr }, app.clock.now(), peer)? {
                Ready::Done(outcome) => Ready::Done(outcome),
                Ready::Decide(deciding) => {
                    Ready::Decide(move |view: &View<'_>, now| deciding.decide(view, now))
                }
            })
        });
        let answer = outcome.await.and_then(|outcome| self.answer_rotation(outcome));
        answer.map_err(|error| RotateRefusal { error, presented: Some(Box::new((id, serial))) })
    }

    fn answer_rotation(&self, outcome: Outcome) -> Result<IssuedAnswer, RotateError> {
        match outcome {
            Entitlement::Fresh(signed) => Ok(signed.into_svid()),
            Entitlement::Retry(answered) => Ok(issuing::reissue(self, *answered)?),
        }
    }

    /// Records a refused rotation with its true reason.
    pub async fn record_refused_rotation(
        &self,
        refused: &RotateRefusal,
        peer: Option<IpAddr>,
    ) -> Result<(), Unavailable> {
        let Some(reason) = refused.error.reason() else {
            return Ok(());
        };
        let tenant = refused.presented.as_ref().map(|presented| presented.0.tenant);
        let target = refused.presented.as_ref().map(|presented| presented.0.to_string()).unwrap_or_default();
        let mut event = Caller::Anonymous { address: peer }.event(AuditAction::AgentRotate, tenant, target);
        event.detail.extend(refused.presented.iter().map(|presented| ("serial", presented.1.to_string())));
        let whom = if refused.error.proved_nothing() { Whom::Stranger } else { Whom::Somebody };
        self.record_refusal(event, whom, reason).await
    }

    fn terms(&self) -> Terms {
        Terms {
            grace: self.policy.rotation_grace,
            sign_of_life_every: self.sign_of_life_every(),
            clone_policy: self.policy.clone_policy,
        }
    }

    /// Checks the request from the cheapest proof to the dearest, and signs. Blocking. What came of it, beside the SVID that was
    /// presented.
    #[expect(clippy::type_complexity, reason = "it is taken apart where it is called")]
    fn prepare_rotation(
        &self,
        request: &RotateRequest,
    ) -> Result<(Box<(SpiffeId, Serial)>, Result<Ready<Outcome, Deciding>, RotateError>), RotateRefusal> {
        let now = self.clock.now();
        let ca = self.agent_ca_rows.now();
        let (hierarchy, epochs) = (ca.hierarchy.as_ref(), &ca.epochs);
        let Some(hierarchy) = hierarchy else {
            return Err(RotateError::from(IssuingError::NoAuthority).into());
        };
        let recorded = |serial| self.query(|view| view.certificate(serial)).map_err(RotateError::from);
        let chain = if epochs.iter().any(|epoch| epoch.in_force(now)) {
            PresentedChain::verify_below_roots(&request.chain, hierarchy, now, recorded)
        } else {
            PresentedChain::verify(&request.chain, hierarchy, now, recorded)
        };
        let chain = chain?;
        let presented = Box::new((chain.id().clone(), chain.serial()));
        let ready = self.prepare_for(&chain, request, now);
        Ok((presented, ready))
    }

    fn prepare_for(
        &self,
        chain: &PresentedChain,
        request: &RotateRequest,
        now: Timestamp,
    ) -> Result<Ready<Outcome, Deciding>, RotateError> {
        let csr = VerifiedCsr::from_pem(&request.csr)?;
        chain.verify_proof(csr.der(), &request.proof)?;
        let identity = AgentRef { tenant: chain.id().tenant, agent: chain.id().agent.clone() };
        if self.store.deny_list().denies(chain.serial(), &identity) {
            self.note_shown_denied(chain.leaf(), chain.serial(), &identity);
        }
        let (key, not_after) = (chain.spki(), chain.not_after());
        let by = ProvenBy::Signature(ShownCertificate {
            key,
            not_after,
            issuer: chain.issuer().to_vec(),
            issuer_serial: chain.issuer_serial(),
        });
        let current = CurrentSvid { holder: identity, serial: chain.serial(), by };
        let entitled = self.entitle(Proven { current, csr }, now, request.peer);
        if matches!(entitled, Err(RotateError::UnknownSerial)) {
            self.note_unrecorded(chain, now)?;
        }
        entitled
    }

    /// Judges whether there is a right to a new certificate, and signs one. Blocking.
    fn entitle(
        &self,
        proven: Proven,
        now: Timestamp,
        peer: Option<IpAddr>,
    ) -> Result<Ready<Outcome, Deciding>, RotateError> {
        let judged = self.store.read(|view| standing(view, &proven, now, self.terms()));
        let Renewal { host, by, lost } = match judged? {
            Entitlement::Fresh(renewal) => renewal,
            Entitlement::Retry(answered) => return Ok(Ready::Done(Entitlement::Retry(answered))),
        };
        // By the serial of one that is on no record nothing can be told: another clock has made it.
        if !matches!(by, Right::Returned { .. }) {
            self.compare_shown(host.id, proven.current.serial);
        }
        // Walks the host's history, so it happens here and not on the writer's thread. A key that the
        // host takes meanwhile is found by the index of live keys.
        if !lost && self.query(|view| view.host_has_used_key(host.id, proven.csr.spki()))? {
            return Err(RotateError::KeyReused);
        }
        if self.rotations.lock().take(host.id, 1.0, clock::monotonic()).is_err() {
            return Err(RotateError::TooOften);
        }
        let newest = host.newest_serial.max(proven.current.serial);
        // What the agent has just reported may not be saved yet.
        let facts = self.fleet.host(host.id).map_or(host.facts, |now| now.host.facts);
        let signed =
            issuing::sign(self, &proven.csr, (host.id, Some(newest)), host.tenant, host.agent, &facts)??;
        Ok(Ready::Decide(Deciding {
            terms: self.terms(),
            proven,
            signed: Box::new(signed),
            peer,
            salt: entropy()?,
            salts_of_clone: clones::Salts::new()?,
        }))
    }
}

/// What the operator allows.
#[derive(Debug, Clone, Copy)]
struct Terms {
    /// How long after its expiry the newest SVID of an agent may still rotate.
    grace: jiff::SignedDuration,
    sign_of_life_every: jiff::SignedDuration,
    clone_policy: ClonePolicy,
}

/// Decides what the holder of a proven SVID gets. The one place where that is decided.
fn standing(
    view: &View<'_>,
    Proven { current: shown, csr }: &Proven,
    now: Timestamp,
    terms: Terms,
) -> Result<Entitlement<Renewal>, RotateError> {
    let Some(current) = view.any_tenant().enrollment(shown.serial)? else {
        return recovery::standing(view, shown, csr, now);
    };
    let host = view.any_tenant().host(current.host)?.ok_or(RotateError::UnknownSerial)?;
    let identity = host.identity();
    let same_key = match &shown.by {
        ProvenBy::Signature(certificate) => current.spki == certificate.key,
        ProvenBy::Connection => true,
    };
    if identity != shown.holder || !same_key {
        return Err(RotateError::UnknownSerial);
    }
    if current.revocation.is_some() || view.identity_denied(&identity)?.is_some() {
        return Err(RotateError::IdentityRevoked);
    }
    if let Some(answered) = answered_before(view, current.serial, csr.spki(), now)? {
        let certificate = view.certificate(answered.serial)?.ok_or(RotateError::UnknownSerial)?;
        let answered = PastAnswer { enrollment: answered, agent: host.agent, certificate };
        return Ok(Entitlement::Retry(Box::new(answered)));
    }
    let recovered = current.expired(now);
    if recovered && matches!(shown.by, ProvenBy::Connection) {
        return Err(RotateError::SvidExpired);
    }
    let mut lost = false;
    if recovered {
        let newest = view.any_tenant().enrollment(host.newest_serial)?.ok_or(RotateError::UnknownSerial)?;
        // The newest certificate is the one presented, or its successor whose answer was lost: then the caller
        // has proved to hold both keys, and it is the successor's time that counts.
        lost = newest.via == Via::Rotation { from: current.serial } && newest.spki == csr.spki();
        let may_return = (newest.serial == current.serial || lost) && newest.revocation.is_none();
        let in_grace = now <= newest.not_after + terms.grace;
        let excused = || excused(view, newest.not_after, now, terms.sign_of_life_every);
        if !may_return || !(in_grace || excused()?) {
            return Err(RotateError::SvidExpired);
        }
    }
    let holder = view.holder_of_key(csr.spki())?;
    if holder.is_some_and(|holder| !holder.expired(now)) {
        return Err(RotateError::KeyReused);
    }
    let by = if recovered { Right::Expired } else { Right::Current };
    Ok(Entitlement::Fresh(Renewal { host: Box::new(host), by, lost }))
}

/// The enrollment that already answered this very request: the same certificate with the same new key.
fn answered_before(
    view: &View<'_>,
    from: Serial,
    key: SpkiHash,
    now: Timestamp,
) -> Result<Option<Enrollment>, ReadError> {
    let via = Via::Rotation { from };
    Ok(view.holder_of_key(key)?.filter(|holder| holder.via == via && holder.live(now)))
}

/// The sign that somebody else holds this identity, too.
fn suspicion(
    view: &View<'_>,
    host: &Host,
    Proven { current, csr }: &Proven,
    now: Timestamp,
) -> Result<Option<Suspicion>, ReadError> {
    let presented = current.serial;
    // The next certificate has been shown already, and now somebody rotates from the one before it.
    if host.newest_shown.is_some_and(|newest| newest > presented) {
        return Ok(Some(Suspicion::OlderShown(presented)));
    }
    if host.newest_serial <= presented {
        return Ok(None);
    }
    // Neither of two who hold the same key need have shown what they rotated to.
    let mut first = None;
    view.any_tenant().enrollments_of(host.id, None, |other| {
        if other.serial <= presented {
            return std::ops::ControlFlow::Break(());
        }
        let forked = other.via == Via::Rotation { from: presented } && other.spki != csr.spki();
        if forked && other.live(now) {
            first = Some(other.serial);
            return std::ops::ControlFlow::Break(());
        }
        std::ops::ControlFlow::Continue(())
    })?;
    Ok(first.map(|first| Suspicion::SecondSuccessor { of: presented, first }))
}

impl Deciding {
    fn decide(self, view: &View<'_>, now: Timestamp) -> Result<Verdict<Outcome, RotateError>, ReadError> {
        let Self { terms, proven, signed, peer, salt, salts_of_clone } = self;
        decide(view, now, terms, &proven, signed, peer, (salt, salts_of_clone))
    }
}

fn decide(
    view: &View<'_>,
    now: Timestamp,
    terms: Terms,
    proven: &Proven,
    mut signed: Box<SignedSvid>,
    peer: Option<IpAddr>,
    (salt, salts_of_clone): ([u8; 16], clones::Salts),
) -> Result<Verdict<Outcome, RotateError>, ReadError> {
    let (mut host, by) = match standing(view, proven, now, terms) {
        Ok(Entitlement::Fresh(Renewal { host, by, .. })) => (*host, by),
        Ok(Entitlement::Retry(answered)) => {
            return Ok(Verdict::accept(Entitlement::Retry(answered), Vec::new()));
        }
        Err(RotateError::Unavailable(Unavailable::Read(error))) => return Err(error),
        Err(error) => return Ok(Verdict::refuse(error)),
    };
    // Somebody else may have been registered of the same identity since it was signed.
    signed.host = host.id;
    let from = proven.current.serial;
    let enrollment = signed.enrollment(&proven.csr, Via::Rotation { from }, peer);
    let mut event =
        Caller::Anonymous { address: peer }.event(AuditAction::AgentRotate, Some(host.tenant), host.id);
    event.actor = format!("agent:{}", signed.order.id);
    event.detail.insert("serial", enrollment.serial.to_string());
    event.detail.insert("from_serial", from.to_string());
    if by != Right::Current {
        event.detail.insert("recovered", "true".to_owned());
    }
    event.name_host(host.id, host.facts.hostname.as_deref(), salt);
    let mut changes = recovery::changes(view, &host, from, by, now, &mut event)?;
    let suspicion = match by {
        Right::Returned { perhaps_cloned, .. } => perhaps_cloned.then_some(Suspicion::ReturnedTwice(from)),
        Right::Current | Right::Expired => suspicion(view, &host, proven, now)?,
    };
    if let Some(suspicion) = suspicion {
        let suspected = clones::suspect(view, &host, suspicion, terms.clone_policy, now, salts_of_clone)?;
        if suspected.revoked {
            return Ok(Verdict { outcome: Err(RotateError::IdentityRevoked), changes: suspected.changes });
        }
        changes.extend(suspected.changes);
        host.flags.insert(HostFlag::PossibleClone);
    }
    if matches!(by, Right::Returned { .. }) {
        host.flags.insert(HostFlag::Recovered);
    }
    let kind = if by == Right::Current { TimelineKind::Rotated } else { TimelineKind::Recovered };
    changes.extend([
        timeline(host.id, now, kind, [("serial", enrollment.serial.to_string())]),
        // Of two rotations at once, the one signed later may be decided first.
        Change::PutHost(Host {
            newest_serial: enrollment.serial.max(host.newest_serial),
            svid_not_after: enrollment.not_after.max(host.svid_not_after),
            ..host
        }),
        Change::RecordEnrollment { enrollment, certificate: signed.svid.der.clone() },
        Change::Audit(event),
    ]);
    Ok(Verdict::accept(Entitlement::Fresh(signed), changes))
}
