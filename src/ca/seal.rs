//! The seal around what is kept outside: encrypted with the envelope, and authenticated with it.
//!
//! age encrypts to a public key, so whoever knows that key can make a file that opens. What opens is therefore not yet
//! ours: inside the encryption the content ends with an HMAC-SHA256 (RFC 2104) under a key that is derived from the
//! envelope's secret by HKDF (RFC 5869). From a key file that is the age identity; from a passphrase it is the
//! passphrase. The code lies inside the encryption, so it lets nobody try passphrases faster than scrypt does.
//!
//! Both directions are streams. A reader hands content out as it comes and says at its end whether it was ours; what
//! was made of the content must not be used before that.

use std::fmt;
use std::io::{self, BufRead, Read, Write};

use age::stream::StreamWriter;
use aws_lc_rs::{constant_time, hkdf, hmac};

use super::envelope::{Envelope, EnvelopeError};

/// How sealed content begins. What begins otherwise was made before there was an authentication code.
const MAGIC: &[u8; 16] = b"muster sealed 1\n";
const CODE: usize = 32;
/// Octets read at once.
const CHUNK: usize = 64 * 1024;

/// The content was not sealed with this envelope's secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("its authentication code is wrong: it was changed, or made by somebody who has not this envelope")]
pub struct NotAuthentic;

/// What to do with content that carries no authentication code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unauthenticated {
    Refuse,
    Accept,
}

/// The key of the authentication code, from an envelope's secret.
pub(crate) fn key(secret: &[u8]) -> hmac::Key {
    let extracted = hkdf::Salt::new(hkdf::HKDF_SHA256, b"muster seal 1").extract(secret);
    let expanded = extracted.expand(&[b"authentication of content"], hmac::HMAC_SHA256);
    hmac::Key::from(expanded.expect("HKDF gives as much as one HMAC key"))
}

/// A writer that seals. Without [`Sealing::finish`] what it wrote can't be opened.
pub struct Sealing<W: Write> {
    encrypting: StreamWriter<W>,
    code: hmac::Context,
}

impl Envelope {
    /// Seals what is written, as it is written.
    pub fn sealing<W: Write>(&self, output: W) -> Result<Sealing<W>, EnvelopeError> {
        let encrypting = self.encrypting(output)?;
        let mut sealing = Sealing { encrypting, code: hmac::Context::with_key(&self.authentication_key()) };
        sealing.write_all(MAGIC).map_err(EnvelopeError::Output)?;
        Ok(sealing)
    }

    /// Opens what was sealed, as it is read. An error or an early end says that it was not ours, or is not whole.
    pub fn opening<'r, R: BufRead + 'r>(
        &self,
        sealed: R,
        unauthenticated: Unauthenticated,
    ) -> Result<Opening<impl Read + use<'r, R>>, EnvelopeError> {
        let mut content = self.decrypting(sealed)?;
        let mut beginning = [0; MAGIC.len()];
        content.read_exact(&mut beginning).map_err(|error| EnvelopeError::Damaged(error.into()))?;
        let mut code = hmac::Context::with_key(&self.authentication_key());
        let authenticated = beginning == *MAGIC;
        if authenticated {
            code.update(MAGIC);
        } else if unauthenticated == Unauthenticated::Refuse {
            return Err(EnvelopeError::Unauthenticated);
        }
        let unread = if authenticated { Vec::new() } else { beginning.to_vec() };
        Ok(Opening { content, code: authenticated.then_some(code), unread, from: 0, ended: false })
    }
}

impl<W: Write> Sealing<W> {
    /// Ends what was sealed.
    pub fn finish(mut self) -> io::Result<W> {
        self.encrypting.write_all(self.code.sign().as_ref())?;
        self.encrypting.finish()
    }
}

impl<W: Write> Write for Sealing<W> {
    fn write(&mut self, content: &[u8]) -> io::Result<usize> {
        let written = self.encrypting.write(content)?;
        self.code.update(content.get(..written).unwrap_or_default());
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

/// A reader of sealed content. Its end is one only if the content was ours.
pub struct Opening<R> {
    content: R,
    /// `None` where there is no authentication code.
    code: Option<hmac::Context>,
    /// Decrypted and not handed out, from an index on. The last octets may be the code.
    unread: Vec<u8>,
    from: usize,
    ended: bool,
}

impl<R> Opening<R> {
    pub const fn is_authenticated(&self) -> bool {
        self.code.is_some()
    }
}

impl<R: Read> Opening<R> {
    /// Reads on until there is more than the code could be, or nothing more.
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
        let kept_back = if self.code.is_some() { CODE } else { 0 };
        self.fill(kept_back)?;
        let unread = self.unread.get(self.from..).unwrap_or_default();
        let ready = unread.len().saturating_sub(kept_back).min(buffer.len());
        let (handed_out, rest) = unread.split_at(ready);
        if let Some(code) = &mut self.code {
            code.update(handed_out);
            let over = ready == 0 && !buffer.is_empty();
            if over && constant_time::verify_slices_are_equal(code.clone().sign().as_ref(), rest).is_err() {
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
        for length in [0, 1, 31, 32, 33, CHUNK - 48, CHUNK - 1, CHUNK, CHUNK + 1, 300_000] {
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
        for code in
            [vec![0; CODE], hmac::sign(&other.authentication_key(), &content).as_ref().to_vec(), Vec::new()]
        {
            let imitation = [&MAGIC[..], &content, &code].concat();
            for unauthenticated in [Unauthenticated::Refuse, Unauthenticated::Accept] {
                let error = opened(&envelope, &forged(&imitation), unauthenticated).unwrap_err();
                assert!(error.to_string().contains("authentication code is wrong"), "{error}");
            }
        }
        assert!(refused(&forged(&MAGIC[..])).contains("authentication code is wrong"));
        assert!(refused(&forged(&MAGIC[..8])).contains("damaged"));
    }

    #[test]
    fn another_secret_is_another_key() {
        let one = hmac::sign(&key(b"correct horse"), b"x");
        assert_eq!(one.as_ref(), hmac::sign(&key(b"correct horse"), b"x").as_ref());
        assert_ne!(one.as_ref(), hmac::sign(&key(b"correct horses"), b"x").as_ref());
    }
}
