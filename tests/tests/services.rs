//! The gRPC services as other people's clients meet them.

use assent_client::{Authorized, ClientError, Submitted};
use assent_core::{batch::RefusalReason, transaction::sign_body};
use assent_proto::{
    errors,
    v1::{
        self as proto, prover_service_client::ProverServiceClient,
        sequencer_service_client::SequencerServiceClient,
    },
};
use assent_tests::{Ledger, id_of, key, open_account, request};
use prost::Message;
use tonic::{Code, Status};
use tonic_health::pb::{
    HealthCheckRequest, health_check_response::ServingStatus, health_client::HealthClient,
};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

async fn raw(ledger: &Ledger) -> SequencerServiceClient<Authorized> {
    SequencerServiceClient::new(ledger.channel())
}

async fn refuse(ledger: &Ledger, signed: proto::SignedTransaction) -> Status {
    let request = proto::SubmitRequest { transaction: Some(signed) };
    raw(ledger).await.submit(request).await.unwrap_err()
}

#[test]
fn malformed_submissions_get_a_reason_and_are_not_sequenced() {
    let ledger = Ledger::start(60_000, 1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = ledger.client().await;
        let good = client.sign(&key(1), open_account()).unwrap();
        let with_body = |body: Vec<u8>| proto::SignedTransaction { body: body.into(), ..good.clone() };
        let decoded = proto::TransactionBody::decode(good.body.clone()).unwrap();
        let changed = |change: &dyn Fn(&mut proto::TransactionBody)| {
            let mut body = decoded.clone();
            change(&mut body);
            sign_body(&body, Some(&key(1)))
        };
        let mut other_encoding = good.body.to_vec();
        other_encoding.extend([0xf8, 0x07, 0x01]);
        let mut forged = good.clone();
        forged.authorizations[0].signature[5] ^= 1;
        let mut unsigned = good.clone();
        unsigned.authorizations.clear();
        for (signed, reason) in [
            (with_body(vec![0xff, 0xff]), "BODY_MALFORMED"),
            (with_body(other_encoding), "BODY_NOT_CANONICAL"),
            (with_body(vec![0; 70_000]), "BODY_TOO_LARGE"),
            (changed(&|body| body.chain_id = vec![1; 32]), "WRONG_CHAIN"),
            (changed(&|body| body.salt.clear()), "FIELD_INVALID"),
            (forged, "SIGNATURE_INVALID"),
            (unsigned, "AUTHORIZATION_COUNT"),
            (sign_body(&decoded, Some(&key(2))), "NOT_SENDER_KEY"),
        ] {
            let status = refuse(&ledger, signed).await;
            assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
            assert_eq!(errors::reason_of(&status).as_deref(), Some(reason), "{status:?}");
        }
        let empty = raw(&ledger).await.submit(proto::SubmitRequest { transaction: None }).await.unwrap_err();
        assert_eq!(errors::reason_of(&empty).as_deref(), Some("FIELD_INVALID"));
        // Beyond any message that is read at all.
        let huge = refuse(&ledger, with_body(vec![0; 5 << 20])).await;
        assert_eq!(huge.code(), Code::OutOfRange, "{huge:?}");

        // Refused by the rules: signed, checked by the SDK.
        for (signed, reason) in [
            (changed(&|body| body.expires_at_ms = 1), RefusalReason::Expired),
            (changed(&|body| body.expires_at_ms += 8 * 86_400_000), RefusalReason::ExpiryTooFar),
            (
                client.sign(&key(3), request(key(1).public().account_id())).unwrap(),
                RefusalReason::UnknownAccount,
            ),
        ] {
            match client.submit(&signed).await.unwrap() {
                Submitted::Refused(refusal) => assert_eq!(refusal.reason, reason),
                Submitted::Sequenced(_) => panic!("sequenced"),
            }
        }
        let ledger_now =
            raw(&ledger).await.get_ledger(proto::GetLedgerRequest {}).await.unwrap().into_inner();
        assert_eq!(ledger_now.next_sequence, 0);
    });
}

#[test]
fn submitting_is_idempotent_also_at_the_same_instant_and_after_expiry() {
    let mut ledger = Ledger::start(60_000, 1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = ledger.client().await;
        let body = {
            let signed = client.sign(&key(1), open_account()).unwrap();
            let mut body = proto::TransactionBody::decode(signed.body.clone()).unwrap();
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            body.expires_at_ms = u64::try_from(now.as_millis()).unwrap() + 1500;
            body
        };
        let transaction = sign_body(&body, Some(&key(1)));
        let tasks: Vec<_> = (0..32)
            .map(|_| {
                let (client, transaction) = (client.clone(), transaction.clone());
                tokio::spawn(async move { client.submit(&transaction).await.unwrap() })
            })
            .collect();
        let mut receipts = Vec::new();
        for task in tasks {
            let Submitted::Sequenced(sequenced) = task.await.unwrap() else { panic!("refused") };
            receipts.push(sequenced);
        }
        assert_eq!(receipts.iter().filter(|receipt| !receipt.already_sequenced).count(), 1);
        assert!(receipts.iter().all(|receipt| receipt.message.receipt == receipts[0].message.receipt));
        tokio::time::sleep(std::time::Duration::from_millis(1600)).await;
        ledger.kill();
        ledger.run();
        let client = ledger.client().await;
        let Submitted::Sequenced(again) = client.submit(&transaction).await.unwrap() else {
            panic!("refused")
        };
        assert_eq!(again.message.receipt, receipts[0].message.receipt);
        assert!(again.already_sequenced);
    });
}

#[test]
fn unknown_ids_are_not_found_and_health_and_reflection_answer() {
    let ledger = Ledger::start(60_000, 1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = ledger.client().await;
        let nothing = id_of(&client.sign(&key(1), open_account()).unwrap());
        let reason = |error: ClientError| match error {
            ClientError::Node(status) => errors::reason_of(&status).unwrap(),
            other => panic!("{other}"),
        };
        assert_eq!(reason(client.transaction(nothing).await.unwrap_err()), "TRANSACTION_NOT_FOUND");
        assert_eq!(reason(client.consent(nothing).await.unwrap_err()), "CONSENT_NOT_FOUND");
        assert_eq!(
            reason(client.account(key(9).public().account_id()).await.unwrap_err()),
            "ACCOUNT_NOT_FOUND"
        );
        assert_eq!(reason(client.bundle(nothing, false).await.unwrap_err()), "TRANSACTION_NOT_PROVEN");
        let short = raw(&ledger).await.get_consent(proto::GetConsentRequest { consent_id: vec![1] }).await;
        assert_eq!(errors::reason_of(&short.unwrap_err()).as_deref(), Some("FIELD_INVALID"));
        let mut prover = ProverServiceClient::new(ledger.channel());
        let proof = prover
            .get_consistency_proof(proto::GetConsistencyProofRequest { old_size: 1, new_size: 9 })
            .await;
        assert_eq!(errors::reason_of(&proof.unwrap_err()).as_deref(), Some("SIZE_OUT_OF_RANGE"));

        let channel = ledger.channel();
        let mut health = HealthClient::new(channel.clone());
        for service in ["assent.v1.SequencerService", "assent.v1.ProverService"] {
            let answer = health.check(HealthCheckRequest { service: service.into() }).await.unwrap();
            assert_eq!(answer.into_inner().status, ServingStatus::Serving as i32);
        }

        let mut reflection = ServerReflectionClient::new(channel);
        let list = ServerReflectionRequest {
            host: String::new(),
            message_request: Some(MessageRequest::ListServices(String::new())),
        };
        let answers = reflection.server_reflection_info(tokio_stream::once(list)).await.unwrap();
        let answer = answers.into_inner().message().await.unwrap().unwrap();
        let Some(MessageResponse::ListServicesResponse(services)) = answer.message_response else {
            panic!("no list of services")
        };
        let names: Vec<String> = services.service.into_iter().map(|service| service.name).collect();
        for service in ["assent.v1.SequencerService", "assent.v1.ProverService", "grpc.health.v1.Health"] {
            assert!(names.iter().any(|name| name == service), "{service} is not in {names:?}");
        }
    });
}

#[test]
fn the_prover_proves_that_the_ledger_only_grew() {
    let ledger = Ledger::start(60_000, 1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = ledger.client().await;
        let mut prover = ProverServiceClient::new(ledger.channel());
        let mut checkpoints = Vec::new();
        for n in 0..4 {
            client.submit(&client.sign(&key(n), open_account()).unwrap()).await.unwrap();
            let wanted = checkpoints.len() as u64 + 1;
            loop {
                let note = prover
                    .get_checkpoint(proto::GetCheckpointRequest { size: 0 })
                    .await
                    .unwrap()
                    .into_inner()
                    .checkpoint;
                let manifest = client.manifest();
                let opened =
                    assent_core::note::Checkpoint::open(&note, &client.chain_id(), &manifest.prover_key);
                if let Some(checkpoint) = opened.ok().filter(|checkpoint| checkpoint.size >= wanted) {
                    checkpoints.push(checkpoint);
                    break;
                }
                tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            }
        }
        for old in &checkpoints {
            for new in checkpoints.iter().filter(|new| new.size >= old.size) {
                let request = proto::GetConsistencyProofRequest { old_size: old.size, new_size: new.size };
                let path = prover.get_consistency_proof(request).await.unwrap().into_inner().path;
                let path: Vec<[u8; 32]> =
                    path.iter().map(|hash| hash.as_slice().try_into().unwrap()).collect();
                assent_merkle::verify_consistency(old.size, new.size, &path, &old.root, &new.root).unwrap();
            }
        }
    });
}
