//! The server's answer to an enrollment or rotation, checked in full before anything is written.
//!
//! The server is trusted to be who it is, not to be free of mistakes: an identity that does not fit its key, its
//! chain, its name or its time would replace a working one for nothing.

use std::error::Error as StdError;
use std::str::FromStr;

use jiff::{SignedDuration, Timestamp};
use rustls::pki_types::{CertificateDer, TrustAnchor, UnixTime};
use tracing::warn;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::agent::connect::addresses::{AnsweredAt, ServerAddresses};
use crate::agent::state_file::AgentState;
use crate::api::enroll::SvidAnswer;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::{AgentId, SpiffeId};
use crate::domain::ids::{HostId, TenantId};
use crate::grpc::proto::RenewResponse;
use crate::pem;
use crate::pem::file::PemFileError;
use crate::svid::{NotAnSvid, Svid};
use crate::tls::pem::certificates;
use crate::tls::provider::provider;

/// Longest life of an SVID that is believed: a week, and a day for what clocks and roundings add.
const LIFETIME_MAX: SignedDuration = SignedDuration::from_hours(8 * 24);
/// Most certificates in one field of an answer.
const CERTIFICATES_MAX: usize = 16;

/// A new identity that fits the key it was asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Issued {
    pub svid: Svid,
    pub host: HostId,
    /// PEM, leaf first, then the intermediate.
    pub chain: String,
    /// PEM, the roots of the agent CA.
    pub agent_ca: String,
    /// What the server says of the CAs that vouch for it; [`crate::agent::enroll::server_trust`] decides what to make of it.
    pub server_ca: Option<String>,
    /// Where the server says that it is.
    pub told: ServerAddresses,
    /// By the server's clock.
    pub issued_at: Timestamp,
}

/// What the answer must fit.
#[derive(Debug, Clone, Copy)]
pub struct ExpectedIdentity<'a> {
    /// SubjectPublicKeyInfo (DER) of the key in the request.
    pub public_key: &'a [u8],
    /// The identity that rotates; `None` at a first enrollment, when the server chooses.
    pub spiffe_id: Option<&'a SpiffeId>,
    pub at: AnsweredAt<'a>,
}

/// Why an answer was not believed. Nothing has been written.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    #[error("it can't be read; something other than a Muster server may be answering")]
    Shape(#[source] Box<dyn StdError + Send + Sync>),
    #[error("its {0} is no usable PEM")]
    Pem(&'static str, #[source] PemFileError),
    #[error("its {0} has more certificates than belong there")]
    Several(&'static str),
    #[error("its certificate is refused")]
    Svid(#[from] NotAnSvid),
    #[error("its certificate is for another key")]
    OtherKey,
    #[error("its certificate is for {found}, not for {expected}")]
    OtherIdentity { found: String, expected: String },
    #[error("its certificate does not say what the answer says beside it")]
    Contradiction,
    #[error("its certificate is not valid at the time of its issue, or for too long")]
    Times,
    #[error("its trust bundle has a certificate that is no CA's")]
    NotARoot,
    #[error("its certificate does not chain to its trust bundle")]
    Chain(#[source] webpki::Error),
}

impl Issued {
    /// What is worth remembering of an answer.
    pub(crate) fn notes(
        &self,
        at: AnsweredAt<'_>,
        clock_difference_ms: Option<i64>,
        earlier: &AgentState,
    ) -> AgentState {
        let told = &self.told;
        if told.unusable > 0 {
            warn!(
                count = told.unusable,
                "the server names addresses that can't be used here; have its public_url and grpc_addr corrected"
            );
        }
        let ServerAddresses { servers, grpc, .. } = told.after(at, &earlier.servers, &earlier.grpc_addrs);
        let server = match at {
            AnsweredAt::Https(server) => Some(server.clone()),
            AnsweredAt::Session(_) => earlier.server.clone(),
        };
        AgentState {
            server,
            grpc_addr: grpc.first().cloned(),
            servers,
            grpc_addrs: grpc,
            spiffe_id: Some(self.svid.spiffe_id.to_string()),
            host_id: Some(self.host),
            serial: Some(self.svid.serial),
            issued_at: Some(self.issued_at),
            not_after: Some(self.svid.not_after),
            clock_difference_ms,
            last_refusal: None,
            last_failure: None,
            ..earlier.clone()
        }
    }
}

impl Issued {
    /// Reads an answer and believes of it what can be checked.
    pub(crate) fn read(body: &[u8], expected: ExpectedIdentity<'_>) -> Result<Self, AnswerError> {
        let answer = serde_json::from_slice(body).map_err(|error| AnswerError::Shape(error.into()))?;
        Self::believe(answer, expected)
    }

    /// The same of an answer that came over the session's connection.
    pub(crate) fn of_renewal(
        renewed: RenewResponse,
        expected: ExpectedIdentity<'_>,
    ) -> Result<Self, AnswerError> {
        let RenewResponse {
            agent_id,
            host_id,
            tenant_id,
            spiffe_id,
            certificate,
            intermediate,
            trust_bundle,
            server_ca,
            grpc_addr,
            servers,
            grpc_addrs,
            serial,
            issued_at,
            not_after,
        } = renewed;
        let answer = SvidAnswer {
            agent_id,
            host_id,
            tenant_id,
            spiffe_id,
            certificate,
            intermediate,
            trust_bundle,
            server_ca,
            grpc_addr,
            servers,
            grpc_addrs,
            serial,
            issued_at: value(&issued_at)?,
            not_after: value(&not_after)?,
        };
        Self::believe(answer, expected)
    }

    fn believe(answer: SvidAnswer, expected: ExpectedIdentity<'_>) -> Result<Self, AnswerError> {
        let (agent, tenant): (AgentId, TenantId) = (value(&answer.agent_id)?, value(&answer.tenant_id)?);
        let (host, spiffe_id) = (value(&answer.host_id)?, value::<SpiffeId>(&answer.spiffe_id)?);
        let serial: Serial = value(&answer.serial)?;
        let leaf = only(certificates_in("certificate", &answer.certificate)?, "certificate")?;
        let intermediate = only(certificates_in("intermediate", &answer.intermediate)?, "intermediate")?;
        let roots = certificates_in("trust_bundle", &answer.trust_bundle)?;
        let svid = Svid::from_der(&leaf)?;
        if svid.public_key != expected.public_key {
            return Err(AnswerError::OtherKey);
        }
        if let Some(mine) = expected.spiffe_id.filter(|mine| **mine != svid.spiffe_id) {
            return Err(AnswerError::OtherIdentity {
                found: svid.spiffe_id.to_string(),
                expected: mine.to_string(),
            });
        }
        let agrees = spiffe_id == svid.spiffe_id
            && agent == svid.spiffe_id.agent
            && tenant == svid.spiffe_id.tenant
            && serial == svid.serial
            && answer.not_after.as_second() == svid.not_after.as_second();
        if !agrees {
            return Err(AnswerError::Contradiction);
        }
        let brief = svid.not_after.duration_since(svid.not_before) <= LIFETIME_MAX;
        if !brief || !(svid.not_before..svid.not_after).contains(&answer.issued_at) {
            return Err(AnswerError::Times);
        }
        check_chain(answer.issued_at, &leaf, &intermediate, &roots)?;
        Ok(Self {
            svid,
            host,
            chain: [&leaf, &intermediate].map(|certificate| pem::certificate(certificate)).concat(),
            agent_ca: roots.iter().map(|certificate| pem::certificate(certificate)).collect(),
            told: ServerAddresses::read(&answer, expected.at),
            server_ca: answer.server_ca,
            issued_at: answer.issued_at,
        })
    }
}

/// Judged at the time of issue as the server's clock has it: a machine whose own clock is off still learns
/// who it is, and is told about its clock.
fn check_chain(
    issued_at: Timestamp,
    leaf: &CertificateDer<'_>,
    intermediate: &CertificateDer<'_>,
    roots: &[CertificateDer<'_>],
) -> Result<(), AnswerError> {
    let anchors = roots.iter().map(anchor).collect::<Result<Vec<_>, _>>()?;
    let issued = u64::try_from(issued_at.as_second()).map_err(|_| AnswerError::Times)?;
    let time = UnixTime::since_unix_epoch(std::time::Duration::from_secs(issued));
    let leaf = webpki::EndEntityCert::try_from(leaf).map_err(AnswerError::Chain)?;
    leaf.verify_for_usage(
        provider().signature_verification_algorithms.all,
        &anchors,
        std::slice::from_ref(intermediate),
        time,
        webpki::KeyUsage::client_auth(),
        None,
        None,
    )
    .map(|_| ())
    .map_err(AnswerError::Chain)
}

fn value<T: FromStr<Err: StdError + Send + Sync + 'static>>(text: &str) -> Result<T, AnswerError> {
    text.parse().map_err(|error: T::Err| AnswerError::Shape(error.into()))
}

fn anchor<'a>(root: &'a CertificateDer<'_>) -> Result<TrustAnchor<'a>, AnswerError> {
    let (_, parsed) = X509Certificate::from_der(root).map_err(|_| AnswerError::NotARoot)?;
    if !parsed.is_ca() {
        return Err(AnswerError::NotARoot);
    }
    webpki::anchor_from_trusted_cert(root).map_err(AnswerError::Chain)
}

fn certificates_in(field: &'static str, text: &str) -> Result<Vec<CertificateDer<'static>>, AnswerError> {
    let certificates = certificates(text.as_bytes()).map_err(|error| AnswerError::Pem(field, error))?;
    if certificates.len() > CERTIFICATES_MAX { Err(AnswerError::Several(field)) } else { Ok(certificates) }
}

fn only(
    certificates: Vec<CertificateDer<'static>>,
    field: &'static str,
) -> Result<CertificateDer<'static>, AnswerError> {
    let [only] = <[_; 1]>::try_from(certificates).map_err(|_| AnswerError::Several(field))?;
    Ok(only)
}
