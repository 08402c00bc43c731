//! The identity directory: key, certificate and what they trust, on disk.
//!
//! Every file is replaced as a whole: written under another name, flushed, renamed. The key and the certificate
//! are two files, so a new pair is staged as `key.pem.next` and `cert.pem.next` first; after a crash at any
//! moment the newest complete pair is found and the interrupted exchange finished. A `key.pem.next` alone is
//! the key of a request whose answer has not come yet. It is used again for the next attempt, so that an answer
//! that was lost costs nothing.

mod files;
mod owned;
mod place;
mod value;

pub use owned::OwnedDir;
pub use place::IdentityDir;
pub use value::{Identity, IdentityError, NewIdentity};
