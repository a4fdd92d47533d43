//! What the accused have signed: the parts of evidence, each checked on its own.

use assent_core::{
    Hash,
    batch::{BatchHeader, BatchRecord},
    codec::{DecodeError, Decoder, Encoder, sha256},
    note::Checkpoint,
};
use assent_merkle::{leaf_hash, verify_inclusion};

use crate::{
    base::AnchorChain,
    check::{CheckError, Ledger, Pins, check_anchor_chain, check_header_ledger},
    file::{MAX_HEADER_BYTES, read_note, read_path, write_path},
};

/// A batch header with the sequencer's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedHeader {
    /// The encoded header, layout 0x1a.
    pub header: Vec<u8>,
    /// Over its hash.
    pub signature: [u8; 64],
}

impl SignedHeader {
    /// Long header, signature.
    pub(crate) fn write(&self, e: Encoder) -> Encoder {
        e.long(&self.header).fixed(&self.signature)
    }

    pub(crate) fn read(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            header: d.long("batch header", MAX_HEADER_BYTES)?.to_vec(),
            signature: d.array("header signature")?,
        })
    }

    /// Checks ledger, key and signature.
    pub(crate) fn open(&self, ledger: &Ledger) -> Result<BatchHeader, CheckError> {
        let header = BatchHeader::decode(&self.header).map_err(CheckError::Header)?;
        check_header_ledger(&header, ledger.chain_id, &ledger.manifest)?;
        ledger
            .manifest
            .sequencer_key
            .verify(&sha256(&self.header), &self.signature)
            .map_err(CheckError::HeaderSignature)?;
        Ok(header)
    }
}

/// A size and root of the history tree that the prover vouched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootClaim {
    /// 1: in a checkpoint that it signed.
    Signed(String),
    /// 2: in an anchor. Only the holder of the prover's anchoring key can spend a seal. The file does not hold the signature
    /// that shows it: the base chain has checked that. So an anchor counts only under a pinned block, or least work, of the
    /// real base chain.
    Anchored(AnchorChain),
}

impl RootClaim {
    pub(crate) fn write(&self, e: Encoder) -> Encoder {
        match self {
            Self::Signed(note) => e.u8(1).long(note.as_bytes()),
            Self::Anchored(chain) => chain.write(e.u8(2)),
        }
    }

    pub(crate) fn read(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        match d.u8("kind of root")? {
            1 => Ok(Self::Signed(read_note(d)?)),
            2 => Ok(Self::Anchored(AnchorChain::read(d)?)),
            other => Err(DecodeError::invalid("kind of root", format!("unknown number {other}"))),
        }
    }

    /// Checks the signature, or the anchors up to their block.
    pub(crate) fn open(&self, ledger: &Ledger, pins: &Pins) -> Result<Checkpoint, CheckError> {
        match self {
            Self::Signed(note) => Checkpoint::open(note, &ledger.chain_id, &ledger.manifest.prover_key)
                .map_err(CheckError::Checkpoint),
            Self::Anchored(_) if pins.base_block.is_none() && pins.least_work.is_none() => {
                Err(CheckError::AnchorNotPinned)
            }
            Self::Anchored(chain) => {
                let last = check_anchor_chain(chain, ledger, pins)?;
                Ok(Checkpoint { size: last.payload.size, root: last.payload.root })
            }
        }
    }

    /// How the prover vouched, for people.
    pub(crate) fn describe(&self) -> &'static str {
        match self {
            Self::Signed(_) => "signed",
            Self::Anchored(_) => "anchored on the base chain",
        }
    }
}

/// A leaf of the history tree under a root that the prover vouched for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordProof {
    /// The root.
    pub claim: RootClaim,
    /// The leaf: an encoded batch record, or what stands in its place.
    pub record: Vec<u8>,
    /// From the leaf to the root.
    pub path: Vec<Hash>,
}

/// Bytes of a leaf that is read: a batch record has 67, and one that is none may have others.
const MAX_RECORD_BYTES: usize = 4 * BatchRecord::BYTES;

impl RecordProof {
    pub(crate) fn write(&self, e: Encoder) -> Encoder {
        write_path(self.claim.write(e).long(&self.record), &self.path)
    }

    pub(crate) fn read(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            claim: RootClaim::read(d)?,
            record: d.long("batch record", MAX_RECORD_BYTES)?.to_vec(),
            path: read_path(d, "history path")?,
        })
    }

    /// Checks that the leaf stands at this number under the root.
    pub(crate) fn open(&self, number: u64, ledger: &Ledger, pins: &Pins) -> Result<Checkpoint, CheckError> {
        let checkpoint = self.claim.open(ledger, pins)?;
        let leaf = leaf_hash(&self.record);
        verify_inclusion(number, checkpoint.size, leaf, &self.path, &checkpoint.root)
            .map_err(CheckError::BatchInclusion)?;
        Ok(checkpoint)
    }
}
