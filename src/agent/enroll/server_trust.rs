//! Which CAs vouch for the server from now on: what an answer says of them, taken over with care.
//!
//! The answer arrived over a connection that the present `server-ca.pem` vouched for, so it is the server's own
//! word; it must still be unable to lock the agent out, or to make it believe more than its operator chose.
//!
//! - Only a `server-ca.pem` that holds CAs and belongs to the agent changes. A file elsewhere is its operator's.
//!   One that holds the server's exact certificate stays as it is: a CA in its place would let in servers that
//!   were kept out before. Where the system's roots vouch, nothing is kept at all.
//! - Told CAs that would have vouched for this very connection replace the present ones. That is how an old CA
//!   goes out of use.
//! - Told CAs that would not are added to the present ones: the server is about to change its CA, or something
//!   with another certificate stands in front of it. Whoever vouches for the server now still does afterwards.
//! - Certificates that are no CA's or have expired don't count. When too many would come together, nothing changes.

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::pem;
use crate::pem::file::PemFileError;
use crate::tls::pem::certificates;
use crate::tls::server_verifier::{FirstContact, is_authority};

/// Most CAs that vouch for one server: an old and a new one, with room for cross-signing.
const AUTHORITIES_MAX: usize = 16;

/// Why the server's word was not taken. What was trusted before still is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotTakenOver {
    #[error("what the server says of its CA is no usable PEM")]
    Pem(#[from] PemFileError),
    #[error("none of the certificates that the server names as its CAs is a CA's and in force")]
    NoAuthority,
    #[error("the server names more CAs than can be meant")]
    TooMany,
}

/// The certificates to keep in place of the present ones, as PEM; `None` when nothing changes.
pub fn successor(contact: &FirstContact, told: &str, now: Timestamp) -> Result<Option<String>, NotTakenOver> {
    let Some(present) = contact.authorities() else {
        return Ok(None);
    };
    let mut next: Vec<CertificateDer<'static>> = Vec::new();
    for told in certificates(told.as_bytes())? {
        if in_force(&told, now) && !next.contains(&told) {
            next.push(told);
        }
    }
    if next.is_empty() {
        return Err(NotTakenOver::NoAuthority);
    }
    if !contact.would_accept(&next) {
        let kept = present.iter().filter(|kept| is_authority(kept) && !next.contains(kept));
        let kept: Vec<_> = kept.cloned().collect();
        next.splice(0..0, kept);
    }
    if next.len() > AUTHORITIES_MAX {
        return Err(NotTakenOver::TooMany);
    }
    let unchanged = next.len() == present.len() && next.iter().all(|one| present.contains(one));
    Ok((!unchanged).then(|| next.iter().map(|certificate| pem::certificate(certificate)).collect()))
}

fn in_force(certificate: &CertificateDer<'_>, now: Timestamp) -> bool {
    let Ok((_, parsed)) = X509Certificate::from_der(certificate) else {
        return false;
    };
    is_authority(certificate) && parsed.validity().not_after.timestamp() >= now.as_second()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
    use rustls::client::danger::ServerCertVerifier;
    use rustls::pki_types::{ServerName, UnixTime};
    use x509_parser::time::ASN1Time;

    use super::*;
    use crate::tls::server_verifier::Trust;

    type Ca = CertifiedIssuer<'static, KeyPair>;

    fn ca(name: &str, until: i64) -> Ca {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.not_after = ASN1Time::from_timestamp(until).unwrap().to_datetime();
        CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
    }

    fn leaf(issuer: &Ca) -> CertificateDer<'static> {
        let params = CertificateParams::new(["control.example".to_owned()]).unwrap();
        params.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().der().clone()
    }

    fn text(certificates: &[&CertificateDer<'static>]) -> String {
        certificates.iter().map(|der| pem::certificate(der)).collect()
    }

    /// A contact whose file held `trusted`, after the server had shown `shown`.
    fn after_contact(trusted: &[&CertificateDer<'static>], shown: &CertificateDer<'static>) -> FirstContact {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text(trusted)).unwrap();
        let contact = FirstContact::new(&Trust::CaFile(file.path().to_owned())).unwrap();
        let name = ServerName::try_from("control.example").unwrap();
        let contact = Arc::new(contact);
        contact.verify_server_cert(shown, &[], &name, &[], UnixTime::now()).unwrap();
        Arc::into_inner(contact).unwrap()
    }

    #[test]
    fn what_the_server_says_can_neither_lock_out_nor_let_in_more() {
        let now = Timestamp::now();
        let (far, gone) = (now.as_second() + 1_000_000, now.as_second() - 1);
        let (old, new, stale) = (ca("old", far), ca("new", far), ca("stale", gone));
        let (old_leaf, new_leaf) = (leaf(&old), leaf(&new));
        let contact = after_contact(&[old.der()], &old_leaf);
        let check = |contact: &FirstContact, told: &[&CertificateDer<'static>], expected| {
            assert_eq!(successor(contact, &text(told), now), expected);
        };
        let both = Ok(Some(text(&[old.der(), new.der()])));
        check(&contact, &[old.der()], Ok(None));
        // Announced before it is used, in either form.
        check(&contact, &[new.der()], both.clone());
        check(&contact, &[old.der(), new.der(), new.der()], both);
        // Then used, and the old one goes.
        let later = after_contact(&[old.der(), new.der()], &new_leaf);
        check(&later, &[old.der(), new.der()], Ok(None));
        check(&later, &[new.der()], Ok(Some(text(&[new.der()]))));

        check(&contact, &[&old_leaf, &new_leaf], Err(NotTakenOver::NoAuthority));
        check(&contact, &[stale.der()], Err(NotTakenOver::NoAuthority));
        check(&contact, &[], Err(NotTakenOver::Pem(PemFileError::NoCertificate)));
        let many: Vec<_> = (0..16).map(|n| ca(&n.to_string(), far)).collect();
        let many: Vec<_> = many.iter().map(|ca| ca.der()).collect();
        check(&contact, &many, Err(NotTakenOver::TooMany));
        check(&contact, &many[..15].iter().copied().chain([old.der()]).collect::<Vec<_>>(), {
            Ok(Some(text(&many[..15].iter().copied().chain([old.der()]).collect::<Vec<_>>())))
        });

        // The exact certificate was what its operator chose.
        let exact = after_contact(&[&old_leaf], &old_leaf);
        check(&exact, &[old.der()], Ok(None));
        check(&exact, &[new.der()], Ok(None));
    }
}
