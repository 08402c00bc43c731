//! Names that people give to things.

use std::str::FromStr;

use crate::domain::text::{held_text, serde_as_text};

/// 1 to 128 characters without control characters; kept verbatim.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Label(String);

/// The name is empty, too long or holds control characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a name is 1 to 128 characters without control characters")]
pub struct InvalidLabel;

impl FromStr for Label {
    type Err = InvalidLabel;

    fn from_str(text: &str) -> Result<Self, InvalidLabel> {
        let length = text.chars().take(129).count();
        let blank = text.chars().all(char::is_whitespace);
        if length > 128 || blank || text.chars().any(char::is_control) {
            return Err(InvalidLabel);
        }
        Ok(Self(text.to_owned()))
    }
}

held_text! {
    /// As it was given.
    Label,
}
serde_as_text!(Label);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels() {
        let longest = "ä".repeat(128);
        for good in ["a", "rack 4, '; $(reboot)", longest.as_str()] {
            assert_eq!(good.parse::<Label>().map(|l| l.to_string()), Ok(good.to_owned()));
        }
        let too_long = "a".repeat(129);
        for bad in ["", "  ", "a\nb", "a\u{7f}", "\u{1b}[31m", too_long.as_str()] {
            assert_eq!(bad.parse::<Label>(), Err(InvalidLabel), "{bad:?}");
        }
    }
}
