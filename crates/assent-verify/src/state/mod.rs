//! Files about state: a decision was right, a consent was in force or never was, a list of accesses is complete.
//!
//! All of them rest on the state after one batch, whose root the prover vouches for in a checkpoint and validators cosign
//! after having executed the batches again ([`StateRoot`]). Records of that state are opened by their way through the state
//! tree ([`OpenedRecord`]), leaves of a subject's or recipient's log by the compact range in such a record ([`LogSlice`]).
//! Logs only grow, so whatever was decided once is proven under any later state.

pub mod consent;
pub mod decision;
pub mod history;

use assent_core::{
    Hash,
    batch::{BatchHeader, BatchRecord},
    codec::{DecodeError, Decoder, Encoder, sha256},
    limits,
    note::{Checkpoint, Cosignature},
    policy::Reason,
    records::{LogLeaf, Record, StateKey, StateValue},
};
use assent_merkle::{
    CompactRange, root_from_range,
    sparse::{SparseProof, Terminal, verify_sparse},
    verify_inclusion,
};

use crate::{
    check::{CheckError, Ledger, Pins, check_header_ledger, open_checkpoint},
    evidence::SignedHeader,
    file::{read_note, read_path, write_path},
    report::{Finding, utc},
};

/// Bytes of a state record that is read: a consent at all limits takes about 80 KiB.
const MAX_STATE_RECORD_BYTES: usize = 3 * limits::MAX_BODY_BYTES;
/// Bytes of a state key.
const KEY_BYTES: usize = 33;
/// Bytes of a leaf of a subject's or recipient's log.
pub(crate) const MAX_LOG_LEAF_BYTES: usize = 255;

/// The state after a batch, and who vouches for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRoot {
    /// The batch: it says as of when.
    pub header: SignedHeader,
    /// Its encoded record, with the state root.
    pub record: Vec<u8>,
    /// From the record to the checkpoint's root.
    pub path: Vec<Hash>,
    /// A checkpoint over the batch, perhaps cosigned.
    pub checkpoint: String,
}

/// A checked [`StateRoot`].
#[derive(Clone, Debug)]
pub(crate) struct AsOf {
    pub(crate) header: BatchHeader,
    pub(crate) root: Hash,
    checkpoint: Checkpoint,
    cosigned: Vec<Cosignature>,
}

impl StateRoot {
    pub(crate) fn write(&self, e: Encoder) -> Encoder {
        write_path(self.header.write(e).fixed(&self.record), &self.path).long(self.checkpoint.as_bytes())
    }

    pub(crate) fn read(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            header: SignedHeader::read(d)?,
            record: d.fixed("batch record", BatchRecord::BYTES)?.to_vec(),
            path: read_path(d, "history path")?,
            checkpoint: read_note(d)?,
        })
    }

    pub(crate) fn check(&self, ledger: &Ledger, pins: &Pins) -> Result<AsOf, CheckError> {
        let header = BatchHeader::decode(&self.header.header).map_err(CheckError::Header)?;
        check_header_ledger(&header, ledger.chain_id, &ledger.manifest)?;
        if header.ruleset != ledger.manifest.ruleset {
            return Err(CheckError::HeaderRuleset {
                expected: ledger.manifest.ruleset,
                found: header.ruleset,
            });
        }
        let hash = sha256(&self.header.header);
        ledger
            .manifest
            .sequencer_key
            .verify(&hash, &self.header.signature)
            .map_err(CheckError::HeaderSignature)?;
        let record = BatchRecord::decode(&self.record).map_err(CheckError::of_record)?;
        if record.header_hash != hash {
            return Err(CheckError::BatchRecordHeader);
        }
        let (checkpoint, cosigned) = open_checkpoint(&self.checkpoint, ledger, pins)?;
        verify_inclusion(header.number, checkpoint.size, record.leaf_hash(), &self.path, &checkpoint.root)
            .map_err(CheckError::BatchInclusion)?;
        Ok(AsOf { header, root: record.state_root, checkpoint, cosigned })
    }
}

impl AsOf {
    /// Sequence after the last entry that this state has seen.
    pub(crate) fn next_sequence(&self) -> u64 {
        self.header.first_sequence.saturating_add(u64::from(self.header.entry_count))
    }

    /// Steps, trust and facts that all files about state share.
    pub(crate) fn describe(&self, finding: &mut Finding) {
        finding.steps.push(format!(
            "state after batch {} ({}, {} entries): its root is in the batch's record, the header is signed by the sequencer",
            self.header.number,
            utc(self.header.time_ms),
            self.next_sequence()
        ));
        finding.steps.push(format!(
            "checkpoint of size {}: contains the record; signed by the prover",
            self.checkpoint.size
        ));
        for one in &self.cosigned {
            finding.steps.push(format!(
                "cosignature: by validator {} at {}",
                one.name,
                utc(one.time_s.saturating_mul(1000))
            ));
        }
        finding.trusted.push(if self.cosigned.is_empty() {
            "The prover alone, for having executed every batch again and for the state root: no validator that you named \
             (--validator, --require) has cosigned."
                .to_owned()
        } else {
            let names: Vec<&str> = self.cosigned.iter().map(|one| one.name.as_str()).collect();
            format!(
                "For the state following from all batches: the prover and these validators, each of which has executed every \
                 batch again; one honest one among them is enough: {}.",
                names.join(", ")
            )
        });
        finding.trusted.push("The sequencer, for the times.".to_owned());
        let facts = serde_json::json!({
            "as_of_batch": self.header.number,
            "as_of_time_ms": self.header.time_ms,
            "as_of_entries": self.next_sequence(),
            "checkpoint_size": self.checkpoint.size,
            "cosigned_by": self.cosigned.iter().map(|one| one.name.as_str()).collect::<Vec<_>>(),
        });
        if let (Some(all), serde_json::Value::Object(facts)) = (finding.facts.as_object_mut(), facts) {
            all.extend(facts);
        }
    }

    /// As of when, in words.
    pub(crate) fn words(&self) -> String {
        format!("batch {}, {}", self.header.number, utc(self.header.time_ms))
    }
}

/// A key of the state with its record, or with its absence, and the way there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenedRecord {
    /// The 33 bytes of the key.
    pub key: [u8; KEY_BYTES],
    /// Through the state tree.
    pub proof: SparseProof,
    /// Salt and record; `None` where the key is absent.
    pub value: Option<StateValue>,
}

impl OpenedRecord {
    pub(crate) fn write(&self, e: Encoder) -> Encoder {
        let siblings = &self.proof.siblings;
        let mut bitmap = vec![0u8; siblings.len().div_ceil(8)];
        for (level, _) in siblings.iter().enumerate().filter(|(_, sibling)| sibling.is_some()) {
            bitmap[level / 8] |= 0x80 >> (level % 8);
        }
        let depth = u16::try_from(siblings.len()).unwrap_or(u16::MAX);
        let mut e = e.fixed(&self.key).u16(depth).fixed(&bitmap);
        for sibling in siblings.iter().flatten() {
            e = e.fixed(sibling);
        }
        match (&self.proof.terminal, &self.value) {
            (Terminal::Present, Some(value)) => e.u8(1).fixed(&value.salt).long(&value.record),
            (Terminal::Present, None) | (Terminal::Empty, _) => e.u8(2),
            (Terminal::Other { key, value }, _) => e.u8(3).fixed(key).fixed(value),
        }
    }

    pub(crate) fn read(d: &mut Decoder<'_>) -> Result<Self, DecodeError> {
        let key = d.array("state key")?;
        let depth = usize::from(d.u16("depth")?);
        if depth > 256 {
            return Err(DecodeError::invalid("depth", format!("{depth}, at most 256")));
        }
        let bitmap = d.fixed("bitmap", depth.div_ceil(8))?;
        let is_set = |level: usize| bitmap[level / 8] << (level % 8) & 0x80 != 0;
        if (depth..bitmap.len() * 8).any(is_set) {
            return Err(DecodeError::invalid("bitmap", "a bit past the depth"));
        }
        let siblings = (0..depth)
            .map(|level| if is_set(level) { d.hash("sibling").map(Some) } else { Ok(None) })
            .collect::<Result<Vec<_>, _>>()?;
        let (terminal, value) = match d.u8("terminal")? {
            1 => {
                let salt = d.hash("salt")?;
                let record = d.long("state record", MAX_STATE_RECORD_BYTES)?.to_vec();
                (Terminal::Present, Some(StateValue { salt, record: record.into() }))
            }
            2 => (Terminal::Empty, None),
            3 => (Terminal::Other { key: d.hash("other key")?, value: d.hash("other value")? }, None),
            other => return Err(DecodeError::invalid("terminal", format!("unknown number {other}"))),
        };
        Ok(Self { key, proof: SparseProof { siblings, terminal }, value })
    }

    /// The record that the state has under this key, or that it has none.
    pub(crate) fn check<R: Record>(&self, expected: StateKey, as_of: &AsOf) -> Result<Option<R>, CheckError> {
        if self.key != expected.to_bytes() {
            return Err(CheckError::StateKey {
                expected: hex::encode(expected.to_bytes()),
                found: hex::encode(self.key),
            });
        }
        let value = self.value.as_ref().map(StateValue::hash);
        verify_sparse(&as_of.root, &expected.hash(), value.as_ref(), &self.proof)
            .map_err(CheckError::StateProof)?;
        self.value.as_ref().map(|value| R::decode(&value.record).map_err(CheckError::StateRecord)).transpose()
    }
}

/// Consecutive leaves of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogSlice {
    /// Index of the first one.
    pub start: u64,
    /// The encoded leaves.
    pub leaves: Vec<Vec<u8>>,
    /// From them to the log's root: a range proof.
    pub path: Vec<Hash>,
}

/// Hashes of a range proof: two for each level of a tree with 2^64 leaves.
const MAX_RANGE_PATH: usize = 128;

pub(crate) fn read_range_path(d: &mut Decoder<'_>) -> Result<Vec<Hash>, DecodeError> {
    d.list("range path", MAX_RANGE_PATH, |d| d.hash("hash of a path"))
}

impl LogSlice {
    pub(crate) fn write(&self, e: Encoder) -> Encoder {
        write_path(e.u64(self.start).list(&self.leaves, |e, leaf| e.long(leaf)), &self.path)
    }

    pub(crate) fn read(d: &mut Decoder<'_>, limit: usize) -> Result<Self, DecodeError> {
        Ok(Self {
            start: d.u64("start")?,
            leaves: d
                .list("log leaves", limit, |d| d.long("log leaf", MAX_LOG_LEAF_BYTES).map(<[u8]>::to_vec))?,
            path: read_range_path(d)?,
        })
    }

    /// The leaves, which are those of the log at these places.
    pub(crate) fn check<L: LogLeaf>(
        &self,
        log: &CompactRange,
        name: &'static str,
    ) -> Result<Vec<L>, CheckError> {
        let wrong = |problem: String| CheckError::LogRoot { log: name, problem };
        let leaves = self
            .leaves
            .iter()
            .map(|leaf| L::decode(leaf).map_err(|error| wrong(error.to_string())))
            .collect::<Result<Vec<_>, _>>()?;
        let hashes: Vec<Hash> = leaves.iter().map(LogLeaf::hash).collect();
        let root = root_from_range(self.start, &hashes, log.size(), &self.path)
            .map_err(|error| wrong(error.to_string()))?;
        if root != log.root() {
            return Err(wrong("the leaves do not lead to its root".to_owned()));
        }
        Ok(leaves)
    }
}

/// A reason in words, as part of a sentence.
pub(crate) fn describe_reason(reason: Reason) -> &'static str {
    match reason {
        Reason::PermittedByProvision => "a provision of a consent in force permits it",
        Reason::PermittedByDefault => "a consent in force permits it by default",
        Reason::DeniedByProvision => "a provision of a consent in force denies it",
        Reason::DeniedByDefault => "a consent in force denies it by default",
        Reason::NoneApplicable => "no consent in force says that it is allowed",
        Reason::NoConsent => "the subject had no consent in force",
        Reason::UnknownSubject => "the subject had no account",
        Reason::TooManyObligations => "it would carry more obligations than a decision may have",
        Reason::NoSuchRequest => {
            "the record names no request by this recipient about this subject that it could rely on"
        }
        Reason::RequestDenied => "the request that the record names was denied",
        Reason::PermitExpired => "the permit that the record names had expired",
        Reason::BeyondRequest => "the record goes beyond what was asked for",
    }
}
