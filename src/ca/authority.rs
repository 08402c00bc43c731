//! The issuing authority: the unsealed intermediates. One of them signs SVIDs, each signs its own revocation list.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use data_encoding::HEXLOWER;
use jiff::{SignedDuration, Timestamp};
use rcgen::{Issuer, SubjectPublicKeyInfo};
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::ca_certificate::{CaCertificate, CaCertificateError};
use super::crl::{self, CrlSignError, ListOrder, RevokedEntry};
use super::envelope::{Envelope, EnvelopeError};
use super::issuing_key::IssuingKey;
use super::profile::{self, ProfileError};
use crate::ca::parse::csr::VerifiedCsr;
use crate::ca::parse::lint;
use crate::ca::parse::lint::{ExpectedProfile, OutOfProfile};
use crate::ca::parse::validity::Validity;
use crate::domain::enroll::enrollment::SVID_LIFETIME_MAX;
use crate::domain::identity::hierarchy::{Hierarchy, Intermediate};
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::{SpiffeId, TrustDomain};
use crate::domain::network::crl_base::CrlBase;
use crate::pem;

/// The shortest SVID that is of any use to an agent.
const USEFUL_LIFETIME: SignedDuration = SignedDuration::from_secs(10);

/// Of so many SVIDs of an intermediate, the first has its signature verified. So a signer that is broken signs no more than
/// these, and none of them is kept by its agent, which verifies each.
const VERIFIED_OF: u64 = 16;

/// What was asked for before a revocation may have been signed by the old intermediate this much later.
const MADE_MEANWHILE: SignedDuration = SignedDuration::from_secs(1);

/// The intermediates with their keys. Signing is all that can be done with it.
#[derive(Debug, Clone)]
pub struct Authority {
    trust_domain: TrustDomain,
    roots_pem: String,
    /// Newest first, with one at least. Those whose end has come, or whose keys are destroyed, sign nothing more.
    intermediates: Vec<IssuingCa>,
    /// When another root was prepared, or activated: agents rotate to get to know it, and to leave the one before.
    root_turn: Option<Timestamp>,
}

#[derive(Debug, Clone)]
struct IssuingCa {
    certificate: CaCertificate,
    /// From when on it signs SVIDs, until a newer one does or it is revoked. It signs its list all the time.
    issuing_from: Timestamp,
    revoked_at: Option<Timestamp>,
    /// Whether its root is not activated: it signs its list alone.
    held: bool,
    issuer: Option<Arc<Issuer<'static, IssuingKey>>>,
    /// What it signed before its key was destroyed.
    last_list: Option<Vec<u8>>,
    /// How many SVIDs this process has signed with it.
    signed: Arc<AtomicU64>,
}

/// The revocation list of one issuer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuerList {
    /// The issuer's subject key identifier, in lower-case hex.
    pub issuer: String,
    pub der: Vec<u8>,
}

/// Why the agent CA can't sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("the agent CA has no intermediate")]
    NoIntermediate,
    #[error("the intermediate can't sign")]
    Certificate(#[from] CaCertificateError),
    #[error("can't unseal the intermediate's key")]
    Unseal(#[from] EnvelopeError),
    #[error("the intermediate's sealed key is not a P-256 private key")]
    Key(#[source] rcgen::Error),
}

/// What an SVID is to say, decided by the server.
#[derive(Debug, Clone)]
pub struct SvidOrder {
    pub id: SpiffeId,
    pub serial: Serial,
    pub at: Timestamp,
    pub lifetime: SignedDuration,
    pub server_auth: bool,
    /// A DNS name beside the id, which must be its agent's.
    pub dns_name: Option<String>,
    /// Where relying parties are to find revocation lists.
    pub crl_base: Option<CrlBase>,
}

/// A signed SVID that has passed the lint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IssuedSvid {
    pub der: Vec<u8>,
    pub not_before: Timestamp,
    /// The last second in which it is valid.
    pub not_after: Timestamp,
}

/// Why nothing was signed.
#[derive(Debug, thiserror::Error)]
pub enum IssueError {
    #[error("the intermediate CA expired or is about to ({not_after}); renew it with: muster agent-ca renew")]
    IntermediateExpired { not_after: Timestamp },
    #[error("every intermediate CA is revoked; make one with: muster agent-ca renew --now")]
    IntermediateRevoked,
    #[error("can't put the certificate together")]
    Profile(#[from] ProfileError),
    #[error("can't sign")]
    Sign(#[from] rcgen::Error),
    #[error("a signed certificate was withheld")]
    OutOfProfile(#[from] OutOfProfile),
}

impl Authority {
    /// Unseals the keys of the intermediates, and checks that each is its certificate's. Whatever the clock says of their ends:
    /// it may be ahead, and is put right while the server runs.
    pub fn open(hierarchy: &Hierarchy, envelope: &Envelope) -> Result<Self, AuthorityError> {
        let mut intermediates = Vec::new();
        for stored in hierarchy.intermediates.iter().rev() {
            let certificate = CaCertificate::read(&stored.certificate)?;
            let issuer = match &stored.sealed_key {
                Some(sealed_key) => {
                    let pkcs8 = envelope.unseal(sealed_key)?;
                    let key = IssuingKey::from_pkcs8(&pkcs8).map_err(AuthorityError::Key)?;
                    Some(Arc::new(certificate.issuer(key)?))
                }
                None => None,
            };
            intermediates.push(IssuingCa {
                issuing_from: stored.issuing_from.unwrap_or(certificate.validity.not_before),
                revoked_at: stored.revocation.map(|revocation| revocation.at),
                held: stored.held,
                last_list: stored.last_list.clone(),
                certificate,
                issuer,
                signed: Arc::default(),
            });
        }
        if intermediates.is_empty() {
            return Err(AuthorityError::NoIntermediate);
        }
        let roots_pem = hierarchy.roots.iter().map(|root| pem::certificate(root)).collect();
        let root_turn = hierarchy.root_change.map(|change| change.activated_at.unwrap_or(change.prepared_at));
        Ok(Self { trust_domain: hierarchy.trust_domain.clone(), roots_pem, intermediates, root_turn })
    }

    /// The intermediate that issues at a time: the newest one whose time has come.
    fn issuing_at(&self, at: Timestamp) -> &IssuingCa {
        let mut trusted = self.intermediates.iter().filter(|intermediate| intermediate.may_issue());
        let begun = trusted.clone().find(|intermediate| intermediate.issuing_from <= at);
        let oldest = || trusted.next_back().unwrap_or(&self.intermediates[self.intermediates.len() - 1]);
        begun.unwrap_or_else(oldest)
    }

    /// When another intermediate begins to issue.
    pub fn next_begins(&self, now: Timestamp) -> Option<Timestamp> {
        let trusted = self.intermediates.iter().filter(|intermediate| intermediate.may_issue());
        trusted.map(|intermediate| intermediate.issuing_from).filter(|begins| *begins > now).min()
    }

    /// Agents whose SVIDs were made before this are to rotate: an intermediate was revoked then, or another root came, and some of
    /// what was signed before may not have expired. Where the authority that this one has just taken the place of still issued from it, that is now.
    pub fn rotate_what_is_older_than(&self, before: Option<&Self>, now: Timestamp) -> Option<Timestamp> {
        let recorded = self.newest_turn()?;
        if now.duration_since(recorded) >= SVID_LIFETIME_MAX {
            return None;
        }
        let issued_until_now = before.is_some_and(|before| before.newest_turn() != Some(recorded));
        let stopped = if issued_until_now { recorded.max(now) } else { recorded };
        Some(stopped.saturating_add(MADE_MEANWHILE).unwrap_or(stopped))
    }

    fn newest_turn(&self) -> Option<Timestamp> {
        let revoked = self.intermediates.iter().filter_map(|intermediate| intermediate.revoked_at);
        revoked.chain(self.root_turn).max()
    }

    /// Whether it is what a hierarchy comes to: the lists that it signs go with that one's certificates.
    pub fn is_of(&self, hierarchy: &Hierarchy) -> bool {
        let same = |(held, stored): (&IssuingCa, &Intermediate)| {
            held.certificate.der == stored.certificate
                && held.issuing_from == stored.issuing_from.unwrap_or(held.certificate.validity.not_before)
                && held.revoked_at == stored.revocation.map(|revocation| revocation.at)
                && held.held == stored.held
                && held.issuer.is_some() == stored.sealed_key.is_some()
        };
        let pairs = self.intermediates.iter().zip(hierarchy.intermediates.iter().rev());
        self.intermediates.len() == hierarchy.intermediates.len() && pairs.into_iter().all(same)
    }

    /// Whether it holds the key of the intermediate with this certificate.
    pub fn has_key_of(&self, certificate: &[u8]) -> bool {
        self.of(certificate).is_some_and(|intermediate| intermediate.issuer.is_some())
    }

    fn of(&self, certificate: &[u8]) -> Option<&IssuingCa> {
        self.intermediates.iter().find(|intermediate| intermediate.certificate.der == certificate)
    }

    /// The same without the key of an intermediate, whose last list, if it may still be asked for, is from now on this.
    #[must_use]
    pub fn without_key_of(&self, certificate: &[u8], last_list: Option<&[u8]>) -> Self {
        let mut without = self.clone();
        for intermediate in &mut without.intermediates {
            if intermediate.certificate.der == certificate {
                intermediate.issuer = None;
                intermediate.last_list = last_list.map(<[u8]>::to_vec);
            }
        }
        without
    }

    /// The last list of an intermediate, good until its own end; none where it has expired or its key is not here.
    pub fn last_list(
        &self,
        certificate: &[u8],
        revoked: &[RevokedEntry],
        number: u64,
        at: Timestamp,
    ) -> Result<Option<Vec<u8>>, CrlSignError> {
        let Some(intermediate) = self.of(certificate) else { return Ok(None) };
        let next_update = intermediate.certificate.validity.not_after;
        let Some(issuer) = intermediate.issuer.as_ref().filter(|_| next_update > at) else { return Ok(None) };
        let order = ListOrder { revoked, number, at, next_update };
        crl::sign(&intermediate.certificate, issuer, &order).map(Some)
    }

    /// Signs an SVID for the request's key. Nothing else of the request gets in.
    pub fn issue(&self, csr: &VerifiedCsr, order: &SvidOrder) -> Result<IssuedSvid, IssueError> {
        let intermediate = self.issuing_at(order.at);
        let validity = intermediate.validity(order.at, order.lifetime)?;
        let issuer = intermediate.key()?;
        let key_identifier = HEXLOWER.encode(&intermediate.certificate.key_identifier);
        let crl_url = order.crl_base.as_ref().map(|base| base.of_issuer(&key_identifier));
        let params = profile::svid(order, validity, crl_url.clone())?;
        let key = SubjectPublicKeyInfo::from_der(csr.spki_der())?;
        let der = params.signed_by(&key, issuer)?.der().to_vec();
        let expected = ExpectedProfile {
            id: &order.id,
            serial: order.serial,
            validity,
            spki: csr.spki_der(),
            server_auth: order.server_auth,
            dns_name: order.dns_name.as_deref(),
            crl_url: crl_url.as_deref(),
            issuer: &intermediate.certificate,
            verified: intermediate.signed.fetch_add(1, Ordering::Relaxed).is_multiple_of(VERIFIED_OF),
        };
        lint::svid(&der, &expected)?;
        Ok(IssuedSvid { der, not_before: validity.not_before, not_after: validity.not_after })
    }

    /// Whether an SVID of this lifetime can be issued at a time.
    pub fn issues_at(&self, at: Timestamp, lifetime: SignedDuration) -> Result<(), IssueError> {
        let intermediate = self.issuing_at(at);
        intermediate.validity(at, lifetime)?;
        intermediate.key().map(|_| ())
    }

    /// Signs the list of each intermediate that has not expired: the issuing one's first, then the others', newest first.
    ///
    /// Each holds every revoked certificate, whichever of them signed it: some programs read one list alone, and an entry
    /// that an issuer never signed does no harm.
    pub fn lists(&self, order: &ListOrder<'_>) -> Result<Vec<IssuerList>, CrlSignError> {
        let issuing = self.issuing_at(order.at);
        let others = self.intermediates.iter().filter(|other| !std::ptr::eq(*other, issuing));
        let list_of = |intermediate: &IssuingCa| {
            let certificate = &intermediate.certificate;
            if certificate.validity.not_after < order.at {
                return Ok(None);
            }
            let der = match (&intermediate.issuer, &intermediate.last_list) {
                (Some(issuer), _) => crl::sign(certificate, issuer, order)?,
                (None, Some(last_list)) => last_list.clone(),
                // It is over; see `Intermediate::is_over`.
                (None, None) => return Ok(None),
            };
            Ok(Some(IssuerList { issuer: HEXLOWER.encode(&certificate.key_identifier), der }))
        };
        [issuing]
            .into_iter()
            .chain(others)
            .filter_map(|intermediate| list_of(intermediate).transpose())
            .collect()
    }

    pub const fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The end of the intermediate that issues at a time.
    pub fn intermediate_not_after(&self, at: Timestamp) -> Timestamp {
        self.issuing_at(at).certificate.validity.not_after
    }

    /// The intermediate that issues at a time.
    pub fn intermediate_pem(&self, at: Timestamp) -> String {
        pem::certificate(&self.issuing_at(at).certificate.der)
    }

    /// The intermediate that signed a certificate, by its name.
    pub fn intermediate_pem_of(&self, leaf_der: &[u8]) -> Option<String> {
        let (_, leaf) = X509Certificate::from_der(leaf_der).ok()?;
        let issuer = leaf.issuer().as_raw();
        let mut certificates = self.intermediates.iter().map(|intermediate| &intermediate.certificate);
        Some(pem::certificate(&certificates.find(|certificate| certificate.name == issuer)?.der))
    }

    /// The trust bundle that goes with what this authority signs.
    pub fn roots_pem(&self) -> &str {
        &self.roots_pem
    }
}

impl IssuingCa {
    const fn may_issue(&self) -> bool {
        self.revoked_at.is_none() && !self.held
    }

    fn key(&self) -> Result<&Issuer<'static, IssuingKey>, IssueError> {
        let not_after = self.certificate.validity.not_after;
        self.issuer.as_deref().ok_or(IssueError::IntermediateExpired { not_after })
    }

    fn validity(&self, at: Timestamp, lifetime: SignedDuration) -> Result<Validity, IssueError> {
        if self.revoked_at.is_some() {
            return Err(IssueError::IntermediateRevoked);
        }
        let not_after = self.certificate.validity.not_after;
        let wanted = Validity::lasting(at, lifetime).map_err(ProfileError::from)?;
        let validity = wanted.until_at_most(not_after);
        let useful = Validity::lasting(at, lifetime.min(USEFUL_LIFETIME));
        if validity.not_after < useful.map_err(ProfileError::from)?.not_after {
            return Err(IssueError::IntermediateExpired { not_after });
        }
        Ok(validity)
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::ca::crl::ListedReason;
    use crate::ca::testing::{Ca, csr, csr_with, envelope, id, now, openssl, order};
    use crate::domain::enroll::enrollment::RevocationReason;

    #[test]
    fn svids_are_as_their_profile_says() {
        let ca = Ca::new();
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &str| fs::write(directory.path().join(name), content).unwrap();
        let issued = ca.authority.issue(&csr().0, &order("web-1")).unwrap();
        file("leaf.pem", &pem::certificate(&issued.der));
        file("root.pem", ca.authority.roots_pem());
        file("intermediate.pem", &ca.authority.intermediate_pem(now()));
        let at = now().as_second().to_string();
        let verify = |purpose| {
            let chain = ["-CAfile", "root.pem", "-untrusted", "intermediate.pem", "leaf.pem"];
            let options = ["verify", "-x509_strict", "-attime", &at, "-purpose", purpose];
            openssl(directory.path(), &[&options[..], &chain[..]].concat())
        };
        let Some((verified, said)) = verify("sslclient") else { return };
        assert!(verified, "{said}");
        assert!(!verify("sslserver").unwrap().0, "an SVID must not pose as a server");

        let (_, text) = openssl(directory.path(), &["x509", "-in", "leaf.pem", "-noout", "-text"]).unwrap();
        let uri = format!("X509v3 Subject Alternative Name: \n                URI:{}\n", id("web-1"));
        let serial = order("web-1").serial.to_string();
        for part in [
            uri.as_str(),
            "Subject: CN = web-1, OU = 01890000-0000-7000-8000-000000000000, O = muster\n",
            "X509v3 Basic Constraints: critical\n                CA:FALSE\n",
            "X509v3 Key Usage: critical\n                Digital Signature\n",
            "X509v3 Extended Key Usage: \n                TLS Web Client Authentication\n",
            "X509v3 Subject Key Identifier",
            "X509v3 Authority Key Identifier",
            "Not Before: Nov 21 09:55:00 2026 GMT",
            "Not After : Nov 22 09:59:59 2026 GMT",
            "Signature Algorithm: ecdsa-with-SHA256",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert!(text.replace([':', ' ', '\n'], "").contains(&serial), "{text}");

        let both = SvidOrder { server_auth: true, ..order("web-1") };
        file("leaf.pem", &pem::certificate(&ca.authority.issue(&csr().0, &both).unwrap().der));
        assert!(verify("sslclient").unwrap().0 && verify("sslserver").unwrap().0);
    }

    #[test]
    fn both_curves_keep_their_key() {
        let ca = Ca::new();
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384] {
            let (csr, _) = csr_with(algorithm);
            let issued = ca.authority.issue(&csr, &order("a")).unwrap();
            assert!(issued.der.windows(csr.spki_der().len()).any(|window| window == csr.spki_der()));
        }
    }

    #[test]
    fn long_names_and_any_lifetime_pass_the_lint() {
        let ca = Ca::new();
        let (csr, _) = csr();
        for agent in ["a", "...", &"Z".repeat(64)] {
            ca.authority.issue(&csr, &order(agent)).unwrap();
        }
        for seconds in [10, 61, 86_400, 7 * 86_400] {
            let lifetime = SignedDuration::from_secs(seconds);
            let issued = ca.authority.issue(&csr, &SvidOrder { lifetime, ..order("a") }).unwrap();
            let first = now().as_second();
            assert_eq!(issued.not_before.as_second(), first - 300);
            assert_eq!(issued.not_after.as_second(), first + seconds - 1);
        }
    }

    #[test]
    fn no_svid_outlives_its_intermediate() {
        let ca = Ca::new();
        let (csr, _) = csr();
        let end = ca.authority.intermediate_not_after(now());
        let issue = |before_the_end: i64| {
            let at = end - SignedDuration::from_secs(before_the_end);
            ca.authority.issue(&csr, &SvidOrder { at, ..order("a") })
        };
        assert_eq!(issue(3600).unwrap().not_after, end);
        assert_eq!(issue(9).unwrap().not_after, end);
        for too_late in [8, 0, -1, -100_000] {
            let error = issue(too_late).unwrap_err();
            assert!(matches!(error, IssueError::IntermediateExpired { .. }), "{too_late}: {error}");
        }
    }

    #[test]
    fn nothing_is_ready_to_issue_without_a_key() {
        let ca = Ca::new();
        let lifetime = SignedDuration::from_hours(24);
        ca.authority.issues_at(now(), lifetime).unwrap();
        let without = ca.authority.without_key_of(&ca.hierarchy.intermediates[0].certificate, None);
        assert!(without.issues_at(now(), lifetime).is_err());
    }

    #[test]
    fn who_rotates_goes_by_when_the_revoked_one_ceased_to_issue() {
        let ca = Ca::new();
        let at = |seconds| now() + SignedDuration::from_secs(seconds);
        let mut revoked = ca.authority.clone();
        assert_eq!(revoked.rotate_what_is_older_than(Some(&ca.authority), at(5)), None);
        revoked.intermediates[0].revoked_at = Some(now());
        assert_eq!(revoked.rotate_what_is_older_than(None, at(5)), Some(at(1)), "after a start");
        assert_eq!(revoked.rotate_what_is_older_than(Some(&ca.authority), at(5)), Some(at(6)));
        assert_eq!(revoked.rotate_what_is_older_than(Some(&revoked), at(50)), Some(at(1)));
        assert_eq!(revoked.rotate_what_is_older_than(None, at(8 * 86_400)), None);
    }

    #[test]
    fn authorities_open_only_with_their_key() {
        let ca = Ca::new();
        let error = Authority::open(&ca.hierarchy, &envelope()).unwrap_err();
        assert!(matches!(error, AuthorityError::Unseal(EnvelopeError::OtherEnvelope)));

        let mut swapped = ca.hierarchy.clone();
        let other = Ca::new();
        let key = other.intermediate_key();
        swapped.intermediates[0].sealed_key = Some(ca.envelope.seal(key.pkcs8()).unwrap());
        let error = Authority::open(&swapped, &ca.envelope).unwrap_err();
        assert!(matches!(error, AuthorityError::Certificate(CaCertificateError::OtherKey)));

        swapped.intermediates[0].sealed_key = Some(ca.envelope.seal(b"not a key").unwrap());
        assert!(matches!(Authority::open(&swapped, &ca.envelope), Err(AuthorityError::Key(_))));
        swapped.intermediates.clear();
        assert!(matches!(Authority::open(&swapped, &ca.envelope), Err(AuthorityError::NoIntermediate)));
        assert!(!format!("{:?}", ca.authority).contains("PRIVATE"));
    }

    #[test]
    fn revocation_lists_verify() {
        let ca = Ca::new();
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, content: &[u8]| fs::write(directory.path().join(name), content).unwrap();
        let leaf = ca.authority.issue(&csr().0, &order("web-1")).unwrap();
        file("leaf.pem", pem::certificate(&leaf.der).as_bytes());
        file("root.pem", ca.authority.roots_pem().as_bytes());
        file("intermediate.pem", ca.authority.intermediate_pem(now()).as_bytes());
        let at = now().as_second().to_string();
        let next_update = now() + SignedDuration::from_hours(1);
        let check = |crl: &[u8]| {
            file("crl.pem", pem::encode("X509 CRL", crl).as_bytes());
            let options =
                ["verify", "-crl_check", "-attime", &at, "-CRLfile", "crl.pem", "-CAfile", "root.pem"];
            openssl(
                directory.path(),
                &[&options[..], &["-untrusted", "intermediate.pem", "leaf.pem"]].concat(),
            )
        };

        let list = |revoked: &[RevokedEntry], number, at, next_update| {
            let lists = ca.authority.lists(&ListOrder { revoked, number, at, next_update })?;
            Ok::<_, CrlSignError>(lists[0].der.clone())
        };
        let empty = list(&[], 7, now(), next_update).unwrap();
        let Some((verified, said)) = check(&empty) else { return };
        assert!(verified, "{said}");

        let other = |octet| Serial::from_bytes([octet; 16]);
        let revoked = [
            (order("web-1").serial, now(), ListedReason::Revoked(RevocationReason::Revoked)),
            (other(1), now(), ListedReason::Revoked(RevocationReason::Decommissioned)),
            (other(2), now(), ListedReason::Revoked(RevocationReason::Superseded)),
        ];
        let crl = list(&revoked, u64::MAX, now(), next_update).unwrap();
        let identifier = &ca.authority.intermediates[0].certificate.key_identifier[..];
        assert!(crl.windows(identifier.len()).any(|window| window == identifier));
        let (verified, said) = check(&crl).unwrap();
        assert!(!verified && said.contains("certificate revoked"), "{said}");
        let (_, text) = openssl(
            directory.path(),
            &["crl", "-in", "crl.pem", "-noout", "-text", "-CAfile", "intermediate.pem"],
        )
        .unwrap();
        for part in [
            "verify OK",
            "Version 2",
            "X509v3 Authority Key Identifier",
            "Privilege Withdrawn",
            "Cessation Of Operation",
            "Superseded",
            "18446744073709551615",
            "Last Update: Nov 21 09:55:00 2026 GMT",
            "Next Update: Nov 21 11:00:00 2026 GMT",
        ] {
            assert!(text.contains(part), "{part} in {text}");
        }
        assert_eq!(text.matches("Serial Number").count(), 3);
        assert!(list(&[], 8, next_update, now()).is_err(), "the times are the wrong way round");
    }
}
