//! A gateway that streams transactions as fast as it can, over everything that is killed under it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use assent_client::{Client, ClientConfig, StreamSender, Submitted};
use assent_proto::v1 as proto;
use tokio::sync::mpsc;

use crate::{grant_to, journal::Journal, key, open_account, request};

/// A gateway: sends as fast as the stream takes, and now and then an old transaction once more.
async fn send(
    client: Client,
    gateway: u64,
    stop: Arc<AtomicBool>,
    sender: StreamSender,
    sent: mpsc::Sender<()>,
) {
    let me = key(gateway);
    let mut old = None;
    for round in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let act = match round {
            0 => open_account(),
            n if n % 7 == 1 && n < 100 => grant_to(key(gateway + 1).public().account_id()),
            _ => request(key(gateway.saturating_sub(1)).public().account_id()),
        };
        let transaction: proto::SignedTransaction = match &old {
            Some(old) if round % 50 == 49 => proto::SignedTransaction::clone(old),
            _ => client.sign(&me, act).unwrap(),
        };
        if round % 200 == 10 {
            old = Some(transaction.clone());
        }
        sent.send(()).await.unwrap();
        sender.send(transaction).await.unwrap();
    }
}

/// A gateway with one stream, until told to stop. Every answer goes into the journal. Gives the number of answers.
pub async fn stream(config: ClientConfig, number: u64, stop: Arc<AtomicBool>, journal: Arc<Journal>) -> u64 {
    let client = Client::connect(config).await.unwrap();
    let (sender, mut results) = client.stream();
    // Each item of the results belongs to one that was sent.
    let (sent, mut waiting) = mpsc::channel(10_000);
    let sending = tokio::spawn(send(client, number, stop, sender, sent));
    let mut acknowledged = 0;
    while let Some(item) = results.next().await {
        waiting.recv().await.expect("a result for nothing");
        match item.result.unwrap() {
            Submitted::Sequenced(sequenced) => journal.note(item.id, &sequenced),
            Submitted::Refused(refusal) => panic!("refused: {refusal:?}"),
        }
        acknowledged += 1;
    }
    sending.await.unwrap();
    assert!(waiting.recv().await.is_none(), "something sent was not answered");
    acknowledged
}
