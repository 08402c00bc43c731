//! SHA-256 (FIPS 180-4) of octets that stand one after the other.

use aws_lc_rs::digest;

/// The digest of all parts as one text. Where parts could be divided in another way, the caller puts their lengths in.
pub(crate) fn sha256(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = digest::Context::new(&digest::SHA256);
    parts.iter().for_each(|part| context.update(part));
    let mut sum = [0; digest::SHA256_OUTPUT_LEN];
    sum.copy_from_slice(context.finish().as_ref());
    sum
}
