//! A sequencer or a prover that breaks its word: whoever executes the batches again finds the difference, halts, and writes
//! evidence that convicts.

use std::{
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use assent_client::{Client, ClientConfig, Credentials, Dial};
use assent_core::{
    Hash,
    batch::{BatchHeader, BatchRecord},
    codec::sha256,
    log::LogRecord,
    machine::{Cursor, SealedBatch},
    manifest::GenesisManifest,
    note::Checkpoint,
    outcome::Entry,
    records::{ConsentRecord, Record, StateKey},
    signature::KeyPair,
};
use assent_gate::Caller;
use assent_merkle::{
    BatchTree, node_hash,
    sparse::{NoPages, SparseTree},
};
use assent_metrics::Metrics;
use assent_proto::v1::{
    self as proto,
    prover_service_server::{ProverService, ProverServiceServer},
    sequencer_service_server::{SequencerService, SequencerServiceServer},
};
use assent_prover::{Duty, Prover, ProverApi, ProverConfig};
use assent_sequencer::{Sequencer, SequencerApi};
use assent_tests::{
    assent, grant_to, id_of,
    in_process::{Trust, ledger_keys, manifest, sequencer_config, trusting_server},
    key, open_account, request, revoke,
};
use assent_verify::{
    Pins,
    evidence::verify_evidence,
    replay::{MemoryState, Replayer},
};
use tokio::{net::TcpListener, sync::watch};
use tokio_stream::{Stream, StreamExt, wrappers::TcpListenerStream};
use tonic::service::InterceptorLayer;
use tonic::{Request, Response, Status};
use tower::layer::util::{Identity, Stack};

type Change = Arc<dyn Fn(&KeyPair, &mut proto::SealedBatch) + Send + Sync>;

/// A sequencer whose stream is altered.
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

    async fn submit_many(
        &self,
        r: Request<proto::SubmitManyRequest>,
    ) -> Result<Response<proto::SubmitManyResponse>, Status> {
        self.honest.submit_many(r).await
    }

    type SubmitStreamStream = <SequencerApi as SequencerService>::SubmitStreamStream;

    async fn submit_stream(
        &self,
        r: Request<tonic::Streaming<proto::SubmitStreamRequest>>,
    ) -> Result<Response<Self::SubmitStreamStream>, Status> {
        self.honest.submit_stream(r).await
    }

    async fn report_checkpoint(
        &self,
        r: Request<proto::ReportCheckpointRequest>,
    ) -> Result<Response<proto::ReportCheckpointResponse>, Status> {
        self.honest.report_checkpoint(r).await
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
            if let Some(batch) = message.batch.as_mut() {
                change(&key, batch);
            }
            Ok(message)
        });
        Ok(Response::new(Box::pin(stream)))
    }

    async fn get_sequencer_status(
        &self,
        request: Request<proto::GetSequencerStatusRequest>,
    ) -> Result<Response<proto::GetSequencerStatusResponse>, Status> {
        self.honest.get_sequencer_status(request).await
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

/// Changes a bit on the way.
fn flip(record: &mut prost::bytes::Bytes, at: usize) {
    let mut changed = record.to_vec();
    changed[at] ^= 1;
    *record = changed.into();
}

/// Changes the first log record and commits to it, as only the sequencer can.
fn change_record(key: &KeyPair, batch: &mut proto::SealedBatch, change: impl Fn(&mut LogRecord)) {
    let mut record = LogRecord::decode(&batch.log_records[0]).unwrap();
    change(&mut record);
    batch.log_records[0] = record.encode().into();
    commit_to_log(key, batch);
}

fn commit_to_log(key: &KeyPair, batch: &mut proto::SealedBatch) {
    let root = BatchTree::from_leaves(&batch.log_records).root();
    resign(key, batch, |header| header.log_root = root);
}

/// A prover whose checkpoints are altered before they are handed out.
struct LyingProver {
    honest: ProverApi,
    lie: Arc<dyn Fn(Checkpoint) -> Checkpoint + Send + Sync>,
    manifest: Arc<GenesisManifest>,
    key: KeyPair,
    /// A wrong batch 1 that it vouches for: hash of the header, and leaf hash of batch 0.
    vouched: Vouched,
}

type Vouched = Arc<Mutex<Option<(Hash, Hash)>>>;
type Lie = Arc<dyn Fn(Checkpoint) -> Checkpoint + Send + Sync>;

#[tonic::async_trait]
impl ProverService for LyingProver {
    async fn get_checkpoint(
        &self,
        _: Request<proto::GetCheckpointRequest>,
    ) -> Result<Response<proto::GetCheckpointResponse>, Status> {
        let mut newest = Request::new(proto::GetCheckpointRequest { size: 0 });
        newest.extensions_mut().insert(Caller::trusted());
        let mut response = self.honest.get_checkpoint(newest).await?.into_inner();
        let chain = self.manifest.chain_id();
        if let Ok(checkpoint) = Checkpoint::open(&response.checkpoint, &chain, &self.manifest.prover_key) {
            response.checkpoint = (self.lie)(checkpoint).sign(&chain, &self.key);
        }
        Ok(Response::new(response))
    }

    async fn get_tier(
        &self,
        r: Request<proto::GetTierRequest>,
    ) -> Result<Response<proto::GetTierResponse>, Status> {
        self.honest.get_tier(r).await
    }

    type WatchTierStream = <ProverApi as ProverService>::WatchTierStream;

    async fn watch_tier(
        &self,
        r: Request<proto::WatchTierRequest>,
    ) -> Result<Response<Self::WatchTierStream>, Status> {
        self.honest.watch_tier(r).await
    }

    async fn get_bundle(
        &self,
        r: Request<proto::GetBundleRequest>,
    ) -> Result<Response<proto::GetBundleResponse>, Status> {
        self.honest.get_bundle(r).await
    }

    async fn get_consistency_proof(
        &self,
        r: Request<proto::GetConsistencyProofRequest>,
    ) -> Result<Response<proto::GetConsistencyProofResponse>, Status> {
        self.honest.get_consistency_proof(r).await
    }

    async fn get_batch_record(
        &self,
        r: Request<proto::GetBatchRecordRequest>,
    ) -> Result<Response<proto::GetBatchRecordResponse>, Status> {
        let proto::GetBatchRecordRequest { number, .. } = *r.get_ref();
        let vouched = *self.vouched.lock().unwrap();
        match vouched {
            Some((header_hash, path)) if number == 1 => Ok(Response::new(proto::GetBatchRecordResponse {
                record: BatchRecord::new(header_hash, [7; 32]).encode(),
                path: vec![path.to_vec()],
            })),
            _ => self.honest.get_batch_record(r).await,
        }
    }

    async fn get_decision_proof(
        &self,
        r: Request<proto::GetDecisionProofRequest>,
    ) -> Result<Response<proto::GetDecisionProofResponse>, Status> {
        self.honest.get_decision_proof(r).await
    }

    async fn get_consent_proof(
        &self,
        r: Request<proto::GetConsentProofRequest>,
    ) -> Result<Response<proto::GetConsentProofResponse>, Status> {
        self.honest.get_consent_proof(r).await
    }

    type GetHistoryProofStream = <ProverApi as ProverService>::GetHistoryProofStream;

    async fn get_history_proof(
        &self,
        r: Request<proto::GetHistoryProofRequest>,
    ) -> Result<Response<Self::GetHistoryProofStream>, Status> {
        self.honest.get_history_proof(r).await
    }

    async fn add_cosignature(
        &self,
        r: Request<proto::AddCosignatureRequest>,
    ) -> Result<Response<proto::AddCosignatureResponse>, Status> {
        self.honest.add_cosignature(r).await
    }

    async fn get_prover_status(
        &self,
        r: Request<proto::GetProverStatusRequest>,
    ) -> Result<Response<proto::GetProverStatusResponse>, Status> {
        self.honest.get_prover_status(r).await
    }
}

/// A sequencer with a follower, and everything that has to end before the test does.
struct Running {
    temp: tempfile::TempDir,
    manifest: Arc<GenesisManifest>,
    sequencer: Sequencer,
    client: Client,
    /// The sequencer, and the prover that lies.
    addresses: (String, String),
    tasks: Vec<tokio::task::JoinHandle<()>>,
    _stop: watch::Sender<bool>,
}

impl Running {
    /// The follower's own status is at the client's prover address.
    async fn start(cheat: Option<Change>, lie: Option<Lie>, vouched: Vouched) -> Self {
        let temp = tempfile::tempdir().unwrap();
        let (sequencer_key, prover_key) = ledger_keys();
        // Made long ago, so that time may be set back to before the first group.
        let manifest = manifest(1_700_000_000_000);
        let mut config = sequencer_config(temp.path(), &manifest);
        config.accept_time_step = true;
        let sequencer = Sequencer::open(config).unwrap();
        let change = cheat.unwrap_or_else(|| Arc::new(|_, _| {}));
        let (stop, stopped) = watch::channel(false);
        let mut tasks = Vec::new();
        let mut spawn = |task: Pin<Box<dyn Future<Output = ()> + Send>>| tasks.push(tokio::spawn(task));
        let serve = |router: tonic::transport::server::Router<Stack<InterceptorLayer<Trust>, Identity>>,
                     listener: TcpListener| {
            Box::pin(
                async move { router.serve_with_incoming(TcpListenerStream::new(listener)).await.unwrap() },
            )
        };

        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let cheat = Cheat { honest: sequencer.api(), key: sequencer_key, change };
        spawn(serve(trusting_server().add_service(SequencerServiceServer::new(cheat)), listener));

        let follower = |name: &str, duty| ProverConfig {
            path: temp.path().join(name),
            manifest: manifest.clone(),
            duty,
            sequencer: Dial::new(&address, Credentials::default()),
            base: None,
            confirmations: 1,
            state_cache_mib: 16,
            execution_cache_mib: 16,
            validators: Vec::new(),
            metrics: Metrics::new(false, true).follower,
        };
        let duty = Duty::Prover { key: prover_key.clone(), anchor_interval: Duration::from_secs(1) };
        let mut watched = Prover::open(follower("prover", duty)).unwrap();
        let mut addresses = (address.clone(), String::new());
        if let Some(lie) = lie {
            let lying = LyingProver {
                honest: watched.api(),
                lie,
                manifest: manifest.clone(),
                key: prover_key,
                vouched,
            };
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let prover = format!("http://{}", listener.local_addr().unwrap());
            addresses.1.clone_from(&prover);
            spawn(serve(trusting_server().add_service(ProverServiceServer::new(lying)), listener));
            let running = watched.run(stopped.clone());
            spawn(Box::pin(async move { running.await.unwrap() }));
            let duty =
                Duty::Validator { prover: Some(Dial::new(prover, Credentials::default())), cosigner: None };
            watched = Prover::open(follower("validator", duty)).unwrap();
        }
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut config = ClientConfig::new(&address);
        config.prover = format!("http://{}", listener.local_addr().unwrap());
        let api = ProverServiceServer::new(watched.api());
        spawn(serve(trusting_server().add_service(api), listener));
        spawn(Box::pin(async move { watched.run(stopped).await.unwrap() }));
        let client = Client::connect(config).await.unwrap();
        Self { temp, manifest, sequencer, client, addresses, tasks, _stop: stop }
    }

    /// Six accounts make three batches.
    async fn submit(&self) {
        for n in 0..6 {
            self.client.submit(&self.client.sign(&key(n), open_account()).unwrap()).await.unwrap();
        }
    }

    async fn until(
        &self,
        holds: impl Fn(&proto::GetProverStatusResponse) -> bool,
    ) -> proto::GetProverStatusResponse {
        let mut status = self.client.prover_status().await.unwrap();
        for _ in 0..200 {
            if holds(&status) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
            status = self.client.prover_status().await.unwrap();
        }
        status
    }

    fn report(&self, who: &str) -> serde_json::Value {
        let path = self.temp.path().join(format!("{who}.halt-report.json"));
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    /// The evidence beside the database, checked with nothing but the chain id.
    fn evidence(&self, who: &str) -> assent_verify::Finding {
        let file = std::fs::read(self.temp.path().join(format!("{who}.evidence.assent"))).unwrap();
        let pins = Pins { chain_id: Some(self.manifest.chain_id()), ..Pins::default() };
        verify_evidence(&file, &pins).unwrap()
    }

    async fn end(self) {
        let Self { sequencer, client, tasks, .. } = self;
        drop(client);
        for task in tasks {
            task.abort();
            // Cancelled, which is no news.
            let _ = task.await;
        }
        // RocksDB must not be closed by a thread that outlives the test.
        sequencer.shut_down().await.unwrap();
    }
}

#[test]
fn what_the_sequencer_signs_and_should_not_halts_the_prover_and_convicts_the_sequencer() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cases: Vec<(&str, &str, Change)> = vec![
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
                batch.entries[0] = entry.encode().into();
                let root = BatchTree::from_leaves(&batch.entries).root();
                resign(key, batch, |header| header.entries_root = root);
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
            Arc::new(|key, batch| {
                change_record(key, batch, |record| {
                    record.transactions[0].authorizations[0].signature[9] ^= 1
                });
            }),
        ),
        (
            "a transaction taken out",
            "neither has transactions",
            Arc::new(|key, batch| {
                change_record(key, batch, |record| {
                    record.transactions.pop();
                });
            }),
        ),
        (
            "time that goes back",
            "before that of the previous group",
            Arc::new(|key, batch| change_record(key, batch, |record| record.time_ms = 1_700_000_000_001)),
        ),
        (
            "a time that no sum holds",
            "after the year 9999",
            Arc::new(|key, batch| {
                change_record(key, batch, |record| {
                    (record.time_ms, record.time_confirmed) = (u64::MAX - 1, true);
                });
            }),
        ),
        (
            "a record that is none",
            "cannot be read",
            Arc::new(|key, batch| {
                batch.log_records[0].truncate(20);
                commit_to_log(key, batch);
            }),
        ),
    ];
    for (name, expected, change) in cases {
        runtime.block_on(async {
            let running = Running::start(Some(from_batch_1(change)), None, Vouched::default()).await;
            running.submit().await;
            let status = running.until(|status| !status.halted.is_empty()).await;
            assert!(status.halted.contains(expected), "{name}: {expected:?} is not in {:?}", status.halted);
            assert_eq!(status.batches, 1, "{name}: nothing is signed from the difference on");
            let report = running.report("prover");
            assert_eq!(report["batch"], 1, "{name}");
            assert!(report["difference"].as_str().unwrap().contains(expected), "{name}");
            let finding = running.evidence("prover");
            assert_eq!(finding.facts["evidence"], "wrong-execution", "{name}");
            assert_eq!(finding.facts["against"], serde_json::json!(["sequencer"]), "{name}");
            assert!(finding.proves.iter().any(|sentence| sentence.contains(expected)), "{name}: {finding:?}");
            running.end().await;
        });
    }
}

/// A change from the second batch on.
fn from_batch_1(change: Change) -> Change {
    Arc::new(move |key, batch| {
        if BatchHeader::decode(&batch.header).is_ok_and(|header| header.number >= 1) {
            change(key, batch);
        }
    })
}

/// What an altered prover makes of a batch's effects before they enter its state.
type Alter = fn(&mut SealedBatch);

/// A prover that executes every batch, and keeps a state of its own: the roots that it signs.
struct Altered {
    replayer: Replayer,
    memory: MemoryState,
    tree: SparseTree,
    leaves: Vec<Hash>,
    alter: Alter,
}

impl Altered {
    fn take_in(&mut self, batch: &proto::SealedBatch) {
        let number = BatchHeader::decode(&batch.header).unwrap().number;
        // Several follow the same stream.
        if number != self.replayer.cursor().next_batch {
            return;
        }
        let mut replayed = self.replayer.apply(&self.memory, batch).unwrap();
        let mut sealed = replayed.outputs.pop().unwrap().sealed.unwrap();
        self.memory.apply(&sealed);
        (self.alter)(Arc::make_mut(&mut sealed));
        self.tree.apply(&NoPages, &sealed.effects).unwrap();
        self.leaves.push(BatchRecord::new(sealed.header.hash(), self.tree.root()).leaf_hash());
    }
}

/// The effects of a record that the batch wrote, taken out.
fn drop_effect(sealed: &mut SealedBatch, key: StateKey) {
    sealed.effects.retain(|(hash, _)| *hash != key.hash());
}

#[test]
fn a_prover_that_keeps_a_state_of_its_own_is_convicted_by_a_validator() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let patient = || key(0).public().account_id();
    let cases: [(&str, Alter); 4] = [
        ("an access left out", |sealed| {
            let patient = key(0).public().account_id();
            drop_effect(sealed, StateKey::subject_accesses(patient));
        }),
        ("a revocation within the batch dropped", |sealed| {
            let revoked = sealed.content.state.iter().find_map(|(key, value)| {
                let record = ConsentRecord::decode(&value.record).ok()?;
                record.revoked.map(|_| *key)
            });
            if let Some(key) = revoked {
                drop_effect(sealed, key);
            }
        }),
        ("a decision changed in the access log", |sealed| {
            let hash = StateKey::subject_accesses(key(0).public().account_id()).hash();
            for (_, value) in sealed.effects.iter_mut().filter(|(key, _)| *key == hash) {
                *value = [1; 32];
            }
        }),
        ("a state root misreported", |sealed| {
            if sealed.header.number == 1 {
                sealed.effects.push(([0xff; 32], [1; 32]));
            }
        }),
    ];
    for (name, alter) in cases {
        runtime.block_on(async {
            let manifest = manifest(1_700_000_000_000);
            let altered = Arc::new(Mutex::new(Altered {
                replayer: Replayer::new(manifest.clone(), Cursor::genesis(&manifest)).unwrap(),
                memory: MemoryState::default(),
                tree: SparseTree::new(usize::MAX),
                leaves: Vec::new(),
                alter,
            }));
            let lying = altered.clone();
            let watch: Change = Arc::new(move |_, batch| altered.lock().unwrap().take_in(batch));
            let lie = move |checkpoint: Checkpoint| {
                let altered = lying.lock().unwrap();
                let size = usize::try_from(checkpoint.size).unwrap();
                Checkpoint { root: BatchTree::from_leaf_hashes(&altered.leaves[..size]).root(), ..checkpoint }
            };
            let running = Running::start(Some(watch), Some(Arc::new(lie)), Vouched::default()).await;
            let client = &running.client;
            let submit = |key: KeyPair, act| async move {
                let transaction = client.sign(&key, act).unwrap();
                client.submit(&transaction).await.unwrap();
                id_of(&transaction)
            };
            submit(key(0), open_account()).await;
            submit(key(1), open_account()).await;
            let consent = submit(key(0), grant_to(key(1).public().account_id())).await;
            submit(key(1), request(patient())).await;
            submit(key(0), revoke(consent)).await;
            submit(key(2), open_account()).await;
            let status = running.until(|status| !status.halted.is_empty()).await;
            assert!(status.halted.contains("the prover signed root"), "{name}: {status:?}");
            let finding = running.evidence("validator");
            assert_eq!(finding.facts["against"], serde_json::json!(["prover"]), "{name}");
            assert_eq!(finding.facts["evidence"], "wrong-root", "{name}");
            // So does an auditor who executes everything again.
            let (file, (sequencer, prover)) =
                (running.temp.path().join("evidence"), running.addresses.clone());
            let output = file.display().to_string();
            let replay = move || assent(&["audit", "replay", &sequencer, "--prover", &prover, "-o", &output]);
            let ran = tokio::task::spawn_blocking(replay).await.unwrap();
            assert_eq!(ran.code, 5, "{name}: {ran:?}");
            let pins = Pins { chain_id: Some(running.manifest.chain_id()), ..Pins::default() };
            let finding = verify_evidence(&std::fs::read(file).unwrap(), &pins).unwrap();
            assert_eq!(finding.facts["evidence"], "wrong-root", "{name}");
            running.end().await;
        });
    }
}

#[test]
fn what_the_sequencer_did_not_sign_accuses_nobody_and_is_not_taken_in() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let cases: Vec<(&str, Change)> = vec![
        ("bad header signature", Arc::new(|_, batch| batch.signature[0] ^= 1)),
        (
            "an entry too few",
            Arc::new(|_, batch| {
                batch.entries.pop();
            }),
        ),
        ("a log record changed on the way", Arc::new(|_, batch| flip(&mut batch.log_records[0], 40))),
        ("a batch left out", Arc::new(|key, batch| resign(key, batch, |h| h.number += 1))),
        ("rubbish", Arc::new(|_, batch| batch.header.truncate(20))),
    ];
    for (name, change) in cases {
        runtime.block_on(async {
            let running = Running::start(Some(from_batch_1(change)), None, Vouched::default()).await;
            running.submit().await;
            running.until(|status| status.batches == 1).await;
            tokio::time::sleep(Duration::from_millis(500)).await;
            let status = running.client.prover_status().await.unwrap();
            assert_eq!((status.batches, status.halted.as_str()), (1, ""), "{name}");
            assert!(!running.temp.path().join("prover.halt-report.json").exists(), "{name}");
            running.end().await;
        });
    }
}

#[test]
fn a_prover_that_signs_what_does_not_follow_is_convicted_by_a_validator() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let lie = |checkpoint: Checkpoint| {
            let mut root = checkpoint.root;
            root[7] ^= u8::from(checkpoint.size == 3);
            Checkpoint { root, ..checkpoint }
        };
        let running = Running::start(None, Some(Arc::new(lie)), Vouched::default()).await;
        running.submit().await;
        let status = running.until(|status| !status.halted.is_empty()).await;
        assert!(status.validator && status.halted.contains("the prover signed root"), "{status:?}");
        let finding = running.evidence("validator");
        assert_eq!(finding.facts["against"], serde_json::json!(["prover"]));
        assert_eq!(finding.facts["evidence"], "wrong-root");
        running.end().await;

        // Both cheat: the prover vouches for the sequencer's wrong batch. An honest one would have halted, so its word is forged
        // here out of what the batch says.
        let vouched = Vouched::default();
        let (seen, told) = (vouched.clone(), vouched.clone());
        let change: Change = Arc::new(move |key, batch| {
            resign(key, batch, |header| header.effects_root[0] ^= 1);
            let header = BatchHeader::decode(&batch.header).unwrap();
            if header.number == 1 {
                seen.lock().unwrap().replace((header.hash(), [0; 32]));
            }
        });
        let lie = move |checkpoint: Checkpoint| match told.lock().unwrap().as_mut() {
            Some((hash, first)) if checkpoint.size == 1 => {
                *first = checkpoint.root;
                let leaf = BatchRecord::new(*hash, [7; 32]).leaf_hash();
                Checkpoint { size: 2, root: node_hash(&checkpoint.root, &leaf) }
            }
            _ => checkpoint,
        };
        let running = Running::start(Some(from_batch_1(change)), Some(Arc::new(lie)), vouched).await;
        running.submit().await;
        running.until(|status| !status.halted.is_empty()).await;
        let finding = running.evidence("validator");
        assert_eq!(finding.facts["evidence"], "wrong-execution");
        assert_eq!(finding.facts["against"], serde_json::json!(["sequencer", "prover"]));
        running.end().await;
    });
}
