//! PEM (RFC 7468): the one place where it is read and written.
//!
//! What arrives over the wire is read by [`exact`]: the text is the blocks that were asked for and nothing else. Files
//! that people make are read by [`mod@file`], which allows what editors and tools leave around blocks, and still reads
//! every block that the text announces or refuses it with the line. No error of either holds anything of its input,
//! because that may be a private key.

pub mod exact;
pub mod file;

pub use exact::{CERTIFICATE, CRL, PRIVATE_KEY, PemError, certificate, encode, sequence, single};
