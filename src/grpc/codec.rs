//! How messages become bytes: protobuf, with buffers that fit an agent's small messages.
//!
//! tonic sets 8 KiB aside for each direction of each call. A session stays open for as long as its agent
//! runs and its messages are a few hundred bytes, so at ten thousand agents most of that would be held
//! unused. The buffers grow when a message needs it.

use std::marker::PhantomData;

use prost::Message;
use tonic::Status;
use tonic::codec::{BufferSettings, Codec, DecodeBuf, Decoder};
use tonic_prost::{ProstCodec, ProstDecoder, ProstEncoder};

use super::proto::TrustUpdate;

/// What is set aside for incoming messages: a heartbeat with all facts of an ordinary host.
const DECODE: usize = 1024;
/// What is set aside for outgoing messages: an answer to a heartbeat is less than 32 bytes.
const ENCODE: usize = 128;
/// Bytes after which encoded messages are handed to the connection, as in tonic.
const YIELD_THRESHOLD: usize = 32 * 1024;

/// Used by the generated code, for clients and servers.
#[derive(Debug, Clone)]
pub struct SmallBuffers<T, U>(PhantomData<(T, U)>);

impl<T, U> Default for SmallBuffers<T, U> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T, U> Codec for SmallBuffers<T, U>
where
    T: Message + Send + 'static,
    U: Message + Default + Send + 'static,
{
    type Encode = T;
    type Decode = U;
    type Encoder = ProstEncoder<T>;
    type Decoder = Blaming<U>;

    fn encoder(&mut self) -> Self::Encoder {
        ProstCodec::<T, U>::raw_encoder(BufferSettings::new(ENCODE, YIELD_THRESHOLD))
    }

    fn decoder(&mut self) -> Self::Decoder {
        Blaming(ProstCodec::<T, U>::raw_decoder(BufferSettings::new(DECODE, YIELD_THRESHOLD)))
    }
}

impl TrustUpdate {
    /// As it goes over the wire, for who keeps it in a file.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    /// Read again; `None` if it is none.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::decode(bytes).ok()
    }
}

/// A message that can't be decoded is a mistake of whoever sent it, and not, as tonic says, of whoever reads it.
#[derive(Debug)]
pub struct Blaming<U>(ProstDecoder<U>);

impl<U: Message + Default> Decoder for Blaming<U> {
    type Item = U;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<U>, Status> {
        self.0.decode(from).map_err(|status| Status::invalid_argument(status.message()))
    }

    fn buffer_settings(&self) -> BufferSettings {
        self.0.buffer_settings()
    }
}
