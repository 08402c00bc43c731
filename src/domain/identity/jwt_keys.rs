//! The keys that sign JWT-SVIDs: when one is made, when it signs, and when nobody needs it any more.

use jiff::{SignedDuration, Timestamp};

use crate::domain::vocabulary::vocabulary;

vocabulary! {
    /// A signature algorithm of JWT-SVIDs (RFC 7518 3.1). The key decides it, never what a token says of itself.
    pub enum JwtAlg {
        Es256 = "ES256",
        Rs256 = "RS256",
    }
}

/// How long a key signs before another one does.
const KEY_SIGNS: SignedDuration = SignedDuration::from_hours(7 * 24);
/// How long a key is public before it signs, so that whoever fetches keys once a day knows it by then.
const PUBLIC_BEFORE_SIGNING: SignedDuration = SignedDuration::from_hours(24);
/// How much longer than its last token a key is kept, for verifiers whose clocks are behind.
const KEPT_LONGER: SignedDuration = SignedDuration::from_mins(2);

/// The public half, as a JWK has it (RFC 7518 6.2.1, 6.3.1): octets, big-endian.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs, reason = "named as in RFC 7518")]
pub enum JwtPublicKey {
    P256 { x: Vec<u8>, y: Vec<u8> },
    Rsa { n: Vec<u8>, e: Vec<u8> },
}

impl JwtPublicKey {
    /// What it verifies, and nothing else.
    pub const fn alg(&self) -> JwtAlg {
        match self {
            Self::P256 { .. } => JwtAlg::Es256,
            Self::Rsa { .. } => JwtAlg::Rs256,
        }
    }
}

/// A key pair, its private half sealed with the envelope.
#[derive(Clone, PartialEq, Eq)]
pub struct JwtKey {
    /// The JWK thumbprint (RFC 7638) of the public half.
    pub kid: String,
    /// The public half.
    pub public: JwtPublicKey,
    /// PKCS#8 DER inside an age file.
    pub sealed_key: Vec<u8>,
    /// From when on it signs, until the next one does.
    pub signs_from: Timestamp,
    /// The longest life of any token that it signs.
    pub token_ttl: SignedDuration,
}

impl std::fmt::Debug for JwtKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("JwtKey").field("kid", &self.kid).finish_non_exhaustive()
    }
}

/// All of them, in the order in which they sign.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JwtKeys {
    /// The newest last. None before an agent CA was unsealed by a version that has JWT-SVIDs.
    pub keys: Vec<JwtKey>,
}

impl JwtKeys {
    /// The key that signs at a time: the newest one whose time has come. Where the clock was set back, none has come, and
    /// the oldest one signs on.
    pub fn signing_at(&self, at: Timestamp) -> Option<&JwtKey> {
        self.keys.iter().rfind(|key| key.signs_from <= at).or(self.keys.first())
    }

    /// What is still needed at a time: without those whose last token has expired. Keys of another algorithm that have
    /// not signed yet never will.
    #[must_use]
    pub fn needed_at(&self, at: Timestamp, alg: JwtAlg, token_ttl: SignedDuration) -> Self {
        let mut keys = self.keys.clone();
        for key in &mut keys {
            // A clock that was far ahead made it; waiting for that time to come would end all renewal until then.
            if key.signs_from.duration_since(at) > KEY_SIGNS {
                key.signs_from = at;
            }
            key.token_ttl = key.token_ttl.max(token_ttl);
        }
        keys.retain(|key| key.signs_from <= at || key.public.alg() == alg);
        let ends: Vec<_> = keys.iter().skip(1).map(|next| next.signs_from).collect();
        let mut ends = ends.into_iter().map(Some).chain([None]);
        keys.retain(|key| {
            let superseded = ends.next().flatten();
            superseded.is_none_or(|superseded| at.duration_since(superseded) <= key.token_ttl + KEPT_LONGER)
        });
        Self { keys }
    }

    /// From when on another key is to sign, if it is time to make that one. One of another algorithm waits its day like any
    /// other: verifiers that don't know it yet would refuse its tokens.
    pub fn next_due(&self, at: Timestamp, alg: JwtAlg) -> Option<Timestamp> {
        let Some(newest) = self.keys.last() else { return Some(at) };
        let from = newest.signs_from.saturating_add(KEY_SIGNS).ok()?;
        let known = at.saturating_add(PUBLIC_BEFORE_SIGNING).ok()?;
        (from <= known || newest.public.alg() != alg).then_some(known)
    }

    /// The public halves, which is what others see of them.
    pub fn public(&self) -> impl Iterator<Item = (&str, &JwtPublicKey)> {
        self.keys.iter().map(|key| (key.kid.as_str(), &key.public))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: SignedDuration = SignedDuration::from_mins(5);

    fn at(hours: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_hours(hours)
    }

    fn key(kid: &str, alg: JwtAlg, signs_from: Timestamp) -> JwtKey {
        let public = match alg {
            JwtAlg::Es256 => JwtPublicKey::P256 { x: vec![1], y: vec![2] },
            JwtAlg::Rs256 => JwtPublicKey::Rsa { n: vec![1], e: vec![3] },
        };
        JwtKey { kid: kid.to_owned(), public, sealed_key: Vec::new(), signs_from, token_ttl: TTL }
    }

    fn kids(keys: &JwtKeys) -> String {
        keys.keys.iter().map(|key| key.kid.as_str()).collect()
    }

    #[test]
    fn a_week_of_signing_a_day_of_notice_and_the_life_of_a_token() {
        let alg = JwtAlg::Es256;
        let mut keys = JwtKeys::default();
        assert_eq!(keys.next_due(at(0), alg), Some(at(0)), "the first signs at once");
        keys.keys.push(key("a", alg, at(0)));
        assert_eq!(keys.next_due(at(6 * 24 - 1), alg), None);
        assert_eq!(keys.next_due(at(6 * 24), alg), Some(at(7 * 24)));
        keys.keys.push(key("b", alg, at(7 * 24)));
        assert_eq!(keys.next_due(at(6 * 24), alg), None, "one is waiting");
        assert_eq!(keys.signing_at(at(7 * 24 - 1)).unwrap().kid, "a");
        assert_eq!(keys.signing_at(at(7 * 24)).unwrap().kid, "b");
        let needed = |at| kids(&keys.needed_at(at, alg, TTL));
        assert_eq!(needed(at(7 * 24) + TTL), "ab");
        assert_eq!(needed(at(7 * 24) + TTL + KEPT_LONGER + SignedDuration::from_secs(1)), "b");
        assert_eq!(needed(at(1000)), "b", "the newest one stays, however old it is");
        assert_eq!(
            keys.needed_at(at(7 * 24) + TTL * 3, alg, TTL * 4).keys.len(),
            2,
            "tokens that live longer from a start on are waited for"
        );
    }

    #[test]
    fn another_algorithm_s_key_is_public_for_a_day_too_and_tokens_of_before_stay_good() {
        let mut keys =
            JwtKeys { keys: vec![key("a", JwtAlg::Es256, at(0)), key("b", JwtAlg::Es256, at(100))] };
        keys = keys.needed_at(at(90), JwtAlg::Rs256, TTL);
        assert_eq!(kids(&keys), "a", "one that was to sign never will");
        assert_eq!(keys.next_due(at(90), JwtAlg::Rs256), Some(at(114)));
        keys.keys.push(key("c", JwtAlg::Rs256, at(114)));
        assert_eq!(keys.next_due(at(90), JwtAlg::Rs256), None, "one is waiting");
        for (hour, signs) in [(90, "a"), (113, "a"), (114, "c")] {
            assert_eq!(keys.signing_at(at(hour)).unwrap().kid, signs, "hour {hour}");
            assert_eq!(kids(&keys.needed_at(at(hour), JwtAlg::Rs256, TTL)), "ac");
        }
        assert_eq!(kids(&keys.needed_at(at(115), JwtAlg::Rs256, TTL)), "c");
        assert_eq!(kids(&keys.needed_at(at(100), JwtAlg::Es256, TTL)), "a", "the setting was put back");
    }

    #[test]
    fn a_clock_that_was_ahead_ends_neither_signing_nor_renewal() {
        let alg = JwtAlg::Es256;
        let keys = JwtKeys { keys: vec![key("a", alg, at(9000)), key("b", alg, at(9200))] };
        assert_eq!(keys.signing_at(at(10)).unwrap().kid, "a");
        let keys = keys.needed_at(at(10), alg, TTL);
        assert_eq!(keys.signing_at(at(10)).unwrap().kid, "b");
        assert_eq!(keys.next_due(at(10), alg), None);
        assert!(keys.next_due(at(10 + 6 * 24), alg).is_some());
    }
}
