//! Pins: the SHA-256 of one certificate, handed to an agent so that it knows its server at first contact.

use std::str::FromStr;

use data_encoding::{HEXLOWER, HEXLOWER_PERMISSIVE};

use crate::domain::octets::{decoded, octets};
use crate::domain::sha256::sha256;
use crate::domain::text::debug_as_text;

octets! {
    /// SHA-256 of a certificate's DER, what `openssl x509 -fingerprint -sha256` prints.
    #[derive(Clone, Copy, PartialEq, Eq, Hash)]
    pub struct Pin([u8; 32]) as HEXLOWER;
}

debug_as_text!(Pin);

/// What stands before the digits where `openssl x509 -fingerprint -sha256` prints them (in other cases, too), and in
/// the way that kubeadm names digests.
const FORMS: [&str; 2] = ["sha256 fingerprint=", "sha256:"];

/// The text was not a pin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "a pin is the 64 hex digits of a certificate's SHA-256, as openssl x509 -fingerprint -sha256 prints them; colons and case don't matter"
)]
pub struct NotAPin;

impl Pin {
    /// The pin of a certificate in DER.
    pub fn of(certificate_der: &[u8]) -> Self {
        Self(sha256(&[certificate_der]))
    }
}

impl FromStr for Pin {
    type Err = NotAPin;

    fn from_str(text: &str) -> Result<Self, NotAPin> {
        let text = text.trim().to_ascii_lowercase();
        let digits = FORMS.iter().find_map(|form| text.strip_prefix(form)).unwrap_or(&text);
        let digits: String = digits.chars().filter(|c| *c != ':').collect();
        decoded(&HEXLOWER_PERMISSIVE, &digits).map(Self).ok_or(NotAPin)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pin_is_taken_as_tools_print_it_and_in_no_other_way() {
        let plain = "0123456789abcdef".repeat(4);
        let colons: Vec<&str> = (0..32).map(|i| &plain[2 * i..2 * i + 2]).collect();
        let printed = colons.join(":").to_uppercase();
        for good in [
            plain.clone(),
            plain.to_uppercase(),
            colons.join(":"),
            printed.clone(),
            format!("SHA256 Fingerprint={printed}"),
            format!("sha256 Fingerprint={printed}\n"),
            format!("sha256:{plain}"),
            format!(" {plain} "),
        ] {
            assert_eq!(good.parse::<Pin>().map(|pin| pin.to_string()), Ok(plain.clone()));
        }
        for bad in [
            String::new(),
            plain[1..].to_owned(),
            format!("{plain}0"),
            format!("{plain}00"),
            format!("SHA1 Fingerprint={printed}"),
            format!("sha256=:{plain}"),
            format!("{plain} 0"),
            plain.replacen('0', "g", 1),
            colons.join("-"),
        ] {
            assert_eq!(bad.parse::<Pin>(), Err(NotAPin), "{bad:?}");
        }
    }
}
