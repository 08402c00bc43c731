//! How long history is kept that nothing is decided by any more.

use jiff::SignedDuration;

/// What is older goes. What counts goes on counting: how many certificates a host has had, and which keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Rotations whose certificate has expired and was never revoked, from its end on.
    pub enrollments: SignedDuration,
    /// What agents have reported into the timelines of their hosts.
    pub events: SignedDuration,
}

/// The shortest that anything is kept: somebody has to be able to look into what happened over a long weekend.
pub const RETENTION_MIN: SignedDuration = SignedDuration::from_hours(7 * 24);

impl Default for Retention {
    fn default() -> Self {
        Self {
            enrollments: SignedDuration::from_hours(90 * 24),
            events: SignedDuration::from_hours(365 * 24),
        }
    }
}

impl Retention {
    /// Reads `enrollments=90d,events=365d`; what is left out is as by default.
    pub fn read(text: &str) -> Result<Self, String> {
        let mut retention = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').ok_or_else(|| format!("'{part}' has no value"))?;
            let kept = crate::domain::duration::parse(value.trim()).map_err(|error| error.to_string())?;
            if kept < RETENTION_MIN {
                return Err(format!("'{}' is at least 7d", name.trim()));
            }
            match name.trim() {
                "enrollments" => retention.enrollments = kept,
                "events" => retention.events = kept,
                other => return Err(format!("'{other}' is none of enrollments and events")),
            }
        }
        Ok(retention)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_as_by_default() {
        let days = |days: i64| SignedDuration::from_hours(24 * days);
        let cases = [
            ("", Ok((90, 365))),
            ("enrollments=30d", Ok((30, 365))),
            (" events = 14d , enrollments=7d ", Ok((7, 14))),
            ("enrollments=1d", Err("at least 7d")),
            ("audit=1d", Err("at least 7d")),
            ("audit=9d", Err("none of")),
            ("enrollments", Err("no value")),
            ("enrollments=soon", Err("")),
        ];
        for (text, expected) in cases {
            match (Retention::read(text), expected) {
                (Ok(read), Ok((enrollments, events))) => {
                    assert_eq!((read.enrollments, read.events), (days(enrollments), days(events)), "{text}");
                }
                (Err(error), Err(reason)) => assert!(error.contains(reason), "{text}: {error}"),
                (read, _) => panic!("{text}: {read:?}"),
            }
        }
    }
}
