//! Time: a clock that jumps stops sequencing until somebody confirms it; a clock that goes back does not take time back.

use std::sync::{
    Arc, RwLock,
    atomic::{AtomicU64, Ordering},
};

use assent_client::{Client, ClientConfig, ClientError, Submitted};
use assent_core::batch::BaseBlock;
use assent_proto::{
    errors,
    v1::{self as proto, sequencer_service_client::SequencerServiceClient},
};
use assent_sequencer::{Clock, Sequencer, system_clock};
use assent_tests::{
    in_process::{manifest, sequencer_config, serve},
    key, open_account,
};

async fn time_of(client: &Client, n: u64) -> Result<u64, ClientError> {
    match client.submit(&client.sign(&key(n), open_account()).unwrap()).await? {
        Submitted::Sequenced(sequenced) => Ok(sequenced.receipt.entry.time_ms),
        Submitted::Refused(refusal) => panic!("{refusal:?}"),
    }
}

#[test]
fn a_jump_of_the_clock_waits_for_the_base_chain_or_the_operator() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let temp = tempfile::tempdir().unwrap();
        let start = system_clock()();
        let now = Arc::new(AtomicU64::new(start));
        let clock: Clock = {
            let now = now.clone();
            Arc::new(move || now.load(Ordering::Relaxed))
        };
        let feed = Arc::new(RwLock::new(Vec::new()));
        let mut config = sequencer_config(temp.path(), &manifest(start));
        config.clock = clock;
        config.base = feed.clone();
        let sequencer = Sequencer::open(config.clone()).unwrap();
        let client = Client::connect(ClientConfig::new(&serve(sequencer.api()).await)).await.unwrap();
        assert_eq!(time_of(&client, 1).await.unwrap(), start);
        now.store(start - 60_000, Ordering::Relaxed);
        assert_eq!(time_of(&client, 2).await.unwrap(), start, "the clock went back, time does not");

        // Half an hour is within the limit of an hour; twenty minutes more than the limit are not.
        now.store(start + 1_800_000, Ordering::Relaxed);
        assert_eq!(time_of(&client, 3).await.unwrap(), start + 1_800_000);
        let later = start + 1_800_000 + 4_800_000;
        now.store(later, Ordering::Relaxed);
        let mut raw = SequencerServiceClient::connect(serve(sequencer.api()).await).await.unwrap();
        let mut transaction = client.sign(&key(4), open_account()).unwrap();
        let request = proto::SubmitRequest { transaction: Some(transaction.clone()) };
        let status = raw.submit(request).await.unwrap_err();
        assert_eq!(errors::reason_of(&status).as_deref(), Some("TIME_STEP"));
        assert!(errors::retry_after(&status).is_some());

        // A base block of nearly that time confirms it.
        let median_time_s = u32::try_from((later - 1_000_000) / 1000).unwrap();
        feed.write().unwrap().push(BaseBlock { height: 9, hash: [4; 32], median_time_s });
        transaction.clone_from(&client.sign(&key(5), open_account()).unwrap());
        // It expires by the real clock, which is behind this one's: make it last.
        let mut long = ClientConfig::new(&serve(sequencer.api()).await);
        long.validity = std::time::Duration::from_secs(3 * 86_400);
        let client = Client::connect(long).await.unwrap();
        assert_eq!(time_of(&client, 6).await.unwrap(), later);

        // A day later nobody confirms it but the operator, once, at the next start.
        now.store(later + 86_400_000, Ordering::Relaxed);
        sequencer.shut_down().await.unwrap();
        // The servers hold the database open; a copy of it is what a restart finds.
        let copy = temp.path().join("copy");
        let copied =
            std::process::Command::new("cp").arg("-r").arg(temp.path().join("sequencer")).arg(&copy).status();
        assert!(copied.unwrap().success());
        config.path = copy;
        config.accept_time_step = true;
        let sequencer = Sequencer::open(config).unwrap();
        let mut long = ClientConfig::new(&serve(sequencer.api()).await);
        long.validity = std::time::Duration::from_secs(3 * 86_400);
        let client = Client::connect(long).await.unwrap();
        assert_eq!(time_of(&client, 7).await.unwrap(), later + 86_400_000);
        sequencer.shut_down().await.unwrap();
    });
}
