//! Exported batches: files from which everything can be executed again.

use assent_core::{
    Hash,
    codec::{DecodeError, Decoder, Encoder, Layout},
    limits,
    log::MAX_LOG_RECORD_BYTES,
    outcome::ENTRY_BYTES,
};
use assent_proto::v1::SealedBatch;

use crate::file::{self, MAX_HEADER_BYTES, ReadError};

/// First bytes of the file.
pub const MAGIC: &[u8] = b"assent-batches\n";
/// Bytes of batches after which an export begins a new file.
pub const FILE_TARGET_BYTES: usize = 16 * 1024 * 1024;
/// Batches in one file.
pub const MAX_FILE_BATCHES: usize = 65_536;
/// Bytes of a file that is read: its target, and one batch more.
pub const MAX_FILE_BYTES: usize = FILE_TARGET_BYTES + MAX_BATCH_BYTES + 64 * 1024;
/// Bytes of an encoded batch: its transactions with the framing of their records, and its entries.
pub const MAX_BATCH_BYTES: usize = 3 * limits::MAX_BATCH_BYTES as usize;
/// Log records of a batch: one for each entry, and one that seals.
const MAX_RECORDS: usize = limits::MAX_BATCH_ENTRIES as usize + 1;

/// Layout 0x33.
#[must_use]
pub fn encode_batch(batch: &SealedBatch) -> Vec<u8> {
    Encoder::new(Layout::Batch)
        .long(&batch.header)
        .long(&batch.signature)
        .long_list(&batch.log_records, |e, record| e.long(record))
        .long_list(&batch.entries, |e, entry| e.long(entry))
        .finish()
}

/// Reads layout 0x33.
///
/// # Errors
/// [`DecodeError`].
pub fn decode_batch(bytes: &[u8]) -> Result<SealedBatch, DecodeError> {
    let mut d = Decoder::new(Layout::Batch, bytes)?;
    let batch = SealedBatch {
        header: d.long("batch header", MAX_HEADER_BYTES)?.to_vec(),
        signature: d.long("header signature", 64)?.to_vec(),
        log_records: d.long_list("log records", MAX_RECORDS, |d| {
            Ok(d.long("log record", MAX_LOG_RECORD_BYTES)?.to_vec().into())
        })?,
        entries: d.long_list("entries", limits::MAX_BATCH_ENTRIES as usize, |d| {
            Ok(d.long("entry", ENTRY_BYTES)?.to_vec().into())
        })?,
    };
    d.finish()?;
    Ok(batch)
}

/// Consecutive batches of one ledger (layout 0x34).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchesFile {
    /// The genesis manifest.
    pub manifest: Vec<u8>,
    /// Number of the first batch.
    pub first: u64,
    /// The encoded batches, layout 0x33.
    pub batches: Vec<Vec<u8>>,
}

impl BatchesFile {
    /// The file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let e = Encoder::new(Layout::BatchesFile).long(&self.manifest).u64(self.first);
        file::seal(MAGIC, e.long_list(&self.batches, |e, batch| e.long(batch)))
    }

    /// Reads a file, and gives back the digest at its end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn decode(bytes: &[u8]) -> Result<(Self, Hash), ReadError> {
        let mut d = file::open(MAGIC, Layout::BatchesFile, MAX_FILE_BYTES, bytes)?;
        let found = Self {
            manifest: d.long("manifest", limits::MAX_MANIFEST_BYTES)?.to_vec(),
            first: d.u64("first batch")?,
            batches: d.long_list("batches", MAX_FILE_BATCHES, |d| {
                d.long("batch", MAX_BATCH_BYTES).map(<[u8]>::to_vec)
            })?,
        };
        let digest = d.hash("file digest")?;
        d.finish()?;
        Ok((found, digest))
    }
}
