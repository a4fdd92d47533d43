//! That a ledger only grew between two checkpoints, as a file.

use assent_core::{
    Hash,
    codec::{Encoder, Layout},
    limits,
    note::Checkpoint,
};
use assent_merkle::verify_consistency;

use crate::{
    check::{CheckError, Pins, VerifyError, check_digest, check_ledger, open_checkpoint},
    file::{self, MAX_SMALL_FILE_BYTES, ReadError, read_note, read_path, write_path},
    report::{Finding, trusted_for_execution},
};

/// First bytes of the file.
pub const MAGIC: &[u8] = b"assent-consistency\n";

/// Two signed checkpoints and the RFC 6962 consistency path between them (layout 0x35).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsistencyFile {
    /// The genesis manifest.
    pub manifest: Vec<u8>,
    /// The older signed checkpoint.
    pub old: String,
    /// The newer one.
    pub new: String,
    /// The path between them.
    pub path: Vec<Hash>,
}

impl ConsistencyFile {
    /// The file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let e = Encoder::new(Layout::ConsistencyProof).long(&self.manifest);
        file::seal(MAGIC, write_path(e.long(self.old.as_bytes()).long(self.new.as_bytes()), &self.path))
    }

    /// Reads a file, and gives back the digest at its end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn decode(bytes: &[u8]) -> Result<(Self, Hash), ReadError> {
        let mut d = file::open(MAGIC, Layout::ConsistencyProof, MAX_SMALL_FILE_BYTES, bytes)?;
        let found = Self {
            manifest: d.long("manifest", limits::MAX_MANIFEST_BYTES)?.to_vec(),
            old: read_note(&mut d)?,
            new: read_note(&mut d)?,
            path: read_path(&mut d, "consistency path")?,
        };
        let digest = d.hash("file digest")?;
        d.finish()?;
        Ok((found, digest))
    }
}

/// Checks a consistency file.
///
/// # Errors
/// [`VerifyError`].
pub fn verify_consistency_file(bytes: &[u8], pins: &Pins) -> Result<Finding, VerifyError> {
    let (found, digest) = ConsistencyFile::decode(bytes)?;
    let ledger = check_ledger(&found.manifest, pins)?;
    let old = Checkpoint::open(&found.old, &ledger.chain_id, &ledger.manifest.prover_key)
        .map_err(CheckError::Checkpoint)?;
    // Whoever cosigned the newer one vouches for the older batches too.
    let (new, cosigned) = open_checkpoint(&found.new, &ledger, pins)?;
    verify_consistency(old.size, new.size, &found.path, &old.root, &new.root)
        .map_err(CheckError::Consistency)?;
    check_digest(bytes, digest)?;
    let mut finding = Finding::new("consistency", &ledger, pins);
    finding.steps.push(format!("checkpoints of sizes {} and {}: signed by the prover", old.size, new.size));
    finding.steps.push("consistency path: leads to both roots".to_owned());
    finding.proves.push(format!(
        "Between the checkpoint over {} batches and the one over {}, ledger {} only grew: none of the first {} batches \
         was changed, moved or taken away.",
        old.size, new.size, ledger.chain_id, old.size
    ));
    finding
        .does_not_prove
        .push("What the batches contain, or that either checkpoint is anchored.".to_owned());
    finding.trusted.push(trusted_for_execution(&cosigned));
    finding.facts = serde_json::json!({"old_size": old.size, "new_size": new.size});
    Ok(finding)
}
