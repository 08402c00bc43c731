//! The agent CA's beginning and its public face: a root that is kept nowhere, an intermediate that signs.

use std::fmt;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use rcgen::{Issuer, PublicKeyData, SubjectPublicKeyInfo};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use super::authority::IssuerList;
use super::ca_certificate::{CaCertificate, CaCertificateError};
use super::crl::{self, CrlSignError, ListedReason, RevokedEntry};
use super::entropy::{self, NoEntropy};
use super::envelope::{Envelope, EnvelopeError};
use super::issuing_key::IssuingKey;
use super::profile::{self, ProfileError};
use super::root_list::{self, RootListError};
pub use crate::ca::described::{CaRole, CertificateSummary, DamagedCertificate, describe, issuing};
use crate::ca::parse::revocation_list::{self, RevocationList};
use crate::ca::parse::signed::SignedData;
use crate::ca::parse::validity::Validity;
use crate::domain::identity::hierarchy::{Hierarchy, Intermediate, OpenRootRequest, RootTask};
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::TrustDomain;
use crate::domain::network::crl_base::CrlBase;
use crate::domain::network::pin::Pin;
use crate::pem;
use crate::pem::file::{PemFileError, PrivateKey, private_key};

/// A hierarchy that was just made.
pub struct NewHierarchy {
    pub hierarchy: Hierarchy,
    /// PKCS#8. The only copy there is: the caller shows it once.
    pub root_key_pem: Zeroizing<String>,
}

impl fmt::Debug for NewHierarchy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NewHierarchy").field("hierarchy", &self.hierarchy).finish_non_exhaustive()
    }
}

/// Why no hierarchy was made.
#[derive(Debug, thiserror::Error)]
pub enum InitError {
    #[error("can't give the CA certificates serials")]
    Serial(#[from] NoEntropy),
    #[error("can't put the CA certificates together")]
    Profile(#[from] ProfileError),
    #[error("can't make the CA keys or sign with them")]
    Key(#[from] rcgen::Error),
    #[error("the new root can't sign")]
    Root(#[from] CaCertificateError),
    #[error("can't seal the intermediate's key")]
    Seal(#[from] EnvelopeError),
    #[error("can't make the root's revocation list")]
    List(#[from] CrlSignError),
}

/// Makes a root and its first intermediate.
pub fn init(
    trust_domain: &TrustDomain,
    envelope: &Envelope,
    crl_base: Option<&CrlBase>,
    now: Timestamp,
) -> Result<NewHierarchy, InitError> {
    let root_key = IssuingKey::generate()?;
    let root = profile::root(trust_domain, entropy::serial(now)?, now)?.self_signed(&root_key)?;
    let root_key_pem = Zeroizing::new(pem::encode(pem::PRIVATE_KEY, root_key.pkcs8()));
    let root = CaCertificate::read(root.der())?;
    let issuer = root.issuer(root_key)?;
    let key = IssuingKey::generate()?;
    let wanted = Wanted { list_before: None, revoked: None, trust_domain, crl_base };
    let SignedIntermediate { certificate, root_list } = certify(&root, &issuer, &key, &wanted, now)?;
    let intermediate = new_intermediate(certificate, envelope.seal(key.pkcs8())?, None);
    let hierarchy = Hierarchy {
        trust_domain: trust_domain.clone(),
        roots: vec![root.der],
        root_lists: vec![root_list],
        waiting_lists: Vec::new(),
        intermediates: vec![intermediate],
        svid_lifetimes: Vec::new(),
        root_change: None,
        open_request: None,
    };
    Ok(NewHierarchy { hierarchy, root_key_pem })
}

/// An intermediate that issues from then on; none: at once.
pub fn new_intermediate(
    certificate: Vec<u8>,
    sealed_key: Vec<u8>,
    issuing_from: Option<Timestamp>,
) -> Intermediate {
    let sealed_key = Some(sealed_key);
    Intermediate { certificate, sealed_key, issuing_from, revocation: None, last_list: None, held: false }
}

/// What a root signs for another intermediate: a public key, made by whoever will hold the private one.
#[derive(Debug, Clone)]
pub struct IntermediateRequest {
    pub trust_domain: TrustDomain,
    /// DER.
    pub roots: Vec<Vec<u8>>,
    /// DER: the roots' newest revocation lists, which the next one follows.
    pub root_lists: Vec<Vec<u8>>,
    /// SubjectPublicKeyInfo, DER.
    pub public_key: Vec<u8>,
    /// The private key, sealed with the envelope. It comes back with the certificate, so nobody must remember it.
    pub sealed_key: Vec<u8>,
    /// The intermediate that goes onto the root's list.
    pub revoked: Option<Serial>,
    /// Where relying parties are to find revocation lists.
    pub crl_base: Option<CrlBase>,
}

/// Why no further intermediate was made. Nothing of the key is in the texts.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    #[error("the root key is encrypted; decrypt it on the way in: {with} FILE | muster agent-ca renew")]
    Encrypted { with: &'static str },
    #[error("the root key is not a PEM text with one private key")]
    NotAKey(#[source] PemFileError),
    #[error("the root key is not a P-256 private key")]
    Unsuitable(#[source] rcgen::Error),
    #[error("a stored root can't sign")]
    Root(#[from] CaCertificateError),
    #[error(
        "this is not the key of this agent CA's root; wanted is that of the root with the SHA-256 {wanted}"
    )]
    OtherKey { wanted: String },
    #[error("the root expired at {not_after}")]
    RootExpired { not_after: Timestamp },
    #[error(transparent)]
    Making(#[from] InitError),
    #[error("the new certificate is not one that a root of this agent CA signed for an intermediate")]
    NotOurs,
    #[error(
        "the new intermediate is signed by a root that does not issue at present; 'muster agent-ca show' says which does"
    )]
    OtherRoot,
    #[error(
        "the new certificate begins at {not_before}, which is still to come: the clock of this machine or of the one that signed is wrong"
    )]
    NotYetValid { not_before: Timestamp },
    #[error("the new certificate is not of the key that came with it")]
    KeyMismatch,
    #[error(transparent)]
    RootList(#[from] RootListError),
    #[error("the list beside the root key is not this root's; move it away and look which key this is")]
    KeptListOfAnother,
    #[error(
        "the list in the request lacks what this root has revoked ({}): the server is older than it was, or somebody wants that \
         forgotten. Install what was signed last, or revoke again, and make another request",
        list(.serials)
    )]
    ForgetsEntries { serials: Vec<Serial> },
}

fn list(serials: &[Serial]) -> String {
    serials.iter().map(Serial::to_string).collect::<Vec<_>>().join(", ")
}

/// The first line of an age file that is not armoured.
const AGE: &[u8] = b"age-encryption.org/";

/// Reads a root key as it comes from a file: PKCS#8 or SEC 1, with text around it or without.
pub fn read_root_key(text: &[u8]) -> Result<PrivateKey, RenewError> {
    if text.starts_with(AGE) {
        return Err(RenewError::Encrypted { with: "age -d" });
    }
    private_key(text).map_err(|error| match error {
        PemFileError::Encrypted { label: "AGE ENCRYPTED FILE", .. } => {
            RenewError::Encrypted { with: "age -d" }
        }
        PemFileError::Encrypted { .. } => RenewError::Encrypted { with: "openssl pkey -in" },
        error => RenewError::NotAKey(error),
    })
}

/// Makes the key of another intermediate, for a root to sign. One that is there may be revoked with it: by its own root.
pub fn request(
    hierarchy: &Hierarchy,
    envelope: &Envelope,
    task: RootTask,
    crl_base: Option<CrlBase>,
) -> Result<IntermediateRequest, InitError> {
    let key = IssuingKey::generate()?;
    let (roots, revoked) = match task {
        RootTask::Renew => (hierarchy.issuing_root().into_iter().cloned().collect(), None),
        RootTask::Revoke(serial) => (vec![root_of(hierarchy, serial)?.der], Some(serial)),
        RootTask::Prepare => (hierarchy.roots.clone(), None),
    };
    // Of a root that has both, the one that waits is the newer.
    let waiting = hierarchy.waiting_lists.iter().map(|waiting| &waiting.list);
    Ok(IntermediateRequest {
        trust_domain: hierarchy.trust_domain.clone(),
        root_lists: waiting.chain(&hierarchy.root_lists).cloned().collect(),
        roots,
        public_key: key.subject_public_key_info(),
        sealed_key: envelope.seal(key.pkcs8())?,
        revoked,
        crl_base,
    })
}

/// The root that has signed an intermediate.
fn root_of(hierarchy: &Hierarchy, intermediate: Serial) -> Result<CaCertificate, CaCertificateError> {
    let mut stored = hierarchy.intermediates.iter();
    let is_it = |it: &&Intermediate| {
        CaCertificate::read(&it.certificate).is_ok_and(|read| read.serial == Some(intermediate))
    };
    let found = stored.find(is_it).ok_or(CaCertificateError::Damaged)?;
    let mut roots = hierarchy.roots.iter().filter_map(|root| CaCertificate::read(root).ok());
    let root = roots.find(|root| is_intermediate_below(root, &found.certificate, &hierarchy.trust_domain));
    root.ok_or(CaCertificateError::Damaged)
}

/// The newest list of the root that is to sign, if it has one.
pub fn lists_of_signer(request: &IntermediateRequest) -> Vec<Vec<u8>> {
    let [root] = &request.roots[..] else { return Vec::new() };
    let Ok(root) = CaCertificate::read(root) else { return Vec::new() };
    let mut lists = request.root_lists.iter();
    lists.find(|list| revocation_list::read_of(list, &root).is_ok()).into_iter().cloned().collect()
}

/// When the newest list was made that a root's next one follows.
pub fn newest_root_list(request: &IntermediateRequest) -> Option<Timestamp> {
    let roots: Vec<_> = request.roots.iter().filter_map(|root| CaCertificate::read(root).ok()).collect();
    let of_a_root = |list: &Vec<u8>| roots.iter().find_map(|root| revocation_list::read_of(list, root).ok());
    request.root_lists.iter().filter_map(of_a_root).map(|list| crl::made_at(&list)).max()
}

/// What a root signs for a renewal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedIntermediate {
    /// DER.
    pub certificate: Vec<u8>,
    /// The root's next revocation list, DER.
    pub root_list: Vec<u8>,
}

/// Signs the certificate of a request with the root's key, where that key is: it goes nowhere else. With it comes the
/// root's next revocation list, which nobody could make later without the key.
pub fn sign(
    request: &IntermediateRequest,
    root_key: &PrivateKey,
    now: Timestamp,
) -> Result<SignedIntermediate, RenewError> {
    let (root, issuer) = root_for(request, root_key, now)?;
    let before = list_before(request, &root, None)?;
    sign_as(request, &root, &issuer, before.as_ref(), now)
}

/// The root of a request whose key this is.
pub(crate) fn root_for(
    request: &IntermediateRequest,
    root_key: &PrivateKey,
    now: Timestamp,
) -> Result<(CaCertificate, Issuer<'static, IssuingKey>), RenewError> {
    let key = IssuingKey::read(root_key).map_err(RenewError::Unsuitable)?;
    let roots = request.roots.iter().map(|known| CaCertificate::read(known));
    let roots = roots.collect::<Result<Vec<_>, _>>()?;
    let wanted = || roots.iter().map(|root| Pin::of(&root.der).to_string()).collect::<Vec<_>>().join(" or ");
    let root = roots.iter().rfind(|root| root.is_of(&key)).cloned();
    let root = root.ok_or_else(|| RenewError::OtherKey { wanted: wanted() })?;
    if root.validity.not_after <= now {
        return Err(RenewError::RootExpired { not_after: root.validity.not_after });
    }
    let issuer = root.issuer(key)?;
    Ok((root, issuer))
}

/// The list that the root's next one follows: the request's, which must have all that the list has that was kept where the key
/// is.
pub(crate) fn list_before(
    request: &IntermediateRequest,
    root: &CaCertificate,
    kept: Option<&[u8]>,
) -> Result<Option<RevocationList>, RenewError> {
    let before = request.root_lists.iter().find_map(|list| revocation_list::read_of(list, root).ok());
    let Some(kept) = kept else { return Ok(before) };
    let kept = revocation_list::read_of(kept, root).map_err(|_| RenewError::KeptListOfAnother)?;
    let has = |serial: &Serial| {
        let mut listed = before.iter().flat_map(|list| &list.revoked);
        request.revoked == Some(*serial) || listed.any(|(listed, ..)| listed == serial)
    };
    let serials: Vec<Serial> =
        kept.revoked.iter().map(|(serial, ..)| *serial).filter(|serial| !has(serial)).collect();
    if !serials.is_empty() {
        return Err(RenewError::ForgetsEntries { serials });
    }
    let number = kept.number.max(before.as_ref().map_or(0, |list| list.number));
    Ok(Some(RevocationList { number, ..before.unwrap_or(kept) }))
}

/// What a root signs for a request, its list continuing another.
pub(crate) fn sign_as(
    request: &IntermediateRequest,
    root: &CaCertificate,
    issuer: &Issuer<'static, IssuingKey>,
    before: Option<&RevocationList>,
    now: Timestamp,
) -> Result<SignedIntermediate, RenewError> {
    let public_key = SubjectPublicKeyInfo::from_der(&request.public_key).map_err(InitError::from)?;
    let wanted = Wanted {
        list_before: before,
        revoked: request.revoked,
        trust_domain: &request.trust_domain,
        crl_base: request.crl_base.as_ref(),
    };
    Ok(certify(root, issuer, &public_key, &wanted, now)?)
}

/// Takes over what [`sign`] made, if it is an intermediate of this hierarchy and of the key that came with it, and the root's
/// list continues the one that is there. Intermediates that are there stay, so what they signed stays good.
pub fn accept(
    hierarchy: &Hierarchy,
    signed: SignedIntermediate,
    sealed_key: Vec<u8>,
    issuing_from: Timestamp,
    envelope: &Envelope,
    now: Timestamp,
) -> Result<Hierarchy, RenewError> {
    let (mut after, accepted) = take(hierarchy, signed, sealed_key, issuing_from, envelope, now)?;
    if hierarchy.issuing_root() != Some(&accepted.root.der) {
        return Err(RenewError::OtherRoot);
    }
    // While a list waits for agents to rotate, this one waits in its place: it names the same intermediate.
    let waiting = after.waiting_lists.iter().position(|waiting| accepted.is_of_root(&waiting.list));
    match waiting {
        Some(place) => after.waiting_lists[place].list = accepted.list,
        None => {
            after.root_lists.retain(|list| !accepted.is_of_root(list));
            after.root_lists.push(accepted.list);
        }
    }
    Ok(after)
}

/// A root's list that came with an intermediate, and continues the root's newest one. It is in no hierarchy yet.
pub(crate) struct AcceptedList {
    pub root: CaCertificate,
    pub list: Vec<u8>,
    pub read: RevocationList,
}

impl AcceptedList {
    /// Whether another list is the same root's.
    pub(crate) fn is_of_root(&self, list: &[u8]) -> bool {
        revocation_list::read_of(list, &self.root).is_ok()
    }
}

/// The hierarchy with a new intermediate, and the root's list that came with it.
pub(crate) fn take(
    hierarchy: &Hierarchy,
    signed: SignedIntermediate,
    sealed_key: Vec<u8>,
    issuing_from: Timestamp,
    envelope: &Envelope,
    now: Timestamp,
) -> Result<(Hierarchy, AcceptedList), RenewError> {
    let SignedIntermediate { certificate, root_list } = signed;
    let read = CaCertificate::read(&certificate).map_err(|_| RenewError::NotOurs)?;
    let key = envelope.unseal(&sealed_key).map_err(InitError::from)?;
    let key = IssuingKey::from_pkcs8(&key).map_err(|_| RenewError::KeyMismatch)?;
    if !read.is_of(&key) {
        return Err(RenewError::KeyMismatch);
    }
    let mut roots = hierarchy.roots.iter().filter_map(|root| CaCertificate::read(root).ok());
    let root = roots.find(|root| is_intermediate_below(root, &certificate, &hierarchy.trust_domain));
    let root = root.filter(|_| read.validity.not_after > now).ok_or(RenewError::NotOurs)?;
    let Validity { not_before, .. } = read.validity;
    if not_before > now {
        return Err(RenewError::NotYetValid { not_before });
    }
    let is_of_root = |list: &&Vec<u8>| revocation_list::read_of(list, &root).is_ok();
    let waiting = hierarchy.waiting_lists.iter().map(|waiting| &waiting.list);
    let before = waiting.chain(&hierarchy.root_lists).find(is_of_root);
    let read_list =
        root_list::accept(&root, before.map(|list| &list[..]), &root_list, read.validity.not_after)?;
    let mut after = hierarchy.clone();
    // What was asked for has come back.
    after.open_request = after.open_request.filter(|open| open.sealed_key != sealed_key);
    after.intermediates.push(new_intermediate(certificate, sealed_key, Some(issuing_from)));
    Ok((after, AcceptedList { root, list: root_list, read: read_list }))
}

/// Whether a root of the hierarchy has signed this intermediate (DER), be it on record or not.
pub(crate) fn is_below_a_root_of(hierarchy: &Hierarchy, certificate: &[u8]) -> bool {
    let roots = hierarchy.roots.iter().filter_map(|root| CaCertificate::read(root).ok());
    roots.into_iter().any(|root| is_intermediate_below(&root, certificate, &hierarchy.trust_domain))
}

pub(crate) fn is_intermediate_below(
    root: &CaCertificate,
    certificate: &[u8],
    trust_domain: &TrustDomain,
) -> bool {
    // The lenient parser sees only what the root signed.
    let signed = SignedData::read(certificate).is_ok_and(|signed| signed.verify(&root.key).is_ok());
    if !signed {
        return false;
    }
    let Ok((_, read)) = X509Certificate::from_der(certificate) else { return false };
    let constraints = read.basic_constraints().ok().flatten().map(|extension| extension.value.clone());
    let usage = read.key_usage().ok().flatten().is_some_and(|extension| extension.value.key_cert_sign());
    let names = read.subject_alternative_name().ok().flatten();
    let named = names.is_some_and(|names| match &names.value.general_names[..] {
        [GeneralName::URI(uri)] => *uri == trust_domain.id(),
        _ => false,
    });
    read.issuer().as_raw() == root.name
        && constraints.is_some_and(|it| it.ca && it.path_len_constraint == Some(0))
        && usage
        && named
}

/// What a root is to sign for an intermediate.
struct Wanted<'a> {
    list_before: Option<&'a RevocationList>,
    revoked: Option<Serial>,
    trust_domain: &'a TrustDomain,
    crl_base: Option<&'a CrlBase>,
}

/// An intermediate's certificate, and the root's list that goes with it.
fn certify(
    root: &CaCertificate,
    issuer: &Issuer<'static, IssuingKey>,
    public_key: &impl PublicKeyData,
    wanted: &Wanted<'_>,
    now: Timestamp,
) -> Result<SignedIntermediate, InitError> {
    let crl_url = wanted.crl_base.map(|base| base.of_issuer(&HEXLOWER.encode(&root.key_identifier)));
    let serial = entropy::serial(now)?;
    let params = profile::intermediate(wanted.trust_domain, serial, now, root.validity.not_after, crl_url)?;
    let ends = Timestamp::from_second(params.not_after.unix_timestamp()).unwrap_or(root.validity.not_after);
    let certificate = params.signed_by(public_key, issuer)?.der().to_vec();
    let revoked: Vec<RevokedEntry> =
        wanted.revoked.map(|serial| (serial, now, ListedReason::CaCompromise)).into_iter().collect();
    let root_list = root_list::sign(root, issuer, wanted.list_before, &revoked, ends, now)?;
    Ok(SignedIntermediate { certificate, root_list })
}

/// The same hierarchy with its keys sealed so that each of these envelopes opens them.
pub fn reseal(hierarchy: &Hierarchy, from: &Envelope, to: &[&Envelope]) -> Result<Hierarchy, EnvelopeError> {
    let reseal = |stored: &Intermediate| {
        let reseal = |sealed: &Vec<u8>| Envelope::seal_for(to, &from.unseal(sealed)?);
        let sealed_key = stored.sealed_key.as_ref().map(reseal).transpose()?;
        Ok(Intermediate { sealed_key, ..stored.clone() })
    };
    let intermediates = hierarchy.intermediates.iter().map(reseal).collect::<Result<_, EnvelopeError>>()?;
    let mut open_request = hierarchy.open_request.clone();
    if let Some(OpenRootRequest { sealed_key, .. }) = &mut open_request {
        *sealed_key = Envelope::seal_for(to, &from.unseal(sealed_key)?)?;
    }
    Ok(Hierarchy { intermediates, open_request, ..hierarchy.clone() })
}

/// The public certificates as PEM: roots, then intermediates, oldest first. Not those that relying parties are to refuse: who
/// takes the file for anchors checks none of them against the root's list.
pub fn bundle_pem(hierarchy: &Hierarchy) -> String {
    let intermediates = hierarchy.believed().map(|intermediate| &intermediate.certificate);
    hierarchy.roots.iter().chain(intermediates).map(|der| pem::certificate(der)).collect()
}

/// The roots alone as PEM: what relying parties take as their CA.
pub fn roots_pem(hierarchy: &Hierarchy) -> String {
    hierarchy.roots.iter().map(|root| pem::certificate(root)).collect()
}

/// The revocation list of each root that has one.
pub fn root_lists(hierarchy: &Hierarchy) -> Vec<IssuerList> {
    let roots = hierarchy.roots.iter().filter_map(|root| CaCertificate::read(root).ok());
    let list_of = |root: CaCertificate| {
        let der = hierarchy.root_lists.iter().find(|list| revocation_list::read_of(list, &root).is_ok())?;
        Some(IssuerList { issuer: HEXLOWER.encode(&root.key_identifier), der: der.clone() })
    };
    roots.filter_map(list_of).collect()
}

/// The affine coordinates of a CA certificate's key, if that is a P-256 one.
pub fn p256_coordinates(der: &[u8]) -> Option<([u8; 32], [u8; 32])> {
    CaCertificate::read(der).ok()?.key.p256_coordinates()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ca::authority::Authority;
    use crate::ca::testing::{Ca, envelope, now, openssl};

    #[test]
    fn the_hierarchy_is_as_its_profiles_say() {
        let ca = Ca::new();
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| fs::write(directory.path().join(name), content).unwrap();
        file("root.pem", &pem::certificate(&ca.hierarchy.roots[0]));
        file("intermediate.pem", &pem::certificate(&ca.hierarchy.intermediates[0].certificate));
        file("root.key", &ca.root_key_pem);
        let at = now().as_second().to_string();
        let run = |arguments: &[&str]| openssl(directory.path(), arguments);

        let Some((verified, said)) =
            run(&["verify", "-x509_strict", "-attime", &at, "-CAfile", "root.pem", "intermediate.pem"])
        else {
            return;
        };
        assert!(verified, "{said}");
        let (_, root) = run(&["x509", "-in", "root.pem", "-noout", "-text"]).unwrap();
        let (_, intermediate) = run(&["x509", "-in", "intermediate.pem", "-noout", "-text"]).unwrap();
        for text in [&root, &intermediate] {
            for part in [
                "X509v3 Key Usage: critical\n                Certificate Sign, CRL Sign\n",
                "X509v3 Basic Constraints: critical\n",
                "Signature Algorithm: ecdsa-with-SHA256",
                "NIST CURVE: P-256",
                "Subject Key Identifier",
                "Not Before: Nov 21 09:55:00 2026 GMT",
            ] {
                assert!(text.contains(part), "{part} in {text}");
            }
        }
        assert!(
            root.contains("CA:TRUE, pathlen:1\n") && root.contains("Not After : Nov 21 09:54:59 2036 GMT")
        );
        assert!(root.contains("Subject: CN = Muster agent root CA, O = muster\n"), "{root}");
        assert!(!root.contains("Alternative Name"), "{root}");
        assert!(intermediate.contains("CA:TRUE, pathlen:0\n"), "{intermediate}");
        assert!(intermediate.contains("Not After : Nov 21 09:54:59 2027 GMT"), "{intermediate}");
        assert!(intermediate.contains("Alternative Name: \n                URI:spiffe://muster\n"));
        assert!(!intermediate.contains("Name Constraints"), "{intermediate}");

        // The root key printed once is the root's.
        let (_, of_key) = run(&["pkey", "-in", "root.key", "-pubout"]).unwrap();
        let (_, of_certificate) = run(&["x509", "-in", "root.pem", "-noout", "-pubkey"]).unwrap();
        assert_eq!(of_key, of_certificate);
    }

    #[test]
    fn the_hierarchy_holds_no_key_in_the_clear() {
        let ca = Ca::new();
        assert!(ca.root_key_pem.starts_with("-----BEGIN PRIVATE KEY-----\n"));
        let stored = ca.hierarchy.intermediates[0].sealed_key.as_ref().unwrap();
        assert!(stored.starts_with(b"age-encryption.org/v1\n"));
        let bundle = bundle_pem(&ca.hierarchy);
        assert_eq!(bundle.matches("-----BEGIN CERTIFICATE-----").count(), 2);
        assert!(!bundle.contains("PRIVATE"));
        let made = init(&ca.hierarchy.trust_domain, &ca.envelope, None, now()).unwrap();
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }

    #[test]
    fn certificates_are_described() {
        let ca = Ca::new();
        let summaries = describe(&ca.hierarchy).unwrap();
        let [root, intermediate] = &summaries[..] else { unreachable!("one root and one intermediate") };
        assert_eq!((root.role, intermediate.role), (CaRole::Root, CaRole::Intermediate));
        assert_eq!(root.subject, "CN=Muster agent root CA, O=muster");
        assert!(intermediate.subject.contains("CN=Muster agent intermediate CA "));
        assert!(intermediate.subject.contains(&intermediate.serial[24..]));
        assert_eq!((root.serial.len(), intermediate.serial.len()), (32, 32));
        assert_eq!(root.fingerprint, Pin::of(&ca.hierarchy.roots[0]).to_string());
        assert_eq!(intermediate.not_after, ca.authority.intermediate_not_after(now()));
        let mut damaged = ca.hierarchy;
        damaged.roots[0].truncate(100);
        assert_eq!(describe(&damaged), Err(DamagedCertificate));
    }

    #[test]
    fn renewal_takes_the_roots_own_key_and_nothing_else() {
        let ca = Ca::new();
        let later = now() + jiff::SignedDuration::from_hours(24 * 300);
        let renew = |key: &str, at| {
            let request = request(&ca.hierarchy, &ca.envelope, RootTask::Renew, None).unwrap();
            let signed = sign(&request, &read_root_key(key.as_bytes())?, at)?;
            accept(&ca.hierarchy, signed, request.sealed_key, at, &ca.envelope, at)
        };
        let hierarchy = renew(&ca.root_key_pem, later).unwrap();
        let authority = Authority::open(&hierarchy, &ca.envelope).unwrap();
        assert!(authority.intermediate_not_after(later) > ca.authority.intermediate_not_after(now()));
        assert_eq!(authority.intermediate_not_after(now()), ca.authority.intermediate_not_after(now()));
        assert_eq!(authority.next_begins(now()), Some(later));

        let after_the_root = now() + jiff::SignedDuration::from_hours(24 * 366 * 10);
        assert!(matches!(renew(&ca.root_key_pem, after_the_root), Err(RenewError::RootExpired { .. })));
        let other = Ca::new();
        let error = renew(&other.root_key_pem, later).unwrap_err();
        let wanted = Pin::of(&ca.hierarchy.roots[0]).to_string();
        assert!(
            matches!(&error, RenewError::OtherKey { .. }) && error.to_string().contains(&wanted),
            "{error}"
        );
        let bundle = bundle_pem(&ca.hierarchy);
        let doubled = format!("{0}{0}", *ca.root_key_pem);
        for garbage in ["", "garbage", &bundle, &doubled, &ca.root_key_pem[..100]] {
            assert!(matches!(renew(garbage, later), Err(RenewError::NotAKey(_))), "{garbage}");
        }
        let not_a_key = pem::encode(pem::PRIVATE_KEY, b"garbage");
        assert!(matches!(renew(&not_a_key, later), Err(RenewError::Unsuitable(_))));
        let described = format!("\u{feff}Muster root, keep offline\n{}", *ca.root_key_pem);
        renew(&described, later).unwrap();
        for (encrypted, with) in [
            ("age-encryption.org/v1\n".to_owned(), "age -d"),
            (pem::encode("AGE ENCRYPTED FILE", b"x"), "age -d"),
            (pem::encode("ENCRYPTED PRIVATE KEY", b"x"), "openssl pkey -in"),
        ] {
            let error = renew(&encrypted, later).unwrap_err();
            assert!(matches!(&error, RenewError::Encrypted { with: said } if *said == with), "{error}");
        }
    }

    #[test]
    fn only_an_intermediate_of_a_root_and_of_its_own_key_is_accepted() {
        let ca = Ca::new();
        let request = request(&ca.hierarchy, &ca.envelope, RootTask::Renew, None).unwrap();
        let root_key = read_root_key(ca.root_key_pem.as_bytes()).unwrap();
        let good = sign(&request, &root_key, now()).unwrap();
        let accept = |signed: &SignedIntermediate, sealed_key: &[u8], at| {
            accept(&ca.hierarchy, signed.clone(), sealed_key.to_vec(), at, &ca.envelope, at)
        };
        let with =
            |certificate: &[u8]| SignedIntermediate { certificate: certificate.to_vec(), ..good.clone() };
        let sealed = &request.sealed_key;
        accept(&good, sealed, now()).unwrap();
        let in_two_years = now() + jiff::SignedDuration::from_hours(24 * 800);
        assert!(matches!(accept(&good, sealed, in_two_years), Err(RenewError::NotOurs)));
        let old = &ca.hierarchy.intermediates[0];
        let their_key = old.sealed_key.as_ref().unwrap();
        assert!(matches!(accept(&good, their_key, now()), Err(RenewError::KeyMismatch)));
        assert!(matches!(accept(&with(&old.certificate), sealed, now()), Err(RenewError::KeyMismatch)));
        assert!(accept(&with(b"garbage"), sealed, now()).is_err());

        let other = Ca::new();
        let theirs = IntermediateRequest { roots: other.hierarchy.roots.clone(), ..request.clone() };
        let root_key = read_root_key(other.root_key_pem.as_bytes()).unwrap();
        let foreign = sign(&theirs, &root_key, now()).unwrap();
        assert!(matches!(accept(&foreign, sealed, now()), Err(RenewError::NotOurs)));
        let elsewhere = IntermediateRequest { trust_domain: "elsewhere".parse().unwrap(), ..request.clone() };
        let root_key = read_root_key(ca.root_key_pem.as_bytes()).unwrap();
        let misnamed = sign(&elsewhere, &root_key, now()).unwrap();
        assert!(matches!(accept(&misnamed, sealed, now()), Err(RenewError::NotOurs)));
    }

    #[test]
    fn a_root_s_list_continues_the_one_before() {
        let ca = Ca::new();
        let root = CaCertificate::read(&ca.hierarchy.roots[0]).unwrap();
        let key = IssuingKey::read(&read_root_key(ca.root_key_pem.as_bytes()).unwrap()).unwrap();
        let issuer = root.issuer(key).unwrap();
        let ends = now() + jiff::SignedDuration::from_hours(24 * 365);
        let first = &ca.hierarchy.root_lists[0];
        let before = revocation_list::read_of(first, &root).unwrap();
        assert!(before.revoked.is_empty() && before.next_update > ends);

        let serial = crate::domain::identity::serial::Serial::from_bytes([9; 16]);
        let revoked = (serial, now(), ListedReason::CaCompromise);
        let next = root_list::sign(&root, &issuer, Some(&before), &[revoked], ends, now()).unwrap();
        let read = root_list::accept(&root, Some(first), &next, ends).unwrap();
        assert!(read.number > before.number, "however little time has passed");
        assert_eq!(read.revoked.iter().map(|(serial, ..)| *serial).collect::<Vec<_>>(), [serial]);
        // The same again adds nothing, and nothing is ever taken off.
        let again = root_list::sign(&root, &issuer, Some(&read), &[revoked], ends, now()).unwrap();
        assert_eq!(revocation_list::read_of(&again, &root).unwrap().revoked.len(), 1);
        let accept = |before: &[u8], list: &[u8], ends| {
            root_list::accept(&root, Some(before), list, ends).unwrap_err()
        };
        assert_eq!(accept(&next, &next, ends), RootListError::NotNewer);
        assert_eq!(accept(&next, first, ends), RootListError::NotNewer);
        let later = now() + jiff::SignedDuration::from_hours(1);
        let lost = root_list::sign(&root, &issuer, None, &[], ends, later).unwrap();
        assert_eq!(accept(&next, &lost, ends), RootListError::LosesAnEntry);
        let in_ten_years = ends + jiff::SignedDuration::from_hours(24 * 3650);
        assert_eq!(accept(first, &next, in_ten_years), RootListError::EndsTooSoon);
        let other = Ca::new();
        assert!(matches!(accept(first, &other.hierarchy.root_lists[0], ends), RootListError::Unusable(_)));
    }

    #[test]
    fn two_hierarchies_share_nothing() {
        let domain = "muster".parse().unwrap();
        let envelope = envelope();
        let one = init(&domain, &envelope, None, now()).unwrap().hierarchy;
        let two = init(&domain, &envelope, None, now()).unwrap().hierarchy;
        let subject = |hierarchy: &Hierarchy| describe(hierarchy).unwrap()[1].subject.clone();
        assert_ne!(one.roots, two.roots);
        assert_ne!(subject(&one), subject(&two));
    }
}
