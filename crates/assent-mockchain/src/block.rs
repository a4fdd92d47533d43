//! Assembly of a block and its proof of work.

use bitcoin::absolute::LockTime;
use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::{
    Amount, Block, BlockHash, CompactTarget, OutPoint, ScriptBuf, Sequence, Target, Transaction, TxIn,
    TxMerkleNode, TxOut, Witness, transaction,
};

use crate::check::COMMITMENT_PREFIX;
use crate::error::MockChainError;
use crate::params::{BITS, BLOCK_VERSION, subsidy};

/// The witness reserved value of BIP141, which has no meaning yet.
pub(crate) const WITNESS_RESERVED: [u8; 32] = [0; 32];

/// What a new block stands on and pays.
pub(crate) struct Template {
    pub(crate) parent: BlockHash,
    pub(crate) height: u32,
    pub(crate) time: u32,
    /// Makes the coinbase, and so the block, differ from every other one at this height.
    pub(crate) extra_nonce: u64,
    pub(crate) script: ScriptBuf,
    /// Fees of `txs` in satoshi.
    pub(crate) fees: u64,
    /// Parents before children.
    pub(crate) txs: Vec<Transaction>,
}

/// Makes a block of `template` and finds its nonce.
pub(crate) fn mine(template: Template) -> Result<Block, MockChainError> {
    let Template { parent, height, time, extra_nonce, script, fees, txs } = template;
    let mut witness = Witness::new();
    witness.push(WITNESS_RESERVED);
    let coinbase = Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn {
            previous_output: OutPoint::null(),
            script_sig: Builder::new()
                .push_int(i64::from(height))
                .push_slice(PushBytesBuf::from(extra_nonce.to_le_bytes()))
                .into_script(),
            sequence: Sequence::MAX,
            witness,
        }],
        output: vec![TxOut {
            value: Amount::from_sat(subsidy(height).saturating_add(fees)),
            script_pubkey: script,
        }],
    };
    let mut block = Block {
        header: Header {
            version: Version::from_consensus(BLOCK_VERSION),
            prev_blockhash: parent,
            merkle_root: TxMerkleNode::all_zeros(),
            time,
            bits: CompactTarget::from_consensus(BITS),
            nonce: 0,
        },
        txdata: std::iter::once(coinbase).chain(txs).collect(),
    };
    // The commitment counts the coinbase as zero, so it may be added after it is computed.
    if let (Some(root), Some(coinbase)) = (block.witness_root(), block.txdata.first_mut()) {
        let commitment = Block::compute_witness_commitment(&root, &WITNESS_RESERVED);
        let script = [COMMITMENT_PREFIX.as_slice(), commitment.as_byte_array()].concat();
        coinbase.output.push(TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::from_bytes(script) });
    }
    if let Some(root) = block.compute_merkle_root() {
        block.header.merkle_root = root;
    }
    let target = Target::from_compact(block.header.bits);
    while !target.is_met_by(block.block_hash()) {
        block.header.nonce = block.header.nonce.checked_add(1).ok_or(MockChainError::NoncesExhausted)?;
    }
    Ok(block)
}

#[cfg(test)]
mod tests {
    use bitcoin::constants::genesis_block;
    use bitcoin::hashes::{HashEngine, sha256d};

    use super::*;
    use crate::check;
    use crate::params::NETWORK;

    fn mined(height: u32) -> Block {
        let parent = genesis_block(NETWORK).block_hash();
        let script = ScriptBuf::from_bytes(vec![0x51]);
        mine(Template { parent, height, time: 1_700_000_000, extra_nonce: 7, script, fees: 5, txs: vec![] })
            .unwrap()
    }

    #[test]
    fn a_mined_block_keeps_every_rule_that_needs_no_chain() {
        for height in [1, 16, 17, 127, 128, 255, 256, 40_000] {
            let block = mined(height);
            check::check_block(&block).unwrap();
            check::check_coinbase_height(&block, height).unwrap();
            check::check_witness(&block).unwrap();
            assert!(check::check_coinbase_height(&block, height + 1).is_err());
            assert_eq!(block.txdata[0].output[0].value.to_sat(), subsidy(height) + 5);
        }
    }

    #[test]
    fn the_work_and_commitment_are_right_by_an_independent_computation() {
        let block = mined(1);
        let header = bitcoin::consensus::serialize(&block.header);
        let mut hash = sha256d::Hash::hash(&header).to_byte_array();
        hash.reverse();
        // Bits 207fffff mean the target 7fffff followed by 29 zero bytes.
        assert!(hash[0] < 0x7f || (hash[0] == 0x7f && hash[1..3] < [0xff, 0xff][..]));
        // With a coinbase only, the witness root is zero.
        let mut engine = sha256d::Hash::engine();
        engine.input(&[0; 32]);
        engine.input(&WITNESS_RESERVED);
        let commitment = sha256d::Hash::from_engine(engine);
        assert_eq!(&block.txdata[0].output[1].script_pubkey.as_bytes()[6..], commitment.as_byte_array());
        assert_eq!(block.header.merkle_root.to_byte_array(), block.txdata[0].compute_txid().to_byte_array());
    }

    #[test]
    fn a_block_changed_after_mining_is_refused_by_the_rule_it_breaks() {
        let reason = |change: fn(&mut Block)| {
            let mut block = mined(1);
            change(&mut block);
            block.header.nonce = 0;
            while !block.header.target().is_met_by(block.block_hash()) {
                block.header.nonce += 1;
            }
            check::check_block(&block).and_then(|()| check::check_witness(&block)).unwrap_err().reason
        };
        assert_eq!(reason(|b| b.txdata[0].output[0].value += Amount::ONE_SAT), "bad-txnmrklroot");
        assert_eq!(reason(|b| b.txdata.clear()), "bad-txnmrklroot");
        assert_eq!(reason(|b| b.txdata[0].input[0].witness.push([1])), "bad-witness-nonce-size");
        assert_eq!(
            reason(|b| {
                b.txdata[0].output.pop();
                b.header.merkle_root = b.compute_merkle_root().unwrap();
            }),
            "unexpected-witness"
        );
        assert_eq!(
            reason(|b| {
                let twice = b.txdata[0].clone();
                b.txdata.push(twice);
                b.header.merkle_root = b.compute_merkle_root().unwrap();
            }),
            "bad-txns-duplicate"
        );
    }
}
