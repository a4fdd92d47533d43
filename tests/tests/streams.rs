//! Pipelined streams and many at once: executed and answered in order, a result for each.

use std::time::Duration;

use assent_client::{Authorized, Submitted};
use assent_core::signature::KeyPair;
use assent_proto::v1::{
    self as proto, sequencer_service_client::SequencerServiceClient, submit_result::Result as Outcome,
};
use assent_tests::{Ledger, grant_to, id_of, key, open_account, request};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;

async fn raw(ledger: &Ledger) -> SequencerServiceClient<Authorized> {
    SequencerServiceClient::new(ledger.channel())
}

/// Opens an account and uses it at once: right only in this order.
fn dependent(client: &assent_client::Client, me: &KeyPair) -> Vec<proto::SignedTransaction> {
    let mut transactions = vec![client.sign(me, open_account()).unwrap()];
    transactions.push(client.sign(me, grant_to(me.public().account_id())).unwrap());
    transactions.extend((0..20).map(|_| client.sign(me, request(me.public().account_id())).unwrap()));
    transactions
}

#[test]
fn what_depends_on_each_other_is_executed_in_the_order_in_which_it_was_sent() {
    let ledger = Ledger::start(1_000, 1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = ledger.client().await;
        // Eight streams side by side, so that the workers that check signatures overtake each other.
        let mut streams = Vec::new();
        for gateway in 0..8u64 {
            let client = client.clone();
            streams.push(tokio::spawn(async move {
                let (sender, mut results) = client.stream();
                let mut sent = Vec::new();
                for n in 0..30 {
                    sent.extend(dependent(&client, &key(1_000 * gateway + n)));
                }
                let ids: Vec<_> = sent.iter().map(id_of).collect();
                tokio::spawn(async move {
                    for transaction in sent {
                        sender.send(transaction).await.unwrap();
                    }
                });
                let mut last = None;
                for id in ids {
                    let item = results.next().await.unwrap();
                    assert_eq!(item.id, id, "answered in order");
                    let Submitted::Sequenced(sequenced) = item.result.unwrap() else { panic!("refused") };
                    assert!(last < Some(sequenced.receipt.entry.sequence), "executed in order");
                    last = Some(sequenced.receipt.entry.sequence);
                }
                assert!(results.next().await.is_none(), "the stream ends when the sender is dropped");
            }));
        }
        for stream in streams {
            stream.await.unwrap();
        }
        // The same in one call.
        let transactions = dependent(&client, &key(9_999));
        for result in client.submit_many(&transactions).await.unwrap() {
            assert!(matches!(result.unwrap(), Submitted::Sequenced(_)));
        }
    });
}

#[test]
fn each_item_has_its_own_result_and_a_bad_one_stops_nothing() {
    let ledger = Ledger::start(1_000, 1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = ledger.client().await;
        let good = |n: u64| client.sign(&key(n), open_account()).unwrap();
        let mut forged = good(2);
        forged.authorizations[0].signature[5] ^= 1;
        let cut = proto::SignedTransaction { body: good(3).body.slice(..40), ..good(3) };
        let refused = client.sign(&key(50), request(key(50).public().account_id())).unwrap();
        let again = good(1);
        let transactions = vec![again.clone(), forged, cut, refused, good(4), again];
        let check = |results: &[proto::SubmitResult]| {
            let outcomes: Vec<&Outcome> = results.iter().map(|result| result.result.as_ref().unwrap()).collect();
            let reason = |index: usize| match outcomes[index] {
                Outcome::Error(error) => error.reason.as_str(),
                other => panic!("{other:?}"),
            };
            assert!(matches!(outcomes[0], Outcome::Sequenced(_)) && matches!(outcomes[4], Outcome::Sequenced(_)));
            assert_eq!((reason(1), reason(2)), ("SIGNATURE_INVALID", "BODY_MALFORMED"));
            assert!(matches!(outcomes[3], Outcome::Refusal(refusal) if refusal.message.contains("account is not open")));
            let (Outcome::Sequenced(first), Outcome::Sequenced(second)) = (outcomes[0], outcomes[5]) else {
                panic!("a duplicate gets its receipt");
            };
            assert!(first.receipt == second.receipt && second.already_sequenced);
        };
        let mut api = raw(&ledger).await;
        let many = proto::SubmitManyRequest { transactions: transactions.clone() };
        check(&api.submit_many(many).await.unwrap().into_inner().results);

        let requests: Vec<_> = transactions
            .into_iter()
            .map(|transaction| proto::SubmitStreamRequest { transaction: Some(transaction) })
            .chain([proto::SubmitStreamRequest { transaction: None }])
            .collect();
        let mut responses = api.submit_stream(tokio_stream::iter(requests)).await.unwrap().into_inner();
        let mut results = Vec::new();
        while let Some(response) = responses.message().await.unwrap() {
            results.push(response.result.unwrap());
        }
        assert_eq!(results.len(), 7, "one for each, and then the end");
        check(&results[..6]);
        let Some(Outcome::Error(missing)) = &results[6].result else { panic!("nothing was sent") };
        assert_eq!((missing.reason.as_str(), missing.field.as_str()), ("FIELD_INVALID", "transaction"));
    });
}

#[test]
fn a_stream_whose_answers_nobody_reads_is_not_read_either() {
    let ledger = Ledger::start(1_000, 1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = ledger.client().await;
        let mut api = raw(&ledger).await;
        let (sender, receiver) = mpsc::channel(1);
        let mut responses = api.submit_stream(ReceiverStream::new(receiver)).await.unwrap().into_inner();
        let mut opened = client.sign(&key(1), open_account()).unwrap();
        let mut sent = 0;
        // The window, what the transport buffers, and no more.
        while let Ok(Ok(())) = tokio::time::timeout(
            Duration::from_secs(2),
            sender.send(proto::SubmitStreamRequest { transaction: Some(opened.clone()) }),
        )
        .await
        {
            sent += 1;
            assert!(sent < 50_000, "everything is read, whether the answers are or not");
            let me = key(1);
            opened = client.sign(&me, request(me.public().account_id())).unwrap();
        }
        assert!(sent >= 1_024, "{sent}");
        // The others are served meanwhile, and this one as soon as it reads.
        let other = client.submit(&client.sign(&key(2), open_account()).unwrap()).await.unwrap();
        assert!(matches!(other, Submitted::Sequenced(_)));
        for _ in 0..sent {
            let result = responses.message().await.unwrap().unwrap().result.unwrap();
            assert!(matches!(result.result, Some(Outcome::Sequenced(_))), "{result:?}");
        }
    });
}
