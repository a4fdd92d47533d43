//! The chain's own promises: valid blocks, the mempool's rules, reorganisations.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that finds something missing is to fail there")]

mod common;

use assent_mockchain::{MockChain, MockChainConfig, MockChainError, Submitted};
use bitcoin::consensus::{deserialize, serialize};
use bitcoin::hashes::Hash;
use bitcoin::script::PushBytesBuf;
use bitcoin::{Amount, Block, BlockHash, ScriptBuf, Sequence, Transaction, Txid, Witness};
use common::{Wallet, coin, coinbase, funded, output};

/// The reason a transaction was refused for.
fn refused(chain: &MockChain, tx: Transaction) -> String {
    match chain.send(tx) {
        Err(MockChainError::Rejected(reject)) => reject.reason.into_owned(),
        other => panic!("expected a refusal, found {other:?}"),
    }
}

/// Finds a nonce again after the block was changed.
fn remine(block: &mut Block) {
    block.header.merkle_root = block.compute_merkle_root().unwrap();
    while !block.header.target().is_met_by(block.block_hash()) {
        block.header.nonce = block.header.nonce.wrapping_add(1);
    }
}

/// The tip's block, unmade, changed, and mined again.
fn changed_tip(chain: &MockChain, change: impl Fn(&mut Block)) -> Result<Submitted, String> {
    let tip = chain.mine(1).unwrap()[0];
    let mut block = chain.block(&tip).unwrap().as_ref().clone();
    chain.invalidate(&tip).unwrap();
    change(&mut block);
    remine(&mut block);
    chain.submit(block).map_err(|error| match error {
        MockChainError::Rejected(reject) => reject.reason.into_owned(),
        other => panic!("{other}"),
    })
}

#[test]
fn every_block_keeps_the_rules_of_consensus_across_a_halving() {
    let wallet = Wallet::new();
    let chain = funded(&wallet, 155);
    let paid = chain.send(wallet.forward(&coinbase(&chain, 1), wallet.p2tr(), 1_000)).unwrap();
    chain.mine(1).unwrap();
    let mut times: Vec<u32> = vec![];
    for height in 0..=156 {
        let block = chain.block(&chain.block_hash(height).unwrap()).unwrap();
        // It survives its own encoding, so what is checked is what would be sent.
        let block: Block = deserialize(&serialize(block.as_ref())).unwrap();
        block.header.validate_pow(bitcoin::Target::MAX_ATTAINABLE_REGTEST).unwrap();
        assert!(block.check_merkle_root() && block.check_witness_commitment());
        if height > 0 {
            // BIP34 as consensus reads it: up to 16 the height is an opcode, which the library does not know.
            match u8::try_from(height) {
                Ok(small @ 1..=16) => {
                    assert_eq!(block.txdata[0].input[0].script_sig.as_bytes()[0], 0x50 + small);
                }
                _ => assert_eq!(block.bip34_block_height().unwrap(), u64::from(height)),
            }
            assert_eq!(block.header.prev_blockhash, chain.block_hash(height - 1).unwrap());
            let mut last: Vec<u32> = times.iter().rev().take(11).copied().collect();
            last.sort_unstable();
            assert!(block.header.time > last[last.len() / 2], "block {height} is not after the median");
            let fees = if height == 156 { 1_000 } else { 0 };
            let subsidy = if height < 150 { 5_000_000_000 } else { 2_500_000_000 };
            assert_eq!(block.txdata[0].output[0].value.to_sat(), subsidy + fees);
        }
        times.push(block.header.time);
    }
    assert_eq!(chain.block(&chain.tip()).unwrap().txdata[1].compute_txid(), paid);
}

#[test]
fn a_coinbase_is_spendable_from_its_hundredth_confirmation() {
    let wallet = Wallet::new();
    let chain = funded(&wallet, 99);
    let spend = wallet.forward(&coinbase(&chain, 1), wallet.p2tr(), 1_000);
    // In the next block, of height 100, the coinbase of block 1 has depth 99.
    assert_eq!(refused(&chain, spend.clone()), "bad-txns-premature-spend-of-coinbase");
    chain.mine(1).unwrap();
    chain.send(spend).unwrap();
}

#[test]
fn signatures_are_really_checked() {
    let wallet = Wallet::new();
    let chain = funded(&wallet, 102);
    let first = wallet.forward(&coinbase(&chain, 1), wallet.p2tr(), 1_000);
    let second = wallet.forward(&coin(&first, 0), wallet.p2wpkh(), 1_000);
    chain.send(first.clone()).unwrap();
    for tx in [wallet.forward(&coinbase(&chain, 2), wallet.p2tr(), 1_000), second.clone()] {
        let mut forged = tx.clone();
        forged.output[0].value -= Amount::ONE_SAT;
        assert!(refused(&chain, forged).starts_with("mempool-script-verify-flag-failed"));
        let mut bare = tx;
        bare.input[0].witness = Witness::new();
        assert!(refused(&chain, bare).starts_with("mempool-script-verify-flag-failed"));
    }
    chain.send(second).unwrap();
}

#[test]
fn relay_policy_holds_fees_op_return_and_inputs_to_cores_rules() {
    let wallet = Wallet::new();
    let chain = funded(&wallet, 101);
    let coin = coinbase(&chain, 1);
    let value = coin.1.value.to_sat();
    let data = |len| output(0, ScriptBuf::new_op_return(PushBytesBuf::try_from(vec![1; len]).unwrap()));
    let with = |outputs, fee| {
        let mut outputs: Vec<_> = outputs;
        outputs.push(output(value - fee, wallet.p2wpkh()));
        wallet.pay(std::slice::from_ref(&coin), outputs)
    };
    assert_eq!(refused(&chain, with(vec![data(81)], 1_000)), "datacarrier");
    assert_eq!(refused(&chain, with(vec![data(1), data(1)], 1_000)), "multi-op-return");
    assert_eq!(refused(&chain, with(vec![output(329, wallet.p2tr())], 1_000)), "dust");
    let vsize = u64::try_from(with(vec![data(80)], 0).vsize()).unwrap();
    assert_eq!(refused(&chain, with(vec![data(80)], vsize - 1)), "min relay fee not met");
    let mut missing = with(vec![], 1_000);
    missing.input[0].previous_output.vout = 9;
    assert_eq!(refused(&chain, missing), "bad-txns-inputs-missingorspent");
    let mut more = with(vec![], 0);
    more.output[0].value += Amount::ONE_SAT;
    assert_eq!(refused(&chain, more), "bad-txns-in-belowout");
    let accepted = chain.send(with(vec![data(80)], vsize)).unwrap();
    assert_eq!(refused(&chain, with(vec![data(80)], vsize)), "txn-already-in-mempool");
    assert_eq!(chain.mempool(), [accepted]);
}

#[test]
fn locked_transactions_wait_for_their_height() {
    let wallet = Wallet::new();
    let chain = funded(&wallet, 102);
    let one = [coinbase(&chain, 1)];
    let out = || vec![output(4_999_999_000, wallet.p2wpkh())];
    let absolute = wallet.pay_locked(&one, out(), 104, Sequence::ENABLE_LOCKTIME_NO_RBF);
    assert_eq!(refused(&chain, absolute.clone()), "non-final");
    let two = [coinbase(&chain, 2)];
    let relative = wallet.pay_locked(&two, out(), 0, Sequence::from_height(103));
    assert_eq!(refused(&chain, relative.clone()), "non-BIP68-final");
    chain.mine(2).unwrap();
    chain.send(absolute).unwrap();
    chain.send(relative).unwrap();
    chain.mine(1).unwrap();
    assert!(chain.mempool().is_empty());
}

#[test]
fn a_replacement_pays_more_and_takes_the_descendants_with_it() {
    let wallet = Wallet::new();
    let chain = funded(&wallet, 101);
    let coin_1 = coinbase(&chain, 1);
    let first = wallet.forward(&coin_1, wallet.p2tr(), 1_000);
    let child = wallet.forward(&coin(&first, 0), wallet.p2tr(), 2_000);
    chain.send(first).unwrap();
    chain.send(child).unwrap();
    let vsize = u64::try_from(wallet.forward(&coin_1, wallet.p2wpkh(), 0).vsize()).unwrap();
    let replace = |fee| wallet.forward(&coin_1, wallet.p2wpkh(), fee);
    // A worse feerate, less than both fees together, and too little on top for its own relay.
    for fee in [900, 2_999, 3_000 + vsize - 1] {
        assert_eq!(refused(&chain, replace(fee)), "insufficient fee", "fee {fee}");
    }
    let better = chain.send(replace(3_000 + vsize)).unwrap();
    assert_eq!(chain.mempool(), [better]);
    // Nobody may replace what it spends itself.
    let own = wallet.pay(
        &[coin_1.clone(), coin(&replace(3_000 + vsize), 0)],
        vec![output(9_000_000_000, wallet.p2wpkh())],
    );
    assert_eq!(refused(&chain, own), "bad-txns-spends-conflicting-tx");
}

#[test]
fn a_block_takes_parents_before_children_and_long_chains_are_refused() {
    let wallet = Wallet::new();
    let chain = funded(&wallet, 101);
    let mut last = wallet.forward(&coinbase(&chain, 1), wallet.p2wpkh(), 200);
    let mut sent: Vec<Txid> = vec![chain.send(last.clone()).unwrap()];
    for step in 1..25u64 {
        // Later ones pay more, so a block that went by the feerate of each alone would be invalid.
        last = wallet.forward(&coin(&last, 0), wallet.p2wpkh(), 200 + 100 * step);
        sent.push(chain.send(last.clone()).unwrap());
    }
    let one_more = wallet.forward(&coin(&last, 0), wallet.p2wpkh(), 9_000);
    assert_eq!(refused(&chain, one_more), "too-long-mempool-chain");
    let block = chain.block(&chain.mine(1).unwrap()[0]).unwrap();
    let mined: Vec<Txid> = block.txdata[1..].iter().map(Transaction::compute_txid).collect();
    assert_eq!(mined, sent);
    assert!(chain.mempool().is_empty());
}

#[test]
fn a_reorganisation_returns_transactions_to_the_mempool_and_can_be_taken_back() {
    let wallet = Wallet::new();
    let chain = funded(&wallet, 103);
    let first = wallet.forward(&coinbase(&chain, 1), wallet.p2tr(), 1_000);
    let second = wallet.forward(&coin(&first, 0), wallet.p2tr(), 1_000);
    let waiting = wallet.forward(&coin(&second, 0), wallet.p2tr(), 1_000);
    // This one stands on a coinbase that the other branch does not have deep enough.
    let too_young = wallet.forward(&coinbase(&chain, 4), wallet.p2tr(), 1_000);
    chain.send(first.clone()).unwrap();
    let fork = chain.mine(1).unwrap()[0];
    chain.send(second.clone()).unwrap();
    chain.mine(1).unwrap();
    chain.send(waiting.clone()).unwrap();
    chain.send(too_young).unwrap();
    let old_tip = chain.tip();
    let spent = (first.input[0].previous_output, coin(&first, 0).0);

    chain.invalidate(&fork).unwrap();
    assert_eq!(chain.height(), 103);
    let returned = [&first, &second, &waiting].map(Transaction::compute_txid);
    let mut expected = returned.to_vec();
    expected.push(chain.mempool()[3]);
    assert_eq!(chain.mempool(), expected);
    assert!(chain.unspent(&spent.0).is_some() && chain.unspent(&spent.1).is_none());

    chain.reconsider(&fork).unwrap();
    assert_eq!(chain.tip(), old_tip);
    assert_eq!(chain.mempool()[0], waiting.compute_txid());

    chain.invalidate(&fork).unwrap();
    chain.mine(3).unwrap();
    assert!(chain.mempool().is_empty());
    // With less work, the old branch stays behind even when it is allowed again.
    let new_tip = chain.tip();
    chain.reconsider(&fork).unwrap();
    assert_eq!(chain.tip(), new_tip);
    assert_eq!(chain.blocks().len(), 1 + 105 + 3);
}

#[test]
fn a_transaction_that_the_other_branch_makes_too_early_is_dropped() {
    let wallet = Wallet::new();
    let chain = funded(&wallet, 103);
    let young = wallet.forward(&coinbase(&chain, 4), wallet.p2tr(), 1_000);
    chain.send(young).unwrap();
    chain.invalidate(&chain.tip()).unwrap();
    assert!(chain.mempool().is_empty());
}

#[test]
fn the_longer_branch_wins_and_of_equals_the_first_seen() {
    let chain = MockChain::open(MockChainConfig::default()).unwrap();
    let other = MockChain::open(MockChainConfig::default()).unwrap();
    let wallet = Wallet::new();
    chain.mine(2).unwrap();
    let first_seen = chain.tip();
    other.mine_to(3, &wallet.p2tr()).unwrap();
    let theirs: Vec<Block> = other.blocks()[1..].iter().map(|block| block.as_ref().clone()).collect();
    assert_eq!(chain.submit(theirs[0].clone()).unwrap(), Submitted::SideBranch);
    assert_eq!(chain.submit(theirs[1].clone()).unwrap(), Submitted::SideBranch);
    assert_eq!(chain.tip(), first_seen);
    assert_eq!(chain.submit(theirs[2].clone()).unwrap(), Submitted::Active);
    assert_eq!(chain.tip(), other.tip());
    assert_eq!(chain.submit(theirs[0].clone()).unwrap(), Submitted::Duplicate);
}

#[test]
fn submitted_blocks_are_refused_by_the_rule_they_break() {
    let wallet = Wallet::new();
    let chain = funded(&wallet, 20);
    let refusal = |change: &dyn Fn(&mut Block)| changed_tip(&chain, change).unwrap_err();
    assert_eq!(refusal(&|b| b.txdata[0].output[0].value += Amount::ONE_SAT), "bad-cb-amount");
    assert_eq!(refusal(&|b| b.header.time = 1_500_000_000), "time-too-old");
    assert_eq!(refusal(&|b| b.header.time = u32::MAX), "time-too-new");
    assert_eq!(
        refusal(&|b| b.header.prev_blockhash = BlockHash::from_byte_array([9; 32])),
        "prev-blk-not-found"
    );
    assert_eq!(refusal(&|b| b.header.version = bitcoin::block::Version::ONE), "bad-version(0x00000001)");
    assert_eq!(
        refusal(&|b| b.txdata[0].input[0].script_sig = ScriptBuf::from_bytes(vec![1, 9, 0])),
        "bad-cb-height"
    );
    assert_eq!(
        refusal(&|b| b.header.bits = bitcoin::CompactTarget::from_consensus(0x207f_fffe)),
        "bad-diffbits"
    );
    let immature = wallet.forward(&coinbase(&chain, 20), wallet.p2tr(), 0);
    let with = |tx: &Transaction| {
        let tx = tx.clone();
        move |block: &mut Block| {
            block.txdata.push(tx.clone());
            recommit(block);
        }
    };
    assert_eq!(refusal(&with(&immature)), "bad-txns-premature-spend-of-coinbase");
    let chain = funded(&wallet, 101);
    let mut forged = wallet.forward(&coinbase(&chain, 1), wallet.p2tr(), 0);
    let honest = forged.clone();
    forged.output[0].value -= Amount::ONE_SAT;
    assert_eq!(
        changed_tip(&chain, with(&forged)).unwrap_err(),
        "block-script-verify-flag-failed (Signature must be zero for failed CHECK(MULTI)SIG operation)"
    );
    assert_eq!(chain.height(), 101);
    assert_eq!(changed_tip(&chain, with(&honest)), Ok(Submitted::Active));
}

/// Makes the witness commitment right again.
fn recommit(block: &mut Block) {
    let root = block.witness_root().unwrap();
    let commitment = Block::compute_witness_commitment(&root, &[0; 32]);
    let script = [&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed], commitment.as_ref() as &[u8]].concat();
    block.txdata[0].output[1].script_pubkey = ScriptBuf::from_bytes(script);
}

#[test]
fn a_bad_block_below_a_longer_branch_does_not_win() {
    let wallet = Wallet::new();
    let chain = funded(&wallet, 3);
    let tip = chain.tip();
    // Block 3 again, paying too much, which shows only once it would become active.
    let mut bad = chain.block(&tip).unwrap().as_ref().clone();
    bad.txdata[0].output[0].value += Amount::ONE_SAT;
    remine(&mut bad);
    assert_eq!(chain.submit(bad.clone()).unwrap(), Submitted::SideBranch);
    let mut child = chain.block(&chain.mine(1).unwrap()[0]).unwrap().as_ref().clone();
    let good_tip = chain.tip();
    child.header.prev_blockhash = bad.block_hash();
    remine(&mut child);
    let mut grandchild = chain.block(&chain.mine(1).unwrap()[0]).unwrap().as_ref().clone();
    chain.invalidate(&chain.tip()).unwrap();
    grandchild.header.prev_blockhash = child.block_hash();
    remine(&mut grandchild);
    assert_eq!(chain.submit(child).unwrap(), Submitted::SideBranch);
    assert_eq!(chain.submit(grandchild).unwrap(), Submitted::SideBranch);
    assert_eq!(chain.tip(), good_tip);
    assert!(matches!(chain.submit(bad), Err(MockChainError::Rejected(r)) if r.reason == "duplicate-invalid"));
}
