//! Conformance with Bitcoin Core: a real node takes every block, and says the same about them.
//!
//! Set `BITCOIND_EXE` to a `bitcoind`; without it the test says that it was skipped.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that finds something missing is to fail there")]

mod common;

use assent_mockchain::{MockChain, MockChainConfig};
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::script::PushBytesBuf;
use bitcoin::{Amount, Block, OutPoint, ScriptBuf, Sequence, Transaction, TxOut};
use common::node::{Differences, Node, both, both_batch, both_mempools};
use common::{Client, Wallet, coin, coinbase, hex, output};
use serde_json::{Value, json};

/// Blocks with every kind of spend, replacements, two halvings and a reorganisation of several blocks.
fn busy_chain(wallet: &Wallet) -> MockChain {
    let chain = MockChain::open(MockChainConfig::default()).unwrap();
    chain.mine_to(110, &wallet.p2wpkh()).unwrap();
    let mut coins: Vec<(OutPoint, TxOut)> = vec![];
    for round in 0..200u32 {
        let fresh = coinbase(&chain, round + 1);
        let value = fresh.1.value.to_sat();
        let split = wallet.pay(
            std::slice::from_ref(&fresh),
            vec![
                output(1_000_000, wallet.p2wpkh()),
                output(2_000_000, wallet.p2tr()),
                output(value - 3_010_000, wallet.p2tr()),
            ],
        );
        chain.send(split.clone()).unwrap();
        coins.push(coin(&split, 2));
        // An anchor of 80 bytes that is replaced once, spends both kinds, and depends on an unconfirmed parent.
        let mixed = [coin(&split, 0), coin(&split, 1)];
        for fee in [1_000, 5_000] {
            let data = PushBytesBuf::try_from(vec![round.to_le_bytes()[0]; 80]).unwrap();
            let outputs =
                vec![output(0, ScriptBuf::new_op_return(data)), output(3_000_000 - fee, wallet.p2wpkh())];
            chain.send(wallet.pay(&mixed, outputs)).unwrap();
        }
        if round % 7 == 0 && coins.len() > 3 {
            let all = std::mem::take(&mut coins);
            let total: u64 = all.iter().map(|(_, output)| output.value.to_sat()).sum();
            let height = chain.height();
            let joined = wallet.pay_locked(
                &all,
                vec![output(total - 20_000, wallet.p2wpkh())],
                height,
                Sequence::from_height(0),
            );
            chain.send(joined).unwrap();
        }
        chain.mine_to(1, &if round % 2 == 0 { wallet.p2wpkh() } else { wallet.p2tr() }).unwrap();
        if round == 100 {
            let fork = chain.block_hash(chain.height() - 5).unwrap();
            chain.invalidate(&fork).unwrap();
            chain.mine_to(8, &wallet.p2tr()).unwrap();
            chain.reconsider(&fork).unwrap();
        }
    }
    chain
}

/// Finds a nonce after a change.
fn remined(chain: &MockChain, change: &dyn Fn(&mut Block)) -> Value {
    let tip = chain.mine(1).unwrap()[0];
    let mut block = chain.block(&tip).unwrap().as_ref().clone();
    chain.invalidate(&tip).unwrap();
    // The mock knows the block it mined; this is to be another one, whatever the change.
    block.header.time += 1;
    change(&mut block);
    let root = block.witness_root().unwrap();
    let commitment = Block::compute_witness_commitment(&root, &[0; 32]);
    let script = [&[0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed], commitment.as_ref() as &[u8]].concat();
    if let Some(output) = block.txdata[0].output.get_mut(1) {
        output.script_pubkey = ScriptBuf::from_bytes(script);
    }
    if block.header.merkle_root != bitcoin::hashes::Hash::all_zeros() {
        block.header.merkle_root = block.compute_merkle_root().unwrap();
    }
    while !block.header.target().is_met_by(block.block_hash()) {
        block.header.nonce = block.header.nonce.wrapping_add(1);
    }
    json!([serialize_hex(&block)])
}

#[tokio::test(flavor = "multi_thread")]
async fn bitcoin_core_takes_every_block_and_answers_the_same() {
    let Ok(exe) = std::env::var("BITCOIND_EXE") else {
        eprintln!("skipped: BITCOIND_EXE names no bitcoind to compare with");
        return;
    };
    let wallet = Wallet::new();
    let chain = busy_chain(&wallet);
    let node = Node::start(&exe).await;
    let core = &node.client;
    // A second mock takes the blocks as Core does, from outside.
    let fed = MockChain::open(MockChainConfig::default()).unwrap();
    let mock = &Client::serving(&fed).await;
    let mut differences = Differences::default();

    let blocks = chain.blocks();
    let spends = blocks.iter().map(|block| block.txdata.len() - 1).sum::<usize>();
    eprintln!("{} blocks, {spends} spends", blocks.len());
    let submissions: Vec<(&str, Value)> =
        blocks[1..].iter().map(|block| ("submitblock", json!([serialize_hex(block.as_ref())]))).collect();
    for reply in both_batch(&mut differences, core, mock, &submissions).await {
        let result = &reply["result"];
        assert!(reply["error"].is_null() && (result.is_null() || result == "inconclusive"), "{reply}");
    }
    let tip = json!(chain.tip().to_string());
    assert_eq!(core.call("getbestblockhash", json!([])).await, tip);
    assert_eq!(mock.call("getbestblockhash", json!([])).await, tip);
    let tips = both(&mut differences, core, mock, "getchaintips", json!([])).await;
    assert_eq!(tips["result"].as_array().unwrap().len(), 2, "{tips}");
    assert_eq!(tips["result"][1]["status"], "valid-fork");
    assert_eq!(tips["result"][1]["branchlen"], 6);

    compare_answers(&mut differences, core, mock, &blocks).await;
    compare_refusals(&mut differences, core, mock, &wallet, &fed).await;
    compare_mempool(&mut differences, core, mock, &wallet, &fed).await;
    compare_blocks_refused(&mut differences, core, mock, &wallet, &fed).await;
    compare_errors(&mut differences, core, mock, &fed).await;
    differences.report();
}

async fn compare_answers(
    differences: &mut Differences,
    core: &Client,
    mock: &Client,
    blocks: &[std::sync::Arc<Block>],
) {
    for block in blocks {
        let hash = block.block_hash().to_string();
        let mut calls: Vec<(&str, Value)> =
            (0..=3).map(|verbosity| ("getblock", json!([hash, verbosity]))).collect();
        calls.push(("getblockheader", json!([hash, false])));
        calls.push(("getblockheader", json!([hash, true])));
        for tx in &block.txdata {
            let txid = tx.compute_txid().to_string();
            calls.extend((0..=2).map(|verbosity| ("getrawtransaction", json!([txid, verbosity]))));
            calls.push(("getrawtransaction", json!([txid, 1, hash])));
            calls.push(("gettxout", json!([txid, 0])));
            calls.push(("gettxout", json!([txid, 1, false])));
            calls.push(("gettxoutproof", json!([[txid], hash])));
            if block.header.prev_blockhash != bitcoin::hashes::Hash::all_zeros() {
                calls.push(("gettxoutproof", json!([[txid]])));
            }
        }
        both_batch(differences, core, mock, &calls).await;
    }
    let (mut from_core, mut from_mock) =
        (core.call("getblockchaininfo", json!([])).await, mock.call("getblockchaininfo", json!([])).await);
    for field in ["size_on_disk", "verificationprogress"] {
        let (a, b) = (from_core[field].take(), from_mock[field].take());
        assert!(a.is_number() && b.is_number(), "{field}: {a} {b}");
    }
    // A node built from an unreleased source warns of that.
    assert!(from_core["warnings"].take().is_array() && from_mock["warnings"].take().is_array());
    differences.compare("getblockchaininfo", &from_core, &from_mock);
    for (method, fields) in [
        ("getnetworkinfo", ["relayfee", "incrementalfee", "networkactive"].as_slice()),
        ("getmininginfo", ["blocks", "bits", "difficulty", "target", "pooledtx", "chain", "next"].as_slice()),
        (
            "getmempoolinfo",
            ["size", "bytes", "total_fee", "minrelaytxfee", "incrementalrelayfee", "maxdatacarriersize"]
                .as_slice(),
        ),
    ] {
        let (from_core, from_mock) = (core.call(method, json!([])).await, mock.call(method, json!([])).await);
        for field in fields {
            // The mock has no network, a node without peers has one that is idle.
            if *field == "networkactive" {
                assert!(from_core[field].is_boolean() && from_mock[field].is_boolean());
            } else {
                differences.compare(&format!("{method}.{field}"), &from_core[*field], &from_mock[*field]);
            }
        }
    }
}

/// An unspent coinbase that is deep enough, counted from the youngest such.
fn ripe(chain: &MockChain, skip: u32) -> (OutPoint, TxOut) {
    (1..=chain.height() - 100)
        .rev()
        .map(|height| coinbase(chain, height))
        .filter(|(outpoint, _)| chain.unspent(outpoint).is_some())
        .nth(usize::try_from(skip).unwrap())
        .unwrap()
}

async fn compare_refusals(
    differences: &mut Differences,
    core: &Client,
    mock: &Client,
    wallet: &Wallet,
    chain: &MockChain,
) {
    let from = ripe(chain, 0);
    let value = from.1.value.to_sat();
    let one = std::slice::from_ref(&from);
    let data = |len| output(0, ScriptBuf::new_op_return(PushBytesBuf::try_from(vec![1; len]).unwrap()));
    let change = |fee| output(value - fee, wallet.p2tr());
    let good = wallet.forward(&from, wallet.p2tr(), 10_000);
    let altered = |change: &dyn Fn(&mut Transaction)| {
        let mut tx = good.clone();
        change(&mut tx);
        tx
    };
    let young = coinbase(chain, chain.height() - 50);
    let mut spent_long_ago = good.clone();
    spent_long_ago.input[0].previous_output = coinbase(chain, 1).0;
    let cases = [
        ("missing input", altered(&|tx| tx.input[0].previous_output.vout = 9)),
        ("spent input", spent_long_ago),
        ("immature", wallet.forward(&young, wallet.p2tr(), 1_000)),
        ("more out than in", altered(&|tx| tx.output[0].value = Amount::from_sat(value + 1))),
        ("no fee", wallet.forward(&from, wallet.p2tr(), 0)),
        ("op_return too long", wallet.pay(one, vec![data(81), change(1_000)])),
        (
            "nonstandard output",
            wallet.pay(one, vec![output(1_000, ScriptBuf::from_bytes(vec![0x51])), change(10_000)]),
        ),
        ("version", altered(&|tx| tx.version = bitcoin::transaction::Version::non_standard(4))),
        ("not final", wallet.pay_locked(one, vec![change(1_000)], chain.height() + 5, Sequence::ZERO)),
        ("not BIP68 final", wallet.pay_locked(one, vec![change(1_000)], 0, Sequence::from_height(5_000))),
        ("duplicate input", altered(&|tx| tx.input.push(tx.input[0].clone()))),
        ("no output", altered(&|tx| tx.output.clear())),
        ("scriptSig", altered(&|tx| tx.input[0].script_sig = ScriptBuf::from_bytes(vec![0x51]))),
        ("scriptSig with opcodes", altered(&|tx| tx.input[0].script_sig = ScriptBuf::from_bytes(vec![0xac]))),
        ("forged", altered(&|tx| tx.output[0].value -= Amount::ONE_SAT)),
        ("absurd fee", wallet.forward(&from, wallet.p2tr(), 200_000_000)),
        ("burn", wallet.pay(one, vec![output(1_000, data(4).script_pubkey), change(10_000)])),
        ("coinbase", chain.block(&chain.tip()).unwrap().txdata[0].clone()),
        ("unmined coinbase", {
            let mut tx = chain.block(&chain.tip()).unwrap().txdata[0].clone();
            tx.lock_time = bitcoin::absolute::LockTime::from_consensus(1);
            tx
        }),
        ("known", chain.block(&chain.tip()).unwrap().txdata[1].clone()),
        ("too much", altered(&|tx| tx.output[0].value = Amount::from_sat(21_000_000 * 100_000_000 + 1))),
        ("negative", altered(&|tx| tx.output[0].value = Amount::from_sat(u64::MAX))),
    ];
    for (name, tx) in cases {
        let params = json!([hex(&tx)]);
        let (from_core, from_mock) = (
            core.reply("sendrawtransaction", params.clone()).await,
            mock.reply("sendrawtransaction", params.clone()).await,
        );
        differences.compare(&format!("sendrawtransaction: {name}"), &from_core["error"], &from_mock["error"]);
        let params = json!([[hex(&tx)]]);
        let (from_core, from_mock) = (
            core.call("testmempoolaccept", params.clone()).await,
            mock.call("testmempoolaccept", params).await,
        );
        differences.compare(&format!("testmempoolaccept: {name}"), &from_core[0], &from_mock[0]);
    }
    // Where the words or the order of checks differ by version or by what the mock can check, the code still agrees.
    let by_code = [
        ("two op_returns", wallet.pay(one, vec![data(60), data(60), change(1_000)])),
        ("dust", wallet.pay(one, vec![output(100, wallet.p2tr()), change(1_000)])),
        ("empty witness", altered(&|tx| tx.input[0].witness.clear())),
        ("too small", wallet.pay(one, vec![output(0, ScriptBuf::from_bytes(vec![0x6a]))])),
    ];
    for (name, tx) in by_code {
        let params = json!([hex(&tx), 0]);
        let (core_code, mock_code) = (
            core.fail("sendrawtransaction", params.clone()).await,
            mock.fail("sendrawtransaction", params).await,
        );
        assert_eq!(core_code.0, mock_code.0, "{name}: {core_code:?} {mock_code:?}");
    }
}

async fn compare_mempool(
    differences: &mut Differences,
    core: &Client,
    mock: &Client,
    wallet: &Wallet,
    chain: &MockChain,
) {
    let from = ripe(chain, 1);
    let first = wallet.forward(&from, wallet.p2tr(), 10_000);
    let child = wallet.forward(&coin(&first, 0), wallet.p2tr(), 20_000);
    for tx in [&first, &child] {
        both(differences, core, mock, "testmempoolaccept", json!([[hex(tx)]])).await;
        both(differences, core, mock, "sendrawtransaction", json!([hex(tx)])).await;
        both(differences, core, mock, "sendrawtransaction", json!([hex(tx)])).await;
        let txid = tx.compute_txid().to_string();
        both(differences, core, mock, "getrawtransaction", json!([txid, 1])).await;
        both(differences, core, mock, "getrawtransaction", json!([txid, 2])).await;
        both(differences, core, mock, "gettxout", json!([txid, 0])).await;
        both(differences, core, mock, "gettxoutproof", json!([[txid]])).await;
    }
    for tx in [&first, &child] {
        let params = json!([tx.compute_txid().to_string()]);
        let (from_core, from_mock) =
            (core.call("getmempoolentry", params.clone()).await, mock.call("getmempoolentry", params).await);
        for (name, value) in from_mock.as_object().unwrap() {
            match name.as_str() {
                // The clocks are read one after the other; the last field went with Core 31.
                "time" | "bip125-replaceable" => {}
                "fees" => {
                    for (name, value) in value.as_object().unwrap() {
                        differences.compare(
                            &format!("getmempoolentry.fees.{name}"),
                            &from_core["fees"][name],
                            value,
                        );
                    }
                }
                _ => differences.compare(&format!("getmempoolentry.{name}"), &from_core[name], value),
            }
        }
    }
    let spending = json!([[{ "txid": from.0.txid.to_string(), "vout": 0 }, { "txid": from.0.txid.to_string(), "vout": 5 }]]);
    both(differences, core, mock, "gettxspendingprevout", spending).await;
    let worse = wallet.forward(&from, wallet.p2wpkh(), 25_000);
    let (code, mock_code) = (
        core.fail("sendrawtransaction", json!([hex(&worse)])).await,
        mock.fail("sendrawtransaction", json!([hex(&worse)])).await,
    );
    assert_eq!((code.0, code.1.split(',').next()), (mock_code.0, mock_code.1.split(',').next()));
    let better = wallet.forward(&from, wallet.p2wpkh(), 40_000);
    both(differences, core, mock, "sendrawtransaction", json!([hex(&better)])).await;
    both_mempools(differences, core, mock).await;
    // Core mines what it holds, and the mock takes that block; then the other way round.
    let address = wallet.address();
    let mined = core.call("generatetoaddress", json!([1, address])).await;
    let block = core.call("getblock", json!([mined[0], 0])).await;
    assert_eq!(
        mock.call("submitblock", json!([block])).await,
        Value::Null,
        "the mock refuses a block of Core's"
    );
    both(differences, core, mock, "getblock", json!([mined[0], 2])).await;
    both_mempools(differences, core, mock).await;
    both(differences, core, mock, "sendrawtransaction", json!([hex(&better)])).await;
    // A reorganisation on both sides gives the transaction back.
    both(differences, core, mock, "invalidateblock", json!([mined[0]])).await;
    both_mempools(differences, core, mock).await;
    both(differences, core, mock, "getchaintips", json!([])).await;
    both(differences, core, mock, "submitblock", json!([block])).await;
    both(differences, core, mock, "reconsiderblock", json!([mined[0]])).await;
    both(differences, core, mock, "getbestblockhash", json!([])).await;
    let hash = chain.mine_to(1, &wallet.p2tr()).unwrap()[0];
    let block = serialize_hex(chain.block(&hash).unwrap().as_ref());
    assert_eq!(core.call("submitblock", json!([block])).await, Value::Null);
    both(differences, core, mock, "submitblock", json!([block])).await;
    both(differences, core, mock, "getblock", json!([hash.to_string(), 3])).await;
}

/// What is done to a block before it is mined again.
type Change = Box<dyn Fn(&mut Block)>;

async fn compare_blocks_refused(
    differences: &mut Differences,
    core: &Client,
    mock: &Client,
    wallet: &Wallet,
    chain: &MockChain,
) {
    let young = wallet.forward(&coinbase(chain, chain.height() - 10), wallet.p2tr(), 0);
    let mut forged = wallet.forward(&ripe(chain, 2), wallet.p2tr(), 0);
    forged.output[0].value -= Amount::ONE_SAT;
    let mut bare = forged.clone();
    bare.input[0].witness.clear();
    let mut missing = young.clone();
    missing.input[0].previous_output.vout = 8;
    let with = |tx: &Transaction| {
        let tx = tx.clone();
        move |block: &mut Block| block.txdata.push(tx.clone())
    };
    let changes: Vec<(&str, Change)> = vec![
        ("coinbase pays too much", Box::new(|b| b.txdata[0].output[0].value += Amount::ONE_SAT)),
        ("too old", Box::new(|b| b.header.time = 1_500_000_000)),
        ("too new", Box::new(|b| b.header.time = u32::MAX)),
        (
            "unknown parent",
            Box::new(|b| b.header.prev_blockhash = bitcoin::hashes::Hash::from_byte_array([9; 32])),
        ),
        ("old version", Box::new(|b| b.header.version = bitcoin::block::Version::TWO)),
        ("height", Box::new(|b| b.txdata[0].input[0].script_sig = ScriptBuf::from_bytes(vec![1, 9, 0]))),
        ("bits", Box::new(|b| b.header.bits = bitcoin::CompactTarget::from_consensus(0x207f_fffe))),
        ("Merkle root", Box::new(|b| b.header.merkle_root = bitcoin::hashes::Hash::all_zeros())),
        ("reserved value", Box::new(|b| b.txdata[0].input[0].witness.push([1]))),
        ("no commitment", Box::new(|b| drop(b.txdata[0].output.pop()))),
        ("immature spend", Box::new(with(&young))),
        ("missing input", Box::new(with(&missing))),
        ("forged", Box::new(with(&forged))),
        ("no signature", Box::new(with(&bare))),
        (
            "two coinbases",
            Box::new(|b| {
                let mut second = b.txdata[0].clone();
                second.output.truncate(1);
                b.txdata.push(second);
            }),
        ),
    ];
    for (name, change) in changes {
        let params = remined(chain, change.as_ref());
        let (from_core, from_mock) =
            (core.reply("submitblock", params.clone()).await, mock.reply("submitblock", params).await);
        differences.compare(&format!("submitblock: {name}"), &from_core, &from_mock);
    }
    both(differences, core, mock, "getbestblockhash", json!([])).await;
}

async fn compare_errors(differences: &mut Differences, core: &Client, mock: &Client, chain: &MockChain) {
    let genesis = chain.block_hash(0).unwrap().to_string();
    let nobody = "f".repeat(64);
    let coinbase = chain.block(&chain.block_hash(0).unwrap()).unwrap().txdata[0].compute_txid().to_string();
    let calls = [
        ("nonsense", json!([])),
        ("getblockhash", json!([-1])),
        ("getblockhash", json!([1_000_000])),
        ("getblockhash", json!([1.5])),
        ("getblockhash", json!(["x"])),
        ("getblockhash", json!({ "height": 1 })),
        ("getblockhash", json!({ "depth": 1 })),
        ("getblockhash", json!({ "args": [1], "height": 1 })),
        ("getblock", json!([nobody])),
        ("getblock", json!(["abc"])),
        ("getblock", json!(["x".repeat(64)])),
        ("getblock", json!([7])),
        ("getblock", json!([genesis, "x"])),
        ("getblock", json!([genesis, true])),
        ("getblock", json!({ "blockhash": genesis, "verbose": false })),
        ("getblockheader", json!([nobody])),
        ("getblockheader", json!([genesis, 1])),
        ("getrawtransaction", json!([nobody])),
        ("getrawtransaction", json!([coinbase])),
        ("getrawtransaction", json!([nobody, 1, nobody])),
        ("getrawtransaction", json!([nobody, 1, genesis])),
        ("getrawtransaction", json!(["abc"])),
        ("gettxout", json!([nobody, 0])),
        ("gettxout", json!([nobody, "x"])),
        ("gettxoutproof", json!([[]])),
        ("gettxoutproof", json!([[nobody]])),
        ("gettxoutproof", json!([[nobody, nobody]])),
        ("gettxoutproof", json!([[nobody], genesis])),
        ("gettxoutproof", json!([[7]])),
        ("sendrawtransaction", json!(["zz"])),
        ("sendrawtransaction", json!(["00"])),
        ("sendrawtransaction", json!([7])),
        ("sendrawtransaction", json!(["00", true])),
        ("testmempoolaccept", json!([[]])),
        ("testmempoolaccept", json!([["00"]])),
        ("getmempoolentry", json!([nobody])),
        ("generatetoaddress", json!([1, "nonsense"])),
        ("generatetoaddress", json!([0, "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"])),
        ("submitblock", json!(["00"])),
        ("invalidateblock", json!([nobody])),
        ("reconsiderblock", json!([nobody])),
        ("estimatesmartfee", json!([0])),
        ("estimatesmartfee", json!([2_000])),
        ("gettxspendingprevout", json!([[]])),
        ("help", json!(["nonsense"])),
    ];
    for (method, params) in calls {
        both(differences, core, mock, method, params).await;
    }
    let bodies = [
        "{",
        "7",
        "[]",
        "[7]",
        "{}",
        r#"{"id":1}"#,
        r#"{"id":1,"method":7}"#,
        r#"{"id":1,"method":"uptime","params":7}"#,
        r#"{"jsonrpc":"3.0","id":1,"method":"uptime"}"#,
        r#"{"jsonrpc":2,"id":1,"method":"uptime"}"#,
        r#"{"jsonrpc":"2.0","id":1,"method":"nonsense"}"#,
        r#"{"jsonrpc":"2.0","method":"getblockcount"}"#,
        r#"{"jsonrpc":"2.0","id":null,"method":"getblockcount"}"#,
        r#"{"method":"getblockcount"}"#,
        r#"[{"jsonrpc":"2.0","method":"getblockcount"}]"#,
        r#"{"jsonrpc":"2.0","id":1,"method":7}"#,
        r#"[{"jsonrpc":"2.0","id":1,"method":"getblockcount"},{"id":2,"method":"getblockhash","params":[-1]}]"#,
        r#"{"id":1,"method":"getblockhash","params":[]}"#,
    ];
    for body in bodies {
        let (from_core, from_mock) = (core.post(body).await.unwrap(), mock.post(body).await.unwrap());
        let read = |(status, text): (u16, String)| {
            let mut reply: Value = serde_json::from_str(&text).unwrap_or(json!(text));
            // The text of a method's usage is Core's own.
            if reply["error"]["code"] == -1 {
                reply["error"]["message"].take();
            }
            json!({ "status": status, "reply": reply })
        };
        differences.compare(&format!("body {body}"), &read(from_core), &read(from_mock));
    }
    let (core_status, mock_status) =
        (core.request("GET", "").await.unwrap().0, mock.request("GET", "").await.unwrap().0);
    assert_eq!(core_status, mock_status);
}
