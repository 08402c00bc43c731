//! The agent CA's beginning and its public face: a root that is kept nowhere, an intermediate that signs.

use std::fmt;

use data_encoding::HEXLOWER;
use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use zeroize::Zeroizing;

use super::ca_certificate::{CaCertificate, CaCertificateError};
use super::entropy::{self, NoEntropy};
use super::envelope::{Envelope, EnvelopeError};
use super::issuing_key::IssuingKey;
use crate::pem::{self, PemError};
use super::profile::{self, ProfileError};
use super::validity::Validity;
use crate::domain::hierarchy::{Hierarchy, Intermediate};
use crate::domain::pin::Pin;
use crate::domain::spiffe::TrustDomain;

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
}

/// Makes a root and its first intermediate.
pub fn init(
    trust_domain: &TrustDomain,
    envelope: &Envelope,
    now: Timestamp,
) -> Result<NewHierarchy, InitError> {
    let root_key = IssuingKey::generate()?;
    let root = profile::root(trust_domain, entropy::serial(now)?, now)?.self_signed(&root_key)?;
    let root_key_pem = Zeroizing::new(pem::encode(pem::PRIVATE_KEY, root_key.pkcs8()));
    let intermediate =
        intermediate(&CaCertificate::read(root.der())?, root_key, trust_domain, envelope, now)?;
    let hierarchy = Hierarchy {
        trust_domain: trust_domain.clone(),
        roots: vec![root.der().to_vec()],
        intermediates: vec![intermediate],
    };
    Ok(NewHierarchy { hierarchy, root_key_pem })
}

/// Why no further intermediate was made. Nothing of the key is in the texts.
#[derive(Debug, thiserror::Error)]
pub enum RenewError {
    #[error("the root key is not a PEM text with one PKCS#8 private key")]
    NotAKey(#[from] PemError),
    #[error("the root key is not a P-256 private key")]
    Unsuitable(#[source] rcgen::Error),
    #[error("a stored root can't sign")]
    Root(#[from] CaCertificateError),
    #[error("this is not the key of this agent CA's root")]
    OtherKey,
    #[error("the root expired at {not_after}")]
    RootExpired { not_after: Timestamp },
    #[error(transparent)]
    Making(#[from] InitError),
}

/// Makes an intermediate that takes over from those there are. They stay, so what they signed stays good.
pub fn renew(
    hierarchy: &Hierarchy,
    root_key_pem: &str,
    envelope: &Envelope,
    now: Timestamp,
) -> Result<Intermediate, RenewError> {
    let pkcs8 = Zeroizing::new(pem::single(root_key_pem, &[pem::PRIVATE_KEY])?);
    let key = IssuingKey::from_pkcs8(&pkcs8).map_err(RenewError::Unsuitable)?;
    let mut root = None;
    for stored in &hierarchy.roots {
        let stored = CaCertificate::read(stored)?;
        if stored.is_of(&key) {
            root = Some(stored);
        }
    }
    let root = root.ok_or(RenewError::OtherKey)?;
    if root.validity.not_after <= now {
        return Err(RenewError::RootExpired { not_after: root.validity.not_after });
    }
    Ok(intermediate(&root, key, &hierarchy.trust_domain, envelope, now)?)
}

fn intermediate(
    root: &CaCertificate,
    root_key: IssuingKey,
    trust_domain: &TrustDomain,
    envelope: &Envelope,
    now: Timestamp,
) -> Result<Intermediate, InitError> {
    let key = IssuingKey::generate()?;
    let serial = entropy::serial(now)?;
    let params = profile::intermediate(trust_domain, serial, now, root.validity.not_after)?;
    let certificate = params.signed_by(&key, &root.issuer(root_key)?)?;
    Ok(Intermediate { certificate: certificate.der().to_vec(), sealed_key: envelope.seal(key.pkcs8())? })
}

/// The same hierarchy with its keys sealed so that each of these envelopes opens them.
pub fn reseal(hierarchy: &Hierarchy, from: &Envelope, to: &[&Envelope]) -> Result<Hierarchy, EnvelopeError> {
    let reseal = |stored: &Intermediate| {
        let sealed_key = Envelope::seal_for(to, &from.unseal(&stored.sealed_key)?)?;
        Ok(Intermediate { sealed_key, ..stored.clone() })
    };
    let intermediates = hierarchy.intermediates.iter().map(reseal).collect::<Result<_, EnvelopeError>>()?;
    Ok(Hierarchy { intermediates, ..hierarchy.clone() })
}

/// The public certificates as PEM: roots, then intermediates, oldest first.
pub fn bundle_pem(hierarchy: &Hierarchy) -> String {
    certificates(hierarchy).map(|(_, der)| pem::certificate(der)).collect()
}

/// The affine coordinates of a CA certificate's key, if that is a P-256 one.
pub fn p256_coordinates(der: &[u8]) -> Option<([u8; 32], [u8; 32])> {
    CaCertificate::read(der).ok()?.key.p256_coordinates()
}

/// A certificate's place in the hierarchy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    Root,
    Intermediate,
}

impl Role {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Intermediate => "intermediate",
        }
    }
}

/// What an operator wants to know about a CA certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateSummary {
    pub role: Role,
    pub subject: String,
    /// Lower-case hex.
    pub serial: String,
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// The SHA-256 of the certificate in lower-case hex.
    pub fingerprint: String,
}

/// A stored certificate can't be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a stored certificate of the agent CA is damaged; check the store with: muster check")]
pub struct DamagedCertificate;

/// Every certificate of the hierarchy, in the order of [`bundle_pem`].
pub fn describe(hierarchy: &Hierarchy) -> Result<Vec<CertificateSummary>, DamagedCertificate> {
    certificates(hierarchy).map(|(role, der)| summary(role, der).ok_or(DamagedCertificate)).collect()
}

fn certificates(hierarchy: &Hierarchy) -> impl Iterator<Item = (Role, &[u8])> {
    let roots = hierarchy.roots.iter().map(|root| (Role::Root, &root[..]));
    let intermediates = hierarchy.intermediates.iter();
    roots.chain(intermediates.map(|intermediate| (Role::Intermediate, &intermediate.certificate[..])))
}

fn summary(role: Role, der: &[u8]) -> Option<CertificateSummary> {
    let (_, certificate) = X509Certificate::from_der(der).ok()?;
    let Validity { not_before, not_after } = Validity::read(&certificate).ok()?;
    Some(CertificateSummary {
        role,
        subject: certificate.subject().to_string(),
        serial: HEXLOWER.encode(certificate.raw_serial()),
        not_before,
        not_after,
        fingerprint: Pin::of(der).to_string(),
    })
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
        let stored = &ca.hierarchy.intermediates[0].sealed_key;
        assert!(stored.starts_with(b"age-encryption.org/v1\n"));
        let bundle = bundle_pem(&ca.hierarchy);
        assert_eq!(bundle.matches("-----BEGIN CERTIFICATE-----").count(), 2);
        assert!(!bundle.contains("PRIVATE"));
        let made = init(&ca.hierarchy.trust_domain, &ca.envelope, now()).unwrap();
        assert!(!format!("{made:?}").contains("PRIVATE"));
    }

    #[test]
    fn certificates_are_described() {
        let ca = Ca::new();
        let summaries = describe(&ca.hierarchy).unwrap();
        let [root, intermediate] = &summaries[..] else { unreachable!("one root and one intermediate") };
        assert_eq!((root.role, intermediate.role), (Role::Root, Role::Intermediate));
        assert_eq!(root.subject, "CN=Muster agent root CA, O=muster");
        assert!(intermediate.subject.contains("CN=Muster agent intermediate CA "));
        assert!(intermediate.subject.contains(&intermediate.serial[24..]));
        assert_eq!((root.serial.len(), intermediate.serial.len()), (32, 32));
        assert_eq!(root.fingerprint, Pin::of(&ca.hierarchy.roots[0]).to_string());
        assert_eq!(intermediate.not_after, ca.authority.intermediate_not_after());
        let mut damaged = ca.hierarchy;
        damaged.roots[0].truncate(100);
        assert_eq!(describe(&damaged), Err(DamagedCertificate));
    }

    #[test]
    fn renewal_takes_the_roots_own_key_and_nothing_else() {
        let ca = Ca::new();
        let later = now() + jiff::SignedDuration::from_hours(24 * 300);
        let renew = |key: &str, at| renew(&ca.hierarchy, key, &ca.envelope, at);
        let renewed = renew(&ca.root_key_pem, later).unwrap();
        let mut hierarchy = ca.hierarchy.clone();
        hierarchy.intermediates.push(renewed);
        let authority = Authority::open(&hierarchy, &ca.envelope).unwrap();
        assert!(authority.intermediate_not_after() > ca.authority.intermediate_not_after());

        let after_the_root = now() + jiff::SignedDuration::from_hours(24 * 366 * 10);
        assert!(matches!(renew(&ca.root_key_pem, after_the_root), Err(RenewError::RootExpired { .. })));
        let other = Ca::new();
        assert!(matches!(renew(&other.root_key_pem, later), Err(RenewError::OtherKey)));
        let bundle = bundle_pem(&ca.hierarchy);
        let doubled = format!("{0}{0}", *ca.root_key_pem);
        for garbage in ["", "garbage", &bundle, &doubled, &ca.root_key_pem[..100]] {
            assert!(matches!(renew(garbage, later), Err(RenewError::NotAKey(_))), "{garbage}");
        }
        let not_a_key = pem::encode(pem::PRIVATE_KEY, b"garbage");
        assert!(matches!(renew(&not_a_key, later), Err(RenewError::Unsuitable(_))));
    }

    #[test]
    fn two_hierarchies_share_nothing() {
        let domain = "muster".parse().unwrap();
        let envelope = envelope();
        let one = init(&domain, &envelope, now()).unwrap().hierarchy;
        let two = init(&domain, &envelope, now()).unwrap().hierarchy;
        let subject = |hierarchy: &Hierarchy| describe(hierarchy).unwrap()[1].subject.clone();
        assert_ne!(one.roots, two.roots);
        assert_ne!(subject(&one), subject(&two));
    }
}
