//! The JSON-RPC interface over real HTTP: results, every error code, versions, batches, authentication and faults.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that finds something missing is to fail there")]

mod common;

use assent_mockchain::{FaultKind, MockChain, MockChainConfig};
use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::{Block, MerkleBlock, ScriptBuf};
use common::{Client, Wallet, coin, coinbase, funded, hex, output};
use serde_json::{Value, json};
use tokio::net::TcpListener;

const NOBODY: &str = "ff00000000000000000000000000000000000000000000000000000000000000";

#[tokio::test]
async fn the_life_of_a_transaction_reads_as_on_a_node() {
    let wallet = Wallet::new();
    let chain = MockChain::open(MockChainConfig::default()).unwrap();
    let rpc = Client::serving(&chain).await;
    let mined = rpc.call("generatetoaddress", json!([101, wallet.address()])).await;
    assert_eq!(mined.as_array().unwrap().len(), 101);
    assert_eq!(rpc.call("getblockcount", json!([])).await, 101);
    assert_eq!(rpc.call("getbestblockhash", json!([])).await, mined[100]);
    assert_eq!(rpc.call("getblockhash", json!([1])).await, mined[0]);

    let from = coinbase(&chain, 1);
    let out = rpc.call("gettxout", json!([from.0.txid.to_string(), 0])).await;
    assert_eq!((&out["confirmations"], &out["coinbase"]), (&json!(101), &json!(true)));
    let tx = wallet.forward(&from, wallet.p2tr(), 10_000);
    let txid = tx.compute_txid().to_string();
    let tested = rpc.call("testmempoolaccept", json!([[hex(&tx)]])).await;
    assert_eq!((&tested[0]["allowed"], &tested[0]["txid"]), (&json!(true), &json!(txid)));
    assert_eq!(rpc.call("getrawmempool", json!([])).await, json!([]));
    for _ in 0..2 {
        assert_eq!(rpc.call("sendrawtransaction", json!({ "hexstring": hex(&tx) })).await, json!(txid));
    }
    assert_eq!(rpc.call("getrawmempool", json!([])).await, json!([txid]));
    let entry = rpc.call("getmempoolentry", json!([txid])).await;
    assert_eq!(entry["fees"]["base"], json!(0.0001));
    assert_eq!(rpc.call("getrawmempool", json!([true])).await[&txid], entry);
    assert_eq!(rpc.call("getmempoolinfo", json!([])).await["size"], 1);
    assert_eq!(rpc.call("gettxout", json!([from.0.txid.to_string(), 0])).await, Value::Null);
    assert_ne!(rpc.call("gettxout", json!([from.0.txid.to_string(), 0, false])).await, Value::Null);
    assert_eq!(rpc.call("gettxout", json!([txid, 0])).await["confirmations"], 0);
    let spending = json!([[{ "txid": from.0.txid.to_string(), "vout": 0 }]]);
    assert_eq!(rpc.call("gettxspendingprevout", spending).await[0]["spendingtxid"], json!(txid));
    assert_eq!(rpc.call("getrawtransaction", json!([txid])).await, json!(hex(&tx)));
    assert!(rpc.call("getrawtransaction", json!([txid, 1])).await.get("confirmations").is_none());

    let block = rpc.call("generatetoaddress", json!([2, wallet.address()])).await[0].clone();
    let found = rpc.call("getrawtransaction", json!([txid, 2])).await;
    assert_eq!((&found["confirmations"], &found["blockhash"]), (&json!(2), &block));
    assert_eq!((&found["fee"], &found["vin"][0]["prevout"]["height"]), (&json!(0.0001), &json!(1)));
    let proof = rpc.call("gettxoutproof", json!([[txid]])).await;
    let proof: MerkleBlock = deserialize_hex(proof.as_str().unwrap()).unwrap();
    let (mut txids, mut places) = (vec![], vec![]);
    proof.extract_matches(&mut txids, &mut places).unwrap();
    assert_eq!((txids, places), (vec![tx.compute_txid()], vec![1]));
    assert_eq!(proof.header.block_hash().to_string(), block.as_str().unwrap());

    rpc.call("invalidateblock", json!([block])).await;
    assert_eq!(rpc.call("getrawmempool", json!([])).await, json!([txid]));
    let stale = rpc.call("getrawtransaction", json!([txid, 1, block])).await;
    assert_eq!((&stale["in_active_chain"], &stale["confirmations"]), (&json!(false), &json!(0)));
    let header = rpc.call("getblockheader", json!([block])).await;
    assert_eq!((&header["confirmations"], header.get("nextblockhash")), (&json!(-1), None));
    let tips = rpc.call("getchaintips", json!([])).await;
    assert_eq!((&tips[0]["status"], &tips[0]["branchlen"]), (&json!("invalid"), &json!(2)));
    rpc.call("reconsiderblock", json!([block])).await;
    assert_eq!(rpc.call("getblockcount", json!([])).await, 103);
    let empty = rpc.call("generateblock", json!([wallet.address(), []])).await;
    assert_eq!(rpc.call("getbestblockhash", json!([])).await, empty["hash"]);
}

#[tokio::test]
async fn amounts_leave_as_numbers_with_eight_decimals() {
    let wallet = Wallet::new();
    let chain = funded(&wallet, 1);
    let rpc = Client::serving(&chain).await;
    let txid = coinbase(&chain, 1).0.txid;
    let (_, body) = rpc
        .post(&json!({"id": 1, "method": "gettxout", "params": [txid.to_string(), 0]}).to_string())
        .await
        .unwrap();
    assert!(body.contains("\"value\":50.00000000,"), "{body}");
}

#[tokio::test]
async fn every_failure_has_its_code() {
    let wallet = Wallet::new();
    let chain = funded(&wallet, 102);
    let rpc = Client::serving(&chain).await;
    let from = coinbase(&chain, 1);
    let tx = wallet.forward(&from, wallet.p2tr(), 10_000);
    let genesis = chain.block_hash(0).unwrap().to_string();
    let cases = [
        ("getblockhash", json!([]), -1, "getblockhash height"),
        ("getblockhash", json!([1.5]), -1, "JSON integer out of range"),
        ("getblockhash", json!(["x"]), -3, "Wrong type passed"),
        ("getblockhash", json!([103]), -8, "Block height out of range"),
        ("getblockhash", json!({ "depth": 1 }), -8, "Unknown named parameter depth"),
        ("getblock", json!([NOBODY]), -5, "Block not found"),
        ("getblock", json!(["abc"]), -8, "blockhash must be of length 64 (not 3, for 'abc')"),
        ("getblock", json!(["x".repeat(64)]), -8, "blockhash must be hexadecimal string"),
        ("getblock", json!([genesis, "x"]), -3, "JSON value of type string is not of expected type number"),
        ("getblockheader", json!([NOBODY]), -5, "Block not found"),
        ("getrawtransaction", json!([NOBODY]), -5, "No such mempool or blockchain transaction"),
        (
            "getrawtransaction",
            json!([NOBODY, 0, genesis]),
            -5,
            "No such transaction found in the provided block",
        ),
        ("getmempoolentry", json!([NOBODY]), -5, "Transaction not in mempool"),
        ("gettxoutproof", json!([[]]), -8, "Parameter 'txids' cannot be empty"),
        ("gettxoutproof", json!([[NOBODY]]), -5, "Transaction not yet in block"),
        ("gettxoutproof", json!([[NOBODY], genesis]), -5, "Not all transactions found"),
        ("generatetoaddress", json!([1, "nonsense"]), -5, "Error: Invalid address"),
        (
            "generatetoaddress",
            json!([1, "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"]),
            -5,
            "Error: Invalid address",
        ),
        ("generatetoaddress", json!([10_001, wallet.address()]), -8, "at most 10000"),
        ("invalidateblock", json!([NOBODY]), -5, "Block not found"),
        ("estimatesmartfee", json!([0]), -8, "Invalid conf_target"),
        ("submitblock", json!(["00"]), -22, "Block decode failed"),
        ("sendrawtransaction", json!(["00"]), -22, "TX decode failed"),
        ("sendrawtransaction", json!([hex(&tx), true]), -3, "Amount is not a number or string"),
        ("sendrawtransaction", json!([hex(&tx), 1]), -8, "Fee rates larger than or equal to 1BTC/kvB"),
        ("sendrawtransaction", json!([hex(&tx), 0.0001]), -25, "Fee exceeds maximum"),
        ("mockfault", json!(["nothing", "drop"]), -8, "nothing is no method"),
        ("mockfault", json!(["uptime", "sulk"]), -8, "unknown fault kind"),
        ("nonsense", json!([]), -32601, "Method not found"),
    ];
    for (method, params, code, text) in cases {
        let (found, message) = rpc.fail(method, params.clone()).await;
        assert!(found == code && message.contains(text), "{method} {params}: {found} {message}");
    }
    let mut missing = tx.clone();
    missing.input[0].previous_output.vout = 7;
    let expected = (-25, "bad-txns-inputs-missingorspent".to_owned());
    assert_eq!(rpc.fail("sendrawtransaction", json!([hex(&missing)])).await, expected);
    let cheap = wallet.forward(&from, wallet.p2tr(), 1);
    let (code, message) = rpc.fail("sendrawtransaction", json!([hex(&cheap)])).await;
    assert!(code == -26 && message.starts_with("min relay fee not met, 1 < "), "{message}");
    let burned =
        wallet.pay(std::slice::from_ref(&from), vec![output(10_000, ScriptBuf::new_op_return([1; 4]))]);
    let (code, message) = rpc.fail("sendrawtransaction", json!([hex(&burned), 0])).await;
    assert!(code == -25 && message.contains("maxburnamount"), "{message}");
    rpc.call("sendrawtransaction", json!([hex(&tx)])).await;
    let (code, message) =
        rpc.fail("sendrawtransaction", json!([hex(&wallet.forward(&from, wallet.p2wpkh(), 10_001))])).await;
    assert!(code == -26 && message.starts_with("insufficient fee, rejecting replacement"), "{message}");
    chain.mine(1).unwrap();
    let expected = (-27, "Transaction outputs already in utxo set".to_owned());
    assert_eq!(rpc.fail("sendrawtransaction", json!([hex(&tx)])).await, expected);
    chain.send(wallet.forward(&coin(&tx, 0), wallet.p2wpkh(), 1_000)).unwrap();
    chain.mine(1).unwrap();
    // All its outputs are spent by now, so it looks like any other transaction whose input is gone.
    let (code, _) = rpc.fail("sendrawtransaction", json!([hex(&tx)])).await;
    assert_eq!(code, -25);
}

#[tokio::test]
async fn submitted_blocks_are_answered_in_the_words_of_bip_22() {
    let wallet = Wallet::new();
    let chain = MockChain::open(MockChainConfig::default()).unwrap();
    let rpc = Client::serving(&chain).await;
    let other = funded(&wallet, 3);
    chain.mine(2).unwrap();
    let theirs: Vec<Value> =
        other.blocks()[1..].iter().map(|block| json!([serialize_hex(block.as_ref())])).collect();
    assert_eq!(rpc.call("submitblock", theirs[1].clone()).await, "prev-blk-not-found");
    assert_eq!(rpc.call("submitblock", theirs[0].clone()).await, "inconclusive");
    assert_eq!(rpc.call("submitblock", theirs[0].clone()).await, "duplicate");
    assert_eq!(rpc.call("submitblock", theirs[1].clone()).await, "inconclusive");
    assert_eq!(rpc.call("submitblock", theirs[2].clone()).await, Value::Null);
    // As miners send it, without the reserved value that the commitment implies.
    let mut bare: Block = other.blocks()[0].as_ref().clone();
    other.mine(1).unwrap();
    bare.clone_from(other.block(&other.tip()).unwrap().as_ref());
    bare.txdata[0].input[0].witness.clear();
    assert_eq!(rpc.call("submitblock", json!([serialize_hex(&bare)])).await, Value::Null);
    assert_eq!(chain.tip(), other.tip());
}

#[tokio::test]
async fn versions_batches_and_rubbish_get_the_status_and_form_of_a_node() {
    let chain = MockChain::open(MockChainConfig::default()).unwrap();
    let rpc = Client::serving(&chain).await;
    let genesis = chain.tip();
    let cases = [
        (r#"{"id":"a","method":"getblockcount"}"#, 200, r#"{"result":0,"error":null,"id":"a"}"#),
        (r#"{"method":"getblockcount","params":null}"#, 200, r#"{"result":0,"error":null}"#),
        (
            r#"{"jsonrpc":"2.0","id":5,"method":"getblockcount"}"#,
            200,
            r#"{"jsonrpc":"2.0","result":0,"id":5}"#,
        ),
        (r#"{"jsonrpc":"2.0","method":"getblockcount"}"#, 204, ""),
        (r#"[{"jsonrpc":"2.0","method":"getblockcount"}]"#, 204, ""),
        ("[]", 200, "[]"),
        (
            r#"{"id":1,"method":"nope"}"#,
            404,
            r#"{"result":null,"error":{"code":-32601,"message":"Method not found"},"id":1}"#,
        ),
        (
            r#"{"jsonrpc":"2.0","id":1,"method":"nope"}"#,
            200,
            r#"{"jsonrpc":"2.0","error":{"code":-32601,"message":"Method not found"},"id":1}"#,
        ),
        (
            r#"{"id":1,"method":7}"#,
            400,
            r#"{"result":null,"error":{"code":-32600,"message":"Method must be a string"},"id":1}"#,
        ),
        (
            r#"{"id":1,"method":"getblockhash","params":[9]}"#,
            500,
            r#"{"result":null,"error":{"code":-8,"message":"Block height out of range"},"id":1}"#,
        ),
        (
            r#"[{"id":1,"method":"getblockcount"},7,{"id":2,"method":"nope"}]"#,
            200,
            r#"[{"result":0,"error":null,"id":1},{"result":null,"error":{"code":-32600,"message":"Invalid Request object"},"id":null},{"result":null,"error":{"code":-32601,"message":"Method not found"},"id":2}]"#,
        ),
        ("{", 500, r#"{"result":null,"error":{"code":-32700,"message":"Parse error"},"id":null}"#),
        (
            "7",
            500,
            r#"{"result":null,"error":{"code":-32700,"message":"Top-level object parse error"},"id":null}"#,
        ),
    ];
    for (body, status, expected) in cases {
        let (found, answer) = rpc.post(body).await.unwrap();
        assert_eq!((found, answer.trim_end()), (status, expected), "{body}");
    }
    assert_eq!(rpc.request("GET", "").await.unwrap().0, 405);
    let flood = format!("[{}]", vec!["{}"; 1_001].join(","));
    assert_eq!(rpc.post(&flood).await.unwrap().0, 400);
    let huge = format!("[\"{}\"]", "x".repeat(32 * 1024 * 1024));
    assert_eq!(rpc.post(&huge).await.map_or(413, |(status, _)| status), 413);
    let deep = "[".repeat(100_000);
    assert_eq!(rpc.post(&deep).await.unwrap().0, 500);
    assert_eq!(chain.tip(), genesis);
}

#[tokio::test]
async fn a_password_is_asked_for_where_one_is_set() {
    let auth = Some(("user".to_owned(), "pass:word".to_owned()));
    let chain = MockChain::open(MockChainConfig { rpc_auth: auth, ..MockChainConfig::default() }).unwrap();
    let mut rpc = Client::serving(&chain).await;
    let body = r#"{"id":1,"method":"getblockcount"}"#;
    assert_eq!(rpc.post(body).await.unwrap(), (401, String::new()));
    for (auth, status) in [("user:pass:word", 200), ("user:pass", 401), ("user:pass:work", 401), ("", 401)] {
        rpc.auth = Some(auth.to_owned());
        assert_eq!(rpc.post(body).await.unwrap().0, status, "{auth}");
    }
}

#[tokio::test]
async fn faults_leave_the_state_that_their_kind_promises() {
    let wallet = Wallet::new();
    let chain = funded(&wallet, 110);
    let rpc = Client::serving(&chain).await;
    for (height, (kind, is_done)) in [
        ("error", false),
        ("drop", false),
        ("busy", false),
        ("done_but_error", true),
        ("done_but_drop", true),
    ]
    .into_iter()
    .enumerate()
    {
        let tx = wallet.forward(&coinbase(&chain, u32::try_from(height).unwrap() + 1), wallet.p2tr(), 1_000);
        let body = json!({ "id": 1, "method": "sendrawtransaction", "params": [hex(&tx)] }).to_string();
        rpc.call("mockfault", json!(["sendrawtransaction", kind])).await;
        // Another method is not affected.
        rpc.call("getblockcount", json!([])).await;
        match (kind, rpc.post(&body).await) {
            ("drop" | "done_but_drop", None) => {}
            ("busy", Some((503, text))) => assert_eq!(text, "Work queue depth exceeded"),
            ("error" | "done_but_error", Some((500, text))) => assert!(text.contains("mock fault"), "{text}"),
            (_, other) => panic!("{kind}: {other:?}"),
        }
        assert_eq!(chain.mempool().contains(&tx.compute_txid()), is_done, "{kind}");
        assert_eq!(rpc.post(&body).await.unwrap().0, 200, "{kind} is used up");
    }
    chain.inject_fault("uptime", FaultKind::Error, 2);
    for code in [-1, -1] {
        assert_eq!(rpc.fail("uptime", json!([])).await.0, code);
    }
    rpc.call("uptime", json!([])).await;
}

#[tokio::test]
async fn stop_answers_and_ends_the_server() {
    let chain = MockChain::open(MockChainConfig::default()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let rpc = Client { address: listener.local_addr().unwrap().to_string(), auth: None };
    let server = tokio::spawn(chain.serve(listener, std::future::pending()));
    assert_eq!(rpc.call("stop", json!([])).await, "Bitcoin Core stopping");
    server.await.unwrap().unwrap();
    assert_eq!(rpc.post("{}").await, None);
}

#[tokio::test]
async fn the_timer_mines_without_being_asked() {
    let interval = Some(std::time::Duration::from_millis(1));
    let chain =
        MockChain::open(MockChainConfig { block_interval: interval, ..MockChainConfig::default() }).unwrap();
    let _rpc = Client::serving(&chain).await;
    while chain.height() < 3 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
}

#[tokio::test]
async fn help_lists_every_method_and_fee_estimates_need_transactions() {
    let wallet = Wallet::new();
    let chain = funded(&wallet, 115);
    let rpc = Client::serving(&chain).await;
    let help = rpc.call("help", json!([])).await;
    for method in
        ["getblock blockhash", "sendrawtransaction hexstring", "mockfault method kind", "estimatesmartfee"]
    {
        assert!(help.as_str().unwrap().contains(method), "{method}");
    }
    assert!(rpc.call("help", json!(["stop"])).await.as_str().unwrap().starts_with("stop ( wait )"));
    let estimate = rpc.call("estimatesmartfee", json!([2])).await;
    assert_eq!(estimate, json!({ "errors": ["Insufficient data or no feerate found"], "blocks": 2 }));
    for height in 1..=12 {
        let plain = wallet.forward(&coinbase(&chain, height), wallet.p2wpkh(), 0);
        let fee = 5 * u64::try_from(plain.vsize()).unwrap();
        chain.send(wallet.forward(&coinbase(&chain, height), wallet.p2wpkh(), fee)).unwrap();
    }
    chain.mine(1).unwrap();
    let rate = rpc.call("estimatesmartfee", json!([2])).await["feerate"].as_f64().unwrap();
    // Signatures differ by a byte in length, so the feerate is five satoshi a byte, give or take a few percent.
    assert!((0.000_049..0.000_051).contains(&rate), "{rate}");
    assert_eq!(rpc.call("getmininginfo", json!([])).await["next"]["height"], 117);
    assert_eq!(rpc.call("getnetworkinfo", json!([])).await["relayfee"], json!(0.00001));
}
