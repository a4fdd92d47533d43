//! Tiers, and what a reorganisation of the base chain does to them.

use std::time::Duration;

use assent_client::Submitted;
use assent_proto::v1::{Tier, TierStatus};
use assent_tests::{Ledger, id_of, key, open_account};
use serde_json::{Value, json};
use tokio_stream::StreamExt;

async fn rpc(ledger: &Ledger, method: &str, params: Value) -> Value {
    let body = json!({"jsonrpc": "1.0", "id": 1, "method": method, "params": params});
    // Its TLS is not used here, but wants to know of a provider.
    let _ = tokio_rustls::rustls::crypto::ring::default_provider().install_default();
    let response = reqwest::Client::new().post(ledger.mock_url()).json(&body).send().await.unwrap();
    let answer: Value = response.json().await.unwrap();
    assert!(answer["error"].is_null(), "{method}: {answer}");
    answer["result"].clone()
}

/// An address nobody needs the key of.
const ADDRESS: &str = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080";

async fn until(
    tiers: &mut (impl StreamExt<Item = Result<TierStatus, assent_client::ClientError>> + Unpin),
    wanted: impl Fn(&TierStatus) -> bool,
) -> Vec<TierStatus> {
    let mut seen = Vec::new();
    let waiting = async {
        while let Some(status) = tiers.next().await {
            let status = status.unwrap();
            seen.push(status.clone());
            if wanted(&status) {
                return;
            }
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(60), waiting).await.is_ok(), "seen so far: {seen:?}");
    seen
}

#[test]
fn tiers_advance_fall_back_with_a_reorganisation_and_recover() {
    // Blocks come on request only: the timer is a day away.
    let mut ledger = Ledger::start(86_400_000, 3);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = ledger.client().await;
        let transaction = client.sign(&key(1), open_account()).unwrap();
        assert!(matches!(client.submit(&transaction).await.unwrap(), Submitted::Sequenced(_)));
        let mut tiers = Box::pin(client.follow(id_of(&transaction)).await.unwrap());
        let at = |tier: Tier| move |status: &TierStatus| status.tier == tier as i32;
        let seen = until(&mut tiers, at(Tier::Checkpointed)).await;
        assert!(seen.len() >= 2 && seen[0].tier <= Tier::Sealed as i32, "{seen:?}");

        let error = client.bundle(id_of(&transaction), false).await.unwrap_err().to_string();
        assert!(error.contains("NOT_ANCHORED"), "{error}");
        // The anchor is in the mempool before long; then it is mined.
        for _ in 0..100 {
            if !rpc(&ledger, "getrawmempool", json!([])).await.as_array().unwrap().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // Some blocks without it first, so that the reorganisation goes deeper than the anchor.
        let mut empty = Vec::new();
        for _ in 0..4 {
            empty.push(rpc(&ledger, "generateblock", json!([ADDRESS, []])).await["hash"].clone());
        }
        rpc(&ledger, "generatetoaddress", json!([1, ADDRESS])).await;
        let anchored = until(&mut tiers, at(Tier::Anchored)).await.pop().unwrap();
        assert_eq!((anchored.depth, anchored.required_depth), (1, 3));
        rpc(&ledger, "generatetoaddress", json!([2, ADDRESS])).await;
        until(&mut tiers, at(Tier::Confirmed)).await;

        // Another branch without the anchor, longer than the one with it.
        let bundle = client.bundle(id_of(&transaction), false).await.unwrap();
        rpc(&ledger, "invalidateblock", json!([empty[0]])).await;
        // Empty blocks in their place; the anchor's transaction waits in the mempool again.
        for _ in 0..8 {
            rpc(&ledger, "generateblock", json!([ADDRESS, []])).await;
        }
        until(&mut tiers, at(Tier::Checkpointed)).await;
        rpc(&ledger, "generatetoaddress", json!([3, ADDRESS])).await;
        let again = until(&mut tiers, at(Tier::Confirmed)).await.pop().unwrap();
        assert!(again.anchor_height > anchored.anchor_height, "{again:?}");

        // What was proven on the abandoned branch still holds together, but not against a block of the real one.
        let tip = rpc(&ledger, "getbestblockhash", json!([])).await;
        let fresh = client.bundle(id_of(&transaction), false).await.unwrap();
        std::fs::write(ledger.path("old"), bundle).unwrap();
        std::fs::write(ledger.path("new"), fresh).unwrap();
        let tip = tip.as_str().unwrap();
        let _ = ledger
            .cli(&["verify", &ledger.path("new"), "--chain", &ledger.chain_id(), "--base-block", tip])
            .exits(0);
        let _ = ledger
            .cli(&["verify", &ledger.path("old"), "--chain", &ledger.chain_id(), "--base-block", tip])
            .exits(20)
            .says("pinned-block");
    });
    assert_eq!(ledger.terminate(), Some(0));
}

#[test]
fn an_anchor_survives_a_killed_node_and_an_unanswering_base_chain() {
    let mut ledger = Ledger::start(86_400_000, 1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = ledger.client().await;
        // The broadcast is taken in, and answered with an error; then the node is killed.
        rpc(&ledger, "mockfault", json!(["sendrawtransaction", "done_but_error", 2])).await;
        let first = client.sign(&key(1), open_account()).unwrap();
        client.submit(&first).await.unwrap();
        tokio::time::sleep(Duration::from_millis(1500)).await;
        ledger.kill();
        ledger.run();
        // The mempool is gone with the mock chain's process; the outbox is not.
        let client = ledger.client().await;
        for _ in 0..100 {
            if !rpc(&ledger, "getrawmempool", json!([])).await.as_array().unwrap().is_empty() {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // A later transaction goes into a replacement after a block without the anchor.
        let second = client.sign(&key(2), open_account()).unwrap();
        client.submit(&second).await.unwrap();
        let mut tiers = Box::pin(client.follow(id_of(&second)).await.unwrap());
        until(&mut tiers, |status| status.tier == Tier::Checkpointed as i32).await;
        let before = rpc(&ledger, "getrawmempool", json!([])).await;
        rpc(&ledger, "generateblock", json!([ADDRESS, []])).await;
        for _ in 0..100 {
            if rpc(&ledger, "getrawmempool", json!([])).await != before {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        rpc(&ledger, "generatetoaddress", json!([1, ADDRESS])).await;
        until(&mut tiers, |status| status.tier == Tier::Confirmed as i32).await;
        let status = client.prover_status().await.unwrap();
        assert_eq!(status.anchors, 1, "one anchor, the newest version, covers both");
        for transaction in [&first, &second] {
            let bundle = client.bundle(id_of(transaction), true).await.unwrap();
            std::fs::write(ledger.path("proof"), bundle).unwrap();
            let _ = ledger.cli(&["verify", &ledger.path("proof"), "--chain", &ledger.chain_id()]).exits(0);
        }
    });
}
