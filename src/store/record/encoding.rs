//! Records as JSON, octets as text.

use data_encoding::{BASE64, HEXLOWER};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::store::ReadError;
use crate::store::rows::Table;

pub(crate) fn encode(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("records are plain data with text keys and always become JSON")
}

pub(crate) fn decode<R: DeserializeOwned>(table: Table, content: &[u8]) -> Result<R, ReadError> {
    serde_json::from_slice(content).map_err(|source| ReadError::Record { table: table.name(), source })
}

/// Bytes that JSON carries as hex (short) or base64 (long).
pub(crate) mod bytes {
    use super::{BASE64, Deserialize, Deserializer, HEXLOWER, Serializer};

    pub(crate) mod hex {
        use super::{Deserialize, Deserializer, HEXLOWER, Serializer};

        pub(crate) fn serialize<S: Serializer, const N: usize>(
            bytes: &[u8; N],
            to: S,
        ) -> Result<S::Ok, S::Error> {
            to.serialize_str(&HEXLOWER.encode(bytes))
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>, const N: usize>(
            from: D,
        ) -> Result<[u8; N], D::Error> {
            let text = String::deserialize(from)?;
            let bytes = HEXLOWER.decode(text.as_bytes()).map_err(serde::de::Error::custom)?;
            bytes.try_into().map_err(|_| serde::de::Error::custom("wrong length"))
        }
    }

    pub(crate) mod base64 {
        use super::{BASE64, Deserialize, Deserializer, Serializer};

        pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
            to.serialize_str(&BASE64.encode(bytes))
        }

        pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
            let text = String::deserialize(from)?;
            BASE64.decode(text.as_bytes()).map_err(serde::de::Error::custom)
        }
    }
}

#[derive(Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Base64(#[serde(with = "bytes::base64")] pub(crate) Vec<u8>);
