//! Certificates of ours that come back: the chain and the proof that a rotation presents.
//!
//! Everything is checked here that the chain itself can show. Whether its serial was recorded, is revoked or
//! has expired is for the caller, who knows the store and the time of day.

use jiff::{SignedDuration, Timestamp};

use crate::ca::ca_certificate::CaCertificate;
use crate::ca::hierarchy::is_below_a_root_of;
use crate::ca::parse::der::{self, Malformed};
use crate::ca::parse::ecdsa::{BadSignature, KeyError, PublicKey};
use crate::ca::parse::signed::{SignatureError, SignedData};
use crate::domain::enroll::enrollment::SpkiHash;
use crate::domain::identity::hierarchy::{Hierarchy, Intermediate};
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::SpiffeId;
use crate::pem::{self, PemError};
use crate::svid::{NotAnSvid, Svid};

/// How far the clock may have stepped back since the leaf was signed.
const CLOCK_SKEW: SignedDuration = SignedDuration::from_mins(5);

/// Why a chain is not one of ours. For logs; a caller who proved nothing is told nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    #[error("the chain is not PEM certificates: {0}")]
    Pem(PemError),
    #[error("the chain is not a leaf and an intermediate")]
    NotTwoCertificates,
    #[error("the second certificate is not an intermediate of this agent CA")]
    UnknownIntermediate,
    #[error("the leaf is not well-formed DER: {0}")]
    Malformed(Malformed),
    #[error("the leaf is not signed by the intermediate: {0}")]
    Signature(SignatureError),
    #[error("the leaf is no SVID of an agent: {0}")]
    NotAnSvid(#[from] NotAnSvid),
    #[error("the leaf's issuer is not the intermediate")]
    Issuer,
    #[error("the leaf is not valid yet")]
    NotYetValid,
    #[error("the leaf is of another trust domain")]
    ForeignTrustDomain,
    #[error("the leaf's key is refused: {0}")]
    Key(KeyError),
}

/// The new request is not signed by the presented certificate's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the proof is not a signature by the presented certificate's key")]
pub struct ProofError(#[from] BadSignature);

/// An agent CA with its intermediates as they are read, once for many chains.
#[derive(Debug, Clone)]
pub struct ReadHierarchy {
    hierarchy: Hierarchy,
    intermediates: Vec<CaCertificate>,
}

impl From<Hierarchy> for ReadHierarchy {
    /// An intermediate that can't be read has signed nothing that anybody could verify.
    fn from(hierarchy: Hierarchy) -> Self {
        let read = |known: &Intermediate| CaCertificate::read(&known.certificate).ok();
        Self { intermediates: hierarchy.intermediates.iter().filter_map(read).collect(), hierarchy }
    }
}

/// A leaf that one of our intermediates signed. It may be unknown to the store, revoked or expired.
#[derive(Debug, Clone)]
pub struct PresentedChain {
    leaf: Vec<u8>,
    issuer: Vec<u8>,
    issuer_serial: Option<Serial>,
    id: SpiffeId,
    serial: Serial,
    not_after: Timestamp,
    spki: SpkiHash,
    key: PublicKey,
}

impl PresentedChain {
    /// The same where an intermediate may be on no record, as after a restore: one that a root of ours has signed will do.
    ///
    /// # Errors
    /// Where the chain is none of ours, or `recorded` fails.
    pub fn verify_below_roots<E: From<ChainError>>(
        text: &str,
        ca: &ReadHierarchy,
        now: Timestamp,
        recorded: impl FnOnce(Serial) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Self, E> {
        let hierarchy = &ca.hierarchy;
        let issuer = Self::certificates(text).ok().map(|[_, intermediate]| intermediate);
        let known = |der: &[u8]| hierarchy.intermediates.iter().any(|known| known.certificate == der);
        match issuer.filter(|der| !known(der) && is_below_a_root_of(hierarchy, der)) {
            Some(certificate) => {
                let mut whole = hierarchy.clone();
                let unknown = Intermediate {
                    certificate,
                    sealed_key: None,
                    issuing_from: None,
                    revocation: None,
                    last_list: None,
                    held: false,
                };
                whole.intermediates.push(unknown);
                Self::verify(text, &whole.into(), now, recorded)
            }
            None => Self::verify(text, ca, now, recorded),
        }
    }

    /// The only way to make one. `recorded` finds the certificate (DER) that is on record by a serial: a leaf that is the same,
    /// octet for octet, is one that was verified when it was signed, and costs no second look at its signature.
    ///
    /// # Errors
    /// Where the chain is none of ours, or `recorded` fails.
    pub fn verify<E: From<ChainError>>(
        text: &str,
        ca: &ReadHierarchy,
        now: Timestamp,
        recorded: impl FnOnce(Serial) -> Result<Option<Vec<u8>>, E>,
    ) -> Result<Self, E> {
        let (leaf, issuer) = Self::read(text, ca)?;
        let signed = SignedData::read(&leaf).map_err(ChainError::Malformed)?;
        let known = match serial_of(&signed) {
            Some(serial) => recorded(serial)?,
            None => None,
        };
        // The lenient parser sees only what our intermediate signed.
        if known.is_none_or(|known| known != leaf) {
            signed.verify(&issuer.key).map_err(ChainError::Signature)?;
        }
        Ok(Self::of_ours(leaf, issuer, &ca.hierarchy, now)?)
    }

    fn certificates(text: &str) -> Result<[Vec<u8>; 2], ChainError> {
        let certificates = pem::sequence(text, pem::CERTIFICATE, 2).map_err(|error| match error {
            PemError::TooManyBlocks => ChainError::NotTwoCertificates,
            other => ChainError::Pem(other),
        })?;
        certificates.try_into().map_err(|_| ChainError::NotTwoCertificates)
    }

    fn read<'c>(text: &str, ca: &'c ReadHierarchy) -> Result<(Vec<u8>, &'c CaCertificate), ChainError> {
        let [leaf, intermediate] = Self::certificates(text)?;
        let issuer = ca.intermediates.iter().find(|known| known.der == intermediate);
        Ok((leaf, issuer.ok_or(ChainError::UnknownIntermediate)?))
    }

    fn of_ours(
        leaf: Vec<u8>,
        issuer: &CaCertificate,
        hierarchy: &Hierarchy,
        now: Timestamp,
    ) -> Result<Self, ChainError> {
        let svid = Svid::from_der(&leaf)?;
        if svid.issuer != issuer.name {
            return Err(ChainError::Issuer);
        }
        if svid.not_before.duration_since(now) > CLOCK_SKEW {
            return Err(ChainError::NotYetValid);
        }
        if svid.spiffe_id.trust_domain != hierarchy.trust_domain {
            return Err(ChainError::ForeignTrustDomain);
        }
        Ok(Self {
            spki: svid.spki(),
            key: PublicKey::from_spki(&svid.public_key).map_err(ChainError::Key)?,
            id: svid.spiffe_id,
            serial: svid.serial,
            not_after: svid.not_after,
            issuer: issuer.der.clone(),
            issuer_serial: issuer.serial,
            leaf,
        })
    }

    /// Verifies that the leaf's key signed `message`: ASN.1 DER, with SHA-256 for P-256 and SHA-384 for P-384.
    pub fn verify_proof(&self, message: &[u8], signature_der: &[u8]) -> Result<(), ProofError> {
        Ok(self.key.verify(self.key.hash(), message, signature_der)?)
    }

    pub const fn id(&self) -> &SpiffeId {
        &self.id
    }

    /// DER.
    pub fn leaf(&self) -> &[u8] {
        &self.leaf
    }

    pub const fn serial(&self) -> Serial {
        self.serial
    }

    /// The intermediate, DER.
    pub fn issuer(&self) -> &[u8] {
        &self.issuer
    }

    /// The intermediate's serial, if it is of our form.
    pub const fn issuer_serial(&self) -> Option<Serial> {
        self.issuer_serial
    }

    pub const fn not_after(&self) -> Timestamp {
        self.not_after
    }

    pub fn leaf_der(&self) -> &[u8] {
        &self.leaf
    }

    pub const fn spki(&self) -> SpkiHash {
        self.spki
    }
}

/// The serial that a certificate states (RFC 5280 4.1), if it is of our form. Nothing is proved by it.
fn serial_of(signed: &SignedData<'_>) -> Option<Serial> {
    let mut fields = signed.body.children();
    fields.expect(der::CONTEXT_0).ok()?;
    Serial::from_der_integer(fields.expect(der::INTEGER).ok()?.content).ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{
        BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair, KeyUsagePurpose,
        SanType, SigningKey,
    };
    use x509_parser::certificate::X509Certificate;
    use x509_parser::prelude::FromDer;

    use super::*;
    use crate::ca::authority::SvidOrder;
    use crate::ca::parse::validity::Validity;
    use crate::ca::profile;
    use crate::ca::testing::{Ca, csr, csr_with, now, openssl, order};
    use crate::domain::identity::serial::NotASerial;
    use crate::domain::identity::spiffe::{SpiffeError, TrustDomain};
    use crate::domain::testing::Dice;

    fn chain(leaf: &[u8], intermediate: &[u8]) -> String {
        pem::certificate(leaf) + &pem::certificate(intermediate)
    }

    /// As of one of whom nothing is on record.
    fn verify(text: &str, hierarchy: &Hierarchy, now: Timestamp) -> Result<PresentedChain, ChainError> {
        PresentedChain::verify(text, &hierarchy.clone().into(), now, |_| Ok(None))
    }

    fn issued(ca: &Ca) -> (Vec<u8>, KeyPair) {
        let (csr, key) = csr();
        (ca.authority.issue(&csr, &order("web-1")).unwrap().der, key)
    }

    #[test]
    fn a_chain_of_ours_is_read_even_when_it_has_expired() {
        let ca = Ca::new();
        let (csr, _) = csr();
        let svid = ca.authority.issue(&csr, &order("web-1")).unwrap();
        let text = chain(&svid.der, ca.intermediate_der());
        for later in [0, 48, 24 * 365] {
            let now = now() + SignedDuration::from_hours(later);
            let presented = verify(&text, &ca.hierarchy, now).unwrap();
            assert_eq!(*presented.id(), order("web-1").id);
            assert_eq!(presented.serial(), order("web-1").serial);
            assert_eq!(presented.leaf_der(), svid.der);
            assert_eq!(presented.spki(), csr.spki());
        }
    }

    #[test]
    fn what_is_on_record_is_believed_octet_for_octet_and_nothing_else_is() {
        let ca = Ca::new();
        let (leaf, _) = issued(&ca);
        let verify = |leaf: &[u8], recorded: Option<&[u8]>| {
            let mut asked = None;
            let read = ca.hierarchy.clone().into();
            let recorded = recorded.map(<[u8]>::to_vec);
            let outcome =
                PresentedChain::verify(&chain(leaf, ca.intermediate_der()), &read, now(), |serial| {
                    asked = Some(serial);
                    Ok::<_, ChainError>(recorded)
                });
            assert_eq!(asked, Some(order("web-1").serial));
            outcome.map(|_| ())
        };
        let mut forged = leaf.clone();
        *forged.last_mut().unwrap() ^= 1;
        let bad = Err(ChainError::Signature(SignatureError::Bad(BadSignature)));
        for recorded in [None, Some(&leaf[..])] {
            assert_eq!(verify(&leaf, recorded), Ok(()));
            assert_eq!(verify(&forged, recorded), bad, "the record says something else");
        }
        assert_eq!(verify(&leaf, Some(&forged)), Ok(()), "its signature is good, whatever is on record");
        assert_eq!(verify(&forged, Some(&forged)), Ok(()), "the signature was not looked at");
    }

    #[test]
    fn an_older_intermediate_is_still_ours() {
        let mut ca = Ca::new();
        let (leaf, _) = issued(&ca);
        let text = chain(&leaf, ca.intermediate_der());
        ca.hierarchy.intermediates.extend(Ca::new().hierarchy.intermediates);
        assert!(verify(&text, &ca.hierarchy, now()).is_ok());
    }

    #[test]
    fn chains_of_another_shape_are_refused() {
        let ca = Ca::new();
        let (leaf, _) = issued(&ca);
        let (other_leaf, _) = issued(&ca);
        let intermediate = ca.intermediate_der();
        let leaf_pem = pem::certificate(&leaf);
        let good = chain(&leaf, intermediate);
        let check = |text: &str, expected: ChainError| {
            let error = verify(text, &ca.hierarchy, now()).unwrap_err();
            assert_eq!(error, expected, "{text:.200}");
        };
        let no_block = ChainError::Pem(PemError::NoBlock { expected: pem::CERTIFICATE });
        check("", no_block);
        check(&pem::encode("CERTIFICATE REQUEST", &leaf), no_block);
        check(&leaf_pem, ChainError::NotTwoCertificates);
        check(&(good.clone() + &leaf_pem), ChainError::NotTwoCertificates);
        check(&chain(&leaf, &other_leaf), ChainError::UnknownIntermediate);
        check(&chain(intermediate, &leaf), ChainError::UnknownIntermediate);
        check(&chain(&leaf, &ca.hierarchy.roots[0]), ChainError::UnknownIntermediate);
        check(&pem::certificate(&[5, 0]).repeat(100), ChainError::NotTwoCertificates);
        check(&leaf_pem.repeat(100), ChainError::Pem(PemError::TooLong));
        check(&format!("{good}x"), ChainError::Pem(PemError::TextAfter));
        check(&format!("{good}{}", ca.root_key_pem.as_str()), ChainError::NotTwoCertificates);
        let trailing = [&leaf[..], &[0]].concat();
        check(&chain(&trailing, intermediate), ChainError::Malformed(Malformed::TrailingBytes));
        check(&chain(&leaf[..50], intermediate), ChainError::Malformed(Malformed::Truncated));
        let bad = ChainError::Signature(SignatureError::Bad(BadSignature));
        let mut flipped = leaf;
        flipped[60] ^= 1;
        check(&chain(&flipped, intermediate), bad);
        // A CA's own certificate is nobody's identity.
        check(&chain(intermediate, intermediate), bad);
        check(&chain(&ca.hierarchy.roots[0], intermediate), bad);
    }

    #[test]
    fn look_alikes_are_refused() {
        let ca = Ca::new();
        let foreign = Ca::new();
        let (foreign_leaf, _) = issued(&foreign);
        let text = chain(&foreign_leaf, foreign.intermediate_der());
        let check = |text: &str, expected| {
            assert_eq!(verify(text, &ca.hierarchy, now()).unwrap_err(), expected);
        };
        check(&text, ChainError::UnknownIntermediate);
        let bad = ChainError::Signature(SignatureError::Bad(BadSignature));
        check(&chain(&foreign_leaf, ca.intermediate_der()), bad);

        // A sibling that our own root signed, with our intermediate's name, serial and key identifier.
        let domain: TrustDomain = "muster".parse().unwrap();
        let ours = CaCertificate::read(ca.intermediate_der()).unwrap();
        let (_, parsed) = X509Certificate::from_der(&ours.der).unwrap();
        let serial = Serial::from_der_integer(parsed.raw_serial()).unwrap();
        let mut params =
            profile::intermediate(&domain, serial, now(), ours.validity.not_after, None).unwrap();
        params.key_identifier_method = rcgen::KeyIdMethod::PreSpecified(ours.key_identifier.clone());
        let key = KeyPair::generate().unwrap();
        let sibling = params.signed_by(&key, &ca.root()).unwrap();
        assert_eq!(CaCertificate::read(sibling.der()).unwrap().name, ours.name);
        let validity = Validity::lasting(now(), SignedDuration::from_hours(24)).unwrap();
        let leaf = profile::svid(&SvidOrder { serial, ..order("web-1") }, validity, None).unwrap();
        let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &Issuer::new(params, key)).unwrap();
        check(&chain(leaf.der(), sibling.der()), ChainError::UnknownIntermediate);
        check(&chain(leaf.der(), &ours.der), bad);
    }

    #[test]
    fn the_intermediates_key_under_another_name_is_refused() {
        let ca = Ca::new();
        let validity = Validity::lasting(now(), SignedDuration::from_hours(24)).unwrap();
        let leaf = profile::svid(&order("web-1"), validity, None).unwrap();
        let issuer = Issuer::new(CertificateParams::default(), ca.intermediate_key());
        let leaf = leaf.signed_by(&KeyPair::generate().unwrap(), &issuer).unwrap();
        let text = chain(leaf.der(), ca.intermediate_der());
        let error = verify(&text, &ca.hierarchy, now()).unwrap_err();
        assert_eq!(error, ChainError::Issuer);
    }

    #[test]
    fn leaves_outside_the_profile_are_refused_even_if_our_intermediate_signed_them() {
        let ca = Ca::new();
        let check = |tamper: &dyn Fn(&mut CertificateParams), expected: Option<ChainError>| {
            let order = order("web-1");
            let validity = Validity::lasting(order.at, order.lifetime).unwrap();
            let mut params = profile::svid(&order, validity, None).unwrap();
            tamper(&mut params);
            let leaf = params.signed_by(&KeyPair::generate().unwrap(), &ca.intermediate()).unwrap();
            let text = chain(leaf.der(), ca.intermediate_der());
            assert_eq!(verify(&text, &ca.hierarchy, now()).err(), expected);
        };
        let uri = |text: String| SanType::URI(text.try_into().unwrap());
        let refused = |reason| Some(ChainError::NotAnSvid(reason));
        check(&|_| {}, None);
        check(&|params| params.subject_alt_names.clear(), refused(NotAnSvid::Names));
        check(
            &|params| params.subject_alt_names.push(uri(order("web-2").id.to_string())),
            refused(NotAnSvid::Names),
        );
        check(
            &|params| params.subject_alt_names.push(SanType::DnsName("a.example".try_into().unwrap())),
            refused(NotAnSvid::Names),
        );
        check(
            &|params| params.subject_alt_names = vec![uri("spiffe://muster".to_owned())],
            refused(NotAnSvid::SpiffeId(SpiffeError::SpiffeId)),
        );
        check(
            &|params| {
                let foreign = order("web-1").id.to_string().replace("//muster", "//other");
                params.subject_alt_names = vec![uri(foreign)];
            },
            Some(ChainError::ForeignTrustDomain),
        );
        check(
            &|params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0)),
            refused(NotAnSvid::Signing),
        );
        check(&|params| params.is_ca = IsCa::NoCa, refused(NotAnSvid::Signing));
        check(&|params| params.key_usages.push(KeyUsagePurpose::KeyCertSign), refused(NotAnSvid::Signing));
        let minutes = |count: u64| std::time::Duration::from_secs(60 * count);
        check(&|params| params.not_before += minutes(10), None);
        check(&|params| params.not_before += minutes(15), Some(ChainError::NotYetValid));
        check(
            &|params| params.serial_number = Some(vec![1; 17].into()),
            refused(NotAnSvid::Serial(NotASerial)),
        );
        check(&|params| params.serial_number = Some(0.into()), refused(NotAnSvid::Serial(NotASerial)));
        let extension = |critical| {
            let mut extension = CustomExtension::from_oid_content(&[1, 2, 3], vec![5, 0]);
            extension.set_criticality(critical);
            extension
        };
        check(&|params| params.custom_extensions.push(extension(false)), None);
        check(&|params| params.custom_extensions.push(extension(true)), refused(NotAnSvid::Extension));
        let twice = |params: &mut CertificateParams| {
            params.custom_extensions.extend([extension(false), extension(false)]);
        };
        check(&twice, refused(NotAnSvid::Extension));
    }

    #[test]
    fn a_proof_is_by_the_leafs_key_with_its_curves_hash() {
        let ca = Ca::new();
        for algorithm in [&rcgen::PKCS_ECDSA_P256_SHA256, &rcgen::PKCS_ECDSA_P384_SHA384] {
            let (old_csr, key) = csr_with(algorithm);
            let leaf = ca.authority.issue(&old_csr, &order("web-1")).unwrap().der;
            let text = chain(&leaf, ca.intermediate_der());
            let presented = verify(&text, &ca.hierarchy, now()).unwrap();
            let (new_csr, new_key) = csr();
            let message = new_csr.der();
            let proof = key.sign(message).unwrap();
            assert_eq!(presented.verify_proof(message, &proof), Ok(()));
            assert_eq!(presented.verify_proof(message, &key.sign(message).unwrap()), Ok(()));

            let in_pem = pem::encode("CERTIFICATE REQUEST", message);
            let mut flipped = proof.clone();
            *flipped.last_mut().unwrap() ^= 1;
            let raw = proof.get(4..68).unwrap().to_vec();
            for (what, bad) in [
                ("by the new key", new_key.sign(message).unwrap()),
                ("over the PEM", key.sign(in_pem.as_bytes()).unwrap()),
                ("over the old request", key.sign(old_csr.der()).unwrap()),
                ("over the key", key.sign(new_csr.spki_der()).unwrap()),
                ("over nothing", key.sign(&[]).unwrap()),
                ("flipped", flipped),
                ("empty", Vec::new()),
                ("not DER", raw),
                ("with bytes behind it", [&proof[..], &[0]].concat()),
                ("long", vec![0x30; 100_000]),
            ] {
                assert!(presented.verify_proof(message, &bad).is_err(), "{what}");
            }
        }
    }

    #[test]
    fn a_proof_with_the_other_hash_is_refused() {
        let ca = Ca::new();
        let (leaf, key) = issued(&ca);
        let text = chain(&leaf, ca.intermediate_der());
        let presented = verify(&text, &ca.hierarchy, now()).unwrap();
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("key.pem"), key.serialize_pem()).unwrap();
        fs::write(directory.path().join("message"), "message").unwrap();
        for (hash, accepted) in [("-sha256", true), ("-sha384", false), ("-sha512", false)] {
            let arguments = ["dgst", hash, "-sign", "key.pem", "-out", "proof", "message"];
            let Some((signed, said)) = openssl(directory.path(), &arguments) else { return };
            assert!(signed, "{said}");
            let proof = fs::read(directory.path().join("proof")).unwrap();
            assert_eq!(presented.verify_proof(b"message", &proof).is_ok(), accepted, "{hash}");
        }
    }

    #[test]
    fn a_mutated_chain_is_refused_unless_it_is_the_same() {
        let ca = Ca::new();
        let (leaf, _) = issued(&ca);
        let intermediate = ca.intermediate_der();
        let good = chain(&leaf, intermediate);
        let mut dice = Dice::new(20_261_122);
        let mut same = 0;
        for round in 0..1_500 {
            let mutated = dice.mutate(&leaf);
            let outcome = verify(&chain(&mutated, intermediate), &ca.hierarchy, now());
            assert_eq!(outcome.is_ok(), mutated == leaf, "round {round}");
            let text = dice.mutate_text(&good);
            if let Ok(presented) = verify(&text, &ca.hierarchy, now()) {
                assert_eq!(presented.leaf_der(), leaf, "round {round}");
                same += 1;
            }
        }
        assert!(same < 300, "mutations mutate");
    }
}
