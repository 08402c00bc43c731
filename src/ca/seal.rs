//! The seal around what is kept outside: encrypted with the envelope, and signed with it.
//!
//! age encrypts to a public key, so whoever knows that key can make a file that opens. What opens is therefore not yet
//! ours: inside the encryption the content begins with the sealer's public key and ends with an Ed25519 signature
//! (RFC 8032) over the SHA-256 of everything before it. The signing key is derived from the envelope's secret by HKDF
//! (RFC 5869): from a key file that is the age identity; from a passphrase it is the passphrase. Both lie inside the
//! encryption, so they let nobody try passphrases faster than scrypt does.
//!
//! A signature and no MAC, because a recovery recipient's identity opens what it can't have sealed: it has to be told whose
//! seals are ours, by a line in its file, and the line gives nobody the means to seal.
//!
//! Both directions are streams. A reader hands content out as it comes and says at its end whether it was ours; what
//! was made of the content must not be used before that.

mod sealer;

use std::fmt;
use std::io::{self, BufRead, Read, Write};

use age::stream::StreamWriter;
use aws_lc_rs::digest::{self, SHA256};
use aws_lc_rs::hkdf;
use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, UnparsedPublicKey};
use zeroize::Zeroizing;

use super::envelope::{Envelope, EnvelopeError};
pub use sealer::Sealer;

/// How sealed content begins. What begins otherwise was made before anything was authenticated.
const MAGIC: &[u8; 16] = b"muster sealed 2\n";
/// What is signed beside the digest, so that no other signature of the key is one of these.
const SIGNED_AS: &[u8; 25] = b"muster sealed 2 signature";
const SIGNATURE: usize = 64;
/// Octets read at once.
const CHUNK: usize = 64 * 1024;

/// The content was not sealed by whom it names, or was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its signature is wrong: it was changed, or made by somebody who has not the envelope that it names")]
pub struct NotAuthentic;

/// What to do with content that nobody whom we know has signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unauthenticated {
    Refuse,
    Accept,
}

/// What signs, from an envelope's secret.
pub(crate) fn signing_key(secret: &[u8]) -> Ed25519KeyPair {
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, b"muster seal 2").extract(secret);
    let mut seed = Zeroizing::new([0; 32]);
    let expanded = extracted.expand(&[b"signature of content"], hkdf::HKDF_SHA256);
    expanded.and_then(|okm| okm.fill(&mut *seed)).expect("HKDF gives as much as one seed");
    Ed25519KeyPair::from_seed_unchecked(&*seed).expect("any 32 octets are a seed")
}

fn signed(digest: digest::Context) -> Vec<u8> {
    [SIGNED_AS, digest.finish().as_ref()].concat()
}

/// A writer that seals. Without [`Sealing::finish`] what it wrote can't be opened.
pub struct Sealing<W: Write> {
    encrypting: StreamWriter<W>,
    key: Ed25519KeyPair,
    digest: digest::Context,
}

impl Envelope {
    /// Seals what is written, as it is written.
    pub fn sealing<W: Write>(&self, output: W) -> Result<Sealing<W>, EnvelopeError> {
        let (encrypting, key) = (self.encrypting(output)?, self.signing_key());
        let sealer = Sealer::of(&key);
        let mut sealing = Sealing { encrypting, key, digest: digest::Context::new(&SHA256) };
        let begun = sealing.write_all(MAGIC).and_then(|()| sealing.write_all(sealer.as_bytes()));
        begun.map_err(EnvelopeError::Output)?;
        Ok(sealing)
    }

    /// Opens what was sealed, as it is read. An error or an early end says that it was not sealed by whom it names, or is
    /// not whole.
    pub fn opening<'r, R: BufRead + 'r>(
        &self,
        sealed: R,
        unauthenticated: Unauthenticated,
    ) -> Result<Opening<impl Read + use<'r, R>>, EnvelopeError> {
        let mut content = self.decrypting(sealed)?;
        let damaged = |error: io::Error| EnvelopeError::Damaged(error.into());
        let mut beginning = [0; MAGIC.len()];
        content.read_exact(&mut beginning).map_err(damaged)?;
        if beginning != *MAGIC {
            if unauthenticated == Unauthenticated::Refuse {
                return Err(EnvelopeError::Unauthenticated);
            }
            let unread = beginning.to_vec();
            return Ok(Opening { content, seal: None, ours: false, unread, from: 0, ended: false });
        }
        let mut sealer = [0; Sealer::LENGTH];
        content.read_exact(&mut sealer).map_err(damaged)?;
        let mut digest = digest::Context::new(&SHA256);
        digest.update(MAGIC);
        digest.update(&sealer);
        let sealer = Sealer::from_bytes(sealer);
        let ours = self.trusts(sealer);
        if !ours && unauthenticated == Unauthenticated::Refuse {
            return Err(EnvelopeError::OtherSealer { sealer });
        }
        let seal = Some(Seal { sealer, digest });
        Ok(Opening { content, seal, ours, unread: Vec::new(), from: 0, ended: false })
    }
}

impl<W: Write> Sealing<W> {
    /// Ends what was sealed.
    pub fn finish(mut self) -> io::Result<W> {
        let signature = self.key.sign(&signed(self.digest));
        self.encrypting.write_all(signature.as_ref())?;
        self.encrypting.finish()
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        let written = self.encrypting.write(content)?;
        self.digest.update(content.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encrypting.flush()
    }
}

impl<W: Write> fmt::Debug for Sealing<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sealing")
    }
}

/// A reader of sealed content. Its end is one only if the content was signed by whom it names.
pub struct Opening<R> {
    content: R,
    /// `None` where nobody has signed.
    seal: Option<Seal>,
    ours: bool,
    /// Decrypted and not handed out, from an index on. The last octets may be the signature.
    unread: Vec<u8>,
    from: usize,
    ended: bool,
}

/// Who says to have signed, and what of it has been read.
struct Seal {
    sealer: Sealer,
    digest: digest::Context,
}

impl<R> Opening<R> {
    /// Whether somebody whom the envelope trusts has sealed it, if it comes to its end.
    pub const fn is_authenticated(&self) -> bool {
        self.ours
    }
}

impl<R: Read> Opening<R> {
    /// Reads on until there is more than the signature could be, or nothing more.
    fn fill(&mut self, kept_back: usize) -> io::Result<()> {
        while !self.ended && self.unread.len() - self.from <= kept_back {
            self.unread.drain(..self.from);
            self.from = 0;
            let before = self.unread.len();
            self.unread.resize(before + CHUNK, 0);
            let read = self.content.read(self.unread.get_mut(before..).unwrap_or_default());
            self.unread.truncate(before + *read.as_ref().unwrap_or(&0));
            self.ended = read? == 0;
        }
        Ok(())
    }
}

impl<R: Read> Read for Opening<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let kept_back = if self.seal.is_some() { SIGNATURE } else { 0 };
        self.fill(kept_back)?;
        let unread = self.unread.get(self.from..).unwrap_or_default();
        let ready = unread.len().saturating_sub(kept_back).min(buffer.len());
        let (handed_out, rest) = unread.split_at(ready);
        if let Some(seal) = &mut self.seal {
            seal.digest.update(handed_out);
            let over = ready == 0 && !buffer.is_empty();
            let key = UnparsedPublicKey::new(&ED25519, seal.sealer.as_bytes());
            if over && key.verify(&signed(seal.digest.clone()), rest).is_err() {
                return Err(io::Error::new(io::ErrorKind::InvalidData, NotAuthentic));
            }
        }
        buffer.get_mut(..ready).unwrap_or_default().copy_from_slice(handed_out);
        self.from += ready;
        Ok(ready)
    }
}

impl<R> fmt::Debug for Opening<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening").field("authenticated", &self.is_authenticated()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::ca::testing::envelope;

    fn sealed(envelope: &Envelope, content: &[u8]) -> Vec<u8> {
        let mut sealing = envelope.sealing(Vec::new()).unwrap();
        // In uneven pieces, as a store writes.
        content.chunks(1000).for_each(|part| sealing.write_all(part).unwrap());
        sealing.finish().unwrap()
    }

    fn opened(envelope: &Envelope, sealed: &[u8], unauthenticated: Unauthenticated) -> io::Result<Vec<u8>> {
        let mut opening = envelope
            .opening(Cursor::new(sealed), unauthenticated)
            .map_err(|error| io::Error::other(error.to_string()))?;
        let mut content = Vec::new();
        opening.read_to_end(&mut content)?;
        Ok(content)
    }

    #[test]
    fn what_was_sealed_comes_out_again() {
        let envelope = envelope();
        for length in [0, 1, 63, 64, 65, CHUNK - 112, CHUNK - 1, CHUNK, CHUNK + 1, 300_000] {
            let content: Vec<u8> = (0..length).map(|index| u8::try_from(index % 251).unwrap()).collect();
            let sealed = sealed(&envelope, &content);
            assert_eq!(opened(&envelope, &sealed, Unauthenticated::Refuse).unwrap(), content, "{length}");
        }
    }

    /// Whoever has only the public key makes a file that opens, and is not taken for one of ours.
    #[test]
    fn the_public_key_alone_makes_nothing_that_is_taken() {
        let (envelope, other) = (envelope(), envelope());
        let forged = |content: &[u8]| envelope.seal(content).unwrap();
        let refused =
            |sealed: &[u8]| opened(&envelope, sealed, Unauthenticated::Refuse).unwrap_err().to_string();
        let content = vec![7; 200];
        assert!(refused(&forged(&content)).contains("not authenticated"));
        assert_eq!(opened(&envelope, &forged(&content), Unauthenticated::Accept).unwrap(), content);
        let body = |envelope: &Envelope| {
            [&MAGIC[..], Sealer::of(&envelope.signing_key()).as_bytes(), &content].concat()
        };
        let signature = |envelope: &Envelope, body: &[u8]| {
            let mut digest = digest::Context::new(&SHA256);
            digest.update(body);
            envelope.signing_key().sign(&signed(digest)).as_ref().to_vec()
        };
        let (ours, theirs) = (body(&envelope), body(&other));
        for end in [vec![0; SIGNATURE], signature(&other, &ours), signature(&envelope, &theirs), Vec::new()] {
            let imitation = [&ours[..], &end].concat();
            for unauthenticated in [Unauthenticated::Refuse, Unauthenticated::Accept] {
                let error = opened(&envelope, &forged(&imitation), unauthenticated).unwrap_err();
                assert!(error.to_string().contains("signature is wrong"), "{error}");
            }
        }
        let sealed_by_another = forged(&[&theirs[..], &signature(&other, &theirs)].concat());
        assert!(refused(&sealed_by_another).contains("sealed by another envelope"));
        assert_eq!(opened(&envelope, &sealed_by_another, Unauthenticated::Accept).unwrap(), content);
        assert!(refused(&forged(&MAGIC[..])).contains("damaged"));
        assert!(refused(&forged(&MAGIC[..8])).contains("damaged"));
    }

    #[test]
    fn another_secret_is_another_key() {
        let of = |secret: &[u8]| Sealer::of(&signing_key(secret));
        assert_eq!(of(b"correct horse"), of(b"correct horse"));
        assert_ne!(of(b"correct horse"), of(b"correct horses"));
    }

    /// Every place at which a file may end too early, and every octet that may be another one.
    #[test]
    fn a_cut_and_a_turned_bit_are_found_anywhere() {
        let envelope = envelope();
        // Longer than what age seals at once.
        let content: Vec<u8> = (0..70_000_u32).map(|index| index.to_be_bytes()[3]).collect();
        let whole = sealed(&envelope, &content);
        let edges = (0..260).chain(whole.len() - 120..whole.len());
        for (number, at) in edges.chain((0..whole.len()).step_by(1000)).enumerate() {
            let mut turned = whole.clone();
            turned[at] ^= 1 << (at % 8);
            let accepted = if number % 7 == 0 { Unauthenticated::Accept } else { Unauthenticated::Refuse };
            assert!(opened(&envelope, &whole[..at], accepted).is_err(), "cut at {at}");
            assert!(opened(&envelope, &turned, accepted).is_err(), "turned at {at}");
        }
        let longer = [&whole[..], b"\0"].concat();
        assert!(opened(&envelope, &longer, Unauthenticated::Refuse).is_err());
    }
}
