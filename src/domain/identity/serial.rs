//! Certificate serial numbers (RFC 5280 4.1.2.2): 16 octets, positive, growing with time.

use std::str::FromStr;

use data_encoding::HEXLOWER;
use jiff::Timestamp;

use crate::domain::octets::{decoded, octets};
use crate::domain::text::{debug_as_text, serde_as_text};

octets! {
    /// 48 bits of Unix milliseconds (top bit clear), then 80 random bits; big-endian, as it is stored and sorted.
    ///
    /// The leading time makes rows land at the end of the store's tables; the random part keeps serials
    /// unpredictable (CA/Browser Forum asks for 64 bits).
    #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
    pub struct Serial([u8; 16]) as HEXLOWER;
}

debug_as_text!(Serial);
serde_as_text!(Serial);

/// The text or number was not one of our serials.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a certificate serial: 32 lower-case hex digits")]
pub struct NotASerial;

impl Serial {
    /// From a moment and random octets.
    pub fn new(at: Timestamp, entropy: [u8; 10]) -> Self {
        let millis = u64::try_from(at.as_millisecond()).unwrap_or(0).to_be_bytes();
        let [_, _, time @ ..] = millis;
        let mut bytes = [0; 16];
        bytes[..6].copy_from_slice(&time);
        bytes[0] &= 0x7f;
        bytes[6..].copy_from_slice(&entropy);
        Self(bytes)
    }

    /// When it was made, in whole milliseconds.
    pub fn made_at(self) -> Timestamp {
        let [a, b, c, d, e, f, ..] = self.0;
        let millis = i64::from_be_bytes([0, 0, a, b, c, d, e, f]);
        Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
    }

    /// From the content octets of a DER INTEGER, which drops leading zeros and may carry one sign octet.
    /// Negative numbers and numbers of more than 16 octets are none of ours.
    pub fn from_der_integer(content: &[u8]) -> Result<Self, NotASerial> {
        let digits = match content {
            [0, rest @ ..] => rest,
            [first, ..] if first & 0x80 != 0 => return Err(NotASerial),
            all => all,
        };
        let start = 16usize.checked_sub(digits.len()).ok_or(NotASerial)?;
        if digits.is_empty() {
            return Err(NotASerial);
        }
        let mut bytes = [0; 16];
        bytes[start..].copy_from_slice(digits);
        Ok(Self(bytes))
    }
}

impl FromStr for Serial {
    type Err = NotASerial;

    fn from_str(text: &str) -> Result<Self, NotASerial> {
        decoded(&HEXLOWER, text).map(Self).ok_or(NotASerial)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn serials_are_positive_and_grow() {
        let at = |ms| Timestamp::from_millisecond(ms).unwrap();
        let far = at(200_000_000_000_000);
        assert!(Serial::new(far, [255; 10]).0[0] < 0x80);
        assert!(Serial::new(at(1), [255; 10]) < Serial::new(at(2), [0; 10]));
        assert_eq!(Serial::new(at(1_790_000_000_123), [255; 10]).made_at(), at(1_790_000_000_123));
        assert_eq!(Serial::from_bytes([255; 16]).made_at(), Timestamp::MAX);
    }

    #[test]
    fn der_integers() {
        let serial = Serial::new(Timestamp::from_millisecond(1_790_000_000_000).unwrap(), [9; 10]);
        assert_eq!(Serial::from_der_integer(serial.as_bytes()), Ok(serial));
        assert_eq!(Serial::from_der_integer(&[1]).map(|s| s.0[15]), Ok(1));
        let mut padded = vec![0];
        padded.extend_from_slice(serial.as_bytes());
        assert_eq!(Serial::from_der_integer(&padded), Ok(serial));
        for bad in [&[][..], &[0], &[0x80], &[1; 17], &[0; 18]] {
            assert_eq!(Serial::from_der_integer(bad), Err(NotASerial), "{bad:?}");
        }
    }
}
