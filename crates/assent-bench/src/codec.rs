//! Messages that are sent as they are, already encoded.

use std::marker::PhantomData;

use bytes::{Buf, BufMut, Bytes};
use prost::Message;
use tonic::{
    Status,
    codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder},
};

/// Sends bytes and receives messages.
pub(crate) struct Encoded<T>(PhantomData<T>);

impl<T> Default for Encoded<T> {
    fn default() -> Self {
        Self(PhantomData)
    }
}

impl<T: Message + Default + Send + 'static> Codec for Encoded<T> {
    type Encode = Bytes;
    type Decode = T;
    type Encoder = Copied;
    type Decoder = Decoded<T>;

    fn encoder(&mut self) -> Copied {
        Copied
    }

    fn decoder(&mut self) -> Decoded<T> {
        Decoded(PhantomData)
    }
}

pub(crate) struct Copied;

impl Encoder for Copied {
    type Item = Bytes;
    type Error = Status;

    fn encode(&mut self, item: Bytes, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put(item);
        Ok(())
    }
}

pub(crate) struct Decoded<T>(PhantomData<T>);

impl<T: Message + Default> Decoder for Decoded<T> {
    type Item = T;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<T>, Status> {
        let chunk = from.copy_to_bytes(from.remaining());
        T::decode(chunk).map(Some).map_err(|error| Status::internal(error.to_string()))
    }
}
