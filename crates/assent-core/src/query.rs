//! Signed queries: how the holder of an account's key asks for that account's own records, with no other credential.
//!
//! A query names the ledger, the method, the request by its hash, and a moment. It is signed with the account's key, is good
//! for one call within [`MAX_QUERY_AGE_MS`] of its time, and says nothing that the request does not say. It travels beside
//! the request, as gRPC metadata ([`METADATA_KEY`]). Specified in `docs/formats.md`.

use thiserror::Error;

use crate::{
    AccountId, ChainId, Hash,
    codec::{DecodeError, Decoder, Encoder, Layout, sha256},
    signature::{KeyPair, PublicKey, SignatureError},
};

/// Under which a signed query travels in gRPC metadata. The suffix says that its value is binary.
pub const METADATA_KEY: &str = "assent-query-bin";
/// How far a query's time may be from the server's clock, either way, in milliseconds: enough for a phone whose clock is a
/// little wrong, short enough that the used nonces can be kept in memory.
pub const MAX_QUERY_AGE_MS: u64 = 60_000;
/// Bytes of a method's path.
pub const MAX_METHOD_BYTES: usize = 128;
/// Bytes of a signed query as transmitted, at most.
pub const MAX_SIGNED_QUERY_BYTES: usize = 2 + 32 + 32 + 1 + MAX_METHOD_BYTES + 32 + 8 + 16 + 64;

/// What an account asks for (layout 0x3a).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// The ledger that is asked.
    pub chain_id: ChainId,
    /// The account's first public key, of which its id is made.
    pub key: PublicKey,
    /// The gRPC path, such as `/assent.v1.SequencerService/GetConsent`.
    pub method: String,
    /// SHA-256 of the encoded request message, as it is sent.
    pub request_hash: Hash,
    /// When it is asked, in milliseconds since 1970.
    pub time_ms: u64,
    /// Random: makes two equal questions two queries.
    pub nonce: [u8; 16],
}

/// Why a query is not believed. One variant a check.
#[derive(Debug, Error)]
pub enum QueryError {
    /// It cannot be read.
    #[error("the signed query cannot be read: {0}")]
    Unreadable(#[from] DecodeError),
    /// For another ledger.
    #[error("the signed query is for chain {found}, this is {expected}")]
    OtherChain {
        /// This ledger.
        expected: ChainId,
        /// The query's.
        found: ChainId,
    },
    /// For another method.
    #[error("the signed query is for {found}, this is {expected}")]
    OtherMethod {
        /// The method called.
        expected: String,
        /// The query's.
        found: String,
    },
    /// For another request.
    #[error("the signed query is for another request than the one beside it")]
    OtherRequest,
    /// Too old, or from the future.
    #[error(
        "the signed query's time is {by_ms} ms from this clock, at most {MAX_QUERY_AGE_MS} ms are allowed"
    )]
    Time {
        /// Distance.
        by_ms: u64,
    },
    /// The signature is bad.
    #[error("the signed query: {0}")]
    Signature(#[from] SignatureError),
}

impl Query {
    /// The account that asks.
    #[must_use]
    pub fn account(&self) -> AccountId {
        self.key.account_id()
    }

    fn encode(&self) -> Vec<u8> {
        Encoder::new(Layout::Query)
            .fixed(&self.chain_id.0)
            .fixed(&self.key.0)
            .short(self.method.as_bytes())
            .fixed(&self.request_hash)
            .u64(self.time_ms)
            .fixed(&self.nonce)
            .finish()
    }

    /// Layout and signature, as they are sent.
    #[must_use]
    pub fn sign(&self, key: &KeyPair) -> Vec<u8> {
        let mut bytes = self.encode();
        let signature = key.sign(&sha256(&bytes));
        bytes.extend(signature);
        bytes
    }

    /// Reads what was sent and checks it against the call that it came with, except for the nonce: whether it was used
    /// before, only the server knows.
    ///
    /// # Errors
    /// One [`QueryError`] a check. The signature is checked last, being the dearest.
    pub fn open(
        bytes: &[u8],
        chain_id: &ChainId,
        method: &str,
        request: &[u8],
        now_ms: u64,
    ) -> Result<Self, QueryError> {
        let (layout, signature) = bytes
            .split_last_chunk::<64>()
            .ok_or_else(|| DecodeError::invalid("signed query", "shorter than a signature"))?;
        let mut d = Decoder::new(Layout::Query, layout)?;
        let query = Self {
            chain_id: ChainId(d.hash("chain id")?),
            key: PublicKey(d.array("public key")?),
            method: d.text("method")?.to_owned(),
            request_hash: d.hash("request hash")?,
            time_ms: d.u64("time")?,
            nonce: d.array("nonce")?,
        };
        d.finish()?;
        if query.method.len() > MAX_METHOD_BYTES {
            return Err(DecodeError::invalid("method", format!("more than {MAX_METHOD_BYTES} bytes")).into());
        }
        if query.chain_id != *chain_id {
            return Err(QueryError::OtherChain { expected: *chain_id, found: query.chain_id });
        }
        if query.method != method {
            return Err(QueryError::OtherMethod { expected: method.to_owned(), found: query.method });
        }
        if query.request_hash != sha256(request) {
            return Err(QueryError::OtherRequest);
        }
        let by_ms = query.time_ms.abs_diff(now_ms);
        if by_ms > MAX_QUERY_AGE_MS {
            return Err(QueryError::Time { by_ms });
        }
        query.key.verify(&sha256(layout), signature)?;
        Ok(query)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const METHOD: &str = "/assent.v1.SequencerService/GetConsent";

    fn query(key: &KeyPair) -> Query {
        Query {
            chain_id: ChainId([1; 32]),
            key: key.public(),
            method: METHOD.into(),
            request_hash: sha256(b"request"),
            time_ms: 1_000_000,
            nonce: [9; 16],
        }
    }

    #[test]
    fn a_query_opens_for_its_own_call_alone() {
        let key = KeyPair::from_seed([3; 32]);
        let sent = query(&key).sign(&key);
        assert!(sent.len() <= MAX_SIGNED_QUERY_BYTES);
        let open = |bytes: &[u8], chain, method, request: &[u8], now| {
            Query::open(bytes, &ChainId(chain), method, request, now)
        };
        let opened = open(&sent, [1; 32], METHOD, b"request", 1_000_000 + MAX_QUERY_AGE_MS).unwrap();
        assert_eq!(opened, query(&key));
        assert_eq!(opened.account(), key.public().account_id());

        let error = |result: Result<Query, QueryError>| result.unwrap_err();
        let now = 1_000_000;
        assert!(matches!(
            error(open(&sent, [2; 32], METHOD, b"request", now)),
            QueryError::OtherChain { .. }
        ));
        let other = "/assent.v1.SequencerService/GetAccount";
        assert!(matches!(
            error(open(&sent, [1; 32], other, b"request", now)),
            QueryError::OtherMethod { .. }
        ));
        assert!(matches!(error(open(&sent, [1; 32], METHOD, b"other", now)), QueryError::OtherRequest));
        for far in [now + MAX_QUERY_AGE_MS + 1, now - MAX_QUERY_AGE_MS - 1] {
            assert!(matches!(error(open(&sent, [1; 32], METHOD, b"request", far)), QueryError::Time { .. }));
        }
    }

    #[test]
    fn every_changed_bit_and_every_cut_is_refused() {
        let key = KeyPair::from_seed([3; 32]);
        let sent = query(&key).sign(&key);
        for bit in 0..sent.len() * 8 {
            let mut bad = sent.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(
                Query::open(&bad, &ChainId([1; 32]), METHOD, b"request", 1_000_000).is_err(),
                "bit {bit}"
            );
        }
        for length in 0..sent.len() {
            let cut = &sent[..length];
            assert!(Query::open(cut, &ChainId([1; 32]), METHOD, b"request", 1_000_000).is_err(), "{length}");
        }
        let other = KeyPair::from_seed([4; 32]);
        let forged = query(&key).sign(&other);
        assert!(matches!(
            Query::open(&forged, &ChainId([1; 32]), METHOD, b"request", 1_000_000),
            Err(QueryError::Signature(_))
        ));
    }
}
