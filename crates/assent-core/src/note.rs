//! Checkpoints as C2SP signed notes.
//!
//! The text is a [tlog-checkpoint]: origin, size, root, each on a line; the note is a [signed-note] with one Ed25519
//! signature by the prover. Extension lines are not written and not accepted; signatures by other keys are allowed and
//! ignored, as the specification demands.
//!
//! [tlog-checkpoint]: https://c2sp.org/tlog-checkpoint
//! [signed-note]: https://c2sp.org/signed-note
//!
//! A validator that has executed the batches again adds a [tlog-cosignature] of its own: a signature line whose 72 bytes are
//! the time (seconds since 1970, 8 bytes) and an Ed25519 signature over two lines, `cosignature/v1` and `time …`, and the
//! note's text.
//!
//! [tlog-cosignature]: https://c2sp.org/tlog-cosignature

use std::{fmt, str::FromStr};

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
/// The signed-note algorithm number of a timestamped Ed25519 cosignature.
const ALGORITHM_COSIGNATURE: u8 = 0x04;
/// Bytes of a validator's name.
pub const MAX_COSIGNER_NAME_BYTES: usize = 128;

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
    /// A bad cosignature by a key that is trusted.
    #[error("the cosignature of {0} on the checkpoint does not verify")]
    Cosignature(String),
    /// Not a validator's key.
    #[error("expected a validator's key as NAME+HASH+BASE64, found {0:?}")]
    CosignerKey(String),
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

fn key_hash(name: &str, algorithm: u8, key: &PublicKey) -> [u8; 4] {
    let hash = sha256(&[name.as_bytes(), b"\n", &[algorithm], &key.0].concat());
    [hash[0], hash[1], hash[2], hash[3]]
}

/// The key names that C2SP signed-note allows.
fn is_key_name(name: &str) -> bool {
    !name.is_empty() && !name.contains(|c: char| c.is_whitespace() || c == '+')
}

/// A validator whose cosignatures count: its name and public key. Written as C2SP verifier keys are, `name+hash+base64`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignerKey {
    name: String,
    key: PublicKey,
}

impl CosignerKey {
    /// A key under a name.
    ///
    /// # Errors
    /// [`NoteError::CosignerKey`] where the name is empty, too long, or has white space, control characters or `+` in it.
    pub fn new(name: &str, key: PublicKey) -> Result<Self, NoteError> {
        let bad =
            !is_key_name(name) || name.len() > MAX_COSIGNER_NAME_BYTES || name.chars().any(char::is_control);
        if bad {
            Err(NoteError::CosignerKey(name.to_owned()))
        } else {
            Ok(Self { name: name.to_owned(), key })
        }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The public key.
    #[must_use]
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    fn hash(&self) -> [u8; 4] {
        key_hash(&self.name, ALGORITHM_COSIGNATURE, &self.key)
    }
}

impl fmt::Display for CosignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bytes = [&[ALGORITHM_COSIGNATURE][..], &self.key.0].concat();
        write!(f, "{}+{}+{}", self.name, hex::encode(self.hash()), Base64::encode_string(&bytes))
    }
}

impl FromStr for CosignerKey {
    type Err = NoteError;

    fn from_str(text: &str) -> Result<Self, NoteError> {
        let wrong = || NoteError::CosignerKey(text.to_owned());
        // Base64 may hold a plus too.
        let mut parts = text.splitn(3, '+');
        let (Some(name), Some(_), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(wrong());
        };
        let bytes = Base64::decode_vec(key).map_err(|_| wrong())?;
        let Some((&ALGORITHM_COSIGNATURE, key)) = bytes.split_first() else { return Err(wrong()) };
        let found = Self::new(name, PublicKey(key.try_into().map_err(|_| wrong())?))?;
        // One spelling only: a typing error is found by the hash.
        if found.to_string() == text { Ok(found) } else { Err(wrong()) }
    }
}

/// A cosignature that was checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cosignature {
    /// Name of the validator.
    pub name: String,
    /// When it cosigned, in seconds since 1970, by its own clock.
    pub time_s: u64,
}

/// The public key in the form in which witnesses and other tools take it: `name+hash+base64`.
#[must_use]
pub fn verifier_key(chain: &ChainId, key: &PublicKey) -> String {
    let name = origin(chain);
    let bytes = [&[ALGORITHM_ED25519][..], &key.0].concat();
    format!(
        "{name}+{}+{}",
        hex::encode(key_hash(&name, ALGORITHM_ED25519, key)),
        Base64::encode_string(&bytes)
    )
}

impl Checkpoint {
    fn text(&self, chain: &ChainId) -> String {
        format!("{}\n{}\n{}\n", origin(chain), self.size, Base64::encode_string(&self.root))
    }

    /// The signed note. The same checkpoint always gives the same bytes.
    #[must_use]
    pub fn sign(&self, chain: &ChainId, key: &KeyPair) -> String {
        let (name, text) = (origin(chain), self.text(chain));
        let blob =
            [&key_hash(&name, ALGORITHM_ED25519, &key.public())[..], &key.sign(text.as_bytes())].concat();
        format!("{text}\n\u{2014} {name} {}\n", Base64::encode_string(&blob))
    }

    /// The signature line with which a validator vouches for this checkpoint, to be added at the end of the note.
    ///
    /// # Errors
    /// [`NoteError::CosignerKey`] for an impossible name.
    pub fn cosign(
        &self,
        chain: &ChainId,
        name: &str,
        key: &KeyPair,
        time_s: u64,
    ) -> Result<String, NoteError> {
        let cosigner = CosignerKey::new(name, key.public())?;
        let signature = key.sign(cosigned_message(&self.text(chain), time_s).as_bytes());
        let blob = [&cosigner.hash()[..], &time_s.to_be_bytes(), &signature].concat();
        Ok(format!("\u{2014} {name} {}\n", Base64::encode_string(&blob)))
    }

    /// The cosignatures by these validators on a note that [`Self::open`] has accepted, one for each key, in their order.
    ///
    /// # Errors
    /// [`NoteError::Cosignature`] where one of theirs does not verify.
    pub fn cosignatures(
        &self,
        note: &str,
        chain: &ChainId,
        by: &[CosignerKey],
    ) -> Result<Vec<Cosignature>, NoteError> {
        let text = self.text(chain);
        let lines = signature_lines(note)?;
        let mut found: Vec<Cosignature> = Vec::new();
        let mut keys: Vec<PublicKey> = Vec::new();
        for cosigner in by {
            let hash = cosigner.hash();
            for line in lines.iter().filter(|line| line.name == cosigner.name && line.key_hash == hash) {
                let wrong = || NoteError::Cosignature(cosigner.name.clone());
                let (time, signature) = line.signature.split_first_chunk::<8>().ok_or_else(wrong)?;
                let time_s = u64::from_be_bytes(*time);
                let signature = signature.try_into().map_err(|_| wrong())?;
                cosigner
                    .key
                    .verify(cosigned_message(&text, time_s).as_bytes(), signature)
                    .map_err(|_| wrong())?;
                // Whoever has one key is one validator, under however many names.
                if !keys.contains(&cosigner.key) {
                    keys.push(cosigner.key);
                    found.push(Cosignature { name: cosigner.name.clone(), time_s });
                }
            }
        }
        Ok(found)
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
        let text = split_note(note)?.0;
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
        check_signature(&signature_lines(note)?, &expected, text, key)?;
        Ok(checkpoint)
    }
}

fn cosigned_message(text: &str, time_s: u64) -> String {
    format!("cosignature/v1\ntime {time_s}\n{text}")
}

/// Text and signature lines of a note.
fn split_note(note: &str) -> Result<(&str, &str), NoteError> {
    let split = note.rfind("\n\n").ok_or(NoteError::Malformed("no empty line before the signatures"))?;
    Ok((&note[..=split], &note[split + 2..]))
}

/// A signature line: name, key hash, and what the algorithm makes of the rest.
struct SignatureLine<'a> {
    name: &'a str,
    key_hash: [u8; 4],
    signature: Vec<u8>,
}

fn signature_lines(note: &str) -> Result<Vec<SignatureLine<'_>>, NoteError> {
    let Some(lines) = split_note(note)?.1.strip_suffix('\n') else {
        return Err(NoteError::Malformed("the last line does not end"));
    };
    let mut found = Vec::new();
    for line in lines.split('\n') {
        if found.len() >= MAX_NOTE_SIGNATURES {
            return Err(NoteError::Malformed("too many signatures"));
        }
        let rest =
            line.strip_prefix("\u{2014} ").ok_or(NoteError::Malformed("a line that is no signature"))?;
        let (name, blob) = rest.split_once(' ').ok_or(NoteError::Malformed("a line that is no signature"))?;
        if !is_key_name(name) {
            return Err(NoteError::Malformed("a signature by an impossible key name"));
        }
        let blob = Base64::decode_vec(blob).map_err(|_| NoteError::Malformed("a signature is not base64"))?;
        let Some((key_hash, signature)) = blob.split_first_chunk::<4>().filter(|(_, rest)| !rest.is_empty())
        else {
            return Err(NoteError::Malformed("a signature is too short"));
        };
        found.push(SignatureLine { name, key_hash: *key_hash, signature: signature.to_vec() });
    }
    Ok(found)
}

fn check_signature(
    lines: &[SignatureLine<'_>],
    name: &str,
    text: &str,
    key: &PublicKey,
) -> Result<(), NoteError> {
    let wanted = key_hash(name, ALGORITHM_ED25519, key);
    let mut found = Err(NoteError::Unsigned);
    for line in lines.iter().filter(|line| line.name == name && line.key_hash == wanted) {
        let signature = line.signature.as_slice().try_into().map_err(|_| NoteError::Signature)?;
        key.verify(text.as_bytes(), signature).map_err(|_| NoteError::Signature)?;
        found = Ok(());
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cosignature_counts_for_its_validator_and_checkpoint_only() {
        let (chain, key) = (ChainId([5; 32]), KeyPair::from_seed([1; 32]));
        let checkpoint = Checkpoint { size: 10, root: [7; 32] };
        let validators = [2, 3].map(|seed| KeyPair::from_seed([seed; 32]));
        let keys: Vec<CosignerKey> = validators
            .iter()
            .zip(["a.example/v", "b.example/v"])
            .map(|(key, name)| CosignerKey::new(name, key.public()).unwrap())
            .collect();
        assert_eq!(keys[0].to_string().parse(), Ok(keys[0].clone()));
        for i in 0..keys[0].to_string().len() {
            let mut changed = keys[0].to_string().into_bytes();
            changed[i] ^= 1;
            let changed = String::from_utf8(changed).unwrap();
            assert!(changed.parse::<CosignerKey>().is_err(), "{changed}");
        }
        let mut note = checkpoint.sign(&chain, &key);
        assert_eq!(checkpoint.cosignatures(&note, &chain, &keys), Ok(vec![]));
        let line = checkpoint.cosign(&chain, "a.example/v", &validators[0], 1_700_000_000).unwrap();
        note.push_str(&line);
        // The same line twice is one cosignature; a stranger's under a known name is none.
        note.push_str(&line);
        note.push_str(&checkpoint.cosign(&chain, "b.example/v", &validators[0], 5).unwrap());
        assert_eq!(Checkpoint::open(&note, &chain, &key.public()), Ok(checkpoint));
        let found = checkpoint.cosignatures(&note, &chain, &keys).unwrap();
        assert_eq!(found, [Cosignature { name: "a.example/v".into(), time_s: 1_700_000_000 }]);
        let other = Checkpoint { size: 11, ..checkpoint };
        let moved = format!("{}{line}", other.sign(&chain, &key));
        assert_eq!(
            other.cosignatures(&moved, &chain, &keys),
            Err(NoteError::Cosignature("a.example/v".into()))
        );
        // One key under two names is one validator.
        let twice = ["a.example/v", "c.example/v"]
            .map(|name| CosignerKey::new(name, validators[0].public()).unwrap());
        let both = format!("{note}{}", checkpoint.cosign(&chain, "c.example/v", &validators[0], 9).unwrap());
        assert_eq!(checkpoint.cosignatures(&both, &chain, &twice).unwrap().len(), 1);
        for name in ["", "a b", "a+b", "a\nb", &"x".repeat(129)] {
            assert!(CosignerKey::new(name, key.public()).is_err());
        }
    }

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
