//! A full queue: `RESOURCE_EXHAUSTED` with `RetryInfo`, and an SDK that comes back.

use std::{
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use assent_client::{Client, ClientConfig, Submitted};
use assent_core::{
    manifest::{BaseNetwork, GenesisManifest, LedgerLimits, OutPoint},
    ruleset::Ruleset,
    seal::SealPolicy,
};
use assent_proto::{
    errors,
    v1::{
        self as proto, sequencer_service_client::SequencerServiceClient,
        sequencer_service_server::SequencerServiceServer,
    },
};
use assent_sequencer::{BaseFeed, Clock, Sequencer, SequencerConfig, system_clock};
use assent_tests::{key, open_account};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::Code;

/// A clock that stands still while it is held, and the executor with it.
#[derive(Default)]
struct Gate {
    held: Mutex<bool>,
    changed: Condvar,
}

impl Gate {
    fn set(&self, held: bool) {
        *self.held.lock().unwrap() = held;
        self.changed.notify_all();
    }

    fn clock(self: &Arc<Self>) -> Clock {
        let (gate, clock) = (self.clone(), system_clock());
        Arc::new(move || {
            let held = gate.held.lock().unwrap();
            drop(gate.changed.wait_while(held, |held| *held).unwrap());
            clock()
        })
    }
}

#[test]
fn a_full_queue_says_when_to_come_back_and_the_sdk_does() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let temp = tempfile::tempdir().unwrap();
        let sequencer_key = key(1001);
        let manifest = Arc::new(GenesisManifest {
            nonce: [1; 32],
            created_ms: system_clock()(),
            sequencer_key: sequencer_key.public(),
            prover_key: sequencer_key.public(),
            base: BaseNetwork { name: "regtest".into(), genesis_hash: [0; 32] },
            first_anchor: OutPoint { txid: [3; 32], vout: 0 },
            ruleset: 1,
            ruleset_hash: Ruleset::numbered(1).unwrap().hash(),
            limits: LedgerLimits::default(),
        });
        let gate = Arc::new(Gate::default());
        let sequencer = Sequencer::open(SequencerConfig {
            path: temp.path().join("sequencer"),
            manifest,
            key: sequencer_key,
            seal: SealPolicy { entries: 100, bytes: 1 << 20, age_ms: 100 },
            queue_capacity: 4,
            accept_time_step: false,
            base: BaseFeed::default(),
            clock: gate.clock(),
        })
        .unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let api = SequencerServiceServer::new(sequencer.api());
        let server = tonic::transport::Server::builder().add_service(api);
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        let client = Client::connect(ClientConfig::new(&address)).await.unwrap();

        gate.set(true);
        let waiting: Vec<_> = (0..4)
            .map(|n| {
                let (client, transaction) = (client.clone(), client.sign(&key(n), open_account()).unwrap());
                tokio::spawn(async move { client.submit(&transaction).await.unwrap() })
            })
            .collect();
        let mut raw = SequencerServiceClient::connect(address).await.unwrap();
        let transaction = client.sign(&key(9), open_account()).unwrap();
        let refused = loop {
            let request = proto::SubmitRequest { transaction: Some(transaction.clone()) };
            // Until all four are in, this one may be let in itself; it waits at the gate then.
            match tokio::time::timeout(Duration::from_millis(200), raw.submit(request)).await {
                Ok(Err(status)) => break status,
                Ok(Ok(_)) => panic!("answered at a closed gate"),
                Err(_) => {}
            }
        };
        assert_eq!(refused.code(), Code::ResourceExhausted);
        assert_eq!(errors::reason_of(&refused).as_deref(), Some("QUEUE_FULL"));
        assert!(errors::retry_after(&refused).is_some_and(|wait| !wait.is_zero()));

        let patient = tokio::spawn({
            let (client, transaction) = (client.clone(), client.sign(&key(10), open_account()).unwrap());
            async move { client.submit(&transaction).await.unwrap() }
        });
        tokio::time::sleep(Duration::from_millis(200)).await;
        gate.set(false);
        for task in waiting.into_iter().chain([patient]) {
            assert!(matches!(task.await.unwrap(), Submitted::Sequenced(_)));
        }
        sequencer.shut_down().await.unwrap();
    });
}
