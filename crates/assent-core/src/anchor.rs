//! The payload of an anchor: what a base-chain transaction carries about the ledger.

use crate::{ChainId, Hash, codec::DecodeError};

/// First four bytes of every payload.
pub const ANCHOR_MAGIC: [u8; 4] = *b"ASNT";
/// Version byte.
pub const ANCHOR_VERSION: u8 = 1;
/// Bytes of a payload. An OP_RETURN output carries at most 80 under the base chain's standard rules.
pub const ANCHOR_BYTES: usize = 4 + 1 + 4 + 8 + 32;

/// A checkpoint as an OP_RETURN output carries it: magic, version, chain tag, size, root.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AnchorPayload {
    /// First bytes of the chain id, for a person who looks at the base chain.
    pub chain_tag: [u8; 4],
    /// Size of the history tree.
    pub size: u64,
    /// Root of the history tree.
    pub root: Hash,
}

impl AnchorPayload {
    /// The payload of a checkpoint.
    #[must_use]
    pub fn new(chain: &ChainId, size: u64, root: Hash) -> Self {
        Self { chain_tag: chain.tag(), size, root }
    }

    /// 49 bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; ANCHOR_BYTES] {
        let mut bytes = [0; ANCHOR_BYTES];
        bytes[..4].copy_from_slice(&ANCHOR_MAGIC);
        bytes[4] = ANCHOR_VERSION;
        bytes[5..9].copy_from_slice(&self.chain_tag);
        bytes[9..17].copy_from_slice(&self.size.to_be_bytes());
        bytes[17..].copy_from_slice(&self.root);
        bytes
    }

    /// Reads a payload.
    ///
    /// # Errors
    /// [`DecodeError::Invalid`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let invalid = |problem: &str| DecodeError::invalid("anchor payload", problem);
        let bytes: &[u8; ANCHOR_BYTES] = bytes
            .try_into()
            .map_err(|_| invalid(&format!("{ANCHOR_BYTES} bytes expected, found {}", bytes.len())))?;
        if bytes[..4] != ANCHOR_MAGIC || bytes[4] != ANCHOR_VERSION {
            return Err(invalid("does not begin with ASNT and version 1"));
        }
        let (mut chain_tag, mut size, mut root) = ([0; 4], [0; 8], [0; 32]);
        chain_tag.copy_from_slice(&bytes[5..9]);
        size.copy_from_slice(&bytes[9..17]);
        root.copy_from_slice(&bytes[17..]);
        Ok(Self { chain_tag, size: u64::from_be_bytes(size), root })
    }
}
