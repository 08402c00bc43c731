//! What is logged: a level, and other levels for parts of the program.

use std::str::FromStr;

/// Levels in the form `info` or `info,muster::http=debug`.
///
/// The library behind it also takes a word that is no level, as the name of a part of which everything is logged; so a
/// misspelt level would switch the log off. Here a part always has its level beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogFilter(String);

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a log level in it is none")]
pub struct NotALogFilter;

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

impl FromStr for LogFilter {
    type Err = NotALogFilter;

    fn from_str(text: &str) -> Result<Self, NotALogFilter> {
        let is_level = |word: &str| LEVELS.iter().any(|level| level.eq_ignore_ascii_case(word.trim()));
        let directive = |directive: &str| match directive.rsplit_once('=') {
            Some((part, level)) => !part.trim().is_empty() && is_level(level),
            None => is_level(directive),
        };
        if text.split(',').all(directive) { Ok(Self(text.to_owned())) } else { Err(NotALogFilter) }
    }
}

impl Default for LogFilter {
    fn default() -> Self {
        Self("info".to_owned())
    }
}

impl AsRef<str> for LogFilter {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_one_of_six() {
        for good in ["info", "WARN", "off", "info,muster::http=debug", "debug,h2=info,hyper=info,rustls=info"]
        {
            assert!(good.parse::<LogFilter>().is_ok(), "{good}");
        }
        for bad in ["", "verbose", "inof", "muster", "info,", "info,muster::http=loud", "=info", "3"] {
            assert_eq!(bad.parse::<LogFilter>(), Err(NotALogFilter), "{bad}");
        }
    }
}
