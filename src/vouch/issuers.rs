//! Verifying an SVID by the intermediates that are in force: one signature for each that is shown for the first time, none
//! for those that come again. Whether its serial or identity is denied is asked by whoever knows, each time.

use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::{SignedDuration, Timestamp};
use parking_lot::Mutex;
use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage, anchor_from_trusted_cert};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::FromDer;

use super::presented::{self, PresentedCertificate};
use super::refusal::NotVouched;
use crate::domain::enroll::enrollment::past_not_after;
use crate::domain::identity::spiffe::TrustDomain;
use crate::svid::{NotAnSvid, Svid};

/// What intermediates of ours sign with.
const ALGORITHMS: [&dyn SignatureVerificationAlgorithm; 2] =
    [webpki::aws_lc_rs::ECDSA_P256_SHA256, webpki::aws_lc_rs::ECDSA_P384_SHA384];

/// How far the clock may be behind that of whoever signed.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Texts remembered in each of two generations: several times as many agents as any relying party hears from at once.
const REMEMBERED_MAX: usize = 8192;

/// Why a certificate is not one of this agent CA.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainRefusal {
    /// It is none that says what SVIDs of agents say.
    #[error(transparent)]
    NotAnSvid(#[from] NotAnSvid),
    /// No intermediate in force has its issuer's name and key.
    #[error("none of its intermediates has issued it")]
    UnknownIssuer,
    /// The signature is not the issuer's, or the certificate breaks a rule of RFC 5280.
    #[error("the signature of its intermediate does not verify")]
    Signature,
    /// Signed by a clock that was far ahead.
    #[error("it is not valid yet")]
    NotYetValid,
    /// The id names another one.
    #[error("it is of another trust domain")]
    TrustDomain,
    /// A relying party that verifies the whole chain would have refused it when the issuer ended.
    #[error("it ends later than its intermediate")]
    Outlives,
    /// Something came with it that is no intermediate of ours, such as another agent's certificate.
    #[error("what came with it is not its intermediate")]
    Above,
}

/// An SVID whose chain is good. It may have expired, be denied or be unknown.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifiedSvid {
    /// What it says.
    pub svid: Svid,
    /// DER.
    pub leaf: Vec<u8>,
}

/// The intermediates that are in force, and what they have been found to have signed.
pub struct Issuers {
    trust_domain: TrustDomain,
    known: Vec<KnownIssuer>,
    remembered: Mutex<Remembered>,
}

struct KnownIssuer {
    der: Vec<u8>,
    name: Vec<u8>,
    key_id: Vec<u8>,
    /// Its last second: an anchor has none, so what it signed must not outlive it.
    not_after: Timestamp,
    anchor: TrustAnchor<'static>,
}

/// By the digest of the text as it was shown. The older generation goes when the newer one is full.
#[derive(Default)]
struct Remembered {
    newer: Generation,
    older: Generation,
}

type Generation = HashMap<[u8; 32], Arc<VerifiedSvid>>;

impl Issuers {
    /// Certificates that are no intermediates (DER) have issued nothing.
    pub fn new(trust_domain: TrustDomain, intermediates: impl IntoIterator<Item = impl AsRef<[u8]>>) -> Self {
        let known = intermediates.into_iter().filter_map(|der| KnownIssuer::read(der.as_ref())).collect();
        Self { trust_domain, known, remembered: Mutex::default() }
    }

    /// The SVID that a text shows, verified now or before.
    ///
    /// # Errors
    /// Where it can't be read, is not one of these issuers', or has expired.
    pub fn verify(&self, text: &str, now: Timestamp) -> Result<Arc<VerifiedSvid>, NotVouched> {
        let mut key = [0; 32];
        key.copy_from_slice(digest(&SHA256, text.as_bytes()).as_ref());
        let known = self.remembered.lock().find(&key);
        let verified = match known {
            Some(verified) => verified,
            None => {
                let verified = Arc::new(self.judge(presented::read(text)?, now)?);
                let forgotten = self.remembered.lock().keep(key, Arc::clone(&verified));
                // Without the lock: they are thousands.
                drop(forgotten);
                verified
            }
        };
        if past_not_after(verified.svid.not_after, now) {
            return Err(NotVouched::Expired);
        }
        Ok(verified)
    }

    fn judge(&self, shown: PresentedCertificate, now: Timestamp) -> Result<VerifiedSvid, ChainRefusal> {
        let svid = Svid::from_der(&shown.leaf)?;
        let issuer = self.known.iter().find(|known| known.issued(&svid));
        let issuer = issuer.ok_or(ChainRefusal::UnknownIssuer)?;
        issuer.verify(&shown.leaf, svid.not_before)?;
        if svid.not_after > issuer.not_after {
            return Err(ChainRefusal::Outlives);
        }
        if svid.spiffe_id.trust_domain != self.trust_domain {
            return Err(ChainRefusal::TrustDomain);
        }
        if svid.not_before.duration_since(now) > CLOCK_SKEW {
            return Err(ChainRefusal::NotYetValid);
        }
        // The root may follow; it says nothing that is asked here.
        if shown.above.first().is_some_and(|above| *above != issuer.der) {
            return Err(ChainRefusal::Above);
        }
        Ok(VerifiedSvid { svid, leaf: shown.leaf })
    }
}

impl KnownIssuer {
    fn read(der: &[u8]) -> Option<Self> {
        let ([], certificate) = X509Certificate::from_der(der).ok()? else { return None };
        let key_id = certificate.extensions().iter().find_map(|it| match it.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => Some(id.0.to_vec()),
            _ => None,
        })?;
        let owned = CertificateDer::from(der);
        let anchor = anchor_from_trusted_cert(&owned).ok()?.to_owned();
        let not_after = Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()?;
        let name = certificate.subject().as_raw().to_vec();
        Some(Self { der: der.to_vec(), name, key_id, not_after, anchor })
    }

    fn issued(&self, svid: &Svid) -> bool {
        svid.issuer == self.name && svid.issuer_key_id.as_ref() == Some(&self.key_id)
    }

    /// The signature and the rules of RFC 5280, at a time when the certificate was valid: whether it still is, is another
    /// question.
    fn verify(&self, leaf: &[u8], at: Timestamp) -> Result<(), ChainRefusal> {
        let refused = |_| ChainRefusal::Signature;
        let der = CertificateDer::from(leaf);
        let leaf = EndEntityCert::try_from(&der).map_err(refused)?;
        let at = u64::try_from(at.as_second()).map_err(|_| ChainRefusal::Signature)?;
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at));
        let anchors = std::slice::from_ref(&self.anchor);
        let verified =
            leaf.verify_for_usage(&ALGORITHMS, anchors, &[], at, KeyUsage::client_auth(), None, None);
        verified.map(|_| ()).map_err(refused)
    }
}

impl Remembered {
    fn find(&mut self, key: &[u8; 32]) -> Option<Arc<VerifiedSvid>> {
        if let Some(found) = self.newer.get(key) {
            return Some(Arc::clone(found));
        }
        // Where the newer generation is full, it stays in the older one until that goes.
        if self.newer.len() >= REMEMBERED_MAX {
            return self.older.get(key).map(Arc::clone);
        }
        let found = self.older.remove(key)?;
        self.newer.insert(*key, Arc::clone(&found));
        Some(found)
    }

    /// Takes one in; what had to go for it.
    fn keep(&mut self, key: [u8; 32], verified: Arc<VerifiedSvid>) -> Generation {
        let mut gone = Generation::new();
        if self.newer.len() >= REMEMBERED_MAX {
            gone = std::mem::replace(&mut self.older, std::mem::take(&mut self.newer));
        }
        self.newer.insert(key, verified);
        gone
    }
}

impl fmt::Debug for Issuers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issuers").field("known", &self.known.len()).finish_non_exhaustive()
    }
}
