//! What can go wrong: a rule refused something ([`Reject`]), or the chain itself cannot go on ([`MockChainError`]).

use std::borrow::Cow;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use bitcoin::BlockHash;

/// A transaction or block that a rule refused, in Bitcoin Core's words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reject {
    /// Core's reject reason, for example `bad-txns-inputs-missingorspent`.
    pub reason: Cow<'static, str>,
    /// What was found, where Core adds such a text; empty otherwise.
    pub detail: String,
}

impl Reject {
    pub(crate) fn new(reason: impl Into<Cow<'static, str>>) -> Self {
        Self { reason: reason.into(), detail: String::new() }
    }

    pub(crate) fn with(reason: impl Into<Cow<'static, str>>, detail: impl Into<String>) -> Self {
        Self { reason: reason.into(), detail: detail.into() }
    }

    /// Core answers a missing input with another error code than any other refusal.
    pub(crate) fn is_missing_inputs(&self) -> bool {
        self.reason == MISSING_INPUTS
    }
}

/// The reason for an input that does not exist or is spent.
pub(crate) const MISSING_INPUTS: &str = "bad-txns-inputs-missingorspent";

impl fmt::Display for Reject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.detail.as_str() {
            "" => f.write_str(&self.reason),
            detail => write!(f, "{}, {detail}", self.reason),
        }
    }
}

impl std::error::Error for Reject {}

/// Why the mock chain could not be opened, or could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum MockChainError {
    /// A file operation failed.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Another process holds the folder's lock.
    #[error("another process has the chain in {path} open: stop it, or use another folder")]
    Locked {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds something else than a chain of this format.
    #[error("{path} is not a chain of this version: expected {expected:?}, found {found:?}")]
    Format {
        /// The folder.
        path: PathBuf,
        /// The format this version writes.
        expected: String,
        /// What was there.
        found: String,
    },
    /// A stored block or mark is damaged elsewhere than in a torn tail.
    #[error("{path} is corrupt at byte {offset}: {reason}")]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where the damaged record begins.
        offset: u64,
        /// What is wrong with it.
        reason: String,
    },
    /// An append failed and could not be taken back, so the end of the file is unknown.
    #[error("{path} is unusable since a failed write: open the chain again")]
    StoreBroken {
        /// The file.
        path: PathBuf,
    },
    /// A rule refused the transaction or block.
    #[error(transparent)]
    Rejected(#[from] Reject),
    /// No block of that hash is known.
    #[error("no block {0} is known")]
    UnknownBlock(BlockHash),
    /// The listener failed.
    #[error("cannot serve: {0}")]
    Serve(io::Error),
    /// A fault names a kind that does not exist.
    #[error("unknown fault kind {0:?}: expected one of error, drop, busy, done_but_error, done_but_drop")]
    UnknownFaultKind(String),
    /// Every nonce of a header was tried.
    #[error("no nonce satisfies the target for this block")]
    NoncesExhausted,
}

impl MockChainError {
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}
