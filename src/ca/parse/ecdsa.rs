//! The keys and signatures that are accepted: ECDSA on P-256 or P-384, named, uncompressed, on the curve.

use aws_lc_rs::signature::{self, EcdsaVerificationAlgorithm, ParsedPublicKey};

use crate::ca::parse::der;
use crate::ca::parse::der::Malformed;

/// `AlgorithmIdentifier { id-ecPublicKey, prime256v1 }` (RFC 5480 2.1.1).
const P256: &[u8] = b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
/// `AlgorithmIdentifier { id-ecPublicKey, secp384r1 }`.
const P384: &[u8] = b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22";
/// id-ecPublicKey, with tag and length.
const EC_PUBLIC_KEY: &[u8] = b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01";
/// `AlgorithmIdentifier { ecdsa-with-SHA256 }`, without parameters (RFC 5758 3.2).
const WITH_SHA256: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
/// `AlgorithmIdentifier { ecdsa-with-SHA384 }`.
const WITH_SHA384: &[u8] = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x03";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Curve {
    P256,
    P384,
}

impl Curve {
    const fn hash(self) -> Hash {
        match self {
            Self::P256 => Hash::Sha256,
            Self::P384 => Hash::Sha384,
        }
    }
}

/// What an ECDSA signature is made over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Hash {
    Sha256,
    Sha384,
}

impl Hash {
    /// From a signature's AlgorithmIdentifier, byte for byte.
    pub(crate) fn from_algorithm(identifier: &[u8]) -> Option<Self> {
        match identifier {
            WITH_SHA256 => Some(Self::Sha256),
            WITH_SHA384 => Some(Self::Sha384),
            _ => None,
        }
    }
}

/// Why a public key is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the public key is not well-formed: {0}")]
    Malformed(Malformed),
    #[error("the key is not an ECDSA key; use ECDSA with P-256 or P-384")]
    Algorithm,
    #[error("the key's curve is not P-256 or P-384, given by name")]
    Curve,
    #[error("the public key is not an uncompressed point on its curve")]
    Point,
}

/// The signature does not belong to the message and the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the signature does not verify")]
pub struct BadSignature;

/// A public key on one of the two curves.
#[derive(Debug, Clone)]
pub(crate) struct PublicKey {
    curve: Curve,
    /// Uncompressed, and known to be on the curve.
    point: Vec<u8>,
    /// The same, to be verified with under the hash that goes with the curve.
    parsed: ParsedPublicKey,
}

impl PublicKey {
    /// From a SubjectPublicKeyInfo (RFC 5280 4.1).
    pub(crate) fn from_spki(spki: &[u8]) -> Result<Self, KeyError> {
        let mut fields = der::document(spki).map_err(KeyError::Malformed)?.children();
        let algorithm = fields.expect(der::SEQUENCE).map_err(KeyError::Malformed)?;
        let key = fields.expect(der::BIT_STRING).map_err(KeyError::Malformed)?;
        fields.end().map_err(KeyError::Malformed)?;
        let curve = match algorithm.whole {
            P256 => Curve::P256,
            P384 => Curve::P384,
            _ if algorithm.content.starts_with(EC_PUBLIC_KEY) => return Err(KeyError::Curve),
            _ => return Err(KeyError::Algorithm),
        };
        let point = key.octets().map_err(|_| KeyError::Point)?;
        let coordinate = match curve {
            Curve::P256 => 32,
            Curve::P384 => 48,
        };
        if point.first() != Some(&0x04) || point.len() != 1 + 2 * coordinate {
            return Err(KeyError::Point);
        }
        let parsed = ParsedPublicKey::new(verification(curve, curve.hash()), point);
        let parsed = parsed.map_err(|_| KeyError::Point)?;
        Ok(Self { curve, point: point.to_vec(), parsed })
    }

    /// The affine coordinates of a P-256 key, as a JWK carries them (RFC 7518 6.2.1).
    pub(crate) fn p256_coordinates(&self) -> Option<([u8; 32], [u8; 32])> {
        let (_, coordinates) = self.point.split_first()?;
        let (x, y) = coordinates.split_first_chunk()?;
        Some((*x, y.try_into().ok()?))
    }

    /// The hash that goes with the curve's strength.
    pub(crate) fn hash(&self) -> Hash {
        self.curve.hash()
    }

    /// Verifies an ASN.1 DER signature (RFC 3279 2.2.3).
    pub(crate) fn verify(&self, hash: Hash, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let verified = if hash == self.hash() {
            self.parsed.verify_sig(message, signature)
        } else {
            signature::UnparsedPublicKey::new(verification(self.curve, hash), &self.point)
                .verify(message, signature)
        };
        verified.map_err(|_| BadSignature)
    }
}

fn verification(curve: Curve, hash: Hash) -> &'static EcdsaVerificationAlgorithm {
    match (curve, hash) {
        (Curve::P256, Hash::Sha256) => &signature::ECDSA_P256_SHA256_ASN1,
        (Curve::P256, Hash::Sha384) => &signature::ECDSA_P256_SHA384_ASN1,
        (Curve::P384, Hash::Sha256) => &signature::ECDSA_P384_SHA256_ASN1,
        (Curve::P384, Hash::Sha384) => &signature::ECDSA_P384_SHA384_ASN1,
    }
}
