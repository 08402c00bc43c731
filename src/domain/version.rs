//! Versions of agents and of this program, as far as they decide anything: which of two is older.
//!
//! Read leniently, because what states a version was written elsewhere: a pre-release or build label is left out,
//! so `0.2.0-dev` counts as 0.2.0. What states no version counts as older than everything that does.

use std::fmt;
use std::str::FromStr;

/// `MAJOR.MINOR.PATCH` of a program, or that it does not say.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct AgentVersion(Option<[u32; 3]>);

impl AgentVersion {
    /// What states no version.
    pub const UNSTATED: Self = Self(None);

    /// The first that accepts an SVID with a DNS name beside its id.
    pub const TAKES_DNS_NAMES: Self = Self(Some([0, 2, 0]));

    /// The version of this program.
    pub fn own() -> Self {
        Self::stated(Some(env!("CARGO_PKG_VERSION")))
    }

    /// From what somebody states, if anything: `0.2.0`, `v0.2`, `muster 0.2.0-dev+abc`.
    pub fn stated(text: Option<&str>) -> Self {
        Self(text.and_then(numbers))
    }
}

fn numbers(text: &str) -> Option<[u32; 3]> {
    let word = text.split_whitespace().last()?;
    let word = word.strip_prefix(['v', 'V']).unwrap_or(word);
    let core = word.split(['-', '+']).next()?;
    let mut parts = [0; 3];
    let mut given = core.split('.');
    for (index, part) in parts.iter_mut().enumerate() {
        match given.next() {
            Some(digits) if digits.bytes().all(|b| b.is_ascii_digit()) => *part = digits.parse().ok()?,
            // `1` and `1.2` leave out zeros.
            None if index > 0 => {}
            _ => return None,
        }
    }
    given.next().is_none().then_some(parts)
}

impl fmt::Display for AgentVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some([major, minor, patch]) => write!(f, "{major}.{minor}.{patch}"),
            None => f.write_str("unknown"),
        }
    }
}

/// Which versions are wanted: `0.2.0`, or `<0.2.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionRange {
    /// This one.
    Exactly(AgentVersion),
    /// Those before this one.
    OlderThan(AgentVersion),
}

/// The text is no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a version, such as 0.2.0")]
pub struct NotAVersion;

impl VersionRange {
    /// Whether a version is in the range.
    pub fn holds(self, version: AgentVersion) -> bool {
        match self {
            Self::Exactly(wanted) => version == wanted,
            Self::OlderThan(limit) => version < limit,
        }
    }
}

impl FromStr for VersionRange {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let stated = |text: &str| match AgentVersion::stated(Some(text)) {
            AgentVersion::UNSTATED => Err(NotAVersion),
            version => Ok(version),
        };
        match text.strip_prefix('<') {
            Some(limit) => stated(limit).map(Self::OlderThan),
            None => stated(text).map(Self::Exactly),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_leniently() {
        for (text, shown) in [
            ("0.2.0", "0.2.0"),
            ("0.2.0-dev", "0.2.0"),
            ("0.2.0-rc.1+abc", "0.2.0"),
            ("muster 0.10.3", "0.10.3"),
            (" v1.2 ", "1.2.0"),
            ("7", "7.0.0"),
            ("", "unknown"),
            ("dev", "unknown"),
            ("0.2.x", "unknown"),
            ("1.2.3.4", "unknown"),
            (".1", "unknown"),
            ("+1.2", "unknown"),
            ("99999999999.0.0", "unknown"),
        ] {
            assert_eq!(AgentVersion::stated(Some(text)).to_string(), shown, "{text:?}");
        }
    }

    #[test]
    fn numbers_decide_and_silence_is_oldest() {
        let of = |text| AgentVersion::stated(Some(text));
        assert!(of("0.2.0") < of("0.10.0") && of("0.9.9") < of("1.0.0"));
        assert_eq!(of("0.2.0-dev"), AgentVersion(Some([0, 2, 0])));
        assert_eq!(of("0.2.0-dev"), of("0.2.0"));
        for silent in [AgentVersion::stated(None), of("nonsense"), AgentVersion::UNSTATED] {
            assert!(silent < AgentVersion(Some([0, 0, 0])));
        }
        assert!(AgentVersion::own() >= AgentVersion(Some([0, 2, 0])));
    }

    #[test]
    fn who_states_no_version_is_older_than_any() {
        let holds = |range: &str, version: Option<&str>| {
            range.parse::<VersionRange>().unwrap().holds(AgentVersion::stated(version))
        };
        assert!(holds("<0.2.0", Some("0.1.9")) && holds("<0.2.0", None) && holds("<0.2.0", Some("old")));
        assert!(!holds("<0.2.0", Some("0.2.0-dev")) && !holds("0.2.0", None));
        assert!(holds("0.2.0", Some("0.2.0-dev")) && !holds("0.2.0", Some("0.2.1")));
        for bad in ["", "<", "old", "<1.2.3.4"] {
            assert_eq!(bad.parse::<VersionRange>(), Err(NotAVersion), "{bad:?}");
        }
    }
}
