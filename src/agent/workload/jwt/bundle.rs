//! The keys that JWT-SVIDs are checked with, read from a SPIFFE bundle (SPIFFE Trust Domain and Bundle 4).

use std::collections::HashMap;
use std::time::Duration;

use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, DecodingKey};

use crate::api::authority::{BundleAnswer, BundleKeyItem, JwksAnswer};

/// Largest bundle that is read, in octets. A key and a root have about 1 KiB each.
pub(crate) const BUNDLE_OCTETS_MAX: usize = 256 * 1024;
/// More keys than a server has at a time.
const KEYS_MAX: usize = 64;
/// Longest name of a key, in octets.
const KID_OCTETS_MAX: usize = 256;
/// Octets of the smallest RSA modulus that is believed (RFC 7518 3.3).
const RSA_OCTETS_MIN: usize = 256;
/// How often keys are asked for, whatever the server says.
const REFRESH: std::ops::RangeInclusive<u64> = 30..=3600;

/// The keys, and the JWK set that programs get.
pub(crate) struct JwtBundle {
    /// JSON (RFC 7517 5), without the roots.
    pub jwks: Vec<u8>,
    /// When to ask for it again.
    pub refresh: Duration,
    keys: HashMap<String, VerifyingKey>,
}

/// A key and the one algorithm that it is for.
pub(crate) struct VerifyingKey {
    pub algorithm: Algorithm,
    pub key: DecodingKey,
}

/// Why a document is no bundle. Nothing of it is in the texts.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NotABundle {
    #[error("it is no SPIFFE bundle")]
    Shape(#[from] serde_json::Error),
    #[error("it is longer than {} KiB or has more than {KEYS_MAX} keys", BUNDLE_OCTETS_MAX / 1024)]
    TooMuch,
}

impl JwtBundle {
    pub(crate) fn read(document: &[u8]) -> Result<Self, NotABundle> {
        if document.len() > BUNDLE_OCTETS_MAX {
            return Err(NotABundle::TooMuch);
        }
        let BundleAnswer { keys: items, spiffe_refresh_hint, .. } = serde_json::from_slice(document)?;
        if items.len() > KEYS_MAX {
            return Err(NotABundle::TooMuch);
        }
        let mut keys = HashMap::new();
        let mut told = Vec::new();
        for item in items.into_iter().filter(|item| item.r#use == "jwt-svid") {
            // A key of a later kind is for later agents.
            let Some((kid, key)) = verifying_key(&item) else { continue };
            keys.insert(kid, key);
            told.push(item);
        }
        let jwks = serde_json::to_vec(&JwksAnswer { keys: told })?;
        let hint = spiffe_refresh_hint.clamp(*REFRESH.start(), *REFRESH.end());
        Ok(Self { jwks, refresh: Duration::from_secs(hint), keys })
    }

    pub(crate) fn key(&self, kid: &str) -> Option<&VerifyingKey> {
        self.keys.get(kid)
    }
}

fn verifying_key(item: &BundleKeyItem) -> Option<(String, VerifyingKey)> {
    let kid = item.kid.clone().filter(|kid| !kid.is_empty() && kid.len() <= KID_OCTETS_MAX)?;
    let (algorithm, key) = match (&*item.kty, item.crv.as_deref()) {
        ("EC", Some("P-256")) => {
            let (x, y) = (item.x.as_ref()?, item.y.as_ref()?);
            let whole = |text: &str| BASE64URL_NOPAD.decode(text.as_bytes()).is_ok_and(|it| it.len() == 32);
            if !whole(x) || !whole(y) {
                return None;
            }
            (Algorithm::ES256, DecodingKey::from_ec_components(x, y).ok()?)
        }
        ("RSA", None) => {
            let (n, e) = (item.n.as_ref()?, item.e.as_ref()?);
            if BASE64URL_NOPAD.decode(n.as_bytes()).ok()?.len() < RSA_OCTETS_MIN {
                return None;
            }
            (Algorithm::RS256, DecodingKey::from_rsa_components(n, e).ok()?)
        }
        _ => return None,
    };
    Some((kid, VerifyingKey { algorithm, key }))
}

impl std::fmt::Debug for JwtBundle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwtBundle").field("kids", &self.keys.keys()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn key(kid: &str) -> Value {
        let octets = BASE64URL_NOPAD.encode(&[7; 32]);
        json!({"use": "jwt-svid", "kty": "EC", "crv": "P-256", "kid": kid, "x": octets, "y": octets})
    }

    fn read(keys: &[Value], hint: u64) -> Result<JwtBundle, NotABundle> {
        let document = json!({"keys": keys, "spiffe_sequence": 1, "spiffe_refresh_hint": hint});
        JwtBundle::read(document.to_string().as_bytes())
    }

    #[test]
    fn keys_of_jwt_svids_alone_are_taken_and_what_is_no_key_is_left_out() {
        let mut others = vec![key("good")];
        for (member, value) in [
            ("use", json!("x509-svid")),
            ("use", json!("sig")),
            ("kty", json!("oct")),
            ("crv", json!("P-384")),
            ("kid", json!("")),
            ("kid", json!("k".repeat(257))),
            ("kid", Value::Null),
            ("x", json!("AA")),
            ("y", json!("not base64")),
        ] {
            let mut other = key("bad");
            other[member] = value;
            others.push(other);
        }
        let short = BASE64URL_NOPAD.encode(&[0xff; 128]);
        others.push(json!({"use": "jwt-svid", "kty": "RSA", "kid": "bad", "n": short, "e": "AQAB"}));
        let bundle = read(&others, 300).unwrap();
        assert!(bundle.key("good").is_some_and(|key| key.algorithm == Algorithm::ES256));
        assert!(bundle.key("bad").is_none() && bundle.key("").is_none());
        let jwks: Value = serde_json::from_slice(&bundle.jwks).unwrap();
        assert_eq!(jwks, json!({"keys": [key("good")]}));
    }

    #[test]
    fn a_bundle_is_bounded_and_says_when_to_ask_again() {
        for (hint, seconds) in [(0, 30), (300, 300), (u64::MAX, 3600)] {
            assert_eq!(read(&[], hint).unwrap().refresh, Duration::from_secs(seconds));
        }
        assert!(matches!(read(&vec![key("k"); KEYS_MAX + 1], 300), Err(NotABundle::TooMuch)));
        assert!(matches!(JwtBundle::read(&vec![b' '; BUNDLE_OCTETS_MAX + 1]), Err(NotABundle::TooMuch)));
        for bad in ["", "{}", "[]", "{\"keys\":{}}", "null"] {
            assert!(matches!(JwtBundle::read(bad.as_bytes()), Err(NotABundle::Shape(_))), "{bad}");
        }
    }
}
