//! Values of a fixed number of octets: ids, serials, hashes.

use data_encoding::Encoding;
use zeroize::Zeroizing;

/// Declares such a value, with the encoding of its text where it has one.
macro_rules! octets {
    ($(#[$attribute:meta])* pub struct $name:ident([u8; $count:literal]) as $encoding:ident;) => {
        $crate::domain::octets::octets! { $(#[$attribute])* pub struct $name([u8; $count]); }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str(&$encoding.encode(&self.0))
            }
        }
    };
    ($(#[$attribute:meta])* pub struct $name:ident([u8; $count:literal]);) => {
        $(#[$attribute])*
        pub struct $name([u8; $count]);

        impl $name {
            /// The value of these octets.
            pub const fn from_bytes(bytes: [u8; $count]) -> Self {
                Self(bytes)
            }

            /// Its octets.
            pub const fn as_bytes(&self) -> &[u8; $count] {
                &self.0
            }
        }

        impl From<[u8; $count]> for $name {
            fn from(bytes: [u8; $count]) -> Self {
                Self(bytes)
            }
        }
    };
}

pub(crate) use octets;

/// The octets that a text stands for, if it is the encoding of so many.
pub(crate) fn decoded<const N: usize>(encoding: &Encoding, text: &str) -> Option<[u8; N]> {
    encoding.decode(text.as_bytes()).ok()?.try_into().ok()
}

/// The same for a secret, which stands nowhere but in what is returned.
pub(crate) fn decoded_secret(encoding: &Encoding, text: &str) -> Option<Zeroizing<[u8; 32]>> {
    let mut secret = Zeroizing::new([0; 32]);
    if text.len() != encoding.encode_len(secret.len()) {
        return None;
    }
    let length = encoding.decode_mut(text.as_bytes(), &mut *secret).ok()?;
    (length == secret.len()).then_some(secret)
}
