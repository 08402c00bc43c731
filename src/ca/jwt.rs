//! JWT-SVIDs are signed here (SPIFFE JWT-SVID 3): the keys are made and unsealed, and leave only as their public halves.
//!
//! A JWS is put together here and not by `jsonwebtoken`, which reads the key for each signature: with RSA that takes eight times
//! as long as signing. That library verifies, in the agent and in the tests.

use std::fmt;

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::error::Unspecified;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair,
};
use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;
use zeroize::Zeroizing;

use super::envelope::{Envelope, EnvelopeError};
use super::parse::der;
use crate::domain::identity::jwt_keys::{JwtAlg, JwtKey, JwtKeys, JwtPublicKey};
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::SpiffeId;
use crate::domain::sha256::sha256;

/// Why there is no key to sign with. Nothing of the key is in the texts.
#[derive(Debug, thiserror::Error)]
pub enum JwtKeyError {
    #[error("the system made no key for JWT-SVIDs")]
    Making,
    #[error("can't seal or unseal a key of JWT-SVIDs")]
    Envelope(#[from] EnvelopeError),
    #[error("a sealed key of JWT-SVIDs is not the one that its record names")]
    OtherKey,
}

/// A token was not signed.
#[derive(Debug, thiserror::Error)]
pub enum JwtSignError {
    #[error("no key of JWT-SVIDs has been made yet")]
    NoKey,
    #[error("can't put a JWT-SVID together")]
    Claims(#[from] serde_json::Error),
    #[error("can't sign a JWT-SVID")]
    Sign,
}

/// Makes a key. An RSA key takes a good part of a second, so this is not for the async threads.
pub fn generate(
    alg: JwtAlg,
    signs_from: Timestamp,
    token_ttl: SignedDuration,
    envelope: &Envelope,
) -> Result<JwtKey, JwtKeyError> {
    let pkcs8 = match alg {
        JwtAlg::Es256 => {
            let random = SystemRandom::new();
            let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random);
            Zeroizing::new(made.map_err(|_| JwtKeyError::Making)?.as_ref().to_vec())
        }
        JwtAlg::Rs256 => {
            let made = RsaKeyPair::generate(KeySize::Rsa2048).map_err(|_| JwtKeyError::Making)?;
            let der: Pkcs8V1Der<'_> = made.as_der().map_err(|_| JwtKeyError::Making)?;
            Zeroizing::new(der.as_ref().to_vec())
        }
    };
    let public = public_half(alg, &pkcs8).ok_or(JwtKeyError::Making)?;
    let kid = thumbprint(&public);
    Ok(JwtKey { kid, public, sealed_key: envelope.seal(&pkcs8)?, signs_from, token_ttl })
}

fn public_half(alg: JwtAlg, pkcs8: &[u8]) -> Option<JwtPublicKey> {
    match alg {
        JwtAlg::Es256 => {
            let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok()?;
            // 4, then the affine coordinates (SEC 1, 2.3.3).
            let (x, y) = key.public_key().as_ref().strip_prefix(&[4])?.split_at_checked(32)?;
            Some(JwtPublicKey::P256 { x: x.to_vec(), y: y.to_vec() })
        }
        JwtAlg::Rs256 => {
            let key = RsaKeyPair::from_pkcs8(pkcs8).ok()?;
            // RSAPublicKey (RFC 8017 A.1.1). A zero in front keeps an INTEGER positive and is no part of the number.
            let mut members = der::document(key.public_key().as_ref()).ok()?.children();
            let mut number = || {
                let octets = members.expect(der::INTEGER).ok()?.content;
                Some(octets.strip_prefix(&[0]).unwrap_or(octets).to_vec())
            };
            Some(JwtPublicKey::Rsa { n: number()?, e: number()? })
        }
    }
}

/// RFC 7638: the members that make the key, in the order of their names, without blanks.
fn thumbprint(public: &JwtPublicKey) -> String {
    let text = |octets: &[u8]| BASE64URL_NOPAD.encode(octets);
    let members = match public {
        JwtPublicKey::P256 { x, y } => {
            format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, text(x), text(y))
        }
        JwtPublicKey::Rsa { n, e } => format!(r#"{{"e":"{}","kty":"RSA","n":"{}"}}"#, text(e), text(n)),
    };
    BASE64URL_NOPAD.encode(&sha256(&[members.as_bytes()]))
}

/// The same keys, sealed so that each of these envelopes opens them.
pub fn reseal(keys: &JwtKeys, from: &Envelope, to: &[&Envelope]) -> Result<JwtKeys, EnvelopeError> {
    let reseal = |key: &JwtKey| {
        let sealed_key = Envelope::seal_for(to, &from.unseal(&key.sealed_key)?)?;
        Ok(JwtKey { sealed_key, ..key.clone() })
    };
    Ok(JwtKeys { keys: keys.keys.iter().map(reseal).collect::<Result<_, EnvelopeError>>()? })
}

/// The unsealed keys. Signing is all that can be done with them.
pub struct JwtSigner {
    keys: JwtKeys,
    /// In the order of `keys`.
    signing: Vec<SigningPair>,
}

/// A key that is ready to sign: reading an RSA key checks it, which takes longer than a signature.
enum SigningPair {
    Es256(EcdsaKeyPair),
    Rs256(RsaKeyPair),
}

impl fmt::Debug for JwtSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JwtSigner").field("keys", &self.keys).finish_non_exhaustive()
    }
}

/// What a token is to say, decided by the server.
#[derive(Debug, Clone)]
pub struct JwtOrder<'a> {
    pub id: &'a SpiffeId,
    /// Of the certificate that asked.
    pub serial: Serial,
    pub audience: &'a [String],
    pub issuer: Option<&'a str>,
    /// Names this token among all others.
    pub jti: String,
    pub at: Timestamp,
    /// Whole seconds.
    pub expires: Timestamp,
}

/// RFC 7515 4.1. It is ours alone; what a token says of itself is read by nobody here.
#[derive(Serialize)]
struct JwsHeader<'a> {
    alg: &'a str,
    kid: &'a str,
    typ: &'a str,
}

/// SPIFFE JWT-SVID 3, RFC 7519 4.1.
#[derive(Serialize)]
struct Claims<'a> {
    sub: String,
    aud: &'a [String],
    exp: i64,
    iat: i64,
    jti: &'a str,
    svid_serial: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
}

impl JwtSigner {
    /// Unseals the keys, and checks that each is the one that its record names.
    pub fn open(keys: JwtKeys, envelope: &Envelope) -> Result<Self, JwtKeyError> {
        let open = |key: &JwtKey| {
            let pkcs8 = envelope.unseal(&key.sealed_key)?;
            let is_its = public_half(key.public.alg(), &pkcs8).as_ref() == Some(&key.public);
            if !is_its || thumbprint(&key.public) != key.kid {
                return Err(JwtKeyError::OtherKey);
            }
            SigningPair::read(key.public.alg(), &pkcs8).ok_or(JwtKeyError::OtherKey)
        };
        let signing = keys.keys.iter().map(open).collect::<Result<_, _>>()?;
        Ok(Self { keys, signing })
    }

    /// The keys as they are stored.
    pub const fn keys(&self) -> &JwtKeys {
        &self.keys
    }

    /// Signs a token (RFC 7515, compact). Blocking.
    pub fn sign(&self, order: &JwtOrder<'_>) -> Result<String, JwtSignError> {
        let key = self.keys.signing_at(order.at).ok_or(JwtSignError::NoKey)?;
        let place = self.keys.keys.iter().position(|other| other.kid == key.kid);
        let signing = place.and_then(|place| self.signing.get(place)).ok_or(JwtSignError::NoKey)?;
        let header = JwsHeader { alg: key.public.alg().as_str(), kid: &key.kid, typ: "JWT" };
        let claims = Claims {
            sub: order.id.to_string(),
            aud: order.audience,
            exp: order.expires.as_second(),
            iat: order.at.as_second(),
            jti: &order.jti,
            svid_serial: order.serial.to_string(),
            iss: order.issuer,
        };
        let (header, claims) = (serde_json::to_vec(&header)?, serde_json::to_vec(&claims)?);
        let mut token = BASE64URL_NOPAD.encode(&header);
        token.push('.');
        BASE64URL_NOPAD.encode_append(&claims, &mut token);
        let signature = signing.sign(token.as_bytes()).map_err(|_| JwtSignError::Sign)?;
        token.push('.');
        BASE64URL_NOPAD.encode_append(&signature, &mut token);
        Ok(token)
    }
}

impl SigningPair {
    fn read(alg: JwtAlg, pkcs8: &[u8]) -> Option<Self> {
        Some(match alg {
            JwtAlg::Es256 => {
                Self::Es256(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8).ok()?)
            }
            JwtAlg::Rs256 => Self::Rs256(RsaKeyPair::from_pkcs8(pkcs8).ok()?),
        })
    }

    /// A signature as JWS has it (RFC 7518 3.3, 3.4).
    fn sign(&self, input: &[u8]) -> Result<Vec<u8>, Unspecified> {
        let random = SystemRandom::new();
        match self {
            Self::Es256(key) => Ok(key.sign(&random, input)?.as_ref().to_vec()),
            Self::Rs256(key) => {
                let mut signature = vec![0; key.public_modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, input, &mut signature)?;
                Ok(signature)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use jsonwebtoken::{Algorithm, DecodingKey, Validation};
    use serde_json::Value;

    use super::*;
    use crate::ca::testing::{envelope, id, now};

    const TTL: SignedDuration = SignedDuration::from_mins(5);

    #[test]
    fn tokens_are_as_spiffe_says_and_verify_with_what_is_public() {
        let envelope = envelope();
        for alg in JwtAlg::ALL {
            let key = generate(*alg, now(), TTL, &envelope).unwrap();
            let signer = JwtSigner::open(JwtKeys { keys: vec![key.clone()] }, &envelope).unwrap();
            let id = id("web-1");
            let audience = ["a".to_owned(), "b".to_owned()];
            let order = JwtOrder {
                id: &id,
                serial: Serial::from_bytes([0xab; 16]),
                audience: &audience,
                issuer: Some("https://id.example"),
                jti: "one".to_owned(),
                at: now(),
                expires: now() + TTL,
            };
            let token = signer.sign(&order).unwrap();
            let text = |octets: &[u8]| BASE64URL_NOPAD.encode(octets);
            let (verifying, algorithm) = match &key.public {
                JwtPublicKey::P256 { x, y } => {
                    (DecodingKey::from_ec_components(&text(x), &text(y)).unwrap(), Algorithm::ES256)
                }
                JwtPublicKey::Rsa { n, e } => {
                    (DecodingKey::from_rsa_components(&text(n), &text(e)).unwrap(), Algorithm::RS256)
                }
            };
            let mut validation = Validation::new(algorithm);
            validation.validate_exp = false;
            validation.set_audience(&["b"]);
            let decoded = jsonwebtoken::decode::<Value>(&token, &verifying, &validation).unwrap();
            assert_eq!(decoded.header.kid.as_deref(), Some(key.kid.as_str()));
            assert_eq!(decoded.header.typ.as_deref(), Some("JWT"));
            let at = now().as_second();
            assert_eq!(
                decoded.claims,
                serde_json::json!({
                    "sub": id.to_string(), "aud": ["a", "b"], "exp": at + 300, "iat": at, "jti": "one",
                    "svid_serial": "ab".repeat(16), "iss": "https://id.example",
                })
            );
            assert!(!format!("{signer:?} {key:?}").contains("sealed"), "{signer:?}");
        }
    }

    #[test]
    fn a_key_opens_with_its_envelope_and_under_its_name_alone() {
        let (ours, others) = (envelope(), envelope());
        let keys = |key: &JwtKey| JwtKeys { keys: vec![key.clone()] };
        let key = generate(JwtAlg::Es256, now(), TTL, &ours).unwrap();
        assert!(matches!(JwtSigner::open(keys(&key), &others), Err(JwtKeyError::Envelope(_))));
        let other = generate(JwtAlg::Es256, now(), TTL, &ours).unwrap();
        for swapped in [
            JwtKey { sealed_key: other.sealed_key.clone(), ..key.clone() },
            JwtKey { kid: other.kid.clone(), ..key.clone() },
            JwtKey { public: other.public, ..key.clone() },
        ] {
            assert!(matches!(JwtSigner::open(keys(&swapped), &ours), Err(JwtKeyError::OtherKey)));
        }
        let resealed = reseal(&keys(&key), &ours, &[&ours, &others]).unwrap();
        for envelope in [&ours, &others] {
            JwtSigner::open(resealed.clone(), envelope).unwrap();
        }
    }
}
