//! What travels to a root that is kept offline, and what comes back: one PEM block each.
//!
//! The content begins with its own SHA-256, so a file that was cut or changed on its way is told from one that is none.
//! Nothing in it is secret: the key that a request is for stays where it was made.

use data_encoding::BASE64;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::ca::crl::RevokedEntry;
use crate::ca::hierarchy::{self, IntermediateRequest, RenewError, SignedIntermediate};
use crate::ca::parse::revocation_list;
use crate::ca::root::change::{self, MadeRoot, RootChangeError};
use crate::domain::identity::hierarchy::RootTask;
use crate::domain::identity::serial::Serial;
use crate::domain::network::pin::Pin;
use crate::domain::sha256::sha256;
use crate::pem::file::PrivateKey;
use crate::pem::{self, PemError};

const REQUEST: &str = "MUSTER ROOT REQUEST";
const SIGNED: &str = "MUSTER ROOT ANSWER";
const VERSION: u8 = 1;
const DIGEST: usize = 32;

/// Why a file is not what it was taken for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ErrandError {
    #[error("this is no request for a root; make one on the server: muster agent-ca renew --request FILE")]
    NotARequest,
    #[error(
        "this is what a root has signed, and not a request; it goes back to the server: muster agent-ca renew --install FILE"
    )]
    IsSigned,
    #[error("this is not what 'muster agent-ca sign' has written")]
    NotSigned,
    #[error(
        "this is a request, which the root has not signed; that comes first: muster agent-ca sign FILE --root-key KEY > SIGNED"
    )]
    IsARequest,
    #[error("the file was cut short or changed on its way; copy it again")]
    Damaged,
    #[error("the file is of another version of muster; use the server's version on both machines")]
    OtherVersion,
}

/// What a root is asked for, as it travels.
#[derive(Debug, Clone)]
pub struct Errand {
    pub task: RootTask,
    /// Without the sealed key, which stays.
    pub request: IntermediateRequest,
    pub made_at: Timestamp,
    content: Vec<u8>,
}

/// What a root has signed, as it travels.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedErrand {
    /// SHA-256 of the request.
    pub request: Vec<u8>,
    /// DER: a root that was made for it.
    pub root: Option<Vec<u8>>,
    pub signed: SignedIntermediate,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RequestDocument {
    version: u8,
    task: Task,
    made_at: Timestamp,
    trust_domain: String,
    roots: Vec<String>,
    root_lists: Vec<String>,
    public_key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    revoked: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crl_url: Option<String>,
}

#[derive(Serialize, Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Task {
    Renew,
    Revoke,
    Prepare,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedDocument {
    version: u8,
    request: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    root: Option<String>,
    certificate: String,
    root_list: String,
}

/// So much is read of a document before anything else of it.
#[derive(Deserialize)]
struct Versioned {
    version: u8,
}

fn base64(octets: &[u8]) -> String {
    BASE64.encode(octets)
}

fn octets(text: &str) -> Result<Vec<u8>, ErrandError> {
    BASE64.decode(text.as_bytes()).map_err(|_| ErrandError::Damaged)
}

fn sealed_up(document: &impl Serialize) -> Vec<u8> {
    let json = serde_json::to_vec(document).expect("a document is plain data and always becomes JSON");
    [&sha256(&[&json])[..], &json].concat()
}

fn opened<D: for<'de> Deserialize<'de>>(content: &[u8]) -> Result<D, ErrandError> {
    let (digest, json) = content.split_at_checked(DIGEST).ok_or(ErrandError::Damaged)?;
    if sha256(&[json]) != digest {
        return Err(ErrandError::Damaged);
    }
    let Versioned { version } = serde_json::from_slice(json).map_err(|_| ErrandError::OtherVersion)?;
    if version != VERSION {
        return Err(ErrandError::OtherVersion);
    }
    serde_json::from_slice(json).map_err(|_| ErrandError::OtherVersion)
}

/// The content of a text that is one block with this label; `other` where it is the other one.
fn block(
    text: &str,
    label: &'static str,
    (other, is_other): (&'static str, ErrandError),
    neither: ErrandError,
) -> Result<Vec<u8>, ErrandError> {
    let begins = |label| !matches!(pem::single(text, &[label]), Err(PemError::NoBlock { .. }));
    pem::single(text, &[label]).map_err(|error| match error {
        PemError::NoBlock { .. } if begins(other) => is_other,
        PemError::NoBlock { .. } => neither,
        _ => ErrandError::Damaged,
    })
}

impl Errand {
    pub fn new(task: RootTask, request: &IntermediateRequest, made_at: Timestamp) -> Self {
        let (word, revoked) = match task {
            RootTask::Renew => (Task::Renew, None),
            RootTask::Revoke(serial) => (Task::Revoke, Some(serial.to_string())),
            RootTask::Prepare => (Task::Prepare, None),
        };
        let content = sealed_up(&RequestDocument {
            version: VERSION,
            task: word,
            made_at,
            trust_domain: request.trust_domain.to_string(),
            roots: request.roots.iter().map(|root| base64(root)).collect(),
            root_lists: request.root_lists.iter().map(|list| base64(list)).collect(),
            public_key: base64(&request.public_key),
            revoked,
            crl_url: request.crl_base.as_ref().map(ToString::to_string),
        });
        let request = IntermediateRequest { sealed_key: Vec::new(), ..request.clone() };
        Self { task, request, made_at, content }
    }

    pub fn to_pem(&self) -> String {
        pem::encode(REQUEST, &self.content)
    }

    pub fn digest(&self) -> Vec<u8> {
        sha256(&[&self.content]).to_vec()
    }

    pub fn read(text: &str) -> Result<Self, ErrandError> {
        let content = block(text, REQUEST, (SIGNED, ErrandError::IsSigned), ErrandError::NotARequest)?;
        let document: RequestDocument = opened(&content)?;
        let damaged = ErrandError::Damaged;
        let revoked: Option<Serial> =
            document.revoked.as_deref().map(str::parse).transpose().map_err(|_| damaged)?;
        let task = match (document.task, revoked) {
            (Task::Renew, None) => RootTask::Renew,
            (Task::Revoke, Some(serial)) => RootTask::Revoke(serial),
            (Task::Prepare, None) => RootTask::Prepare,
            _ => return Err(damaged),
        };
        let all = |texts: &[String]| texts.iter().map(|text| octets(text)).collect::<Result<Vec<_>, _>>();
        let request = IntermediateRequest {
            trust_domain: document.trust_domain.parse().map_err(|_| damaged)?,
            roots: all(&document.roots)?,
            root_lists: all(&document.root_lists)?,
            public_key: octets(&document.public_key)?,
            sealed_key: Vec::new(),
            revoked,
            crl_base: document.crl_url.as_deref().map(str::parse).transpose().map_err(|_| damaged)?,
        };
        Ok(Self { task, request, made_at: document.made_at, content })
    }
}

impl SignedErrand {
    pub fn to_pem(&self) -> String {
        let content = sealed_up(&SignedDocument {
            version: VERSION,
            request: base64(&self.request),
            root: self.root.as_deref().map(base64),
            certificate: base64(&self.signed.certificate),
            root_list: base64(&self.signed.root_list),
        });
        pem::encode(SIGNED, &content)
    }

    pub fn read(text: &str) -> Result<Self, ErrandError> {
        let content = block(text, SIGNED, (REQUEST, ErrandError::IsARequest), ErrandError::NotSigned)?;
        let document: SignedDocument = opened(&content)?;
        Ok(Self {
            request: octets(&document.request)?,
            root: document.root.as_deref().map(octets).transpose()?,
            signed: SignedIntermediate {
                certificate: octets(&document.certificate)?,
                root_list: octets(&document.root_list)?,
            },
        })
    }
}

/// What will be signed, for whoever holds the key to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningPlan {
    pub trust_domain: String,
    /// SHA-256 of the root's certificate; none: it will be made.
    pub root: Option<String>,
    /// SHA-256 of the key that the new intermediate is for.
    pub new_key: String,
    pub entries: Vec<PlannedEntry>,
    pub crl_url: Option<String>,
}

/// A line of the root's list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PlannedEntry {
    pub serial: Serial,
    pub at: Timestamp,
    /// Whether the list that was kept beside the key lacks it.
    pub is_new: bool,
}

/// What this key would sign for a request. `kept` is the list that was signed last, as it lies beside the key (DER).
pub fn plan(
    errand: &Errand,
    root_key: &PrivateKey,
    kept: Option<&[u8]>,
    now: Timestamp,
) -> Result<SigningPlan, RootChangeError> {
    let request = &errand.request;
    let mut plan = SigningPlan {
        trust_domain: request.trust_domain.to_string(),
        root: None,
        new_key: change::key_fingerprint(&request.public_key),
        entries: Vec::new(),
        crl_url: request.crl_base.as_ref().map(ToString::to_string),
    };
    if errand.task == RootTask::Prepare {
        belongs_to_nobody(kept)?;
        return Ok(plan);
    }
    let (root, _) = hierarchy::root_for(request, root_key, now)?;
    let before = hierarchy::list_before(request, &root, kept)?;
    let of_kept = kept.and_then(|kept| revocation_list::read_of(kept, &root).ok());
    let mut entries: Vec<RevokedEntry> = before.map(|list| list.revoked).unwrap_or_default();
    let newly = request.revoked.filter(|new| entries.iter().all(|(serial, ..)| serial != new));
    let is_new = |serial: Serial| match &of_kept {
        Some(kept) => kept.revoked.iter().all(|(known, ..)| *known != serial),
        None => newly == Some(serial),
    };
    let reason = crate::ca::crl::ListedReason::CaCompromise;
    entries.extend(newly.map(|serial| (serial, now, reason)));
    plan.root = Some(Pin::of(&root.der).to_string());
    plan.entries =
        entries.iter().map(|&(serial, at, _)| PlannedEntry { serial, at, is_new: is_new(serial) }).collect();
    Ok(plan)
}

/// A list with entries beside the key of a root that is still to be made is another root's, and would be lost.
fn belongs_to_nobody(kept: Option<&[u8]>) -> Result<(), RenewError> {
    let Some(kept) = kept else { return Ok(()) };
    let entries =
        CertificateRevocationList::from_der(kept).map(|(_, list)| list.iter_revoked_certificates().count());
    if entries == Ok(0) { Ok(()) } else { Err(RenewError::KeptListOfAnother) }
}

/// Signs it.
pub fn sign(
    errand: &Errand,
    root_key: &PrivateKey,
    kept: Option<&[u8]>,
    now: Timestamp,
) -> Result<SignedErrand, RootChangeError> {
    let request = &errand.request;
    if errand.task == RootTask::Prepare {
        belongs_to_nobody(kept)?;
        let MadeRoot { root, signed } = change::make(request, root_key, now)?;
        return Ok(SignedErrand { request: errand.digest(), root: Some(root), signed });
    }
    let (root, issuer) = hierarchy::root_for(request, root_key, now)?;
    let before = hierarchy::list_before(request, &root, kept)?;
    let signed = hierarchy::sign_as(request, &root, &issuer, before.as_ref(), now)?;
    Ok(SignedErrand { request: errand.digest(), root: None, signed })
}
