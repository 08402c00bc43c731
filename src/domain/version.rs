//! Versions of Muster, as agents state them.

use std::str::FromStr;

/// The release that a version is or leads to: what stands before it, as in `0.2.0-dev`, counts as it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    major: u32,
    minor: u32,
    patch: u32,
}

/// The text is no version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a version, such as 0.2.0")]
pub struct NotAVersion;

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        let release = text.split(['-', '+']).next().unwrap_or_default();
        let number = |part: &str| {
            let digits = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            part.parse().ok().filter(|_| digits)
        };
        let mut parts = release.split('.').map(number);
        match (parts.next(), parts.next(), parts.next(), parts.next()) {
            (Some(Some(major)), Some(Some(minor)), Some(Some(patch)), None) => {
                Ok(Self { major, minor, patch })
            }
            _ => Err(NotAVersion),
        }
    }
}

/// Which versions are wanted: `0.2.0`, or `<0.2.0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VersionRange {
    Exactly(Version),
    OlderThan(Version),
}

impl VersionRange {
    /// Whoever states no version counts as older.
    pub fn holds(self, version: Option<Version>) -> bool {
        match self {
            Self::Exactly(wanted) => version == Some(wanted),
            Self::OlderThan(limit) => version.is_none_or(|version| version < limit),
        }
    }
}

impl FromStr for VersionRange {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        match text.strip_prefix('<') {
            Some(limit) => limit.parse().map(Self::OlderThan),
            None => text.parse().map(Self::Exactly),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_three_numbers_and_compare_as_such() {
        let version = |text: &str| text.parse::<Version>().unwrap();
        assert!(version("0.2.0") < version("0.10.0") && version("0.10.0") < version("1.0.0"));
        assert_eq!(version("0.2.0-dev"), version("0.2.0"));
        for bad in
            ["", "1", "1.2", "1.2.3.4", "a.b.c", "1.2.", "+1.2.3", "-1.2.3", "99999999999.0.0", "1.2.3 "]
        {
            assert_eq!(bad.parse::<Version>(), Err(NotAVersion), "{bad}");
        }
    }

    #[test]
    fn who_states_no_version_is_older() {
        let holds = |range: &str, version: Option<&str>| {
            let version = version.and_then(|version| version.parse().ok());
            range.parse::<VersionRange>().unwrap().holds(version)
        };
        assert!(holds("<0.2.0", Some("0.1.9")) && holds("<0.2.0", None) && holds("<0.2.0", Some("old")));
        assert!(!holds("<0.2.0", Some("0.2.0-dev")) && !holds("0.2.0", None));
        assert!(holds("0.2.0", Some("0.2.0-dev")) && !holds("0.2.0", Some("0.2.1")));
    }
}
