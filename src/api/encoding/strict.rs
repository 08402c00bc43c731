//! JSON read as its schema says: objects only as objects, whole numbers however they are written.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};

/// A value that is read from a JSON object. By itself serde also takes a struct's fields from an array.
#[derive(Debug, Default)]
pub(crate) struct Object<T>(pub(crate) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Fields<T>(PhantomData<T>);

        impl<'de, T: Deserialize<'de>> Visitor<'de> for Fields<T> {
            type Value = T;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map))
            }
        }

        deserializer.deserialize_map(Fields(PhantomData)).map(Self)
    }
}

/// The same where `null` and absence mean nothing.
pub(crate) fn optional_object<'de, T, D>(deserializer: D) -> Result<Option<T>, D::Error>
where
    T: Deserialize<'de>,
    D: Deserializer<'de>,
{
    Ok(Option::<Object<T>>::deserialize(deserializer)?.map(|object| object.0))
}

/// A whole number, also when it is written as `60.0` (JSON Schema calls that an integer too).
pub(crate) fn whole_number<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<i64>, D::Error> {
    let Some(number) = Option::<serde_json::Number>::deserialize(deserializer)? else {
        return Ok(None);
    };
    if let Some(whole) = number.as_i64() {
        return Ok(Some(whole));
    }
    // Whole numbers beyond what a float holds exactly are out of every range we have.
    let whole = number.as_f64().filter(|float| float.fract() == 0.0);
    let whole = whole.ok_or_else(|| Error::custom("not a whole number"))?;
    let beyond = if whole < 0.0 { i64::MIN } else { i64::MAX };
    Ok(Some(format!("{whole:.0}").parse().unwrap_or(beyond)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(serde::Deserialize)]
    struct Body {
        #[serde(default, deserialize_with = "whole_number")]
        number: Option<i64>,
    }

    #[test]
    fn whole_numbers_are_read_however_they_are_written() {
        let read = |text: &str| serde_json::from_str::<Object<Body>>(text).map(|body| body.0.number).ok();
        let cases = [
            (r#"{"number": 60}"#, Some(Some(60))),
            (r#"{"number": 60.0}"#, Some(Some(60))),
            (r#"{"number": -1}"#, Some(Some(-1))),
            (r#"{"number": 18446744073709551616}"#, Some(Some(i64::MAX))),
            (r#"{"number": null}"#, Some(None)),
            ("{}", Some(None)),
            (r#"{"number": 1.5}"#, None),
            (r#"{"number": "5"}"#, None),
            (r#"{"number": true}"#, None),
            ("[60]", None),
            ("60", None),
        ];
        for (text, expected) in cases {
            assert_eq!(read(text), expected, "{text}");
        }
    }
}
