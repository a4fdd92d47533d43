//! The proof bundle: its file format, read with limits on everything.

use assent_core::{
    Hash,
    batch::BatchRecord,
    codec::{Encoder, Layout},
    limits,
    log::decode_authorizations,
    outcome::ENTRY_BYTES,
    signature::ED25519,
    transaction::Authorization,
};

use crate::{
    base::AnchorChain,
    file::{self, MAX_HEADER_BYTES, ReadError, read_note, read_path, write_path},
};

/// First bytes of the file, so that a person who opens it sees what it is.
pub const MAGIC: &[u8] = b"assent-proof\n";
/// Bytes of a bundle that is read: enough for a ledger that has anchored every ten minutes for three years, at about 250
/// bytes an anchor. Larger files are refused before they are read.
pub const MAX_BUNDLE_BYTES: usize = 64 * 1024 * 1024;
/// Bytes of one outcome leaf or detail that is read.
const MAX_LEAF_BYTES: usize = 1 << 20;

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
    /// From the manifest's outpoint to the base-chain block whose anchor covers the batch.
    pub anchor: AnchorChain,
}

impl Bundle {
    /// The file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let count = u8::try_from(self.authorizations.len()).unwrap_or(u8::MAX);
        let mut e = Encoder::new(Layout::ProofBundle).long(&self.manifest).long(&self.body).u8(count);
        for authorization in &self.authorizations {
            e = e.u8(ED25519).fixed(&authorization.key.0).fixed(&authorization.signature);
        }
        e = e.fixed(&self.entry);
        e = e
            .list(&self.outcome_leaves, |e, leaf| e.long(leaf))
            .list(&self.details, |e, detail| e.long(detail));
        e = write_path(e, &self.entry_path).long(&self.header).fixed(&self.header_signature);
        e = write_path(e.fixed(&self.batch_record), &self.history_path);
        file::seal(MAGIC, self.anchor.write(e.long(self.checkpoint.as_bytes())))
    }

    /// Reads a file. The digest at its end is given back for the last check, so that a changed byte is named by the check
    /// that it breaks.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn decode(file: &[u8]) -> Result<(Self, Hash), ReadError> {
        let mut d = file::open(MAGIC, Layout::ProofBundle, MAX_BUNDLE_BYTES, file)?;
        let bundle = Self {
            manifest: d.long("manifest", limits::MAX_MANIFEST_BYTES)?.to_vec(),
            body: d.long("body", limits::MAX_BODY_BYTES)?.to_vec(),
            authorizations: decode_authorizations(&mut d)?.to_vec(),
            entry: d.fixed("entry", ENTRY_BYTES)?.to_vec(),
            outcome_leaves: d.list("outcome leaves", limits::MAX_SUBJECTS, |d| {
                d.long("outcome leaf", MAX_LEAF_BYTES).map(<[u8]>::to_vec)
            })?,
            details: d.list("details", limits::MAX_SUBJECTS, |d| {
                d.long("detail", MAX_LEAF_BYTES).map(<[u8]>::to_vec)
            })?,
            entry_path: read_path(&mut d, "entry path")?,
            header: d.long("batch header", MAX_HEADER_BYTES)?.to_vec(),
            header_signature: d.array("header signature")?,
            batch_record: d.fixed("batch record", BatchRecord::BYTES)?.to_vec(),
            history_path: read_path(&mut d, "history path")?,
            checkpoint: read_note(&mut d)?,
            anchor: AnchorChain::read(&mut d)?,
        };
        let digest = d.hash("file digest")?;
        d.finish()?;
        Ok((bundle, digest))
    }
}
