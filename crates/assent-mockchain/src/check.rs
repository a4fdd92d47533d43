//! Rules that need no chain state: the form of transactions and blocks, proof of work, Merkle root and commitments.

use std::collections::HashSet;

use bitcoin::hashes::Hash;
use bitcoin::script::Builder;
use bitcoin::{Block, CompactTarget, Target, Transaction, WitnessCommitment};

use crate::error::Reject;
use crate::params::{BITS, MAX_BLOCK_WEIGHT, MAX_MONEY};

/// BIP141: how the script of the witness commitment begins.
pub(crate) const COMMITMENT_PREFIX: [u8; 6] = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
/// Consensus bounds of a coinbase's scriptSig.
const COINBASE_SCRIPT_LEN: std::ops::RangeInclusive<usize> = 2..=100;

/// Core's `CheckTransaction`.
pub(crate) fn check_transaction(tx: &Transaction) -> Result<(), Reject> {
    if tx.input.is_empty() {
        return Err(Reject::new("bad-txns-vin-empty"));
    }
    if tx.output.is_empty() {
        return Err(Reject::new("bad-txns-vout-empty"));
    }
    if size_weight(tx.base_size()) > MAX_BLOCK_WEIGHT {
        return Err(Reject::new("bad-txns-oversize"));
    }
    let mut total = 0u64;
    for output in &tx.output {
        let value = output.value.to_sat();
        // On the wire an amount is signed.
        if i64::try_from(value).is_err() {
            return Err(Reject::new("bad-txns-vout-negative"));
        }
        if value > MAX_MONEY {
            return Err(Reject::new("bad-txns-vout-toolarge"));
        }
        total = total.saturating_add(value);
        if total > MAX_MONEY {
            return Err(Reject::new("bad-txns-txouttotal-toolarge"));
        }
    }
    let mut seen = HashSet::with_capacity(tx.input.len());
    if !tx.input.iter().all(|input| seen.insert(input.previous_output)) {
        return Err(Reject::new("bad-txns-inputs-duplicate"));
    }
    if tx.is_coinbase() {
        if !tx.input.iter().all(|input| COINBASE_SCRIPT_LEN.contains(&input.script_sig.len())) {
            return Err(Reject::new("bad-cb-length"));
        }
    } else if tx.input.iter().any(|input| input.previous_output.is_null()) {
        return Err(Reject::new("bad-txns-prevout-null"));
    }
    Ok(())
}

/// The weight of `size` bytes that are not witness.
fn size_weight(size: usize) -> u64 {
    u64::try_from(size).unwrap_or(u64::MAX).saturating_mul(4)
}

/// Proof of work, Merkle root and form of a block, without its place in the chain (Core's `CheckBlock`).
pub(crate) fn check_block(block: &Block) -> Result<(), Reject> {
    if block.header.bits != CompactTarget::from_consensus(BITS) {
        // Core looks at the work a header claims first, then at whether the claim is the right one; on regtest the right
        // one never changes, so both are decided here.
        return Err(match block.header.validate_pow(block.header.target()) {
            Ok(_) => Reject::with("bad-diffbits", "incorrect proof of work"),
            Err(_) => Reject::with("high-hash", "proof of work failed"),
        });
    }
    let hash = block.block_hash();
    if !Target::from_compact(block.header.bits).is_met_by(hash) {
        return Err(Reject::with("high-hash", "proof of work failed"));
    }
    if !block.check_merkle_root() {
        return Err(Reject::with("bad-txnmrklroot", "hashMerkleRoot mismatch"));
    }
    let mut txids = HashSet::with_capacity(block.txdata.len());
    // CVE-2012-2459: a repeated tail gives the same root, and must not condemn the block it copies.
    if !block.txdata.iter().all(|tx| txids.insert(tx.compute_txid())) {
        return Err(Reject::with("bad-txns-duplicate", "duplicate transaction"));
    }
    let stripped: usize = block.txdata.iter().map(Transaction::base_size).sum();
    if block.txdata.is_empty() || size_weight(stripped.saturating_add(80 + 9)) > MAX_BLOCK_WEIGHT {
        return Err(Reject::with("bad-blk-length", "size limits failed"));
    }
    let mut txs = block.txdata.iter();
    if !txs.next().is_some_and(Transaction::is_coinbase) {
        return Err(Reject::with("bad-cb-missing", "first tx is not coinbase"));
    }
    if txs.any(Transaction::is_coinbase) {
        return Err(Reject::with("bad-cb-multiple", "more than one coinbase"));
    }
    block.txdata.iter().try_for_each(check_transaction)
}

/// BIP34: the coinbase of a block at `height` begins with the height.
pub(crate) fn check_coinbase_height(block: &Block, height: u32) -> Result<(), Reject> {
    let expected = Builder::new().push_int(i64::from(height)).into_script();
    let script =
        block.txdata.first().and_then(|tx| tx.input.first()).map(|input| input.script_sig.as_bytes());
    if script.is_some_and(|script| script.starts_with(expected.as_bytes())) {
        Ok(())
    } else {
        Err(Reject::with("bad-cb-height", "block height mismatch in coinbase"))
    }
}

/// The place of the output with the witness commitment in the coinbase: the last that looks like one.
pub(crate) fn commitment_output(block: &Block) -> Option<usize> {
    let outputs = &block.txdata.first()?.output;
    outputs.iter().rposition(|output| {
        let script = output.script_pubkey.as_bytes();
        script.len() >= 38 && script.starts_with(&COMMITMENT_PREFIX)
    })
}

/// BIP141's rules for commitment and witness, and the weight of the block.
pub(crate) fn check_witness(block: &Block) -> Result<(), Reject> {
    match (commitment_output(block), block.txdata.first()) {
        (Some(place), Some(coinbase)) => {
            let witness = coinbase.input.first().map(|input| &input.witness);
            let reserved = witness
                .filter(|witness| witness.len() == 1)
                .and_then(|witness| witness.nth(0))
                .filter(|reserved| reserved.len() == 32)
                .ok_or_else(|| {
                    Reject::with("bad-witness-nonce-size", "invalid witness reserved value size")
                })?;
            let found = coinbase.output.get(place).and_then(|o| o.script_pubkey.as_bytes().get(6..38));
            let expected =
                block.witness_root().map(|root| Block::compute_witness_commitment(&root, reserved));
            if found != expected.as_ref().map(|hash: &WitnessCommitment| hash.as_byte_array().as_slice()) {
                return Err(Reject::with("bad-witness-merkle-match", "witness merkle commitment mismatch"));
            }
        }
        _ => {
            if block.txdata.iter().any(|tx| tx.input.iter().any(|input| !input.witness.is_empty())) {
                return Err(Reject::with("unexpected-witness", "unexpected witness data found"));
            }
        }
    }
    if block.weight().to_wu() > MAX_BLOCK_WEIGHT {
        return Err(Reject::with("bad-blk-weight", "weight limit failed"));
    }
    Ok(())
}
