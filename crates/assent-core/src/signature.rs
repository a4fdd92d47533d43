//! Keys, and the one signature rule: Ed25519 as [ZIP-215] verifies it, single and in batches.
//!
//! ZIP-215 fixes which signatures are valid down to the last bit, and makes the batch check accept exactly what the single
//! check accepts. Other libraries' batch checks accept forgeries with small-order components that their strict checks
//! refuse; with two programs of one ledger disagreeing about one signature, re-execution would fail.
//!
//! [ZIP-215]: https://zips.z.cash/zip-0215

use std::convert::Infallible;

use ed25519_zebra::{Signature, SigningKey, VerificationKey, VerificationKeyBytes, batch};
use rand_core::{TryCryptoRng, TryRng};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::{
    AccountId, Hash,
    codec::{Encoder, Layout},
};

/// The number of `SIGNATURE_SCHEME_ED25519`.
pub const ED25519: u8 = 1;

/// Why a signature is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SignatureError {
    /// The public key is not a point of the curve.
    #[error("the public key is not a valid Ed25519 key")]
    BadKey,
    /// The signature does not verify.
    #[error("the signature does not verify (Ed25519, ZIP-215)")]
    Invalid,
}

/// An Ed25519 public key, 32 bytes as transmitted.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct PublicKey(pub [u8; 32]);

impl std::fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl PublicKey {
    /// The account whose first key this is.
    #[must_use]
    pub fn account_id(&self) -> AccountId {
        AccountId::of_key(ED25519, &self.0)
    }

    /// The id by which receipts and headers name a signing key (layout 0x31).
    #[must_use]
    pub fn key_id(&self) -> Hash {
        Encoder::new(Layout::KeyId).u8(ED25519).fixed(&self.0).sha256()
    }

    /// Checks a signature over any bytes.
    ///
    /// # Errors
    /// One [`SignatureError`] a check.
    pub fn verify(&self, message: &[u8], signature: &[u8; 64]) -> Result<(), SignatureError> {
        VerificationKey::try_from(self.0)
            .map_err(|_| SignatureError::BadKey)?
            .verify(&Signature::from(*signature), message)
            .map_err(|_| SignatureError::Invalid)
    }
}

/// An Ed25519 signing key. Wiped from memory when dropped.
#[derive(Clone)]
pub struct KeyPair(SigningKey);

impl KeyPair {
    /// From its 32-byte seed (RFC 8032 §5.1.5).
    #[must_use]
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Self(SigningKey::from(seed))
    }

    /// The 32-byte seed.
    #[must_use]
    pub fn seed(&self) -> [u8; 32] {
        self.0.into()
    }

    /// The public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(VerificationKeyBytes::from(&self.0).into())
    }

    /// Signs. Deterministic (RFC 8032): the same message has the same signature after a restart.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> [u8; 64] {
        self.0.sign(message).to_bytes()
    }
}

/// One signature of a batch: over a 32-byte transaction id.
#[derive(Clone, Copy, Debug)]
pub struct SignedHash {
    /// Who signed.
    pub key: PublicKey,
    /// What is signed.
    pub message: Hash,
    /// By whom, 64 bytes.
    pub signature: [u8; 64],
}

/// The factors of a batch equation, drawn from a hash over everything in the batch (Fiat-Shamir). Whoever chooses the
/// signatures cannot choose the factors, and this crate needs no source of randomness.
struct TranscriptRng {
    seed: Hash,
    counter: u64,
}

impl TranscriptRng {
    fn new(items: &[SignedHash]) -> Self {
        let mut hasher = Sha256::new();
        for item in items {
            hasher.update(item.key.0);
            hasher.update(item.message);
            hasher.update(item.signature);
        }
        Self { seed: hasher.finalize().into(), counter: 0 }
    }

    fn block(&mut self) -> Hash {
        self.counter += 1;
        Sha256::new().chain_update(self.seed).chain_update(self.counter.to_be_bytes()).finalize().into()
    }
}

impl TryRng for TranscriptRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let block = self.block();
        Ok(u32::from_be_bytes([block[0], block[1], block[2], block[3]]))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_be_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(32) {
            let block = self.block();
            chunk.copy_from_slice(&block[..chunk.len()]);
        }
        Ok(())
    }
}

impl TryCryptoRng for TranscriptRng {}

/// Signatures of a batch that is not divided any further where its equation fails: below this, checking each on its own costs
/// less than two more equations.
const SMALLEST_BATCH: usize = 16;

/// Checks many signatures, one answer each, in order. One equation for all where all are valid; where it fails, one for each
/// half, so that a bad one among many costs a few equations and not a check of each. The factors of the equation affect only
/// the chance (2^-128) of missing a bad one.
#[must_use]
pub fn verify_all(items: &[SignedHash]) -> Vec<Result<(), SignatureError>> {
    if items.len() > 1 {
        let mut verifier = batch::Verifier::new();
        for item in items {
            verifier.queue((
                VerificationKeyBytes::from(item.key.0),
                Signature::from(item.signature),
                &item.message[..],
            ));
        }
        if verifier.verify(TranscriptRng::new(items)).is_ok() {
            return vec![Ok(()); items.len()];
        }
        if items.len() > SMALLEST_BATCH {
            let (left, right) = items.split_at(items.len() / 2);
            return [verify_all(left), verify_all(right)].concat();
        }
    }
    items.iter().map(|item| item.key.verify(&item.message, &item.signature)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(seed: u8, message: Hash) -> SignedHash {
        let pair = KeyPair::from_seed([seed; 32]);
        SignedHash { key: pair.public(), message, signature: pair.sign(&message) }
    }

    #[test]
    fn a_batch_gives_each_signature_the_answer_that_it_gets_alone() {
        for (count, bad) in [(20u8, [3, 11, 17]), (97, [0, 48, 96])] {
            let mut items: Vec<_> = (0..count).map(|i| signed(i % 7, [i; 32])).collect();
            assert!(verify_all(&items).iter().all(Result::is_ok));
            items[bad[0]].message[0] ^= 1;
            items[bad[1]].signature[40] ^= 1;
            items[bad[2]].key = PublicKey([0xff; 32]);
            let answers = verify_all(&items);
            assert_eq!(answers.len(), items.len());
            for (i, item) in items.iter().enumerate() {
                assert_eq!(answers[i], item.key.verify(&item.message, &item.signature), "{i}");
                assert_eq!(answers[i].is_err(), bad.contains(&i), "{i}");
            }
        }
    }

    #[test]
    fn the_rule_is_zip_215_also_for_small_order_keys() {
        // The identity as key and as R with s = 0 verifies under ZIP-215 for any message, alone and in a batch.
        let mut identity = [0; 32];
        identity[0] = 1;
        let mut signature = [0; 64];
        signature[0] = 1;
        let item = SignedHash { key: PublicKey(identity), message: [9; 32], signature };
        assert_eq!(item.key.verify(&item.message, &item.signature), Ok(()));
        assert_eq!(verify_all(&[item, signed(1, [2; 32])]), vec![Ok(()); 2]);
    }
}
