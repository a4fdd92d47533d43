//! A sequencer that breaks its word: the prover re-executes, finds the difference, halts with a report, signs nothing more.

use std::{pin::Pin, sync::Arc, time::Duration};

use assent_client::{Client, ClientConfig};
use assent_core::{batch::BatchHeader, codec::sha256, log::LogRecord, outcome::Entry, signature::KeyPair};
use assent_merkle::BatchTree;
use assent_proto::v1::{
    self as proto,
    prover_service_server::ProverServiceServer,
    sequencer_service_server::{SequencerService, SequencerServiceServer},
};
use assent_prover::{Prover, ProverConfig};
use assent_sequencer::{Sequencer, SequencerApi};
use assent_tests::{
    in_process::{ledger_keys, manifest, sequencer_config},
    key, open_account,
};
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tonic::{Request, Response, Status};

type Change = Arc<dyn Fn(&KeyPair, &mut proto::SealedBatch) + Send + Sync>;

/// A sequencer whose stream is altered from batch 1 on.
struct Cheat {
    honest: SequencerApi,
    key: KeyPair,
    change: Change,
}

#[tonic::async_trait]
impl SequencerService for Cheat {
    async fn submit(
        &self,
        r: Request<proto::SubmitRequest>,
    ) -> Result<Response<proto::SubmitResponse>, Status> {
        self.honest.submit(r).await
    }

    async fn get_transaction(
        &self,
        r: Request<proto::GetTransactionRequest>,
    ) -> Result<Response<proto::GetTransactionResponse>, Status> {
        self.honest.get_transaction(r).await
    }

    type StreamBatchesStream =
        Pin<Box<dyn Stream<Item = Result<proto::StreamBatchesResponse, Status>> + Send>>;

    async fn stream_batches(
        &self,
        r: Request<proto::StreamBatchesRequest>,
    ) -> Result<Response<Self::StreamBatchesStream>, Status> {
        let (key, change) = (self.key.clone(), self.change.clone());
        let stream = self.honest.stream_batches(r).await?.into_inner().map(move |message| {
            let mut message = message?;
            if let Some(batch) = message.batch.as_mut()
                && BatchHeader::decode(&batch.header).is_ok_and(|header| header.number >= 1)
            {
                change(&key, batch);
            }
            Ok(message)
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn get_ledger(
        &self,
        r: Request<proto::GetLedgerRequest>,
    ) -> Result<Response<proto::GetLedgerResponse>, Status> {
        self.honest.get_ledger(r).await
    }

    async fn get_consent(
        &self,
        r: Request<proto::GetConsentRequest>,
    ) -> Result<Response<proto::GetConsentResponse>, Status> {
        self.honest.get_consent(r).await
    }

    async fn get_account(
        &self,
        r: Request<proto::GetAccountRequest>,
    ) -> Result<Response<proto::GetAccountResponse>, Status> {
        self.honest.get_account(r).await
    }
}

/// Changes the header and signs it again, as only the sequencer can.
fn resign(key: &KeyPair, batch: &mut proto::SealedBatch, change: impl Fn(&mut BatchHeader)) {
    let mut header = BatchHeader::decode(&batch.header).unwrap();
    change(&mut header);
    batch.header = header.encode();
    batch.signature = key.sign(&sha256(&batch.header)).to_vec();
}

fn change_record(batch: &mut proto::SealedBatch, change: impl Fn(&mut LogRecord)) {
    let mut record = LogRecord::decode(&batch.log_records[0]).unwrap();
    change(&mut record);
    batch.log_records[0] = record.encode();
}

async fn halts(name: &str, expected: &str, change: Change) {
    let temp = tempfile::tempdir().unwrap();
    let (sequencer_key, prover_key) = ledger_keys();
    // Made long ago, so that time may be set back to before the first group.
    let manifest = manifest(1_700_000_000_000);
    let mut config = sequencer_config(temp.path(), &manifest);
    config.accept_time_step = true;
    let sequencer = Sequencer::open(config).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let prover = Prover::open(ProverConfig {
        path: temp.path().join("prover"),
        manifest: manifest.clone(),
        key: prover_key,
        sequencer: address.clone(),
        // Nobody there: anchoring waits.
        base_url: "http://127.0.0.1:9".into(),
        anchor: assent_anchor::AnchorConfig {
            chain_id: manifest.chain_id(),
            first_seal: manifest.first_anchor,
            network: bitcoin::Network::Regtest,
            seed: [1; 32],
            birthday_height: 0,
            max_fee_rate: 1000,
        },
        anchor_interval: Duration::from_secs(1),
        confirmations: 1,
    })
    .unwrap();
    let cheat = Cheat { honest: sequencer.api(), key: sequencer_key, change };
    let server = tonic::transport::Server::builder()
        .add_service(SequencerServiceServer::new(cheat))
        .add_service(ProverServiceServer::new(prover.api()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    let server = tokio::spawn(server);
    let (_stop, stopped) = watch::channel(false);
    let proving = tokio::spawn(prover.run(stopped));

    let client = Client::connect(ClientConfig::new(&address)).await.unwrap();
    for n in 0..6 {
        client.submit(&client.sign(&key(n), open_account()).unwrap()).await.unwrap();
    }
    let mut status = client.prover_status().await.unwrap();
    for _ in 0..200 {
        if !status.halted.is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
        status = client.prover_status().await.unwrap();
    }
    assert!(status.halted.contains(expected), "{name}: {expected:?} is not in {:?}", status.halted);
    assert_eq!(status.batches, 1, "{name}: nothing is signed from the difference on");
    let report = std::fs::read_to_string(temp.path().join("prover.halt-report.json")).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    assert_eq!(report["batch"], 1, "{name}");
    assert!(report["difference"].as_str().unwrap().contains(expected), "{name}");
    drop(client);
    proving.abort();
    server.abort();
    // Both are cancelled: that they ended so is no news.
    let _ = tokio::join!(proving, server);
    // RocksDB must not be closed by a thread that outlives the test.
    sequencer.shut_down().await.unwrap();
}

#[test]
fn every_way_to_cheat_in_the_batch_stream_halts_the_prover_with_a_report() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cases: Vec<(&str, &str, Change)> = vec![
        ("bad header signature", "signature on the header", Arc::new(|_, batch| batch.signature[0] ^= 1)),
        (
            "wrong effects",
            "effects root differs",
            Arc::new(|key, batch| resign(key, batch, |header| header.effects_root[0] ^= 1)),
        ),
        (
            "wrong outcome in an entry",
            "entry 0 of the batch differs",
            Arc::new(|key, batch| {
                let mut entry = Entry::decode(&batch.entries[0]).unwrap();
                entry.outcome_root[0] ^= 1;
                batch.entries[0] = entry.encode();
                let root = BatchTree::from_leaves(&batch.entries).root();
                resign(key, batch, |header| header.entries_root = root);
            }),
        ),
        (
            "an entry too few",
            "were sent",
            Arc::new(|_, batch| {
                batch.entries.pop();
            }),
        ),
        (
            "another history before it",
            "previous hash differs",
            Arc::new(|key, batch| resign(key, batch, |header| header.previous_hash[3] ^= 1)),
        ),
        (
            "another time",
            "time differs",
            Arc::new(|key, batch| resign(key, batch, |header| header.time_ms += 1)),
        ),
        (
            "a forged transaction",
            "invalid signature",
            Arc::new(|_, batch| {
                change_record(batch, |record| record.transactions[0].authorizations[0].signature[9] ^= 1);
            }),
        ),
        (
            "a transaction taken out",
            "neither has transactions",
            Arc::new(|_, batch| {
                change_record(batch, |record| {
                    record.transactions.pop();
                });
            }),
        ),
        (
            "time that goes back",
            "before that of the previous group",
            Arc::new(|_, batch| change_record(batch, |record| record.time_ms = 1_700_000_000_001)),
        ),
        (
            "a batch left out",
            "was sent where batch",
            Arc::new(|key, batch| resign(key, batch, |h| h.number += 1)),
        ),
        ("rubbish", "cannot be read", Arc::new(|_, batch| batch.log_records[0].truncate(20))),
    ];
    for (name, expected, change) in cases {
        runtime.block_on(halts(name, expected, change));
    }
}
