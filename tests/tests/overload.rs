//! A full queue: `RESOURCE_EXHAUSTED` with `RetryInfo`, and an SDK that comes back.

use std::{
    sync::{Arc, Condvar, Mutex},
    time::Duration,
};

use assent_client::{Client, ClientConfig, Submitted};
use assent_proto::{
    errors,
    v1::{self as proto, sequencer_service_client::SequencerServiceClient},
};
use assent_sequencer::{Clock, Sequencer, system_clock};
use assent_tests::{
    in_process::{manifest, sequencer_config, serve},
    key, open_account,
};
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
        let gate = Arc::new(Gate::default());
        let mut config = sequencer_config(temp.path(), &manifest(system_clock()()));
        config.queue_capacity = 4;
        config.clock = gate.clock();
        let sequencer = Sequencer::open(config).unwrap();
        let address = serve(sequencer.api()).await;
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
