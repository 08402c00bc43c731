//! Lifetimes on the command line, such as `90m` or `30d`, as the API takes them.

use crate::domain::duration::{self, NotADuration};

/// Reads a lifetime as seconds.
pub(crate) fn seconds(text: &str) -> Result<i64, NotADuration> {
    Ok(duration::parse(text)?.as_secs())
}
