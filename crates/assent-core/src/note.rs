//! Checkpoints as C2SP signed notes.
//!
//! The text is a [tlog-checkpoint]: origin, size, root, each on a line; the note is a [signed-note] with one Ed25519
//! signature by the prover. Extension lines are not written and not accepted; signatures by other keys are allowed and
//! ignored, as the specification demands.
//!
//! [tlog-checkpoint]: https://c2sp.org/tlog-checkpoint
//! [signed-note]: https://c2sp.org/signed-note

use base64ct::{Base64, Encoding};
use thiserror::Error;

use crate::{
    ChainId, Hash,
    codec::sha256,
    signature::{KeyPair, PublicKey},
};

/// Bytes of a note that is read: text, and signatures of a few dozen witnesses.
pub const MAX_NOTE_BYTES: usize = 16 * 1024;
/// Signature lines that are read.
pub const MAX_NOTE_SIGNATURES: usize = 64;

/// The signed-note algorithm number of Ed25519.
const ALGORITHM_ED25519: u8 = 0x01;

/// Why a note is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NoteError {
    /// Not a signed note with a checkpoint.
    #[error("not a signed checkpoint: {0}")]
    Malformed(&'static str),
    /// For another ledger.
    #[error("the checkpoint's origin is {found:?}, expected {expected:?}")]
    Origin {
        /// Origin wanted.
        expected: String,
        /// Origin found.
        found: String,
    },
    /// No signature by the key.
    #[error("the checkpoint has no signature by the prover's key")]
    Unsigned,
    /// A bad signature by the key.
    #[error("the prover's signature on the checkpoint does not verify")]
    Signature,
}

/// Size and root of the history tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Checkpoint {
    /// Batches.
    pub size: u64,
    /// Root of the history tree.
    pub root: Hash,
}

/// The origin line of a ledger's checkpoints, which is also the prover's key name.
#[must_use]
pub fn origin(chain: &ChainId) -> String {
    format!("assent/{chain}")
}

fn key_hash(name: &str, key: &PublicKey) -> [u8; 4] {
    let hash = sha256(&[name.as_bytes(), b"\n", &[ALGORITHM_ED25519], &key.0].concat());
    [hash[0], hash[1], hash[2], hash[3]]
}

/// The public key in the form in which witnesses and other tools take it: `name+hash+base64`.
#[must_use]
pub fn verifier_key(chain: &ChainId, key: &PublicKey) -> String {
    let name = origin(chain);
    let bytes = [&[ALGORITHM_ED25519][..], &key.0].concat();
    format!("{name}+{}+{}", hex::encode(key_hash(&name, key)), Base64::encode_string(&bytes))
}

impl Checkpoint {
    fn text(&self, chain: &ChainId) -> String {
        format!("{}\n{}\n{}\n", origin(chain), self.size, Base64::encode_string(&self.root))
    }

    /// The signed note. The same checkpoint always gives the same bytes.
    #[must_use]
    pub fn sign(&self, chain: &ChainId, key: &KeyPair) -> String {
        let (name, text) = (origin(chain), self.text(chain));
        let blob = [&key_hash(&name, &key.public())[..], &key.sign(text.as_bytes())].concat();
        format!("{text}\n\u{2014} {name} {}\n", Base64::encode_string(&blob))
    }

    /// Reads a note and checks the prover's signature.
    ///
    /// # Errors
    /// One [`NoteError`] a check.
    pub fn open(note: &str, chain: &ChainId, key: &PublicKey) -> Result<Self, NoteError> {
        if note.len() > MAX_NOTE_BYTES {
            return Err(NoteError::Malformed("longer than a note may be"));
        }
        if note.chars().any(|c| c.is_ascii_control() && c != '\n') {
            return Err(NoteError::Malformed("a control character"));
        }
        let split = note.rfind("\n\n").ok_or(NoteError::Malformed("no empty line before the signatures"))?;
        let (text, signatures) = (&note[..=split], &note[split + 2..]);
        let mut lines = text.split_terminator('\n');
        let mut line = || lines.next().ok_or(NoteError::Malformed("a line is missing"));
        let (found, size, root) = (line()?, line()?, line()?);
        if lines.next().is_some() {
            return Err(NoteError::Malformed("an extension line"));
        }
        let expected = origin(chain);
        if found != expected {
            return Err(NoteError::Origin { expected, found: found.to_owned() });
        }
        let number: u64 = size.parse().map_err(|_| NoteError::Malformed("the size is not a number"))?;
        let mut hash = [0; 32];
        let decoded =
            Base64::decode(root, &mut hash).map_err(|_| NoteError::Malformed("the root is not base64"))?;
        if decoded.len() != 32 {
            return Err(NoteError::Malformed("the root has not 32 bytes"));
        }
        let checkpoint = Self { size: number, root: hash };
        // One spelling only: no leading zeros, no other white space.
        if checkpoint.text(chain) != text {
            return Err(NoteError::Malformed("not in the one spelling of a checkpoint"));
        }
        check_signature(signatures, &expected, text, key)?;
        Ok(checkpoint)
    }
}

fn check_signature(signatures: &str, name: &str, text: &str, key: &PublicKey) -> Result<(), NoteError> {
    let Some(lines) = signatures.strip_suffix('\n') else {
        return Err(NoteError::Malformed("the last line does not end"));
    };
    let wanted = key_hash(name, key);
    let mut found = Err(NoteError::Unsigned);
    for (index, line) in lines.split('\n').enumerate() {
        if index >= MAX_NOTE_SIGNATURES {
            return Err(NoteError::Malformed("too many signatures"));
        }
        let rest =
            line.strip_prefix("\u{2014} ").ok_or(NoteError::Malformed("a line that is no signature"))?;
        let (signer, blob) =
            rest.split_once(' ').ok_or(NoteError::Malformed("a line that is no signature"))?;
        // The key names that C2SP signed-note allows.
        if signer.is_empty() || signer.contains(|c: char| c.is_whitespace() || c == '+') {
            return Err(NoteError::Malformed("a signature by an impossible key name"));
        }
        let blob = Base64::decode_vec(blob).map_err(|_| NoteError::Malformed("a signature is not base64"))?;
        let Some((hash, signature)) = blob.split_first_chunk::<4>().filter(|(_, rest)| !rest.is_empty())
        else {
            return Err(NoteError::Malformed("a signature is too short"));
        };
        if signer == name && *hash == wanted {
            let signature = signature.try_into().map_err(|_| NoteError::Signature)?;
            key.verify(text.as_bytes(), signature).map_err(|_| NoteError::Signature)?;
            found = Ok(());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_opens_for_its_ledger_and_key_only() {
        let (chain, key) = (ChainId([5; 32]), KeyPair::from_seed([1; 32]));
        let checkpoint = Checkpoint { size: 10, root: [7; 32] };
        let note = checkpoint.sign(&chain, &key);
        assert_eq!(Checkpoint::open(&note, &chain, &key.public()), Ok(checkpoint));
        let other = KeyPair::from_seed([2; 32]).public();
        assert_eq!(Checkpoint::open(&note, &chain, &other), Err(NoteError::Unsigned));
        assert!(matches!(Checkpoint::open(&note, &ChainId([6; 32]), &other), Err(NoteError::Origin { .. })));
        for i in 0..note.len() {
            let mut bytes = note.clone().into_bytes();
            bytes[i] ^= 1;
            if let Ok(changed) = String::from_utf8(bytes) {
                assert!(Checkpoint::open(&changed, &chain, &key.public()).is_err(), "byte {i}");
            }
        }
        let with_witness = format!("{note}\u{2014} example.org/witness AAAAAAAAAAAA\n");
        assert_eq!(Checkpoint::open(&with_witness, &chain, &key.public()), Ok(checkpoint));
    }
}
