//! Words from closed sets in answers: a newer server may say one that this version does not know, and what lists it must
//! go on. Requests stay strict: they hold the set itself.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::de::IntoDeserializer;
use serde::de::value::{Error as WordError, StrDeserializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A word of the set `T`, or one that this version does not know. Its schema is that of the set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Word<T> {
    Known(T),
    Unknown(String),
}

/// What a server says that is too old to say it: nothing.
impl<T> Default for Word<T> {
    fn default() -> Self {
        Self::Unknown(String::new())
    }
}

impl<T> From<T> for Word<T> {
    fn from(word: T) -> Self {
        Self::Known(word)
    }
}

impl<T: Serialize> Serialize for Word<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Known(word) => word.serialize(serializer),
            Self::Unknown(text) => serializer.serialize_str(text),
        }
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Word<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let word: StrDeserializer<'_, WordError> = text.as_str().into_deserializer();
        Ok(T::deserialize(word).map_or_else(|_| Self::Unknown(text.clone()), Self::Known))
    }
}

/// The word as it is on the wire.
impl<T: Serialize> fmt::Display for Word<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A formatter is a serializer of words.
        self.serialize(f)
    }
}

impl<T: JsonSchema> JsonSchema for Word<T> {
    fn inline_schema() -> bool {
        T::inline_schema()
    }

    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }

    fn schema_id() -> Cow<'static, str> {
        T::schema_id()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        T::json_schema(generator)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::words::HostStatus;
    use crate::domain::people::permission::Permission;

    #[test]
    fn a_word_that_this_version_does_not_know_is_passed_on_as_it_is() {
        let read = |text: &str| serde_json::from_str::<Word<HostStatus>>(text).ok();
        assert_eq!(read("\"online\""), Some(Word::Known(HostStatus::Online)));
        assert_eq!(read("\"asleep\""), Some(Word::Unknown("asleep".to_owned())));
        assert_eq!(read("1"), None);
        for word in [Word::Known(HostStatus::Online), Word::Unknown("asleep".to_owned())] {
            assert_eq!(serde_json::to_string(&word).unwrap(), format!("\"{word}\""));
            assert_eq!(read(&serde_json::to_string(&word).unwrap()), Some(word));
        }
        assert_eq!(Word::from(Permission::AgentRead).to_string(), "agent.read");
    }
}
