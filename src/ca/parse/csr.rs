//! Certificate signing requests (PKCS#10, RFC 2986): the gate through which every public key comes.
//!
//! A request proves that its sender holds a key, and that is all it is good for. What it asks for (names,
//! extensions, being a CA) must be well-formed and is otherwise never looked at.

use crate::ca::parse::der;
use crate::ca::parse::der::{DerReader, Malformed};
use crate::ca::parse::ecdsa::{KeyError, PublicKey};
use crate::ca::parse::signed::{SignatureError, SignedData};
use crate::domain::enroll::enrollment::SpkiHash;
use crate::pem::{self, PemError};

/// The second is what older OpenSSL and Microsoft tools write.
const LABELS: &[&str] = &["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"];

/// Why a request is refused. The texts go to the client; they hold nothing of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CsrError {
    #[error("the CSR is not one PEM certificate request: {0}")]
    Pem(PemError),
    #[error("the CSR is not well-formed DER: {0}")]
    Malformed(Malformed),
    #[error("the CSR's version is not 0, the only one there is")]
    Version,
    #[error("the CSR's key is refused: {0}")]
    Key(KeyError),
    #[error("the CSR's signature is refused: {0}")]
    Signature(SignatureError),
}

/// A request whose sender has proved to hold the private key.
#[derive(Debug, Clone)]
pub struct VerifiedCsr {
    der: Vec<u8>,
    spki: Vec<u8>,
}

impl VerifiedCsr {
    /// The way to make one of what people and programs write.
    pub fn from_pem(text: &str) -> Result<Self, CsrError> {
        Self::from_der(pem::single(text, LABELS).map_err(CsrError::Pem)?)
    }

    /// The same of one that is not PEM.
    pub fn from_der(der: Vec<u8>) -> Result<Self, CsrError> {
        let spki = verified_spki(&der)?.to_vec();
        Ok(Self { der, spki })
    }

    /// The whole request, over which a rotation's proof is signed.
    pub fn der(&self) -> &[u8] {
        &self.der
    }

    /// The SubjectPublicKeyInfo as the request has it, byte for byte.
    pub fn spki_der(&self) -> &[u8] {
        &self.spki
    }

    pub fn spki(&self) -> SpkiHash {
        SpkiHash::of(&self.spki)
    }
}

fn verified_spki(der: &[u8]) -> Result<&[u8], CsrError> {
    let signed = SignedData::read(der).map_err(CsrError::Malformed)?;
    let mut info = signed.body.children();
    let version = info.expect(der::INTEGER).map_err(CsrError::Malformed)?;
    if version.content != [0] {
        return Err(CsrError::Version);
    }
    name(&mut info).map_err(CsrError::Malformed)?;
    let spki = info.expect(der::SEQUENCE).map_err(CsrError::Malformed)?;
    attributes(&mut info).map_err(CsrError::Malformed)?;
    info.end().map_err(CsrError::Malformed)?;
    let key = PublicKey::from_spki(spki.whole).map_err(CsrError::Key)?;
    signed.verify(&key).map_err(CsrError::Signature)?;
    Ok(spki.whole)
}

/// A Name (RFC 5280 4.1.2.4): sets, none of them empty, of type and value.
fn name(info: &mut DerReader<'_>) -> Result<(), Malformed> {
    let mut names = info.expect(der::SEQUENCE)?.children();
    while !names.is_at_end() {
        let mut attributes = names.expect(der::SET)?.children();
        loop {
            let mut attribute = attributes.expect(der::SEQUENCE)?.children();
            attribute.expect(der::OBJECT_IDENTIFIER)?;
            attribute.element().map_err(|_| Malformed::Unexpected)?;
            attribute.end()?;
            if attributes.is_at_end() {
                break;
            }
        }
    }
    Ok(())
}

/// The attributes (RFC 2986 4.1): each a type and a set of at least one value. Even an empty list is written.
fn attributes(info: &mut DerReader<'_>) -> Result<(), Malformed> {
    let mut attributes = info.expect(der::CONTEXT_0)?.children();
    while !attributes.is_at_end() {
        let mut attribute = attributes.expect(der::SEQUENCE)?.children();
        attribute.expect(der::OBJECT_IDENTIFIER)?;
        let values = attribute.expect(der::SET)?;
        attribute.end()?;
        if values.content.is_empty() {
            return Err(Malformed::Unexpected);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;
    use std::time::{Duration, Instant};

    use super::*;
    use crate::ca::parse::ecdsa::BadSignature;
    use crate::domain::testing::Dice;

    /// Every specimen of a folder, with its name.
    fn specimens(folder: &str) -> Vec<(String, Vec<u8>)> {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/specimens/csr").join(folder);
        let files = fs::read_dir(path).unwrap().map(|entry| entry.unwrap().path());
        files.map(|file| (file.display().to_string(), fs::read(file).unwrap())).collect()
    }

    fn read(content: &[u8]) -> Result<VerifiedCsr, CsrError> {
        VerifiedCsr::from_pem(&String::from_utf8_lossy(content))
    }

    fn time(content: &[u8]) -> Duration {
        let started = Instant::now();
        drop(read(content));
        started.elapsed()
    }

    fn check_folder(folder: &str, count_min: usize, accepted: bool) {
        let specimens = specimens(folder);
        assert!(specimens.len() >= count_min, "{folder} has only {}", specimens.len());
        for (file, content) in specimens {
            let result = read(&content);
            assert_eq!(result.is_ok(), accepted, "{file}: {:?}", result.err());
            let quickest = (0..3).map(|_| time(&content)).min();
            assert!(quickest < Some(Duration::from_millis(50)), "{file} took {quickest:?}");
        }
    }

    #[test]
    fn good_specimens_are_accepted() {
        check_folder("good", 10, true);
    }

    #[test]
    fn whatever_is_asked_for_is_no_reason_to_refuse() {
        check_folder("smuggle", 40, true);
    }

    #[test]
    fn bad_specimens_are_refused_quickly() {
        check_folder("refused", 120, false);
    }

    #[test]
    fn refusals_name_what_is_wrong() {
        use CsrError::{Key, Malformed as Der, Pem, Signature, Version};
        use Malformed::{
            IndefiniteLength, LengthNotMinimal, TooDeep, TrailingBytes, Truncated, Unexpected, Value,
        };
        use PemError::{Base64, Headers, NoBlock, NotClosed, TextAfter, TooLong, TooManyBlocks};

        let no_block = Pem(NoBlock { expected: "CERTIFICATE REQUEST" });
        let refused = specimens("refused");
        for (specimen, expected) in [
            ("armor_as_der_instead_of_pem", no_block),
            ("armor_headers", Pem(Headers)),
            ("armor_label_certificate", no_block),
            ("armor_label_mismatch", Pem(NotClosed)),
            ("armor_not_canonical_base64", Pem(Base64)),
            ("armor_nul_after", Pem(TextAfter)),
            ("armor_private_key_not_request", no_block),
            ("armor_request_plus_private_key", Pem(TooManyBlocks)),
            ("armor_text_after", Pem(TextAfter)),
            ("armor_two_blocks", Pem(TooManyBlocks)),
            ("badsig_algorithm_with_null", Signature(SignatureError::Algorithm)),
            ("badsig_bit_flip", Signature(SignatureError::Bad(BadSignature))),
            ("badsig_ber_length", Signature(SignatureError::Bad(BadSignature))),
            ("badsig_r_and_s_zero", Signature(SignatureError::Bad(BadSignature))),
            ("badsig_unused_bits", Der(Unexpected)),
            ("curve_explicit_parameters", Key(KeyError::Curve)),
            ("point_at_infinity", Key(KeyError::Point)),
            ("point_compressed", Key(KeyError::Point)),
            ("point_off_curve", Key(KeyError::Point)),
            ("policy_ed25519", Key(KeyError::Algorithm)),
            ("policy_p521", Key(KeyError::Curve)),
            ("policy_rsa_2048", Key(KeyError::Algorithm)),
            ("policy_secp256k1", Key(KeyError::Curve)),
            ("size_just_over_16_kib", Pem(TooLong)),
            ("structure_boolean_not_der", Der(Value)),
            ("structure_indefinite_length", Der(IndefiniteLength)),
            ("structure_length_4_gib", Der(Truncated)),
            ("structure_nesting_3000_deep", Der(TooDeep)),
            ("structure_non_minimal_length_inside", Der(LengthNotMinimal)),
            ("structure_trailing_byte", Der(TrailingBytes)),
            ("structure_truncated_to_020", Der(Truncated)),
            ("structure_version_1", Version),
            ("structure_version_huge", Version),
            ("structure_version_minus_1", Version),
        ] {
            let name = format!("/{specimen}.pem");
            let (_, content) = refused.iter().find(|(file, _)| file.ends_with(&name)).unwrap();
            assert_eq!(read(content).unwrap_err(), expected, "{specimen}");
        }
    }

    #[test]
    fn the_key_is_the_requests_byte_for_byte() {
        for (file, content) in specimens("good") {
            let csr = read(&content).unwrap();
            let at = csr.der().windows(csr.spki_der().len()).position(|window| window == csr.spki_der());
            assert!(at.is_some(), "{file}");
            assert_eq!(csr.spki(), SpkiHash::of(csr.spki_der()));
        }
    }

    #[test]
    fn a_mutated_request_is_refused_unless_it_is_the_same() {
        let mut dice = Dice::new(20_261_121);
        let originals: Vec<_> = specimens("good").iter().map(|(_, content)| read(content).unwrap()).collect();
        for round in 0..4_000 {
            let original = &originals[round % originals.len()];
            let der = dice.mutate(original.der());
            let result = VerifiedCsr::from_pem(&pem::encode(LABELS[0], &der));
            assert_eq!(result.is_ok(), der == original.der(), "round {round}");

            let text = dice.mutate(pem::encode(LABELS[0], original.der()).as_bytes());
            if let Ok(csr) = read(&text) {
                assert_eq!(csr.der(), original.der(), "round {round}");
            }
        }
    }
}
