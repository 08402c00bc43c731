//! Addresses in answers, read leniently: an address is a hint, and one that is malformed must not cost the certificate
//! beside it. What is no text stands as its JSON, which is no address, so whoever reads it counts it as unusable.

use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// One address. `null` means none.
pub(crate) fn address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => None,
        one => Some(text(one)),
    })
}

/// A list of addresses, or one alone. `null` means none.
pub(crate) fn addresses<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(match Value::deserialize(deserializer)? {
        Value::Null => Vec::new(),
        Value::Array(items) => items.into_iter().map(text).collect(),
        one => vec![text(one)],
    })
}

fn text(value: Value) -> String {
    match value {
        Value::String(text) => text,
        other => other.to_string(),
    }
}
