//! The keys of JWT-SVIDs as others fetch them: in the SPIFFE bundle, as a JWK set, and by OpenID Connect discovery.

use data_encoding::BASE64URL_NOPAD;

use super::document::Document;
use crate::api::authority::{BundleKeyItem, DiscoveryAnswer, JwksAnswer};
use crate::app::keep::jwt_keys::JwtBundleKeys;
use crate::domain::identity::jwt_issuer::JwtIssuer;
use crate::domain::identity::jwt_keys::{JwtAlg, JwtPublicKey};

/// What a program finds that knows no more than the issuer.
#[derive(Debug, Clone)]
pub(crate) struct Discovery {
    pub(crate) configuration: Document,
    pub(crate) jwks: Document,
}

/// The keys as members of a SPIFFE bundle (SPIFFE JWT-SVID 6.2).
pub(crate) fn bundle_items(keys: &JwtBundleKeys) -> impl Iterator<Item = BundleKeyItem> {
    keys.keys.iter().map(|(kid, public)| BundleKeyItem { r#use: "jwt-svid".into(), ..item(kid, public) })
}

/// What is served where an issuer is set.
pub(crate) fn discovery(issuer: &JwtIssuer, keys: &JwtBundleKeys) -> Discovery {
    let items = keys.keys.iter().map(|(kid, public)| BundleKeyItem {
        r#use: "sig".into(),
        alg: Some(public.alg().as_str().into()),
        ..item(kid, public)
    });
    let jwks = JwksAnswer { keys: items.collect() };
    let mut algs: Vec<_> = keys.keys.iter().map(|(_, public)| public.alg()).collect();
    // Every issuer has to name it (OpenID Connect Discovery 1.0, section 3), and some programs insist; it takes a key to use it.
    algs.push(JwtAlg::Rs256);
    algs.sort_unstable();
    algs.dedup();
    let configuration = DiscoveryAnswer {
        issuer: issuer.to_string(),
        jwks_uri: issuer.jwks_uri(),
        response_types_supported: vec!["id_token".into()],
        subject_types_supported: vec!["public".into()],
        id_token_signing_alg_values_supported: algs.iter().map(ToString::to_string).collect(),
        claims_supported: ["sub", "aud", "exp", "iat", "jti", "iss", "svid_serial"].map(Into::into).to_vec(),
    };
    let json = |value: serde_json::Value| Document::new("application/json", value.to_string());
    Discovery { configuration: json(serde_json::json!(configuration)), jwks: json(serde_json::json!(jwks)) }
}

fn item(kid: &str, public: &JwtPublicKey) -> BundleKeyItem {
    let text = |octets: &[u8]| Some(BASE64URL_NOPAD.encode(octets));
    let kid = Some(kid.to_owned());
    match public {
        JwtPublicKey::P256 { x, y } => BundleKeyItem {
            kty: "EC".into(),
            kid,
            crv: Some("P-256".into()),
            x: text(x),
            y: text(y),
            ..BundleKeyItem::default()
        },
        JwtPublicKey::Rsa { n, e } => {
            BundleKeyItem { kty: "RSA".into(), kid, n: text(n), e: text(e), ..BundleKeyItem::default() }
        }
    }
}
