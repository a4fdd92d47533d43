//! The fixed binary layouts: writing and strict reading.
//!
//! Every layout begins with a type and a version byte ([`Layout`]). Integers are big-endian. A list is preceded by its
//! count, a string of bytes by its length; how wide these are stands with each layout in `docs/formats.md`.

use std::cell::Cell;

use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::Hash;

/// The version byte of every layout here.
pub const VERSION: u8 = 1;

/// The type bytes. They begin at 0x10, so that no layout can be taken for a Merkle leaf (0x00) or node (0x01).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "each is named after the layout in docs/formats.md")]
pub enum Layout {
    TransactionId = 0x10,
    AccountId = 0x11,
    Authorizations = 0x12,
    ConsentTerms = 0x13,
    OutcomeLeaf = 0x14,
    DecisionDetail = 0x15,
    Entry = 0x16,
    Receipt = 0x17,
    GroupStatement = 0x18,
    Refusal = 0x19,
    BatchHeader = 0x1a,
    EffectLeaf = 0x1b,
    BatchRecord = 0x1c,
    GenesisManifest = 0x1d,
    Ruleset = 0x1e,
    StateKey = 0x1f,
    StateValue = 0x20,
    AccountRecord = 0x21,
    ConsentRecord = 0x22,
    SubjectConsentsRecord = 0x23,
    SubjectAccessesRecord = 0x24,
    ActorRecord = 0x25,
    ConsentLogLeaf = 0x26,
    AccessLogLeaf = 0x27,
    ActorLogLeaf = 0x28,
    ActiveSet = 0x29,
    LogRecord = 0x2a,
    Salt = 0x2b,
    RevocationCode = 0x2c,
    ActingPerson = 0x2d,
    RevocationCodeRecord = 0x2e,
    SourceDocument = 0x2f,
    ProofBundle = 0x30,
    KeyId = 0x31,
    Evidence = 0x32,
    Batch = 0x33,
    BatchesFile = 0x34,
    ConsistencyProof = 0x35,
    ReceiptFile = 0x36,
    DecisionFile = 0x37,
    ConsentFile = 0x38,
    HistoryFile = 0x39,
    Query = 0x3a,
    /// Not hashed: rows of the databases.
    StoredRow = 0x40,
}

/// Why bytes are not the layout that they should be.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DecodeError {
    /// Type or version byte.
    #[error("expected layout {expected:02x} version {VERSION}, found {found:02x?}")]
    Layout {
        /// The type byte wanted.
        expected: u8,
        /// The first two bytes.
        found: Vec<u8>,
    },
    /// The bytes end too early.
    #[error("{what} is cut off: {wanted} bytes wanted at offset {offset}, {left} left")]
    Truncated {
        /// Field.
        what: &'static str,
        /// Where it begins.
        offset: usize,
        /// Bytes wanted.
        wanted: usize,
        /// Bytes left.
        left: usize,
    },
    /// Bytes follow after the end.
    #[error("{surplus} bytes too many at the end")]
    Surplus {
        /// How many.
        surplus: usize,
    },
    /// A value that the layout does not allow.
    #[error("{what}: {problem}")]
    Invalid {
        /// Field.
        what: &'static str,
        /// What is wrong with it.
        problem: String,
    },
}

impl DecodeError {
    /// An [`DecodeError::Invalid`].
    pub fn invalid(what: &'static str, problem: impl ToString) -> Self {
        Self::Invalid { what, problem: problem.to_string() }
    }
}

thread_local! {
    /// Where the next layout of a thread is written: most are hashed and forgotten, or kept at their exact length.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Bytes that most layouts fit into.
const SCRATCH_BYTES: usize = 512;

/// Writes one layout.
#[derive(Clone, Debug)]
pub struct Encoder(Vec<u8>);

impl Encoder {
    /// Begins with type and version.
    #[must_use]
    pub fn new(layout: Layout) -> Self {
        let mut bytes = SCRATCH.try_with(Cell::take).unwrap_or_default();
        bytes.reserve(SCRATCH_BYTES);
        Self(bytes).begin(layout)
    }

    /// The same for a layout that is large and known to take about so many bytes.
    #[must_use]
    pub fn with_capacity(layout: Layout, bytes: usize) -> Self {
        Self(Vec::with_capacity(bytes)).begin(layout)
    }

    /// Type and version of a layout within this one.
    #[must_use]
    pub fn begin(self, layout: Layout) -> Self {
        self.fixed(&[layout as u8, VERSION])
    }

    /// One byte.
    #[must_use]
    pub fn u8(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    /// Leaves the space to the thread's next layout.
    fn give_back(mut self) {
        if self.0.capacity() <= 2 * SCRATCH_BYTES {
            self.0.clear();
            // Where the thread ends, nothing follows.
            let _ = SCRATCH.try_with(|scratch| scratch.set(self.0));
        }
    }

    /// Two bytes.
    #[must_use]
    pub fn u16(mut self, value: u16) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Four bytes.
    #[must_use]
    pub fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Eight bytes.
    #[must_use]
    pub fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_be_bytes());
        self
    }

    /// Bytes of a length that the layout fixes.
    #[must_use]
    pub fn fixed(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// A one-byte length, then the bytes. The caller has checked the limit.
    #[must_use]
    pub fn short(self, bytes: &[u8]) -> Self {
        debug_assert!(bytes.len() <= usize::from(u8::MAX));
        self.u8(u8::try_from(bytes.len()).unwrap_or(u8::MAX)).fixed(bytes)
    }

    /// A four-byte length, then the bytes. The caller has checked the limit.
    #[must_use]
    pub fn long(self, bytes: &[u8]) -> Self {
        debug_assert!(u32::try_from(bytes.len()).is_ok());
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX)).fixed(bytes)
    }

    /// A two-byte count, then each item. The caller has checked the limit.
    #[must_use]
    pub fn list<T>(self, items: &[T], each: impl FnMut(Self, &T) -> Self) -> Self {
        debug_assert!(u16::try_from(items.len()).is_ok());
        let start = self.u16(u16::try_from(items.len()).unwrap_or(u16::MAX));
        items.iter().fold(start, each)
    }

    /// A four-byte count, then each item, where there may be more than a list holds. The caller has checked the limit.
    #[must_use]
    pub fn long_list<T>(self, items: &[T], each: impl FnMut(Self, &T) -> Self) -> Self {
        debug_assert!(u32::try_from(items.len()).is_ok());
        let start = self.u32(u32::try_from(items.len()).unwrap_or(u32::MAX));
        items.iter().fold(start, each)
    }

    /// A flag byte, 0 or 1, then the value where it is 1.
    #[must_use]
    pub fn option<T>(self, value: Option<&T>, each: impl FnOnce(Self, &T) -> Self) -> Self {
        match value {
            None => self.u8(0),
            Some(value) => each(self.u8(1), value),
        }
    }

    /// The bytes.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        if self.0.len() > SCRATCH_BYTES {
            return self.0;
        }
        let bytes = self.0.as_slice().to_vec();
        self.give_back();
        bytes
    }

    /// What somebody makes of the bytes who does not keep them.
    pub fn read<R>(self, read: impl FnOnce(&[u8]) -> R) -> R {
        let made = read(&self.0);
        self.give_back();
        made
    }

    /// SHA-256 of the bytes.
    #[must_use]
    pub fn sha256(self) -> Hash {
        self.read(sha256)
    }
}

/// SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> Hash {
    Sha256::digest(bytes).into()
}

/// The first eight bytes as a number: of two hashes, the one with the smaller number comes first, and hardly ever are they
/// equal. Comparing these is cheaper than comparing hashes.
#[must_use]
pub fn leading(hash: &Hash) -> u64 {
    hash.first_chunk().copied().map_or(0, u64::from_be_bytes)
}

/// Reads one layout, strictly: every byte must be accounted for.
#[derive(Clone, Debug)]
pub struct Decoder<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl<'a> Decoder<'a> {
    /// Checks type and version.
    ///
    /// # Errors
    /// [`DecodeError::Layout`].
    pub fn new(layout: Layout, bytes: &'a [u8]) -> Result<Self, DecodeError> {
        if bytes.starts_with(&[layout as u8, VERSION]) {
            Ok(Self { bytes, offset: 2 })
        } else {
            Err(DecodeError::Layout {
                expected: layout as u8,
                found: bytes.get(..2).unwrap_or(bytes).to_vec(),
            })
        }
    }

    /// Bytes of a known length.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn fixed(&mut self, what: &'static str, length: usize) -> Result<&'a [u8], DecodeError> {
        let rest = &self.bytes[self.offset..];
        let found = rest.get(..length).ok_or(DecodeError::Truncated {
            what,
            offset: self.offset,
            wanted: length,
            left: rest.len(),
        })?;
        self.offset += length;
        Ok(found)
    }

    /// Bytes of a length known at compile time.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn array<const N: usize>(&mut self, what: &'static str) -> Result<[u8; N], DecodeError> {
        let mut array = [0; N];
        array.copy_from_slice(self.fixed(what, N)?);
        Ok(array)
    }

    /// 32 bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn hash(&mut self, what: &'static str) -> Result<Hash, DecodeError> {
        self.array(what)
    }

    /// One byte.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u8(&mut self, what: &'static str) -> Result<u8, DecodeError> {
        Ok(self.array::<1>(what)?[0])
    }

    /// Two bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u16(&mut self, what: &'static str) -> Result<u16, DecodeError> {
        Ok(u16::from_be_bytes(self.array(what)?))
    }

    /// Four bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u32(&mut self, what: &'static str) -> Result<u32, DecodeError> {
        Ok(u32::from_be_bytes(self.array(what)?))
    }

    /// Eight bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn u64(&mut self, what: &'static str) -> Result<u64, DecodeError> {
        Ok(u64::from_be_bytes(self.array(what)?))
    }

    /// A one-byte length and the bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`].
    pub fn short(&mut self, what: &'static str) -> Result<&'a [u8], DecodeError> {
        let length = usize::from(self.u8(what)?);
        self.fixed(what, length)
    }

    /// A four-byte length, at most `limit`, and the bytes.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`]; [`DecodeError::Invalid`] above the limit.
    pub fn long(&mut self, what: &'static str, limit: usize) -> Result<&'a [u8], DecodeError> {
        let length = self.u32(what)? as usize;
        if length > limit {
            return Err(DecodeError::invalid(what, format!("{length} bytes, at most {limit} are allowed")));
        }
        self.fixed(what, length)
    }

    /// A short string of UTF-8.
    ///
    /// # Errors
    /// [`DecodeError::Truncated`]; [`DecodeError::Invalid`] where it is not UTF-8.
    pub fn text(&mut self, what: &'static str) -> Result<&'a str, DecodeError> {
        str::from_utf8(self.short(what)?).map_err(|_| DecodeError::invalid(what, "not UTF-8"))
    }

    /// A two-byte count, at most `limit`, and the items.
    ///
    /// # Errors
    /// Those of the items; [`DecodeError::Invalid`] above the limit.
    pub fn list<T>(
        &mut self,
        what: &'static str,
        limit: usize,
        mut each: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = usize::from(self.u16(what)?);
        if count > limit {
            return Err(DecodeError::invalid(what, format!("{count} items, at most {limit} are allowed")));
        }
        (0..count).map(|_| each(self)).collect()
    }

    /// A four-byte count, at most `limit`, and the items.
    ///
    /// # Errors
    /// Those of the items; [`DecodeError::Invalid`] above the limit.
    pub fn long_list<T>(
        &mut self,
        what: &'static str,
        limit: usize,
        mut each: impl FnMut(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Vec<T>, DecodeError> {
        let count = self.u32(what)? as usize;
        if count > limit {
            return Err(DecodeError::invalid(what, format!("{count} items, at most {limit} are allowed")));
        }
        (0..count).map(|_| each(self)).collect()
    }

    /// A flag byte and the value where it is 1.
    ///
    /// # Errors
    /// Those of the value; [`DecodeError::Invalid`] for another flag.
    pub fn option<T>(
        &mut self,
        what: &'static str,
        each: impl FnOnce(&mut Self) -> Result<T, DecodeError>,
    ) -> Result<Option<T>, DecodeError> {
        match self.u8(what)? {
            0 => Ok(None),
            1 => each(self).map(Some),
            other => Err(DecodeError::invalid(what, format!("flag is {other}, expected 0 or 1"))),
        }
    }

    /// Bytes not yet read.
    #[must_use]
    pub fn left(&self) -> usize {
        self.bytes.len() - self.offset
    }

    /// Checks that nothing is left.
    ///
    /// # Errors
    /// [`DecodeError::Surplus`].
    pub fn finish(self) -> Result<(), DecodeError> {
        if self.left() == 0 { Ok(()) } else { Err(DecodeError::Surplus { surplus: self.left() }) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_nothing_else() {
        let bytes =
            Encoder::new(Layout::Entry).u16(7).short(b"abc").option(Some(&3u8), |e, v| e.u8(*v)).finish();
        let mut decoder = Decoder::new(Layout::Entry, &bytes).unwrap();
        assert_eq!(decoder.u16("n").unwrap(), 7);
        assert_eq!(decoder.text("t").unwrap(), "abc");
        assert_eq!(decoder.option("o", |d| d.u8("v")).unwrap(), Some(3));
        decoder.finish().unwrap();
        assert!(matches!(Decoder::new(Layout::Receipt, &bytes), Err(DecodeError::Layout { .. })));
        let mut cut = Decoder::new(Layout::Entry, &bytes[..3]).unwrap();
        assert!(matches!(cut.u16("n"), Err(DecodeError::Truncated { .. })));
        assert!(matches!(
            Decoder::new(Layout::Entry, &bytes).unwrap().finish(),
            Err(DecodeError::Surplus { .. })
        ));
    }
}
