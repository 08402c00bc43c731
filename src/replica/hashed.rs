//! A reader that counts what it reads into a digest.

use std::io::{self, Read};

use aws_lc_rs::digest::{Context, SHA256};

/// What is read, and its SHA-256 at the end.
pub struct Hashed<R> {
    reader: R,
    digest: Context,
}

impl<R> std::fmt::Debug for Hashed<R> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hashed")
    }
}

impl<R: Read> Hashed<R> {
    /// Nothing is read yet.
    pub fn new(reader: R) -> Self {
        Self { reader, digest: Context::new(&SHA256) }
    }

    /// The SHA-256 of what was read.
    pub fn finish(self) -> [u8; 32] {
        let mut sum = [0; 32];
        sum.copy_from_slice(self.digest.finish().as_ref());
        sum
    }
}

impl<R: Read> Read for Hashed<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.digest.update(buffer.get(..read).unwrap_or_default());
        Ok(read)
    }
}
