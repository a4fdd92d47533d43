//! A receipt in a file of its own, for a client to keep: with it the sequencer can be held to its word.

use assent_core::{
    codec::{Encoder, Layout},
    limits,
    receipt::SignedReceipt,
};

use crate::{
    check::{Pins, VerifyError, check_digest, check_ledger},
    file::{self, MAX_SMALL_FILE_BYTES, ReadError},
    report::{Finding, utc},
};

/// First bytes of the file.
pub const MAGIC: &[u8] = b"assent-receipt\n";

/// A receipt and the manifest of its ledger (layout 0x36).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceiptFile {
    /// The genesis manifest.
    pub manifest: Vec<u8>,
    /// The receipt.
    pub receipt: SignedReceipt,
}

impl ReceiptFile {
    /// The file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        file::seal(MAGIC, self.receipt.write(Encoder::new(Layout::ReceiptFile).long(&self.manifest)))
    }

    /// Reads a file, and gives back the digest at its end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn decode(bytes: &[u8]) -> Result<(Self, assent_core::Hash), ReadError> {
        let mut d = file::open(MAGIC, Layout::ReceiptFile, MAX_SMALL_FILE_BYTES, bytes)?;
        let found = Self {
            manifest: d.long("manifest", limits::MAX_MANIFEST_BYTES)?.to_vec(),
            receipt: SignedReceipt::read(&mut d)?,
        };
        let digest = d.hash("file digest")?;
        d.finish()?;
        Ok((found, digest))
    }
}

/// Checks a receipt file.
///
/// # Errors
/// [`VerifyError`].
pub fn verify_receipt(bytes: &[u8], pins: &Pins) -> Result<Finding, VerifyError> {
    let (found, digest) = ReceiptFile::decode(bytes)?;
    let ledger = check_ledger(&found.manifest, pins)?;
    let receipt = found.receipt.open(&ledger.manifest).map_err(crate::CheckError::Receipt)?;
    check_digest(bytes, digest)?;
    let mut finding = Finding::new("receipt", &ledger, pins);
    let entry = &receipt.entry;
    finding.steps.push("receipt: in its group, signed by the sequencer".to_owned());
    finding.proves.push(format!(
        "The sequencer promised that transaction {} is number {} of ledger {}, at {}, in batch {}, to be sealed by {}.",
        entry.transaction_id,
        entry.sequence,
        ledger.chain_id,
        utc(entry.time_ms),
        receipt.batch_number,
        utc(receipt.deadline_ms)
    ));
    finding.does_not_prove.push(
        "That the promise was kept: a proof bundle shows that, and assent audit evidence the contrary."
            .to_owned(),
    );
    finding.trusted.push("The sequencer, for everything in the receipt.".to_owned());
    finding.facts = serde_json::json!({
        "transaction_id": entry.transaction_id,
        "sequence": entry.sequence,
        "batch_number": receipt.batch_number,
        "deadline_ms": receipt.deadline_ms,
    });
    Ok(finding)
}
