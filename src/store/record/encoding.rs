//! Records as JSON, octets as text.

use std::fmt::Display;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::store::ReadError;
use crate::store::rows::Table;

/// What can be written to disk: what says by itself how it is written, and domain values that have a record.
///
/// The store's own, and not serde's: many of these values hold hashes or sealed keys, and nobody else may write them
/// anywhere. A value that has a record and learns `Serialize` as well does not compile.
pub(in crate::store) trait ToDisk {
    fn to_disk<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error>;
}

/// The same for what is read.
pub(in crate::store) trait FromDisk: Sized {
    fn from_disk<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error>;
}

impl<T: Serialize> ToDisk for T {
    fn to_disk<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.serialize(to)
    }
}

impl<T: DeserializeOwned> FromDisk for T {
    fn from_disk<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        Self::deserialize(from)
    }
}

/// The length of most records, in octets.
const TYPICAL: usize = 640;

pub(in crate::store) fn encode(record: &impl ToDisk) -> Vec<u8> {
    let mut content = Vec::with_capacity(TYPICAL);
    let written = record.to_disk(&mut serde_json::Serializer::new(&mut content));
    written.expect("records are plain data with text keys and always become JSON");
    content
}

pub(in crate::store) fn decode<R: FromDisk>(table: Table, content: &[u8]) -> Result<R, ReadError> {
    let mut from = serde_json::Deserializer::from_slice(content);
    let record = R::from_disk(&mut from).and_then(|record| from.end().map(|()| record));
    record.map_err(|source| ReadError::Record { table: table.name(), source })
}

/// Lets domain values lie on disk in the shapes that records state.
macro_rules! on_disk {
    ($($value:ty as $record:ident,)*) => {$(
        impl $crate::store::record::encoding::ToDisk for $value {
            fn to_disk<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                $record::serialize(self, to)
            }
        }

        impl $crate::store::record::encoding::FromDisk for $value {
            fn from_disk<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                $record::deserialize(from)
            }
        }
    )*};
}

pub(in crate::store) use on_disk;

/// A value with a record of its own, where serde asks for one that says by itself how it is written.
struct Recorded<T>(T);

impl<T: ToDisk> Serialize for Recorded<&T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.to_disk(to)
    }
}

impl<'de, T: FromDisk> Deserialize<'de> for Recorded<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        T::from_disk(from).map(Self)
    }
}

/// A field that may have a value with a record of its own.
pub(super) mod optional {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use super::{FromDisk, Recorded, ToDisk};

    pub(crate) fn serialize<S: Serializer, T: ToDisk>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
        value.as_ref().map(Recorded).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: FromDisk>(
        from: D,
    ) -> Result<Option<T>, D::Error> {
        Ok(Option::deserialize(from)?.map(|Recorded(value)| value))
    }
}

/// A list of such values.
pub(super) mod list {
    use serde::{Deserialize, Deserializer, Serializer};

    use super::{FromDisk, Recorded, ToDisk};

    pub(crate) fn serialize<S: Serializer, T: ToDisk>(values: &[T], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(values.iter().map(Recorded))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, T: FromDisk>(from: D) -> Result<Vec<T>, D::Error> {
        Ok(Vec::deserialize(from)?.into_iter().map(|Recorded(value)| value).collect())
    }
}

/// By the text that a value has anyhow.
pub(super) fn as_text<S: Serializer>(value: &impl Display, to: S) -> Result<S::Ok, S::Error> {
    to.collect_str(value)
}

/// Hashes as hex.
pub(super) mod hex {
    use data_encoding::HEXLOWER;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::domain::enroll::credential::CredentialHash;
    use crate::domain::octets::decoded;

    pub(crate) fn serialize<S: Serializer>(hash: &CredentialHash, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&HEXLOWER.encode(hash.as_bytes()))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, H: From<[u8; 32]>>(from: D) -> Result<H, D::Error> {
        let hash = decoded::<32>(&HEXLOWER, &String::deserialize(from)?);
        hash.map(H::from).ok_or_else(|| serde::de::Error::custom("not 64 lower-case hex digits"))
    }
}

/// Longer octets as base64.
pub(super) mod base64 {
    use data_encoding::BASE64;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(octets: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64.encode(octets))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        BASE64.decode(String::deserialize(from)?.as_bytes()).map_err(serde::de::Error::custom)
    }
}

/// Such octets, where there are any.
pub(super) mod optional_base64 {
    use data_encoding::BASE64;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(octets: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
        octets.as_ref().map(|octets| BASE64.encode(octets)).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
        let text = Option::<String>::deserialize(from)?;
        text.map(|text| BASE64.decode(text.as_bytes())).transpose().map_err(serde::de::Error::custom)
    }
}

/// Durations in whole milliseconds.
pub(super) mod millis {
    use jiff::SignedDuration;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &SignedDuration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_i64(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SignedDuration, D::Error> {
        i64::deserialize(from).map(SignedDuration::from_millis)
    }
}

/// Durations as whole seconds.
pub(super) mod seconds {
    use jiff::SignedDuration;
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    pub(crate) fn serialize<S: Serializer>(duration: &SignedDuration, to: S) -> Result<S::Ok, S::Error> {
        duration.as_secs().serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<SignedDuration, D::Error> {
        i64::deserialize(from).map(SignedDuration::from_secs)
    }
}

/// A list of them.
pub(super) mod base64s {
    use data_encoding::BASE64;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(list: &[Vec<u8>], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(list.iter().map(|octets| BASE64.encode(octets)))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Vec<u8>>, D::Error> {
        let list = Vec::<String>::deserialize(from)?;
        let octets = list.iter().map(|text| BASE64.decode(text.as_bytes()));
        octets.collect::<Result<_, _>>().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::insight::audit::{ChainHead, KnownLoss, MissingRecords};

    #[test]
    fn records_within_a_record_are_written_by_their_own() {
        let head = ChainHead { seq: 2, hash: "h".to_owned() };
        let missing = MissingRecords { after: Some(1), seen: head.clone() };
        let found = KnownLoss { missing, stated: None };
        let stated = KnownLoss { stated: Some(head), ..found.clone() };
        for (loss, on_disk) in [
            (found, r#"{"after":1,"seen":{"seq":2,"hash":"h"},"stated":null}"#),
            (stated, r#"{"after":1,"seen":{"seq":2,"hash":"h"},"stated":{"seq":2,"hash":"h"}}"#),
        ] {
            assert_eq!(String::from_utf8(encode(&loss)).unwrap(), on_disk);
            assert_eq!(decode::<KnownLoss>(Table::Meta, on_disk.as_bytes()).unwrap(), loss);
            let longer = format!("{on_disk} {on_disk}");
            assert!(decode::<KnownLoss>(Table::Meta, longer.as_bytes()).is_err(), "{longer}");
        }
    }
}
