//! Durations as people write them: `90m`, `7d`, `1h 30m`.

use jiff::SignedDuration;

/// The text is no duration.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum NotADuration {
    #[error(transparent)]
    Unreadable(#[from] humantime::DurationError),
    #[error("too long")]
    TooLong,
}

/// Reads a duration. It is never negative.
pub fn parse(text: &str) -> Result<SignedDuration, NotADuration> {
    SignedDuration::try_from(humantime::parse_duration(text)?).map_err(|_| NotADuration::TooLong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_units_and_an_end() {
        for (text, seconds) in [("90m", 5400), ("7d", 7 * 86_400), ("1h 30m", 5400), ("0s", 0)] {
            assert_eq!(parse(text), Ok(SignedDuration::from_secs(seconds)), "{text}");
        }
        for bad in ["", "90", "-1h", "1 fortnight"] {
            assert!(matches!(parse(bad), Err(NotADuration::Unreadable(_))), "{bad}");
        }
        assert_eq!(parse(&format!("{}s", u64::MAX)), Err(NotADuration::TooLong));
    }
}
