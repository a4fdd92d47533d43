//! What all proof files share: first bytes that name the kind, one layout, a digest at the end.

use assent_core::{
    Hash,
    codec::{DecodeError, Decoder, Encoder, Layout, sha256},
    note::MAX_NOTE_BYTES,
};
use thiserror::Error;

use crate::{
    batches, bundle, consistency, evidence, receipt,
    state::{consent, decision, history},
};

/// Hashes of a path in any tree: the depth of a tree with 2^64 leaves.
pub const MAX_PATH: usize = 64;
/// Bytes of a batch header that is read. It has one length, far below.
pub(crate) const MAX_HEADER_BYTES: usize = 1024;

/// Why a file cannot be read as a proof at all.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Another file.
    #[error("not an Assent file: it begins with none of {}", Kind::magics())]
    Magic,
    /// Too large.
    #[error("the file has {found} bytes, at most {limit} are read")]
    TooLarge {
        /// Limit.
        limit: usize,
        /// Found.
        found: u64,
    },
    /// Exported batches prove nothing by themselves.
    #[error("this file holds exported batches; execute them again with: assent audit replay")]
    NotAProof,
    /// Cosignatures were demanded of a file that has none to show.
    #[error("a receipt or evidence rests on no cosignatures; check it without --require")]
    NoCosignatures,
    /// Cut off, or not in the format.
    #[error("the file is damaged: {0}")]
    Format(#[from] DecodeError),
    /// The operating system could not read it.
    #[error("cannot read the file: {0}")]
    Io(#[from] std::io::Error),
}

/// The kinds of files, by their first bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A proof bundle: one transaction, up to the base chain.
    Bundle,
    /// Evidence that the sequencer or the prover broke its word.
    Evidence,
    /// That the ledger only grew between two checkpoints.
    Consistency,
    /// A receipt, kept by a client.
    Receipt,
    /// Exported batches.
    Batches,
    /// That a decision was right.
    Decision,
    /// Whether a consent was in force.
    Consent,
    /// A complete list of accesses.
    History,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Bundle,
        Self::Decision,
        Self::Consent,
        Self::History,
        Self::Evidence,
        Self::Consistency,
        Self::Receipt,
        Self::Batches,
    ];

    /// The first bytes.
    #[must_use]
    pub fn magic(self) -> &'static [u8] {
        match self {
            Self::Bundle => bundle::MAGIC,
            Self::Evidence => evidence::MAGIC,
            Self::Consistency => consistency::MAGIC,
            Self::Receipt => receipt::MAGIC,
            Self::Batches => batches::MAGIC,
            Self::Decision => decision::MAGIC,
            Self::Consent => consent::MAGIC,
            Self::History => history::MAGIC,
        }
    }

    /// Bytes of a file of this kind that is read.
    #[must_use]
    pub fn limit(self) -> usize {
        match self {
            Self::Bundle => bundle::MAX_BUNDLE_BYTES,
            Self::Evidence => evidence::MAX_EVIDENCE_BYTES,
            Self::Consistency | Self::Receipt => MAX_SMALL_FILE_BYTES,
            Self::Batches => batches::MAX_FILE_BYTES,
            Self::Decision => decision::MAX_DECISION_FILE_BYTES,
            Self::Consent => consent::MAX_CONSENT_FILE_BYTES,
            Self::History => history::MAX_HISTORY_FILE_BYTES,
        }
    }

    /// The kind of a file that begins with these bytes.
    #[must_use]
    pub fn of(file: &[u8]) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| file.starts_with(kind.magic()))
    }

    fn magics() -> String {
        let names = Self::ALL.map(|kind| String::from_utf8_lossy(kind.magic()).trim().to_owned());
        names.join(", ")
    }
}

/// Bytes of a receipt or consistency proof that is read: a manifest, two notes and a path.
pub const MAX_SMALL_FILE_BYTES: usize = 64 * 1024;

/// Frames a layout: first bytes, layout, digest of both.
pub(crate) fn seal(magic: &[u8], layout: Encoder) -> Vec<u8> {
    let mut file = [magic, &layout.finish()].concat();
    let digest = sha256(&file);
    file.extend(digest);
    file
}

/// Begins to read a file of one kind. The digest is the last thing that its layout's reader takes.
pub(crate) fn open<'a>(
    magic: &[u8],
    layout: Layout,
    limit: usize,
    file: &'a [u8],
) -> Result<Decoder<'a>, ReadError> {
    if file.len() > limit {
        return Err(ReadError::TooLarge { limit, found: file.len() as u64 });
    }
    let bytes = file.strip_prefix(magic).ok_or(ReadError::Magic)?;
    Ok(Decoder::new(layout, bytes)?)
}

pub(crate) fn write_path(encoder: Encoder, path: &[Hash]) -> Encoder {
    encoder.list(path, |e, hash| e.fixed(hash))
}

pub(crate) fn read_path(d: &mut Decoder<'_>, what: &'static str) -> Result<Vec<Hash>, DecodeError> {
    d.list(what, MAX_PATH, |d| d.hash("hash of a path"))
}

pub(crate) fn read_note(d: &mut Decoder<'_>) -> Result<String, DecodeError> {
    String::from_utf8(d.long("checkpoint", MAX_NOTE_BYTES)?.to_vec())
        .map_err(|_| DecodeError::invalid("checkpoint", "not UTF-8"))
}
