//! The proof bundle: its file format, read with limits on everything.

use assent_core::{
    Hash,
    batch::BatchRecord,
    codec::{DecodeError, Decoder, Encoder, Layout, sha256},
    limits,
    log::decode_authorizations,
    outcome::ENTRY_BYTES,
    signature::ED25519,
    transaction::Authorization,
};
use thiserror::Error;

/// First bytes of the file, so that a person who opens it sees what it is.
pub const MAGIC: &[u8] = b"assent-proof\n";
/// Bytes of a bundle that is read: enough for a ledger that has anchored every ten minutes for three years, at about 250
/// bytes an anchor. Larger files are refused before they are read.
pub const MAX_BUNDLE_BYTES: usize = 64 * 1024 * 1024;
/// Anchors from the manifest's outpoint to the one that covers the batch.
pub const MAX_ANCHORS: usize = 200_000;
/// Bytes of one anchor transaction without witnesses: an input for the seal and some for fees.
pub const MAX_ANCHOR_TX_BYTES: usize = 10_000;
/// Base-chain headers: the anchor's block and those above it.
pub const MAX_HEADERS: usize = 2_016;
/// Hashes of a path in any tree: the depth of a tree with 2^64 leaves.
pub const MAX_PATH: usize = 64;
/// Bytes of a batch header that is read.
const MAX_HEADER_BYTES: usize = 1024;
/// Bytes of one outcome leaf or detail that is read.
const MAX_LEAF_BYTES: usize = 1 << 20;

/// Why a file cannot be read as a bundle at all.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Another file.
    #[error("not an Assent proof file: it does not begin with \"assent-proof\"")]
    Magic,
    /// Too large.
    #[error("the file has {found} bytes, at most {limit} are read")]
    TooLarge {
        /// Limit.
        limit: usize,
        /// Found.
        found: u64,
    },
    /// Cut off, or not in the format.
    #[error("the file is damaged: {0}")]
    Format(#[from] DecodeError),
    /// The operating system could not read it.
    #[error("cannot read the file: {0}")]
    Io(#[from] std::io::Error),
}

/// A self-contained proof that a transaction was sequenced, with what outcome, and anchored (layout 0x30).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bundle {
    /// The genesis manifest.
    pub manifest: Vec<u8>,
    /// Body of the transaction.
    pub body: Vec<u8>,
    /// Its authorizations as stored.
    pub authorizations: Vec<Authorization>,
    /// The encoded entry.
    pub entry: Vec<u8>,
    /// The encoded leaves of the outcome tree.
    pub outcome_leaves: Vec<Vec<u8>>,
    /// The encoded detail of each leaf, where it was opened: none, or as many as leaves.
    pub details: Vec<Vec<u8>>,
    /// From the entry to the batch's entries root.
    pub entry_path: Vec<Hash>,
    /// The encoded batch header.
    pub header: Vec<u8>,
    /// The sequencer's signature on it.
    pub header_signature: [u8; 64],
    /// The encoded batch record.
    pub batch_record: Vec<u8>,
    /// From the batch record to the checkpoint's root.
    pub history_path: Vec<Hash>,
    /// The signed checkpoint.
    pub checkpoint: String,
    /// Anchor transactions without witnesses, from the manifest's outpoint on; the last covers the batch.
    pub anchors: Vec<Vec<u8>>,
    /// Index of the last anchor in its block.
    pub block_index: u32,
    /// From the last anchor to its block's Merkle root.
    pub block_path: Vec<Hash>,
    /// Base-chain headers: the last anchor's block, and those above it.
    pub headers: Vec<[u8; 80]>,
}

fn encode_path(encoder: Encoder, path: &[Hash]) -> Encoder {
    encoder.list(path, |e, hash| e.fixed(hash))
}

impl Bundle {
    /// The file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let count = u8::try_from(self.authorizations.len()).unwrap_or(u8::MAX);
        let anchors = u32::try_from(self.anchors.len()).unwrap_or(u32::MAX);
        let mut e = Encoder::new(Layout::ProofBundle).long(&self.manifest).long(&self.body).u8(count);
        for authorization in &self.authorizations {
            e = e.u8(ED25519).fixed(&authorization.key.0).fixed(&authorization.signature);
        }
        e = e.fixed(&self.entry);
        e = e
            .list(&self.outcome_leaves, |e, leaf| e.long(leaf))
            .list(&self.details, |e, detail| e.long(detail));
        e = encode_path(e, &self.entry_path).long(&self.header).fixed(&self.header_signature);
        e = encode_path(e.fixed(&self.batch_record), &self.history_path);
        e = e.long(self.checkpoint.as_bytes()).u32(anchors);
        for anchor in &self.anchors {
            e = e.long(anchor);
        }
        e = encode_path(e.u32(self.block_index), &self.block_path);
        let layout = e.list(&self.headers, |e, header| e.fixed(header)).finish();
        let mut file = [MAGIC, &layout].concat();
        let digest = sha256(&file);
        file.extend(digest);
        file
    }

    /// Reads a file. The digest at its end is given back for the last check, so that a changed byte is named by the check
    /// that it breaks.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn decode(file: &[u8]) -> Result<(Self, Hash), ReadError> {
        if file.len() > MAX_BUNDLE_BYTES {
            return Err(ReadError::TooLarge { limit: MAX_BUNDLE_BYTES, found: file.len() as u64 });
        }
        let layout = file.strip_prefix(MAGIC).ok_or(ReadError::Magic)?;
        let mut d = Decoder::new(Layout::ProofBundle, layout)?;
        let path = |d: &mut Decoder<'_>, what| d.list(what, MAX_PATH, |d| d.hash("hash of a path"));
        let bundle = Self {
            manifest: d.long("manifest", limits::MAX_MANIFEST_BYTES)?.to_vec(),
            body: d.long("body", limits::MAX_BODY_BYTES)?.to_vec(),
            authorizations: decode_authorizations(&mut d)?,
            entry: d.fixed("entry", ENTRY_BYTES)?.to_vec(),
            outcome_leaves: d.list("outcome leaves", limits::MAX_SUBJECTS, |d| {
                d.long("outcome leaf", MAX_LEAF_BYTES).map(<[u8]>::to_vec)
            })?,
            details: d.list("details", limits::MAX_SUBJECTS, |d| {
                d.long("detail", MAX_LEAF_BYTES).map(<[u8]>::to_vec)
            })?,
            entry_path: path(&mut d, "entry path")?,
            header: d.long("batch header", MAX_HEADER_BYTES)?.to_vec(),
            header_signature: d.array("header signature")?,
            batch_record: d.fixed("batch record", BatchRecord::BYTES)?.to_vec(),
            history_path: path(&mut d, "history path")?,
            checkpoint: String::from_utf8(d.long("checkpoint", assent_core::note::MAX_NOTE_BYTES)?.to_vec())
                .map_err(|_| DecodeError::invalid("checkpoint", "not UTF-8"))?,
            anchors: {
                let count = d.u32("anchor count")? as usize;
                if count > MAX_ANCHORS {
                    let problem = format!("{count} anchors, at most {MAX_ANCHORS} are read");
                    return Err(DecodeError::invalid("anchors", problem).into());
                }
                (0..count)
                    .map(|_| d.long("anchor transaction", MAX_ANCHOR_TX_BYTES).map(<[u8]>::to_vec))
                    .collect::<Result<_, _>>()?
            },
            block_index: d.u32("block index")?,
            block_path: path(&mut d, "block path")?,
            headers: d.list("base-chain headers", MAX_HEADERS, |d| d.array("base-chain header"))?,
        };
        let digest = d.hash("file digest")?;
        d.finish()?;
        Ok((bundle, digest))
    }
}
