//! Credentials that Muster generates: join tokens, enrollment secrets, API tokens.
//!
//! On the wire they read `<prefix>_<public id>_<256-bit secret>`. The id finds the row, the secret proves
//! possession. With 256 random bits a fast, domain-separated hash is enough at rest (OWASP ASVS 5, 6.5.2),
//! and a flood of guesses costs the server nothing.

use std::fmt;

use aws_lc_rs::constant_time;
use zeroize::{Zeroize, Zeroizing};

use crate::domain::ids::{ALPHABET, CredentialId};
use crate::domain::octets::{decoded_secret, octets};
use crate::domain::sha256::sha256;

/// What a credential is for; part of its text and of its hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CredentialKind {
    /// `mjt_…`, lets one machine in once.
    JoinToken,
    /// `mes_…`, lets many machines in.
    EnrollmentSecret,
    /// `mat_…`, a program's.
    ApiToken,
}

impl CredentialKind {
    /// What its text begins with, before the first `_`.
    pub const fn prefix(self) -> &'static str {
        match self {
            Self::JoinToken => "mjt",
            Self::EnrollmentSecret => "mes",
            Self::ApiToken => "mat",
        }
    }
}

/// A credential in the clear. It is wiped on drop and never printed by `Debug`.
pub struct Credential {
    kind: CredentialKind,
    id: CredentialId,
    secret: Zeroizing<[u8; 32]>,
}

impl Credential {
    /// From random octets; `secret` is wiped when the credential is dropped.
    pub fn new(kind: CredentialKind, id: CredentialId, secret: Zeroizing<[u8; 32]>) -> Self {
        Self { kind, id, secret }
    }

    /// Reads a credential of one kind. Nothing is trimmed or normalised.
    pub fn parse(kind: CredentialKind, text: &str) -> Option<Self> {
        let rest = text.strip_prefix(kind.prefix())?.strip_prefix('_')?;
        let (id, secret) = rest.split_once('_')?;
        Some(Self { kind, id: id.parse().ok()?, secret: decoded_secret(&ALPHABET, secret)? })
    }

    /// Which kind of credential a text claims to be, judged by its prefix alone.
    pub fn claimed_kind(text: &str) -> Option<CredentialKind> {
        [CredentialKind::JoinToken, CredentialKind::EnrollmentSecret, CredentialKind::ApiToken]
            .into_iter()
            .find(|kind| text.strip_prefix(kind.prefix()).is_some_and(|rest| rest.starts_with('_')))
    }

    /// What it is for.
    pub const fn kind(&self) -> CredentialKind {
        self.kind
    }

    /// The public half, which finds its row.
    pub const fn id(&self) -> CredentialId {
        self.id
    }

    /// The text to hand to whoever asked for the credential, once.
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut secret = ALPHABET.encode(&*self.secret);
        let text = format!("{}_{}_{secret}", self.kind.prefix(), self.id);
        secret.zeroize();
        Zeroizing::new(text)
    }

    /// What is stored: SHA-256 over a domain separator, the kind, the id and the secret.
    pub fn hash(&self) -> CredentialHash {
        let kind = self.kind.prefix().as_bytes();
        CredentialHash(sha256(&[b"muster credential v1\0", kind, self.id.as_bytes(), &*self.secret]))
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}_[secret]", self.kind.prefix(), self.id)
    }
}

octets! {
    /// The stored hash of a credential's secret. Comparing is only possible in constant time.
    #[derive(Clone)]
    pub struct CredentialHash([u8; 32]);
}

impl CredentialHash {
    /// Whether this is the hash of what was presented; takes the same time whichever octets differ.
    pub fn matches(&self, presented: &Credential) -> bool {
        constant_time::verify_slices_are_equal(&self.0, &presented.hash().0).is_ok()
    }
}

impl fmt::Debug for CredentialHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[hash]")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn specimen() -> Credential {
        let id = CredentialId::from_bytes([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
        Credential::new(CredentialKind::JoinToken, id, Zeroizing::new([0xa5; 32]))
    }

    #[test]
    fn parses_exactly_what_it_reveals() {
        let text = specimen().reveal();
        let parsed = Credential::parse(CredentialKind::JoinToken, &text).unwrap();
        assert!(specimen().hash().matches(&parsed));
        let bad = [
            text.to_uppercase(),
            format!(" {}", *text),
            format!("{}\n", *text),
            text[..text.len() - 1].to_owned(),
            format!("{}a", *text),
            text.replacen("mjt", "mes", 1),
            format!("{}b", &text[..text.len() - 1]),
            "mjt__".to_owned(),
            String::new(),
        ];
        for bad in bad {
            assert!(Credential::parse(CredentialKind::JoinToken, &bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn debug_shows_no_secret() {
        let shown = format!("{:?} {:?}", specimen(), specimen().hash());
        assert!(!shown.contains(&specimen().reveal()[22..]), "{shown}");
        assert!(shown.ends_with("[hash]"));
    }

    #[test]
    fn the_same_secret_hashes_differently_for_another_kind() {
        let other = Credential { kind: CredentialKind::EnrollmentSecret, ..specimen() };
        assert!(!other.hash().matches(&specimen()));
    }
}
