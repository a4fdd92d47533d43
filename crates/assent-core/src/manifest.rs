//! The genesis manifest: what a ledger is. Its hash is the chain id.

use crate::{
    ChainId, Hash,
    codec::{DecodeError, Decoder, Encoder, Layout, sha256},
    limits,
    ruleset::{Ruleset, RulesetError},
    signature::PublicKey,
};

/// The base chain that a ledger is anchored on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BaseNetwork {
    /// Bitcoin Core's name of the network: `main`, `test`, `testnet4`, `signet` or `regtest`.
    pub name: String,
    /// Hash of its first block, in the order in which it is hashed (the reverse of what Bitcoin Core prints).
    pub genesis_hash: Hash,
}

/// An output of a base-chain transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutPoint {
    /// Transaction, in the order in which it is hashed.
    pub txid: Hash,
    /// Output.
    pub vout: u32,
}

/// Limits that a ledger sets for itself, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LedgerLimits {
    /// How far ahead a transaction may expire.
    pub max_validity_ms: u64,
    /// How long a permit may be relied on.
    pub permit_validity_ms: u64,
    /// How far time may step from one group to the next without the base chain or the operator confirming it.
    pub max_time_step_ms: u64,
    /// Within what time after its group an entry is sealed: the deadline in receipts.
    pub max_seal_delay_ms: u64,
    /// Entries in a batch.
    pub max_batch_entries: u32,
    /// Bytes of transactions in a batch.
    pub max_batch_bytes: u32,
}

impl Default for LedgerLimits {
    fn default() -> Self {
        Self {
            max_validity_ms: limits::MAX_VALIDITY_MS,
            // A working day: long enough to read what was asked for, short enough that a revocation soon ends all use.
            permit_validity_ms: 24 * 60 * 60 * 1000,
            // A clock that is wrong by more must not shift when consents begin and end.
            max_time_step_ms: 60 * 60 * 1000,
            // A sequencer that was restarted still keeps the promise of receipts given before.
            max_seal_delay_ms: 60 * 60 * 1000,
            max_batch_entries: 10_000,
            max_batch_bytes: 8 * 1024 * 1024,
        }
    }
}

impl LedgerLimits {
    /// Checks each against the bounds of [`limits`].
    ///
    /// # Errors
    /// [`DecodeError::Invalid`] naming the limit.
    pub fn check(&self) -> Result<(), DecodeError> {
        let within = |what, value: u64, max: u64| {
            if (1..=max).contains(&value) {
                Ok(())
            } else {
                Err(DecodeError::invalid(what, format!("1 to {max} expected, found {value}")))
            }
        };
        within("max_validity_ms", self.max_validity_ms, limits::MAX_VALIDITY_MS)?;
        within("permit_validity_ms", self.permit_validity_ms, self.max_validity_ms)?;
        within("max_time_step_ms", self.max_time_step_ms, limits::MAX_VALIDITY_MS)?;
        within("max_seal_delay_ms", self.max_seal_delay_ms, limits::MAX_VALIDITY_MS)?;
        within("max_batch_entries", self.max_batch_entries.into(), limits::MAX_BATCH_ENTRIES.into())?;
        within("max_batch_bytes", self.max_batch_bytes.into(), limits::MAX_BATCH_BYTES.into())?;
        // Or a single largest transaction would never fit.
        let least = limits::MAX_BODY_BYTES as u64 * 2;
        if u64::from(self.max_batch_bytes) < least {
            return Err(DecodeError::invalid("max_batch_bytes", format!("at least {least} expected")));
        }
        Ok(())
    }
}

/// The genesis manifest (layout 0x1d).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GenesisManifest {
    /// Random: two ledgers with equal settings have different ids.
    pub nonce: Hash,
    /// When the ledger was made, in milliseconds since 1970. No group is earlier.
    pub created_ms: u64,
    /// Signs receipts and headers.
    pub sequencer_key: PublicKey,
    /// Signs checkpoints.
    pub prover_key: PublicKey,
    /// Where checkpoints are anchored.
    pub base: BaseNetwork,
    /// The output that the first anchor spends.
    pub first_anchor: OutPoint,
    /// The ruleset at the start.
    pub ruleset: u32,
    /// Its hash.
    pub ruleset_hash: Hash,
    /// Limits.
    pub limits: LedgerLimits,
}

impl GenesisManifest {
    /// Layout 0x1d.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        Encoder::new(Layout::GenesisManifest)
            .fixed(&self.nonce)
            .u64(self.created_ms)
            .fixed(&self.sequencer_key.0)
            .fixed(&self.prover_key.0)
            .short(self.base.name.as_bytes())
            .fixed(&self.base.genesis_hash)
            .fixed(&self.first_anchor.txid)
            .u32(self.first_anchor.vout)
            .u32(self.ruleset)
            .fixed(&self.ruleset_hash)
            .u64(self.limits.max_validity_ms)
            .u64(self.limits.permit_validity_ms)
            .u64(self.limits.max_time_step_ms)
            .u64(self.limits.max_seal_delay_ms)
            .u32(self.limits.max_batch_entries)
            .u32(self.limits.max_batch_bytes)
            .finish()
    }

    /// Reads layout 0x1d and checks the limits.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        if bytes.len() > limits::MAX_MANIFEST_BYTES {
            return Err(DecodeError::invalid(
                "manifest",
                format!("{} bytes, at most {} are allowed", bytes.len(), limits::MAX_MANIFEST_BYTES),
            ));
        }
        let mut d = Decoder::new(Layout::GenesisManifest, bytes)?;
        let manifest = Self {
            nonce: d.hash("nonce")?,
            created_ms: d.u64("created")?,
            sequencer_key: PublicKey(d.hash("sequencer key")?),
            prover_key: PublicKey(d.hash("prover key")?),
            base: BaseNetwork {
                name: d.text("base network")?.to_owned(),
                genesis_hash: d.hash("base genesis hash")?,
            },
            first_anchor: OutPoint { txid: d.hash("first anchor txid")?, vout: d.u32("first anchor vout")? },
            ruleset: d.u32("ruleset")?,
            ruleset_hash: d.hash("ruleset hash")?,
            limits: LedgerLimits {
                max_validity_ms: d.u64("max_validity_ms")?,
                permit_validity_ms: d.u64("permit_validity_ms")?,
                max_time_step_ms: d.u64("max_time_step_ms")?,
                max_seal_delay_ms: d.u64("max_seal_delay_ms")?,
                max_batch_entries: d.u32("max_batch_entries")?,
                max_batch_bytes: d.u32("max_batch_bytes")?,
            },
        };
        d.finish()?;
        manifest.limits.check()?;
        Ok(manifest)
    }

    /// The chain id.
    #[must_use]
    pub fn chain_id(&self) -> ChainId {
        ChainId(sha256(&self.encode()))
    }

    /// The ruleset that it names.
    ///
    /// # Errors
    /// [`RulesetError`] where this program has no such ruleset.
    pub fn ruleset(&self) -> Result<Ruleset, RulesetError> {
        let ruleset = Ruleset::numbered(self.ruleset)?;
        if ruleset.hash() == self.ruleset_hash {
            Ok(ruleset)
        } else {
            Err(RulesetError::HashMismatch {
                number: self.ruleset,
                expected: hex::encode(self.ruleset_hash),
                found: hex::encode(ruleset.hash()),
            })
        }
    }
}
