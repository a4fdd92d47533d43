//! Everything an auditor runs: from a file to a sentence about what it proves.
//!
//! Pure and small: no network, no database, no async runtime. A proof bundle is checked from the transaction up to the
//! proof of work of the base chain, one named error a check ([`CheckError`]), in this order:
//!
//! 1. the genesis manifest, whose hash is the chain id; the pin from outside, if there is one;
//! 2. the transaction: canonical form, ledger, sender's signature;
//! 3. the entry: transaction id, authorizations, outcome;
//! 4. the batch: inclusion of the entry, the header's fields, the sequencer's signature;
//! 5. the checkpoint: the prover's signature, inclusion of the batch;
//! 6. the anchors: an unbroken chain of single-use seals from the manifest's outpoint, the last of which is the *first* one
//!    that covers the batch;
//! 7. the base chain: inclusion in a block, headers linked, proof of work, pins;
//! 8. the digest of the file.
//!
//! # Files about state
//! [`state`] answers what inclusion cannot: that a decision was right, that a consent was in force, that a list of accesses is
//! complete. Such a file rests on the state root of one batch record under a signed checkpoint; records are opened by their
//! way through the state tree, log leaves by the compact ranges in them; then the rules run again. Whether the state root
//! follows from the batches is not in the file: the prover vouches for it, and validators that have executed every batch
//! again cosign ([`Pins::validators`], [`Pins::require`]).
//!
//! # Why two anchored histories cannot both verify
//! An output is spent once on a base chain, so the seals form one chain. Every link must carry a larger history than the
//! one before, and only the first link over a batch counts for it. So for each batch one anchor on one base chain decides;
//! its root fixes the header and the header the entries. What is left to trust is which base chain is the real one, hence
//! the pins of [`Pins`].
//!
//! ```no_run
//! let file = std::fs::read("proof.assent")?;
//! let pins = assent_verify::Pins { chain_id: Some("41…".parse()?), ..Default::default() };
//! let report = assent_verify::verify_bundle(&file, &pins)?;
//! println!("{}", report.proves.join("\n"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod base;
pub mod batches;
mod bundle;
mod check;
pub mod command;
mod consistency;
pub mod evidence;
mod file;
mod receipt;
pub mod replay;
mod report;
pub mod state;

pub use base::{AnchorChain, MAX_ANCHORS, MAX_HEADERS};
pub use bundle::{Bundle, MAX_BUNDLE_BYTES};
pub use check::{CheckError, Pins, VerifyError, verify_bundle};
pub use consistency::{ConsistencyFile, verify_consistency_file};
pub use file::{Kind, ReadError};
pub use receipt::{ReceiptFile, verify_receipt};
pub use report::{Finding, Report, Status, utc};

/// What came of a file that holds.
#[derive(Clone, Debug)]
pub enum Verified {
    /// A proof bundle.
    Bundle(Box<Report>),
    /// Another kind.
    Other(Box<Finding>),
}

/// Checks a file of any kind against the pins.
///
/// # Errors
/// [`VerifyError::Read`] where it is no proof file, [`VerifyError::Check`] naming the first check that failed.
pub fn verify_file(file: &[u8], pins: &Pins) -> Result<Verified, VerifyError> {
    let finding = match Kind::of(file) {
        Some(Kind::Bundle) => return Ok(Verified::Bundle(Box::new(verify_bundle(file, pins)?))),
        Some(Kind::Evidence) => evidence::verify_evidence(file, pins)?,
        Some(Kind::Consistency) => verify_consistency_file(file, pins)?,
        Some(Kind::Receipt) => verify_receipt(file, pins)?,
        Some(Kind::Decision) => state::decision::verify_decision(file, pins)?,
        Some(Kind::Consent) => state::consent::verify_consent(file, pins)?,
        Some(Kind::History) => state::history::verify_history(file, pins)?,
        Some(Kind::Batches) => return Err(ReadError::NotAProof.into()),
        None => return Err(ReadError::Magic.into()),
    };
    Ok(Verified::Other(Box::new(finding)))
}
