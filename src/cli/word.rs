//! Words from closed sets on the command line.

use serde::de::value::Error;
use serde::de::{DeserializeOwned, IntoDeserializer};

/// Reads a word of a set as it is on the wire.
pub(crate) fn known<T: DeserializeOwned>(word: String) -> Result<T, Error> {
    T::deserialize(word.into_deserializer())
}
