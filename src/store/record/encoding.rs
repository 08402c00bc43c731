//! Records as JSON, octets as text.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::store::ReadError;
use crate::store::rows::Table;

pub(crate) fn encode(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("records are plain data with text keys and always become JSON")
}

pub(crate) fn decode<R: DeserializeOwned>(table: Table, content: &[u8]) -> Result<R, ReadError> {
    serde_json::from_slice(content).map_err(|source| ReadError::Record { table: table.name(), source })
}

/// Lets domain values lie on disk in the shapes that records state.
macro_rules! on_disk {
    ($($value:ty as $record:ident,)*) => {$(
        impl serde::Serialize for $value {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                $record::serialize(self, to)
            }
        }

        impl<'de> serde::Deserialize<'de> for $value {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                $record::deserialize(from)
            }
        }
    )*};
}

pub(crate) use on_disk;

/// Hashes as hex.
pub(crate) mod hex {
    use data_encoding::HEXLOWER;
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::domain::octets::decoded;

    pub(crate) fn serialize<S: Serializer>(hash: &impl AsRef<[u8]>, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&HEXLOWER.encode(hash.as_ref()))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>, H: From<[u8; 32]>>(from: D) -> Result<H, D::Error> {
        let hash = decoded::<32>(&HEXLOWER, &String::deserialize(from)?);
        hash.map(H::from).ok_or_else(|| serde::de::Error::custom("not 64 lower-case hex digits"))
    }
}

/// Longer octets as base64.
pub(crate) mod base64 {
    use data_encoding::BASE64;
    use serde::{Deserialize, Deserializer, Serializer};

    pub(crate) fn serialize<S: Serializer>(octets: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64.encode(octets))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        BASE64.decode(String::deserialize(from)?.as_bytes()).map_err(serde::de::Error::custom)
    }
}

/// A list of them.
pub(crate) mod base64s {
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
