//! Another root takes the place of the one before, in three steps: it is public, it issues, the one before is gone.

use jiff::Timestamp;
use rcgen::PublicKeyData;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use crate::ca::ca_certificate::{CaCertificate, CaCertificateError};
use crate::ca::entropy;
use crate::ca::envelope::Envelope;
use crate::ca::hierarchy::{
    self, InitError, IntermediateRequest, RenewError, SignedIntermediate, is_intermediate_below,
};
use crate::ca::issuing_key::IssuingKey;
use crate::ca::parse::signed::SignedData;
use crate::ca::parse::validity::Validity;
use crate::ca::profile;
use crate::domain::identity::hierarchy::{Hierarchy, RootChange};
use crate::domain::identity::serial::Serial;
use crate::pem;
use crate::pem::file::PrivateKey;

/// Why another root does not come, issue, or take its place for good. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum RootChangeError {
    #[error("another root was prepared at {at} already; next is: muster agent-ca activate-root")]
    Prepared { at: Timestamp },
    #[error(
        "another root took over at {at}, and the one before is not retired yet; next is: muster agent-ca retire-root"
    )]
    Retiring { at: Timestamp },
    #[error("no other root is prepared; make one with: muster agent-ca prepare-root")]
    NotPrepared,
    #[error("the prepared root does not issue yet; that comes first: muster agent-ca activate-root")]
    NotActive,
    #[error("the prepared root has no intermediate that could issue; its own was revoked, or has expired")]
    NoIntermediate,
    #[error(
        "this is no root certificate as 'muster agent-ca prepare-root' or 'sign' makes it for this trust domain"
    )]
    NotARoot,
    #[error("this is the key of a root that the agent CA has; another root wants another key")]
    SameKey,
    #[error(transparent)]
    Certificate(#[from] CaCertificateError),
    #[error(transparent)]
    Signing(#[from] RenewError),
    #[error(transparent)]
    Making(#[from] InitError),
}

/// A root that was just made, and what it has signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MadeRoot {
    /// DER.
    pub root: Vec<u8>,
    pub signed: SignedIntermediate,
}

/// A private key for a root, PKCS#8 PEM. The only copy there is.
pub fn new_key() -> Result<Zeroizing<String>, InitError> {
    let key = IssuingKey::generate()?;
    Ok(Zeroizing::new(pem::encode(pem::PRIVATE_KEY, key.pkcs8())))
}

/// Makes the root of a key, with an intermediate and a list.
pub fn make(
    request: &IntermediateRequest,
    root_key: &PrivateKey,
    now: Timestamp,
) -> Result<MadeRoot, RootChangeError> {
    let key = IssuingKey::read(root_key).map_err(RenewError::Unsuitable)?;
    if request.roots.iter().any(|root| CaCertificate::read(root).is_ok_and(|root| root.is_of(&key))) {
        return Err(RootChangeError::SameKey);
    }
    let made = |error: rcgen::Error| RootChangeError::Making(error.into());
    let serial = entropy::serial(now).map_err(InitError::from)?;
    let params = profile::next_root(&request.trust_domain, serial, now).map_err(InitError::from)?;
    let root = params.self_signed(&key).map_err(made)?;
    let root = CaCertificate::read(root.der())?;
    let issuer = root.issuer(key)?;
    let signed = hierarchy::sign_as(request, &root, &issuer, None, now)?;
    Ok(MadeRoot { root: root.der, signed })
}

/// The SHA-256 of what a key's public half is (SubjectPublicKeyInfo), as `openssl pkey -pubout -outform der` has it.
pub fn key_fingerprint(public_key: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&crate::domain::sha256::sha256(&[public_key]))
}

/// The same of a root's private key.
pub fn root_key_fingerprint(root_key: &PrivateKey) -> Result<String, RenewError> {
    let key = IssuingKey::read(root_key).map_err(RenewError::Unsuitable)?;
    Ok(key_fingerprint(&key.subject_public_key_info()))
}

/// What a root does at present.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RootStanding {
    Issues,
    Prepared,
    Retiring,
}

pub(crate) fn standing(hierarchy: &Hierarchy, root: &[u8]) -> RootStanding {
    match hierarchy.root_change {
        _ if hierarchy.issuing_root().is_some_and(|issuing| issuing == root) => RootStanding::Issues,
        Some(RootChange { activated_at: None, .. }) => RootStanding::Prepared,
        _ => RootStanding::Retiring,
    }
}

/// Whether another root can be prepared.
pub fn preparable(hierarchy: &Hierarchy) -> Result<(), RootChangeError> {
    match hierarchy.root_change {
        None => Ok(()),
        Some(RootChange { activated_at: Some(at), .. }) => Err(RootChangeError::Retiring { at }),
        Some(RootChange { prepared_at: at, .. }) => Err(RootChangeError::Prepared { at }),
    }
}

/// Takes over another root with its list and its intermediate: public from now on, and issuing nothing.
pub fn prepare(
    hierarchy: &Hierarchy,
    made: MadeRoot,
    sealed_key: Vec<u8>,
    envelope: &Envelope,
    now: Timestamp,
) -> Result<Hierarchy, RootChangeError> {
    preparable(hierarchy)?;
    let root = root_of(hierarchy, &made.root, now)?;
    let mut with_root = hierarchy.clone();
    with_root.roots.push(made.root);
    let (mut after, accepted) = hierarchy::take(&with_root, made.signed, sealed_key, now, envelope, now)?;
    if accepted.root.der != root.der {
        return Err(RenewError::OtherRoot.into());
    }
    if let Some(new) = after.intermediates.last_mut() {
        (new.held, new.issuing_from) = (true, None);
    }
    after.root_lists.push(accepted.list);
    after.root_change = Some(RootChange { prepared_at: now, activated_at: None });
    Ok(after)
}

/// A certificate as [`make`] makes it, of a key that no root there has.
fn root_of(hierarchy: &Hierarchy, der: &[u8], now: Timestamp) -> Result<CaCertificate, RootChangeError> {
    let root = CaCertificate::read(der).map_err(|_| RootChangeError::NotARoot)?;
    let signed = SignedData::read(der).is_ok_and(|signed| signed.verify(&root.key).is_ok());
    let (_, read) = X509Certificate::from_der(der).map_err(|_| RootChangeError::NotARoot)?;
    let constraints = read.basic_constraints().ok().flatten().map(|extension| extension.value.clone());
    let usage = read
        .key_usage()
        .ok()
        .flatten()
        .is_some_and(|extension| extension.value.key_cert_sign() && extension.value.crl_sign());
    let mut organizations = read.subject().iter_organization();
    let named = organizations.next().and_then(|it| it.as_str().ok()) == Some(hierarchy.trust_domain.as_str());
    let Validity { not_before, not_after } = root.validity;
    let is_root = signed
        && read.issuer().as_raw() == root.name
        && constraints.is_some_and(|it| it.ca && it.path_len_constraint == Some(1))
        && usage
        && named
        && (not_before..not_after).contains(&now);
    if !is_root {
        return Err(RootChangeError::NotARoot);
    }
    let known = hierarchy.roots.iter().filter_map(|known| CaCertificate::read(known).ok());
    if known.into_iter().any(|known| known.key_identifier == root.key_identifier || known.name == root.name) {
        return Err(RootChangeError::SameKey);
    }
    Ok(root)
}

/// Whether the prepared root can be the one that issues.
pub fn activatable(hierarchy: &Hierarchy, now: Timestamp) -> Result<(), RootChangeError> {
    match hierarchy.root_change {
        None => return Err(RootChangeError::NotPrepared),
        Some(RootChange { activated_at: Some(at), .. }) => return Err(RootChangeError::Retiring { at }),
        Some(_) => {}
    }
    let can_issue =
        |certificate: &[u8]| CaCertificate::read(certificate).is_ok_and(|read| read.validity.not_after > now);
    let mut held = hierarchy.intermediates.iter().filter(|it| it.held && it.revocation.is_none());
    if held.any(|it| can_issue(&it.certificate)) { Ok(()) } else { Err(RootChangeError::NoIntermediate) }
}

/// The prepared root issues from now on. What the one before has signed stays good.
pub fn activate(hierarchy: &Hierarchy, now: Timestamp) -> Result<Hierarchy, RootChangeError> {
    activatable(hierarchy, now)?;
    let mut after = hierarchy.clone();
    // The last one that has begun is the one that issues.
    let (mut held, mut others): (Vec<_>, Vec<_>) = after.intermediates.drain(..).partition(|it| it.held);
    for intermediate in &mut held {
        (intermediate.held, intermediate.issuing_from) = (false, Some(now));
    }
    others.append(&mut held);
    after.intermediates = others;
    after.root_change = after.root_change.map(|change| RootChange { activated_at: Some(now), ..change });
    Ok(after)
}

/// Since when the new root issues, if the one before is still there.
pub fn retirable(hierarchy: &Hierarchy) -> Result<Timestamp, RootChangeError> {
    let change = hierarchy.root_change.ok_or(RootChangeError::NotPrepared)?;
    change.activated_at.ok_or(RootChangeError::NotActive)
}

/// Takes away every root but the newest, with its lists and with what it has signed.
pub fn retire(hierarchy: &Hierarchy) -> Result<Hierarchy, RootChangeError> {
    retirable(hierarchy)?;
    let mut after = hierarchy.clone();
    let newest = after.roots.pop().ok_or(RootChangeError::NotPrepared)?;
    let root = CaCertificate::read(&newest)?;
    let is_of_root = |list: &[u8]| crate::ca::parse::revocation_list::read_of(list, &root).is_ok();
    after.roots = vec![newest];
    after.root_lists.retain(|list| is_of_root(list));
    after.waiting_lists.retain(|waiting| is_of_root(&waiting.list));
    let domain = &hierarchy.trust_domain;
    after.intermediates.retain(|it| is_intermediate_below(&root, &it.certificate, domain));
    after.root_change = None;
    // The root that it was for may be gone; another request is easily made.
    after.open_request = None;
    Ok(after)
}

/// What roots have signed that are about to go.
#[derive(Debug, Clone)]
pub struct RetiringIssuers(Vec<Vec<u8>>);

impl RetiringIssuers {
    pub fn of(hierarchy: &Hierarchy) -> Result<Self, RootChangeError> {
        retirable(hierarchy)?;
        let newest = hierarchy.roots.last().ok_or(RootChangeError::NotPrepared)?;
        let newest = CaCertificate::read(newest)?;
        let stays = |certificate: &[u8]| is_intermediate_below(&newest, certificate, &hierarchy.trust_domain);
        let going = hierarchy.intermediates.iter().filter(|it| !stays(&it.certificate));
        let names = going.filter_map(|it| Some(CaCertificate::read(&it.certificate).ok()?.name));
        Ok(Self(names.collect()))
    }

    /// The serial and the last second of a certificate that one of them has signed.
    pub fn have_signed(&self, leaf: &[u8]) -> Option<(Serial, Timestamp)> {
        let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
        self.0.iter().find(|name| *name == leaf.issuer().as_raw())?;
        let serial = Serial::from_der_integer(leaf.raw_serial()).ok()?;
        Some((serial, Validity::read(&leaf).ok()?.not_after))
    }
}
