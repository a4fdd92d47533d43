//! The base chain as a verifier sees it: headers, proof of work, single-use seals. Without any node.

use assent_core::{
    Hash,
    anchor::{ANCHOR_BYTES, AnchorPayload},
    codec::{DecodeError, Decoder, Encoder},
    manifest::{BaseNetwork, OutPoint},
};
use bitcoin::{
    CompactTarget, Transaction, Work,
    block::Header,
    consensus::encode::{deserialize, serialize},
    hashes::{Hash as _, sha256d},
    opcodes::all::OP_RETURN,
};
use thiserror::Error;

use crate::file::{read_path, write_path};

/// Anchors from the manifest's outpoint to the last one of a proof.
pub const MAX_ANCHORS: usize = 200_000;
/// Bytes of one anchor transaction without witnesses: an input for the seal and some for fees.
pub const MAX_ANCHOR_TX_BYTES: usize = 10_000;
/// Base-chain headers: the anchor's block and those above it.
pub const MAX_HEADERS: usize = 2_016;

/// A chain of anchors from the manifest's outpoint, the last of which is in a block of the base chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AnchorChain {
    /// Anchor transactions without witnesses, from the manifest's outpoint on.
    pub transactions: Vec<Vec<u8>>,
    /// Index of the last one in its block.
    pub block_index: u32,
    /// From the last one to its block's Merkle root.
    pub block_path: Vec<Hash>,
    /// Base-chain headers: the last anchor's block, and those above it.
    pub headers: Vec<[u8; 80]>,
}

impl AnchorChain {
    /// Within another layout.
    #[must_use]
    pub fn write(&self, encoder: Encoder) -> Encoder {
        let encoder = encoder.long_list(&self.transactions, |e, transaction| e.long(transaction));
        write_path(encoder.u32(self.block_index), &self.block_path)
            .list(&self.headers, |e, header| e.fixed(header))
    }

    /// Reads what [`Self::write`] wrote.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn read(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            transactions: d.long_list("anchors", MAX_ANCHORS, |d| {
                d.long("anchor transaction", MAX_ANCHOR_TX_BYTES).map(<[u8]>::to_vec)
            })?,
            block_index: d.u32("block index")?,
            block_path: read_path(d, "block path")?,
            headers: d.list("base-chain headers", MAX_HEADERS, |d| d.array("base-chain header"))?,
        })
    }
}

/// Why a base-chain part of a proof is refused.
#[derive(Debug, Error)]
pub enum BaseError {
    /// The manifest names a network that is not known here.
    #[error("unknown base network {0:?}")]
    UnknownNetwork(String),
    /// The manifest's network has another first block.
    #[error("the base network {name} begins with block {expected}, the manifest says {found}")]
    GenesisMismatch {
        /// Network.
        name: String,
        /// Published.
        expected: String,
        /// In the manifest.
        found: String,
    },
    /// A transaction that is not one.
    #[error("anchor {index} is not a base-chain transaction without witnesses: {problem}")]
    NotATransaction {
        /// Which.
        index: usize,
        /// Why.
        problem: String,
    },
    /// The chain of seals is broken.
    #[error("anchor {index} spends {found} with its first input, not the seal {expected}")]
    SealBroken {
        /// Which.
        index: usize,
        /// The seal.
        expected: String,
        /// What it spends.
        found: String,
    },
    /// No readable payload.
    #[error("anchor {index} carries no payload in output 1: {problem}")]
    NoPayload {
        /// Which.
        index: usize,
        /// Why.
        problem: String,
    },
    /// A header that is not 80 bytes of one.
    #[error("base-chain header {index} cannot be read")]
    BadHeader {
        /// Which.
        index: usize,
    },
    /// The headers are not a chain.
    #[error("base-chain header {index} does not follow the one before it")]
    HeaderLink {
        /// Which.
        index: usize,
    },
    /// Too easy a target for the network.
    #[error("base-chain header {index} has a target that the network does not allow")]
    TargetTooEasy {
        /// Which.
        index: usize,
    },
    /// The hash is above the target.
    #[error("base-chain header {index} lacks proof of work")]
    NoWork {
        /// Which.
        index: usize,
    },
    /// The transaction is not in the block.
    #[error("the anchor is not in the block: its path leads to another Merkle root")]
    NotInBlock,
    /// A node of the path could be a transaction.
    #[error("the anchor's path goes through a node that could be a transaction")]
    AmbiguousPath,
    /// A path too long for its index.
    #[error("the anchor's index in the block does not fit its path of {path} hashes")]
    BadBlockIndex {
        /// Length of the path.
        path: usize,
    },
}

/// The network of a manifest, checked against its published first block.
///
/// # Errors
/// [`BaseError::UnknownNetwork`], [`BaseError::GenesisMismatch`].
pub fn network(base: &BaseNetwork) -> Result<bitcoin::Network, BaseError> {
    let network = bitcoin::Network::from_core_arg(&base.name)
        .map_err(|_| BaseError::UnknownNetwork(base.name.clone()))?;
    let published = bitcoin::constants::genesis_block(network).block_hash();
    if published.to_byte_array() != base.genesis_hash {
        return Err(BaseError::GenesisMismatch {
            name: base.name.clone(),
            expected: published.to_string(),
            found: bitcoin::BlockHash::from_byte_array(base.genesis_hash).to_string(),
        });
    }
    Ok(network)
}

/// An anchor transaction.
#[derive(Clone, Debug)]
pub struct Anchor {
    /// Its id, in the order in which it is hashed.
    pub txid: Hash,
    /// The output that its first input spends.
    pub spends: OutPoint,
    /// What it carries.
    pub payload: AnchorPayload,
}

impl Anchor {
    /// Reads a transaction that has the form of an anchor: input 0 spends the seal before it, output 0 is the next seal,
    /// output 1 carries the payload.
    ///
    /// # Errors
    /// [`BaseError::NotATransaction`], [`BaseError::NoPayload`].
    pub fn read(index: usize, bytes: &[u8]) -> Result<Self, BaseError> {
        let not = |problem: String| BaseError::NotATransaction { index, problem };
        let transaction: Transaction = deserialize(bytes).map_err(|error| not(error.to_string()))?;
        if serialize(&transaction) != bytes {
            return Err(not("not in the one encoding".into()));
        }
        if transaction.input.iter().any(|input| !input.witness.is_empty()) {
            return Err(not("it has witnesses".into()));
        }
        Self::of(index, &transaction)
    }

    /// The same for a transaction that is decoded already; witnesses do not matter.
    ///
    /// # Errors
    /// [`BaseError::NotATransaction`], [`BaseError::NoPayload`].
    pub fn of(index: usize, transaction: &Transaction) -> Result<Self, BaseError> {
        let input = transaction
            .input
            .first()
            .ok_or_else(|| BaseError::NotATransaction { index, problem: "it has no input".into() })?;
        Ok(Self {
            txid: transaction.compute_txid().to_byte_array(),
            spends: OutPoint {
                txid: input.previous_output.txid.to_byte_array(),
                vout: input.previous_output.vout,
            },
            payload: payload(index, transaction)?,
        })
    }

    /// The seal that it leaves for the next anchor: its output 0.
    #[must_use]
    pub fn next_seal(&self) -> OutPoint {
        OutPoint { txid: self.txid, vout: 0 }
    }
}

fn payload(index: usize, transaction: &Transaction) -> Result<AnchorPayload, BaseError> {
    let no = |problem: &str| BaseError::NoPayload { index, problem: problem.to_owned() };
    let script = &transaction.output.get(1).ok_or_else(|| no("there is no output 1"))?.script_pubkey;
    // One spelling: OP_RETURN, and one push of the payload's length.
    match script.as_bytes().split_first_chunk::<2>() {
        Some(([first, length], payload))
            if *first == OP_RETURN.to_u8() && usize::from(*length) == ANCHOR_BYTES =>
        {
            AnchorPayload::decode(payload).map_err(|error| no(&error.to_string()))
        }
        _ => Err(no("it is not OP_RETURN and one push of 49 bytes")),
    }
}

/// An outpoint as Bitcoin Core prints it.
#[must_use]
pub fn display_outpoint(outpoint: &OutPoint) -> String {
    format!("{}:{}", bitcoin::Txid::from_byte_array(outpoint.txid), outpoint.vout)
}

/// Checks that each anchor spends the seal that the one before it left, from the manifest's outpoint on.
///
/// # Errors
/// [`BaseError`].
pub fn read_seals(first: OutPoint, transactions: &[Vec<u8>]) -> Result<Vec<Anchor>, BaseError> {
    let mut seal = first;
    let mut anchors = Vec::with_capacity(transactions.len());
    for (index, bytes) in transactions.iter().enumerate() {
        let anchor = Anchor::read(index, bytes)?;
        if anchor.spends != seal {
            return Err(BaseError::SealBroken {
                index,
                expected: display_outpoint(&seal),
                found: display_outpoint(&anchor.spends),
            });
        }
        seal = anchor.next_seal();
        anchors.push(anchor);
    }
    Ok(anchors)
}

/// A chain of headers whose links and work are checked.
#[derive(Clone, Debug)]
pub struct HeaderChain {
    /// Hashes, lowest block first, in the order in which they are hashed.
    pub hashes: Vec<Hash>,
    /// Merkle root of the first.
    pub first_merkle_root: Hash,
    /// Time of the first, in seconds since 1970.
    pub first_time_s: u32,
    /// Expected hashes to make all of them, big-endian.
    pub work: [u8; 32],
}

/// Checks headers: each follows the one before it, has a target that the network allows, and the work for it (Bitcoin's
/// own rules; that targets are those which retargeting prescribes is left to the pins).
///
/// # Errors
/// [`BaseError`].
pub fn check_headers(network: bitcoin::Network, headers: &[[u8; 80]]) -> Result<HeaderChain, BaseError> {
    let easiest = network.params().max_attainable_target;
    let mut chain =
        HeaderChain { hashes: Vec::new(), first_merkle_root: [0; 32], first_time_s: 0, work: [0; 32] };
    let mut work: Option<Work> = None;
    for (index, bytes) in headers.iter().enumerate() {
        let header: Header = deserialize(bytes).map_err(|_| BaseError::BadHeader { index })?;
        if index == 0 {
            chain.first_merkle_root = header.merkle_root.to_byte_array();
            chain.first_time_s = header.time;
        } else if chain.hashes.last() != Some(&header.prev_blockhash.to_byte_array()) {
            return Err(BaseError::HeaderLink { index });
        }
        let target = header.target();
        let fixed = network == bitcoin::Network::Regtest;
        if target > easiest || (fixed && header.bits != CompactTarget::from_consensus(0x207f_ffff)) {
            return Err(BaseError::TargetTooEasy { index });
        }
        let hash = header.validate_pow(target).map_err(|_| BaseError::NoWork { index })?;
        chain.hashes.push(hash.to_byte_array());
        work = Some(work.map_or(header.work(), |sum| sum + header.work()));
    }
    chain.work = work.map_or([0; 32], Work::to_be_bytes);
    Ok(chain)
}

/// Checks that a transaction stands at an index of a block, by Bitcoin's Merkle tree (double SHA-256, no prefixes).
///
/// # Errors
/// [`BaseError::NotInBlock`], [`BaseError::BadBlockIndex`], [`BaseError::AmbiguousPath`].
pub fn check_in_block(txid: &Hash, index: u32, path: &[Hash], merkle_root: &Hash) -> Result<(), BaseError> {
    if path.len() > 32 || u64::from(index) >> path.len() != 0 {
        return Err(BaseError::BadBlockIndex { path: path.len() });
    }
    let mut node = *txid;
    for (level, sibling) in path.iter().enumerate() {
        let pair = if index >> level & 1 == 0 { [node, *sibling] } else { [*sibling, node] }.concat();
        // Half of a transaction of 64 bytes could pass for an id below it (CVE-2017-12842).
        if deserialize::<Transaction>(&pair).is_ok() {
            return Err(BaseError::AmbiguousPath);
        }
        node = sha256d::Hash::hash(&pair).to_byte_array();
    }
    if node == *merkle_root { Ok(()) } else { Err(BaseError::NotInBlock) }
}

/// The path from a transaction to its block's Merkle root, for whoever makes a proof.
#[must_use]
pub fn block_path(txids: &[Hash], index: usize) -> Vec<Hash> {
    let (mut layer, mut index, mut path) = (txids.to_vec(), index, Vec::new());
    while layer.len() > 1 {
        if layer.len() % 2 == 1 {
            layer.extend(layer.last().copied());
        }
        path.extend(layer.get(index ^ 1));
        layer =
            layer.chunks_exact(2).map(|pair| sha256d::Hash::hash(&pair.concat()).to_byte_array()).collect();
        index /= 2;
    }
    path
}
