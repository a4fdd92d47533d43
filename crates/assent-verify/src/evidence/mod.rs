//! Evidence: one self-contained file that convicts a sequencer or a prover out of its own signatures.
//!
//! Each [`Accusation`] puts statements side by side that one party has signed and that cannot both be true. Whoever checks
//! the file has to trust nobody: the signatures are the accused's own. [`Statements`] finds accusations in what clients,
//! auditors and validators hold; [`verify_evidence`] checks a file.

mod check;
mod find;
mod statement;

use assent_core::{
    Hash,
    codec::{DecodeError, Decoder, Encoder, Layout},
    limits,
    outcome::ENTRY_BYTES,
    receipt::SignedReceipt,
};

pub use check::verify_evidence;
pub use find::{Found, StatementError, Statements};
pub use statement::{RecordProof, RootClaim, SignedHeader};

use crate::{
    batches::MAX_BATCH_BYTES,
    file::{self, MAX_HEADER_BYTES, ReadError, read_path, write_path},
};

/// First bytes of the file.
pub const MAGIC: &[u8] = b"assent-evidence\n";
/// Bytes of a file that is read. Two kinds hold the whole ledger up to the fault; at about 500 bytes a transaction this is
/// two million transactions, which a laptop executes again in a few minutes.
pub const MAX_EVIDENCE_BYTES: usize = 1 << 30;
/// Batches or headers from the first one on.
const MAX_BATCHES: usize = 8_000_000;
/// Effects of a batch: a transaction writes at most a record for each of its subjects and some for itself.
const MAX_EFFECTS: usize = 64 * limits::MAX_BATCH_ENTRIES as usize;

/// What somebody did, with everything that shows it (the kinds of layout 0x32).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Accusation {
    /// Kind 1: the sequencer sealed another entry at the sequence that it promised to a transaction.
    EntryContradictsReceipt {
        /// The promise.
        receipt: SignedReceipt,
        /// The batch.
        header: SignedHeader,
        /// The encoded entry at that sequence.
        entry: Vec<u8>,
        /// From the entry to the header's entries root.
        path: Vec<Hash>,
    },
    /// Kind 2: the sequencer gave two receipts for one transaction, or for one sequence.
    ReceiptsContradict {
        /// One.
        first: SignedReceipt,
        /// The other.
        second: SignedReceipt,
    },
    /// Kind 3: the sequencer signed two headers with one number.
    HeadersContradict {
        /// One.
        first: SignedHeader,
        /// The other.
        second: SignedHeader,
    },
    /// Kind 4: a receipt names a batch that does not hold its sequence, or another batch holds it.
    BatchContradictsReceipt {
        /// The promise.
        receipt: SignedReceipt,
        /// The batch.
        header: SignedHeader,
    },
    /// Kind 5: the sequencer sealed past a receipt's deadline and the entry was not sealed yet.
    SealedWithout {
        /// The promise.
        receipt: SignedReceipt,
        /// A batch that ends before the sequence and is later than the deadline.
        header: SignedHeader,
    },
    /// Kind 6: what the sequencer signed as the result of its log is not what its log gives.
    WrongExecution {
        /// All batches from the first one on, layout 0x33. The last one is wrong.
        batches: Vec<Vec<u8>>,
        /// Where the prover took the batch into its history all the same: it is to blame too.
        endorsed: Option<RecordProof>,
    },
    /// Kind 7: the prover vouched for two roots of one size.
    RootsContradict {
        /// One.
        first: RootClaim,
        /// The other.
        second: RootClaim,
    },
    /// Kind 8: the prover's newer history does not begin with its older one.
    HistoryRewritten {
        /// The smaller.
        old: RootClaim,
        /// The larger.
        new: RootClaim,
        /// A full consistency path under the newer root.
        path: Vec<Hash>,
    },
    /// Kind 9: the prover vouched for two batch records of one number.
    RecordsContradict {
        /// Number of the batch.
        number: u64,
        /// One.
        first: RecordProof,
        /// The other.
        second: RecordProof,
    },
    /// Kind 10: the prover vouched for a batch record that does not follow from the batch.
    WrongRecord {
        /// Number of the batch.
        number: u64,
        /// The record.
        record: RecordProof,
        /// The batch.
        header: SignedHeader,
    },
    /// Kind 11: the prover vouched for a root that does not follow from the batches: of the history, or of the state in it.
    WrongRoot {
        /// What it vouched for.
        claim: RootClaim,
        /// All batches up to its size. Each header names the hash of the one before it.
        batches: Vec<BatchEffects>,
        /// The sequencer's signature on the last one.
        signature: [u8; 64],
    },
}

/// A batch as far as the history tree needs it: no salt, no record, nobody's terms.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchEffects {
    /// The encoded header.
    pub header: Vec<u8>,
    /// What its effects root is over: hashes of keys and values, in ascending order of the keys.
    pub effects: Effects,
}

/// Hashes of keys and values, in ascending order of the keys.
pub type Effects = Vec<(Hash, Hash)>;

impl Accusation {
    /// Whether it rests on an anchor, and so on the base chain.
    #[must_use]
    pub fn rests_on_an_anchor(&self) -> bool {
        let claims: Vec<&RootClaim> = match self {
            Self::WrongExecution { endorsed, .. } => endorsed.iter().map(|record| &record.claim).collect(),
            Self::RootsContradict { first, second } => vec![first, second],
            Self::HistoryRewritten { old, new, .. } => vec![old, new],
            Self::RecordsContradict { first, second, .. } => vec![&first.claim, &second.claim],
            Self::WrongRecord { record, .. } => vec![&record.claim],
            Self::WrongRoot { claim, .. } => vec![claim],
            _ => Vec::new(),
        };
        claims.iter().any(|claim| matches!(claim, RootClaim::Anchored(_)))
    }

    /// The number of the kind.
    #[must_use]
    pub fn number(&self) -> u8 {
        match self {
            Self::EntryContradictsReceipt { .. } => 1,
            Self::ReceiptsContradict { .. } => 2,
            Self::HeadersContradict { .. } => 3,
            Self::BatchContradictsReceipt { .. } => 4,
            Self::SealedWithout { .. } => 5,
            Self::WrongExecution { .. } => 6,
            Self::RootsContradict { .. } => 7,
            Self::HistoryRewritten { .. } => 8,
            Self::RecordsContradict { .. } => 9,
            Self::WrongRecord { .. } => 10,
            Self::WrongRoot { .. } => 11,
        }
    }

    /// The stable name of the kind.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::EntryContradictsReceipt { .. } => "entry-contradicts-receipt",
            Self::ReceiptsContradict { .. } => "receipts-contradict",
            Self::HeadersContradict { .. } => "headers-contradict",
            Self::BatchContradictsReceipt { .. } => "batch-contradicts-receipt",
            Self::SealedWithout { .. } => "sealed-without-entry",
            Self::WrongExecution { .. } => "wrong-execution",
            Self::RootsContradict { .. } => "roots-contradict",
            Self::HistoryRewritten { .. } => "history-rewritten",
            Self::RecordsContradict { .. } => "records-contradict",
            Self::WrongRecord { .. } => "wrong-record",
            Self::WrongRoot { .. } => "wrong-root",
        }
    }
}

/// An accusation and the manifest that names the keys of the accused (layout 0x32).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    /// The genesis manifest.
    pub manifest: Vec<u8>,
    /// What was done.
    pub accusation: Accusation,
}

impl Evidence {
    /// The file.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let e = Encoder::new(Layout::Evidence).long(&self.manifest).u8(self.accusation.number());
        file::seal(MAGIC, write(e, &self.accusation))
    }

    /// Reads a file, and gives back the digest at its end.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn decode(bytes: &[u8]) -> Result<(Self, Hash), ReadError> {
        let mut d = file::open(MAGIC, Layout::Evidence, MAX_EVIDENCE_BYTES, bytes)?;
        let manifest = d.long("manifest", limits::MAX_MANIFEST_BYTES)?.to_vec();
        let found = Self { manifest, accusation: read(&mut d)? };
        let digest = d.hash("file digest")?;
        d.finish()?;
        Ok((found, digest))
    }
}

fn write(e: Encoder, accusation: &Accusation) -> Encoder {
    match accusation {
        Accusation::EntryContradictsReceipt { receipt, header, entry, path } => {
            write_path(header.write(receipt.write(e)).fixed(entry), path)
        }
        Accusation::ReceiptsContradict { first, second } => second.write(first.write(e)),
        Accusation::HeadersContradict { first, second } => second.write(first.write(e)),
        Accusation::BatchContradictsReceipt { receipt, header }
        | Accusation::SealedWithout { receipt, header } => header.write(receipt.write(e)),
        Accusation::WrongExecution { batches, endorsed } => e
            .long_list(batches, |e, batch| e.long(batch))
            .option(endorsed.as_ref(), |e, endorsed| endorsed.write(e)),
        Accusation::RootsContradict { first, second } => second.write(first.write(e)),
        Accusation::HistoryRewritten { old, new, path } => write_path(new.write(old.write(e)), path),
        Accusation::RecordsContradict { number, first, second } => second.write(first.write(e.u64(*number))),
        Accusation::WrongRecord { number, record, header } => header.write(record.write(e.u64(*number))),
        Accusation::WrongRoot { claim, batches, signature } => claim
            .write(e)
            .long_list(batches, |e, batch| {
                e.long(&batch.header).long_list(&batch.effects, |e, (key, value)| e.fixed(key).fixed(value))
            })
            .fixed(signature),
    }
}

fn read(d: &mut Decoder<'_>) -> Result<Accusation, DecodeError> {
    Ok(match d.u8("kind")? {
        1 => Accusation::EntryContradictsReceipt {
            receipt: SignedReceipt::read(d)?,
            header: SignedHeader::read(d)?,
            entry: d.fixed("entry", ENTRY_BYTES)?.to_vec(),
            path: read_path(d, "entry path")?,
        },
        2 => {
            Accusation::ReceiptsContradict { first: SignedReceipt::read(d)?, second: SignedReceipt::read(d)? }
        }
        3 => Accusation::HeadersContradict { first: SignedHeader::read(d)?, second: SignedHeader::read(d)? },
        4 => Accusation::BatchContradictsReceipt {
            receipt: SignedReceipt::read(d)?,
            header: SignedHeader::read(d)?,
        },
        5 => Accusation::SealedWithout { receipt: SignedReceipt::read(d)?, header: SignedHeader::read(d)? },
        6 => Accusation::WrongExecution {
            batches: d.long_list("batches", MAX_BATCHES, |d| {
                d.long("batch", MAX_BATCH_BYTES).map(<[u8]>::to_vec)
            })?,
            endorsed: d.option("endorsement", RecordProof::read)?,
        },
        7 => Accusation::RootsContradict { first: RootClaim::read(d)?, second: RootClaim::read(d)? },
        8 => Accusation::HistoryRewritten {
            old: RootClaim::read(d)?,
            new: RootClaim::read(d)?,
            path: read_path(d, "consistency path")?,
        },
        9 => Accusation::RecordsContradict {
            number: d.u64("batch number")?,
            first: RecordProof::read(d)?,
            second: RecordProof::read(d)?,
        },
        10 => Accusation::WrongRecord {
            number: d.u64("batch number")?,
            record: RecordProof::read(d)?,
            header: SignedHeader::read(d)?,
        },
        11 => Accusation::WrongRoot {
            claim: RootClaim::read(d)?,
            batches: d.long_list("batches", MAX_BATCHES, |d| {
                Ok(BatchEffects {
                    header: d.long("batch header", MAX_HEADER_BYTES)?.to_vec(),
                    effects: d.long_list("effects", MAX_EFFECTS, |d| {
                        Ok((d.hash("key hash")?, d.hash("value hash")?))
                    })?,
                })
            })?,
            signature: d.array("header signature")?,
        },
        other => return Err(DecodeError::invalid("kind", format!("unknown number {other}"))),
    })
}
