//! Spend checks: are the signatures of a transaction right?
//!
//! Two spends are really verified with secp256k1: P2WPKH (BIP141, BIP143) and P2TR by its key path (BIP341). Every other
//! kind is refused as [`UNSUPPORTED`], in blocks as well: a mock that let an unchecked spend through would accept blocks
//! that a real node refuses.

use std::sync::LazyLock;

use bitcoin::hashes::Hash;
use bitcoin::secp256k1::{Message, Secp256k1, VerifyOnly, XOnlyPublicKey, ecdsa};
use bitcoin::sighash::{Annex, Prevouts, SighashCache};
use bitcoin::{EcdsaSighashType, PublicKey, Script, Transaction, TxOut, Witness, taproot};

use crate::utxo::Coin;

/// The reason given for a spend this crate cannot check.
pub(crate) const UNSUPPORTED: &str = "the mock chain checks P2WPKH and P2TR key-path spends only";

const EMPTY_WITNESS: &str = "Witness program was passed an empty witness";
const PROGRAM_MISMATCH: &str = "Witness program hash mismatch";
const MALLEATED: &str = "Witness requires empty scriptSig";
const NULL_FAIL: &str = "Signature must be zero for failed CHECK(MULTI)SIG operation";
const BAD_DER: &str = "Non-canonical DER signature";
const HIGH_S: &str = "Non-canonical signature: S value is unnecessarily high";
const HASH_TYPE: &str = "Signature hash type missing or not understood";
const PUBKEY_TYPE: &str = "Using non-compressed keys in segwit";
const SCHNORR: &str = "Invalid Schnorr signature";
const SCHNORR_HASH_TYPE: &str = "Invalid Schnorr signature hash type";
const SCHNORR_SIZE: &str = "Invalid Schnorr signature size";

/// First byte of a witness element that is a taproot annex (BIP341).
const ANNEX_TAG: u8 = 0x50;

static SECP: LazyLock<Secp256k1<VerifyOnly>> = LazyLock::new(Secp256k1::verification_only);

/// Which rules hold beside consensus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rules {
    /// What a block must satisfy.
    Consensus,
    /// What a relayed transaction must satisfy: also low S and compressed keys.
    Relay,
}

/// An input whose spend does not verify, with Core's words for why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SpendError {
    pub(crate) input: usize,
    pub(crate) reason: &'static str,
}

/// Verifies every input of `tx` against the coins it spends, given in the order of the inputs.
pub(crate) fn check_spends(tx: &Transaction, spent: &[Coin], rules: Rules) -> Result<(), SpendError> {
    let prevouts: Vec<&TxOut> = spent.iter().map(|coin| &coin.output).collect();
    let mut cache = SighashCache::new(tx);
    for (index, (input, output)) in tx.input.iter().zip(&prevouts).enumerate() {
        let script = &output.script_pubkey;
        let checked = if !script.is_p2wpkh() && !script.is_p2tr() {
            Err(UNSUPPORTED)
        } else if !input.script_sig.is_empty() {
            Err(MALLEATED)
        } else if script.is_p2wpkh() {
            check_p2wpkh(&mut cache, index, &input.witness, output, rules)
        } else {
            check_p2tr(&mut cache, index, &input.witness, &prevouts)
        };
        checked.map_err(|reason| SpendError { input: index, reason })?;
    }
    Ok(())
}

fn check_p2wpkh(
    cache: &mut SighashCache<&Transaction>,
    index: usize,
    witness: &Witness,
    output: &TxOut,
    rules: Rules,
) -> Result<(), &'static str> {
    let (signature, key) = match (witness.len(), witness.nth(0), witness.nth(1)) {
        (0, _, _) => return Err(EMPTY_WITNESS),
        (2, Some(signature), Some(key)) => (signature, key),
        _ => return Err(PROGRAM_MISMATCH),
    };
    let public_key = PublicKey::from_slice(key).map_err(|_| NULL_FAIL)?;
    let program = output.script_pubkey.as_bytes().get(2..).unwrap_or_default();
    if bitcoin::hashes::hash160::Hash::hash(key).as_byte_array() != program {
        return Err("Script failed an OP_EQUALVERIFY operation");
    }
    if rules == Rules::Relay && !public_key.compressed {
        return Err(PUBKEY_TYPE);
    }
    let (hash_type, der) = signature.split_last().ok_or(NULL_FAIL)?;
    // Consensus alone would take any hash type; nothing honest uses another than these six.
    let hash_type = EcdsaSighashType::from_standard(u32::from(*hash_type)).map_err(|_| HASH_TYPE)?;
    let signature = ecdsa::Signature::from_der(der).map_err(|_| BAD_DER)?;
    let mut low = signature;
    low.normalize_s();
    if rules == Rules::Relay && low != signature {
        return Err(HIGH_S);
    }
    let hash = cache
        .p2wpkh_signature_hash(index, &output.script_pubkey, output.value, hash_type)
        .map_err(|_| NULL_FAIL)?;
    SECP.verify_ecdsa(&Message::from_digest(hash.to_byte_array()), &low, &public_key.inner)
        .map_err(|_| NULL_FAIL)
}

fn check_p2tr(
    cache: &mut SighashCache<&Transaction>,
    index: usize,
    witness: &Witness,
    prevouts: &[&TxOut],
) -> Result<(), &'static str> {
    let annex = if witness.len() >= 2 { witness.last() } else { None };
    let annex = annex.filter(|last| last.first() == Some(&ANNEX_TAG));
    let signature = match (witness.len() - usize::from(annex.is_some()), witness.nth(0)) {
        (0, _) | (_, None) => return Err(EMPTY_WITNESS),
        (1, Some(signature)) => signature,
        _ => return Err(UNSUPPORTED),
    };
    if !matches!(signature.len(), 64 | 65) {
        return Err(SCHNORR_SIZE);
    }
    let signature = taproot::Signature::from_slice(signature).map_err(|_| SCHNORR_HASH_TYPE)?;
    // BIP341: the default hash type is written as 64 bytes, never as a 65th byte of zero.
    if witness.nth(0).is_some_and(|bytes| bytes.len() == 65 && bytes.last() == Some(&0)) {
        return Err(SCHNORR_HASH_TYPE);
    }
    let program = prevouts.get(index).map(|output| output.script_pubkey.as_bytes());
    let key = program.and_then(|bytes| bytes.get(2..)).map(XOnlyPublicKey::from_slice);
    let key = key.and_then(Result::ok).ok_or(SCHNORR)?;
    let annex = annex.map(Annex::new).transpose().map_err(|_| SCHNORR)?;
    let hash = cache
        .taproot_signature_hash(index, &Prevouts::All(prevouts), annex, None, signature.sighash_type)
        .map_err(|_| SCHNORR_HASH_TYPE)?;
    SECP.verify_schnorr(&signature.signature, &Message::from_digest(hash.to_byte_array()), &key)
        .map_err(|_| SCHNORR)
}

/// What a script pays to, with Core's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ScriptKind {
    PubKey,
    PubKeyHash,
    ScriptHash,
    Multisig,
    NullData,
    Anchor,
    WitnessKeyHash,
    WitnessScriptHash,
    Taproot,
    WitnessUnknown,
    NonStandard,
}

impl ScriptKind {
    pub(crate) fn of(script: &Script) -> Self {
        let bytes = script.as_bytes();
        if script.is_p2wpkh() {
            Self::WitnessKeyHash
        } else if script.is_p2wsh() {
            Self::WitnessScriptHash
        } else if script.is_p2tr() {
            Self::Taproot
        } else if bytes == [0x51, 0x02, 0x4e, 0x73] {
            Self::Anchor
        } else if let Some(version) = script.witness_version() {
            // Version 0 has two lengths, both matched above.
            if version.to_num() == 0 { Self::NonStandard } else { Self::WitnessUnknown }
        } else if script.is_p2pkh() {
            Self::PubKeyHash
        } else if script.is_p2sh() {
            Self::ScriptHash
        } else if script.is_p2pk() {
            Self::PubKey
        } else if script.is_op_return()
            && Script::from_bytes(bytes.get(1..).unwrap_or_default()).is_push_only()
        {
            Self::NullData
        } else if script.is_multisig() {
            Self::Multisig
        } else {
            Self::NonStandard
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::PubKey => "pubkey",
            Self::PubKeyHash => "pubkeyhash",
            Self::ScriptHash => "scripthash",
            Self::Multisig => "multisig",
            Self::NullData => "nulldata",
            Self::Anchor => "anchor",
            Self::WitnessKeyHash => "witness_v0_keyhash",
            Self::WitnessScriptHash => "witness_v0_scripthash",
            Self::Taproot => "witness_v1_taproot",
            Self::WitnessUnknown => "witness_unknown",
            Self::NonStandard => "nonstandard",
        }
    }
}
