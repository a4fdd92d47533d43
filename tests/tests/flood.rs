//! Limits of connections, calls, rates and messages, and what a client hears that meets one.

use std::{
    io::Read,
    net::TcpStream,
    time::{Duration, Instant},
};

use assent_client::{Client, Submitted};
use assent_core::signature::KeyPair;
use assent_proto::{
    errors::{reason_of, retry_after},
    v1::{
        self as proto, prover_service_client::ProverServiceClient,
        sequencer_service_client::SequencerServiceClient, submit_result::Result as Outcome,
    },
};
use assent_tests::{Ledger, grant_to, id_of, key, open_account, request, revoke};
use tonic::{Code, Status};

fn node(args: &[&str]) -> Ledger {
    let mut ledger = Ledger::init(60_000, 1);
    ledger.run_with(args);
    ledger
}

async fn submit(ledger: &Ledger, transaction: &proto::SignedTransaction) -> Result<(), Status> {
    let request = proto::SubmitRequest { transaction: Some(transaction.clone()) };
    SequencerServiceClient::new(ledger.channel()).submit(request).await.map(|_| ())
}

fn reason(status: &Status) -> String {
    reason_of(status).unwrap_or_else(|| format!("{status:?}"))
}

async fn open(client: &Client, keys: &[&KeyPair]) {
    for key in keys {
        client.submit(&client.sign(key, open_account()).unwrap()).await.unwrap();
    }
}

#[test]
fn an_account_that_floods_is_told_to_wait_and_nobody_else_is() {
    let ledger = node(&["--limit-account-rate=8"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = ledger.client().await;
        let (loud, quiet) = (key(1), key(2));
        open(&client, &[&loud, &quiet]).await;
        let consent = client.sign(&loud, grant_to(quiet.public().account_id())).unwrap();
        client.submit(&consent).await.unwrap();
        // Two at once and eight a second: of forty at once most are turned away, each with the time to wait.
        let asked: Vec<_> =
            (0..40).map(|_| client.sign(&loud, request(quiet.public().account_id())).unwrap()).collect();
        let mut refused = 0;
        let mut all = tokio::task::JoinSet::new();
        let raw = SequencerServiceClient::new(ledger.channel());
        for transaction in asked.clone() {
            let mut raw = raw.clone();
            all.spawn(async move {
                raw.submit(proto::SubmitRequest { transaction: Some(transaction) }).await.map(|_| ())
            });
        }
        while let Some(answer) = all.join_next().await {
            if let Err(status) = answer.unwrap() {
                assert_eq!(
                    (status.code(), reason(&status).as_str()),
                    (Code::ResourceExhausted, "ACCOUNT_RATE_LIMITED")
                );
                assert!(retry_after(&status).unwrap() >= Duration::from_millis(100));
                refused += 1;
            }
        }
        assert!((30..=40).contains(&refused), "{refused}");
        // Others are not concerned, and its own revocations are not either.
        submit(&ledger, &client.sign(&quiet, request(loud.public().account_id())).unwrap()).await.unwrap();
        submit(&ledger, &client.sign(&loud, revoke(id_of(&consent))).unwrap()).await.unwrap();
        // Many at once: in its place, each.
        let many = proto::SubmitManyRequest { transactions: asked[..20].to_vec() };
        let results = raw.clone().submit_many(many).await.unwrap().into_inner().results;
        let limited = results.iter().filter(|result| {
            matches!(&result.result, Some(Outcome::Error(error)) if error.reason == "ACCOUNT_RATE_LIMITED")
        });
        assert!(limited.count() >= 15, "{results:?}");
        // Whoever tries again gets through, and a stream waits by itself.
        let begun = Instant::now();
        let (sender, mut results) = client.stream();
        for _ in 0..12 {
            sender.send(client.sign(&loud, request(quiet.public().account_id())).unwrap()).await.unwrap();
        }
        drop(sender);
        let mut sequenced = 0;
        while let Some(item) = results.next().await {
            assert!(matches!(item.result.unwrap(), Submitted::Sequenced(_)));
            sequenced += 1;
        }
        assert_eq!(sequenced, 12);
        // Two are had at once; the other ten at eight a second.
        assert!(begun.elapsed() > Duration::from_millis(1_000));
    });
}

#[test]
fn forged_transactions_do_not_use_up_the_rate_of_the_account_that_they_name() {
    let ledger = node(&["--limit-account-rate=8"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = ledger.client().await;
        let victim = key(1);
        open(&client, &[&victim]).await;
        for round in 0..20u8 {
            let mut forged = client.sign(&victim, request(key(2).public().account_id())).unwrap();
            forged.authorizations[0].signature[10] ^= 1 + round;
            let status = submit(&ledger, &forged).await.unwrap_err();
            assert_eq!(reason(&status), "SIGNATURE_INVALID", "{round}");
        }
        // Two at once, as for everybody who was quiet for a while.
        tokio::time::sleep(Duration::from_millis(400)).await;
        for _ in 0..2 {
            submit(&ledger, &client.sign(&victim, request(key(2).public().account_id())).unwrap())
                .await
                .unwrap();
        }
    });
}

#[test]
fn calls_of_one_client_a_second_and_calls_under_way_have_limits() {
    let ledger = node(&["--limit-client-rate=5"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut raw = SequencerServiceClient::new(ledger.channel());
        let mut limited = 0;
        for _ in 0..12 {
            if let Err(status) = raw.get_ledger(proto::GetLedgerRequest {}).await {
                assert_eq!(
                    (status.code(), reason(&status).as_str()),
                    (Code::ResourceExhausted, "RATE_LIMITED")
                );
                assert!(retry_after(&status).is_some());
                limited += 1;
            }
        }
        assert!(limited > 0);
        // Many count as many.
        tokio::time::sleep(Duration::from_millis(1_200)).await;
        let empty = proto::SignedTransaction::default();
        let many = proto::SubmitManyRequest { transactions: vec![empty; 50] };
        let _ = raw.submit_many(many).await;
        let status = raw.get_ledger(proto::GetLedgerRequest {}).await.unwrap_err();
        assert_eq!(reason(&status), "RATE_LIMITED");
    });
    drop(ledger);

    // The prover's stream of batches is one of them.
    let ledger = node(&["--limit-calls=4"]);
    runtime.block_on(async {
        let nothing = proto::WatchTierRequest { transaction_id: vec![7; 32] };
        let mut open = Vec::new();
        let status = loop {
            let mut prover = ProverServiceClient::new(ledger.channel());
            match prover.watch_tier(nothing.clone()).await {
                Ok(stream) => open.push(stream),
                Err(status) => break status,
            }
            assert!(open.len() <= 4);
        };
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "TOO_MANY_CALLS"));
        assert!(retry_after(&status).is_some() && open.len() >= 3);
        // A place is free again when a stream ends.
        open.clear();
        let start = Instant::now();
        while SequencerServiceClient::new(ledger.channel())
            .get_ledger(proto::GetLedgerRequest {})
            .await
            .is_err()
        {
            assert!(start.elapsed() < Duration::from_secs(20));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}

#[test]
fn more_connections_than_there_may_be_are_closed_at_once() {
    let ledger = node(&["--limit-connections=6", "--limit-address-connections=4"]);
    let connect = || {
        let stream = TcpStream::connect(("127.0.0.1", ledger.port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(3))).unwrap();
        stream
    };
    // One that is taken in is greeted with HTTP/2's settings, one that is not is closed.
    let is_closed = |stream: &mut TcpStream| {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
        }
    };
    // What asked whether the node is up is forgotten.
    std::thread::sleep(Duration::from_millis(500));
    let mut held: Vec<TcpStream> = (0..4).map(|_| connect()).collect();
    for stream in &mut held {
        assert!(!is_closed(stream));
    }
    assert!(is_closed(&mut connect()));
    drop(held);
    let start = Instant::now();
    while is_closed(&mut connect()) {
        assert!(start.elapsed() < Duration::from_secs(20), "places are given back");
    }
}

#[test]
fn each_method_takes_messages_as_long_as_it_needs_and_no_longer() {
    let ledger = node(&["--limit-receiving-mib=1"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut raw = SequencerServiceClient::new(ledger.channel());
        let long = proto::GetAccountRequest { account_id: vec![0; 5_000] };
        let status = raw.get_account(long).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::OutOfRange, "MESSAGE_TOO_LARGE"));
        let body = proto::SignedTransaction { body: vec![0; 200_000].into(), ..Default::default() };
        let status = raw.submit(proto::SubmitRequest { transaction: Some(body.clone()) }).await.unwrap_err();
        assert_eq!(reason(&status), "MESSAGE_TOO_LARGE");
        // More than all messages together may take while they arrive.
        let many = proto::SubmitManyRequest { transactions: vec![body; 7] };
        let status = raw.submit_many(many).await.unwrap_err();
        assert_eq!((status.code(), reason(&status).as_str()), (Code::ResourceExhausted, "RECEIVING_FULL"));
        assert!(retry_after(&status).is_some());
        raw.get_ledger(proto::GetLedgerRequest {}).await.unwrap();
    });
}

#[test]
fn whoever_does_not_read_is_dropped() {
    let mut ledger = Ledger::init(60_000, 1);
    ledger.run_with(&["--limit-slow-reader-s=1", "--seal-entries=400", "--limit-account-rate=100000"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = ledger.client().await;
        open(&client, &[&key(1)]).await;
        // Batches for several times what a connection holds.
        let (sender, mut results) = client.stream();
        let signing = client.clone();
        let sending = tokio::spawn(async move {
            for _ in 0..16_000 {
                let transaction = signing.sign(&key(1), request(key(2).public().account_id())).unwrap();
                sender.send(transaction).await.unwrap();
            }
        });
        while let Some(item) = results.next().await {
            item.result.unwrap();
        }
        sending.await.unwrap();
        let mut follower = SequencerServiceClient::new(ledger.channel()).max_decoding_message_size(96 << 20);
        let request = proto::StreamBatchesRequest { from_batch: 0 };
        let mut stream = follower.stream_batches(request).await.unwrap().into_inner();
        let start = Instant::now();
        while !ledger.log().contains("closed a connection whose other end does not read") {
            assert!(start.elapsed() < Duration::from_secs(20), "{}", ledger.log());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // What had arrived is still read; then the connection is gone.
        let ended = loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                other => break other,
            }
        };
        assert!(ended.is_err(), "{ended:?}");
        // Others are not concerned.
        client.ledger().await.unwrap();
    });
}

#[test]
fn a_deadline_ends_a_stream_too() {
    let ledger = node(&[]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let mut prover = ProverServiceClient::new(ledger.channel());
        let mut request = tonic::Request::new(proto::WatchTierRequest { transaction_id: vec![7; 32] });
        request.set_timeout(Duration::from_millis(300));
        // The stream waits for a transaction that never comes; its deadline ends it.
        let mut stream = prover.watch_tier(request).await.unwrap().into_inner();
        let ended = tokio::time::timeout(Duration::from_secs(20), stream.message()).await.expect("an end");
        assert_eq!(ended.unwrap_err().code(), Code::DeadlineExceeded);
    });
}

#[test]
fn the_gates_reasons_are_those_that_the_document_lists() {
    // Provoked in access.rs, here, and, where a socket would take minutes, in the gate's own tests.
    let provoked = [
        "CREDENTIAL_REQUIRED",
        "CREDENTIAL_UNKNOWN",
        "ROLE_REQUIRED",
        "METHOD_UNKNOWN",
        "QUERY_INVALID",
        "QUERY_REPLAYED",
        "RATE_LIMITED",
        "TOO_MANY_CALLS",
        "TOO_MANY_READS",
        "MESSAGE_TOO_LARGE",
        "RECEIVING_FULL",
        "MESSAGE_STALLED",
    ];
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
    let text = std::fs::read_to_string(path).unwrap();
    let section = &text[text.find("## At the gate\n").unwrap()..text.find("## Refusals\n").unwrap()];
    let listed: Vec<&str> = section
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once('`'))
        .map(|(reason, _)| reason)
        .collect();
    assert_eq!(listed, provoked);
}
