//! What the command line may change.

use std::str::FromStr;

/// The value that stands behind a flag; none where it isn't there or isn't one.
pub fn flag<T: FromStr>(name: &str) -> Option<T> {
    let mut arguments = std::env::args().skip_while(|argument| argument != name).skip(1);
    arguments.next()?.parse().ok()
}
