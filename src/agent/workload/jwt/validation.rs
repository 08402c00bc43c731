//! Whether somebody's JWT-SVID is good (SPIFFE JWT-SVID 4, 5): whose signature, until when, for whom, and not denied.

use jiff::{SignedDuration, Timestamp};
use jsonwebtoken::Validation;
use serde_json::{Map, Value};

use super::bundle::JwtBundle;
use crate::agent::trust::shared::SharedTrust;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::{SpiffeId, TrustDomain};

/// Longest token that is looked into, in octets.
const TOKEN_OCTETS_MAX: usize = 16 * 1024;
/// By how much a token may be from the future: the server's clock is known to a second or so.
const CLOCK_LEEWAY: SignedDuration = SignedDuration::from_secs(5);

/// Why a token lets nobody in. Nothing of it is in the texts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidJwt {
    #[error("the token is longer than 16 KiB")]
    TooLong,
    #[error("the token is no JWT that a key of this trust domain has signed")]
    Malformed,
    #[error("the token is signed with a key that this trust domain has not, or has no more")]
    UnknownKey,
    #[error("the token's signature is wrong")]
    Signature,
    #[error("the token has expired or is not valid yet")]
    Time,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token names nobody of this trust domain")]
    Subject,
    #[error("the identity that the token names is revoked")]
    Denied,
}

/// What a good token says.
#[derive(Debug)]
pub(crate) struct ValidJwt {
    pub id: SpiffeId,
    pub claims: Map<String, Value>,
}

/// The name of the key that a token says it is signed with, if a key's algorithm is what the token claims.
pub(crate) fn key_of(token: &str) -> Result<String, InvalidJwt> {
    if token.len() > TOKEN_OCTETS_MAX {
        return Err(InvalidJwt::TooLong);
    }
    let header = jsonwebtoken::decode_header(token).map_err(|_| InvalidJwt::Malformed)?;
    let typed = header.typ.as_deref().is_none_or(|typ| typ == "JWT" || typ == "JOSE");
    header.kid.filter(|_| typed).ok_or(InvalidJwt::Malformed)
}

/// What is asked of a token.
#[derive(Debug)]
pub(crate) struct JwtQuestion<'a> {
    pub token: &'a str,
    pub audience: &'a str,
    pub trust_domain: &'a TrustDomain,
}

/// Checks a token whose header was read with [`key_of`].
pub(crate) fn validate(
    question: &JwtQuestion<'_>,
    kid: &str,
    bundle: &JwtBundle,
    trust: &SharedTrust,
) -> Result<ValidJwt, InvalidJwt> {
    let key = bundle.key(kid).ok_or(InvalidJwt::UnknownKey)?;
    // The algorithm is the key's. Times and names are judged here: the library knows neither the server's clock nor SPIFFE.
    let mut validation = Validation::new(key.algorithm);
    validation.validate_exp = false;
    validation.validate_aud = false;
    validation.required_spec_claims.clear();
    let decoded = jsonwebtoken::decode::<Map<String, Value>>(question.token, &key.key, &validation);
    let claims = decoded.map_err(|_| InvalidJwt::Signature)?.claims;
    in_time(&claims, trust.server_now())?;
    let for_us = match claims.get("aud") {
        Some(Value::String(one)) => one == question.audience,
        Some(Value::Array(several)) => several.iter().any(|one| one == question.audience),
        _ => false,
    };
    if !for_us {
        return Err(InvalidJwt::Audience);
    }
    let text = |name: &str| claims.get(name).and_then(Value::as_str);
    let id = text("sub").and_then(|sub| sub.parse::<SpiffeId>().ok());
    let id = id.filter(|id| id.trust_domain == *question.trust_domain).ok_or(InvalidJwt::Subject)?;
    let serial = text("svid_serial").and_then(|serial| serial.parse::<Serial>().ok());
    let serial = serial.ok_or(InvalidJwt::Subject)?;
    let denied = trust.read().as_ref().is_some_and(|state| state.denies_of(&serial, &id));
    if denied { Err(InvalidJwt::Denied) } else { Ok(ValidJwt { id, claims }) }
}

fn in_time(claims: &Map<String, Value>, now: Timestamp) -> Result<(), InvalidJwt> {
    let time = |name: &str| claims.get(name).map(|value| value.as_f64().ok_or(InvalidJwt::Time)).transpose();
    let seconds = |at: Timestamp| at.as_duration().as_secs_f64();
    let ahead = seconds(now.saturating_add(CLOCK_LEEWAY).unwrap_or(now));
    let expires = time("exp")?.ok_or(InvalidJwt::Time)?;
    let begins = [time("nbf")?, time("iat")?];
    let begun = begins.into_iter().flatten().all(|begins| begins <= ahead);
    if expires > seconds(now) && begun { Ok(()) } else { Err(InvalidJwt::Time) }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use data_encoding::BASE64URL_NOPAD;
    use jsonwebtoken::{Algorithm, EncodingKey, Header};
    use rcgen::{KeyPair, PublicKeyData};
    use serde_json::json;

    use super::*;
    use crate::clock::SystemClock;

    const SUB: &str = "spiffe://muster/tenant/01890000-0000-7000-8000-000000000000/agent/web-1";

    struct Issuer {
        key: KeyPair,
        bundle: JwtBundle,
    }

    impl Issuer {
        fn new() -> Self {
            let key = KeyPair::generate().unwrap();
            let (x, y) = key.der_bytes()[1..].split_at(32);
            let text = |octets: &[u8]| BASE64URL_NOPAD.encode(octets);
            let jwk = json!({"use": "jwt-svid", "kty": "EC", "crv": "P-256", "kid": "k", "x": text(x), "y": text(y)});
            let document = json!({"keys": [jwk], "spiffe_sequence": 1, "spiffe_refresh_hint": 300});
            let bundle = JwtBundle::read(document.to_string().as_bytes()).unwrap();
            Self { key, bundle }
        }

        fn token(&self, claims: &Value) -> String {
            let header = Header { kid: Some("k".to_owned()), ..Header::new(Algorithm::ES256) };
            let key = EncodingKey::from_ec_der(self.key.serialized_der());
            jsonwebtoken::encode(&header, claims, &key).unwrap()
        }

        fn judge(&self, token: &str) -> Result<SpiffeId, InvalidJwt> {
            let trust_domain = "muster".parse().unwrap();
            let trust = SharedTrust::new(Arc::new(SystemClock));
            let question = JwtQuestion { token, audience: "db", trust_domain: &trust_domain };
            let kid = key_of(token)?;
            validate(&question, &kid, &self.bundle, &trust).map(|valid| valid.id)
        }
    }

    fn claims() -> Value {
        let now = Timestamp::now().as_second();
        json!({"sub": SUB, "aud": ["api", "db"], "exp": now + 60, "iat": now, "svid_serial": "ab".repeat(16)})
    }

    #[test]
    fn a_token_is_good_for_whom_until_when_and_of_whom_it_says() {
        let issuer = Issuer::new();
        assert_eq!(issuer.judge(&issuer.token(&claims())).unwrap().to_string(), SUB);
        let now = Timestamp::now().as_second();
        let changed: [(&str, Value, Result<(), InvalidJwt>); 17] = [
            ("aud", json!("db"), Ok(())),
            ("aud", json!("api"), Err(InvalidJwt::Audience)),
            ("aud", json!([]), Err(InvalidJwt::Audience)),
            ("aud", json!({"db": "db"}), Err(InvalidJwt::Audience)),
            ("aud", Value::Null, Err(InvalidJwt::Audience)),
            ("exp", json!(now - 1), Err(InvalidJwt::Time)),
            ("exp", json!("never"), Err(InvalidJwt::Time)),
            ("exp", Value::Null, Err(InvalidJwt::Time)),
            ("exp", json!(1e300), Ok(())),
            ("nbf", json!(now + 60), Err(InvalidJwt::Time)),
            ("nbf", json!(now - 60), Ok(())),
            ("iat", json!(now + 60), Err(InvalidJwt::Time)),
            ("sub", json!(SUB.replace("muster", "other")), Err(InvalidJwt::Subject)),
            ("sub", json!("web-1"), Err(InvalidJwt::Subject)),
            ("sub", Value::Null, Err(InvalidJwt::Subject)),
            ("svid_serial", json!("AB"), Err(InvalidJwt::Subject)),
            ("svid_serial", json!(7), Err(InvalidJwt::Subject)),
        ];
        for (claim, value, expected) in changed {
            let mut claims = claims();
            claims[claim] = value.clone();
            let judged = issuer.judge(&issuer.token(&claims)).map(|_| ());
            assert_eq!(judged, expected, "{claim}: {value}");
        }
    }

    #[test]
    fn nothing_that_a_token_says_chooses_its_key_s_algorithm() {
        let issuer = Issuer::new();
        let good = issuer.token(&claims());
        let (_, rest) = good.split_once('.').unwrap();
        let (body, signature) = rest.split_once('.').unwrap();
        let text = |json: Value| BASE64URL_NOPAD.encode(json.to_string().as_bytes());
        let with = |header: Value, signature: &str| format!("{}.{body}.{signature}", text(header));
        let jwk = KeyPair::generate().unwrap();
        let secret = EncodingKey::from_secret(issuer.key.der_bytes());
        let hs256 = Header { kid: Some("k".to_owned()), ..Header::new(Algorithm::HS256) };
        let hs256 = jsonwebtoken::encode(&hs256, &claims(), &secret).unwrap();
        let others = Issuer { key: jwk, ..Issuer::new() };
        let mut flipped = good.clone();
        flipped.replace_range(
            good.len() - 3..good.len() - 2,
            if &good[good.len() - 3..good.len() - 2] == "A" { "B" } else { "A" },
        );
        for (token, expected) in [
            (with(json!({"alg": "none", "kid": "k"}), ""), InvalidJwt::Malformed),
            (with(json!({"alg": "None", "kid": "k"}), signature), InvalidJwt::Malformed),
            (with(json!({"alg": "ES384", "kid": "k"}), signature), InvalidJwt::Signature),
            (with(json!({"alg": "RS256", "kid": "k"}), signature), InvalidJwt::Signature),
            (with(json!({"alg": "ES256", "kid": "other"}), signature), InvalidJwt::UnknownKey),
            (with(json!({"alg": "ES256"}), signature), InvalidJwt::Malformed),
            (with(json!({"alg": "ES256", "kid": "k", "typ": "at+jwt"}), signature), InvalidJwt::Malformed),
            (with(json!({"kid": "k"}), signature), InvalidJwt::Malformed),
            (with(json!({"alg": "ES256", "kid": "k"}), ""), InvalidJwt::Signature),
            (hs256, InvalidJwt::Signature),
            (others.token(&claims()), InvalidJwt::Signature),
            (flipped, InvalidJwt::Signature),
            (String::new(), InvalidJwt::Malformed),
            ("a.b".to_owned(), InvalidJwt::Malformed),
            ("....".to_owned(), InvalidJwt::Malformed),
            ("\u{0}".to_owned(), InvalidJwt::Malformed),
            ("x".repeat(17 * 1024), InvalidJwt::TooLong),
        ] {
            assert_eq!(issuer.judge(&token).unwrap_err(), expected, "{token:.80}");
        }
    }
}
