//! Data keys: what seals the segments of a term, itself sealed and signed by the envelope.
//!
//! Content, inside the seal: `muster replica key 1` and a line feed, the store's id (16), the term (8), the key's number in it (4),
//! the key (32).

use std::io::{Cursor, Read, Write};

use aws_lc_rs::rand;
use zeroize::Zeroizing;

use super::segment::DataKey;
use crate::ca::envelope::{Envelope, EnvelopeError};
use crate::ca::seal::Unauthenticated;
use crate::domain::withdrawal::StoreId;

const MAGIC: &[u8; 21] = b"muster replica key 1\n";

/// Whose key it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyOf {
    /// The store whose frames it seals.
    pub store: StoreId,
    /// In which term.
    pub term: u64,
    /// Which of the term's.
    pub number: u32,
}

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum DataKeyError {
    /// It does not open, or nobody whom we know has sealed it.
    #[error("the replica's data key can't be used")]
    Envelope(#[from] EnvelopeError),
    /// It is another one's, or none.
    #[error("the replica's data key makes no sense, or is another replica's")]
    Content,
    /// The system gives no random octets.
    #[error("the system gave no random bytes")]
    NoRandomness,
}

/// Makes a key and seals it.
pub fn make(of: KeyOf, envelope: &Envelope) -> Result<(DataKey, Vec<u8>), DataKeyError> {
    let mut octets = Zeroizing::new([0; DataKey::LENGTH]);
    rand::fill(&mut *octets).map_err(|_| DataKeyError::NoRandomness)?;
    let mut sealing = envelope.sealing(Vec::new())?;
    let parts: [&[u8]; 5] =
        [MAGIC, of.store.as_bytes(), &of.term.to_be_bytes(), &of.number.to_be_bytes(), &*octets];
    let written = parts.iter().try_for_each(|part| sealing.write_all(part));
    let sealed = written.and_then(|()| sealing.finish()).map_err(EnvelopeError::Output)?;
    Ok((DataKey::new(&octets), sealed))
}

/// Opens a key, if it is the one that is wanted.
pub fn open(of: KeyOf, sealed: &[u8], envelope: &Envelope) -> Result<DataKey, DataKeyError> {
    let mut content = Zeroizing::new(Vec::new());
    let opening = envelope.opening(Cursor::new(sealed), Unauthenticated::Refuse)?;
    let read = opening.take(1024).read_to_end(&mut content);
    read.map_err(|error| EnvelopeError::Damaged(error.into()))?;
    let expected =
        [&MAGIC[..], of.store.as_bytes(), &of.term.to_be_bytes(), &of.number.to_be_bytes()].concat();
    let key = content.strip_prefix(expected.as_slice()).and_then(|key| key.try_into().ok());
    key.map(DataKey::new).ok_or(DataKeyError::Content)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ca::testing::envelope;

    #[test]
    fn a_key_opens_for_its_own_place_and_its_own_envelope() {
        let (ours, other) = (envelope(), envelope());
        let of = KeyOf { store: StoreId::from_bytes([1; 16]), term: 2, number: 3 };
        let (_, sealed) = make(of, &ours).unwrap();
        assert!(open(of, &sealed, &ours).is_ok());
        assert!(matches!(open(of, &sealed, &other), Err(DataKeyError::Envelope(_))));
        for elsewhere in [
            KeyOf { store: StoreId::from_bytes([2; 16]), ..of },
            KeyOf { term: 3, ..of },
            KeyOf { number: 4, ..of },
        ] {
            assert!(matches!(open(elsewhere, &sealed, &ours), Err(DataKeyError::Content)));
        }
        // Whoever knows the public key alone seals nothing that counts.
        assert!(open(of, &ours.seal(b"muster replica key 1\n").unwrap(), &ours).is_err());
    }
}
