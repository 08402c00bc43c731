//! The outer shape that certificates (RFC 5280 4.1) and requests (RFC 2986 4.2) share: a body, a signature
//! algorithm, a signature.

use crate::ca::parse::der;
use crate::ca::parse::der::{Element, Malformed};
use crate::ca::parse::ecdsa::{BadSignature, Hash, PublicKey};

/// A signed document, read strictly. The signature is not yet verified.
#[derive(Debug, Clone, Copy)]
pub(crate) struct SignedData<'a> {
    /// What the signature covers.
    pub body: Element<'a>,
    /// An AlgorithmIdentifier.
    algorithm: &'a [u8],
    signature: &'a [u8],
}

/// Why a document's signature is not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("it is not signed with ecdsa-with-SHA256 or ecdsa-with-SHA384")]
    Algorithm,
    #[error(transparent)]
    Bad(#[from] BadSignature),
}

impl<'a> SignedData<'a> {
    pub(crate) fn read(der: &'a [u8]) -> Result<Self, Malformed> {
        let document = der::document(der)?;
        if document.tag != der::SEQUENCE {
            return Err(Malformed::Unexpected);
        }
        let mut fields = document.children();
        let body = fields.expect(der::SEQUENCE)?;
        let algorithm = fields.expect(der::SEQUENCE)?.whole;
        let signature = fields.expect(der::BIT_STRING)?.octets()?;
        fields.end()?;
        Ok(Self { body, algorithm, signature })
    }

    pub(crate) fn verify(&self, key: &PublicKey) -> Result<(), SignatureError> {
        let hash = Hash::from_algorithm(self.algorithm).ok_or(SignatureError::Algorithm)?;
        Ok(key.verify(hash, self.body.whole, self.signature)?)
    }
}
