//! Every reason in docs/errors.md, provoked through the real programs.

use std::{collections::BTreeSet, time::Duration};

use assent_client::{Authorized, Client, Submitted};
use assent_core::{
    AccountId, TransactionId, manifest::GenesisManifest, note::Checkpoint, signature::KeyPair,
    transaction::sign_body,
};
use assent_proto::{
    errors::{reason_of, retry_after},
    v1::{
        self as proto, prover_service_client::ProverServiceClient,
        sequencer_service_client::SequencerServiceClient, transaction_body::Act,
    },
};
use assent_store::{LedgerStore, Role as Stored};
use assent_tests::{
    grant_to, id_of, key, open_account, request,
    stack::{Role, Stack},
};
use prost::Message;
use tonic::{Code, Status};

/// The reasons in a table of the document.
fn listed(section: &str) -> BTreeSet<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/errors.md");
    let text = std::fs::read_to_string(path).unwrap();
    let start = text.find(&format!("## {section}\n")).unwrap() + 3;
    let table = &text[start..];
    let table = &table[..table.find("\n## ").unwrap()];
    let name = |line: &str| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    table.lines().filter_map(name).collect()
}

#[derive(Default)]
struct Provoked(BTreeSet<String>);

impl Provoked {
    /// Notes a gRPC error, after having looked at its code and at what it says about trying again.
    fn error(&mut self, expected: &str, code: Code, status: &Status) {
        let found = reason_of(status).unwrap_or_default();
        assert_eq!((found.as_str(), status.code()), (expected, code), "{status:?}");
        assert!(!status.message().is_empty());
        let again = matches!(code, Code::Unavailable | Code::ResourceExhausted);
        assert_eq!(retry_after(status).is_some(), again, "{expected}: {status:?}");
        self.0.insert(found);
    }

    fn refused(&mut self, expected: &str, submitted: Submitted) {
        let Submitted::Refused(refusal) = submitted else { panic!("{expected}: sequenced") };
        assert_eq!(refusal.reason.name(), expected);
        self.0.insert(expected.to_owned());
    }
}

struct Ledger {
    client: Client,
    sequencer: SequencerServiceClient<Authorized>,
    prover: ProverServiceClient<Authorized>,
}

impl Ledger {
    async fn of(stack: &Stack) -> Self {
        Self {
            client: stack.client().await,
            sequencer: SequencerServiceClient::new(stack.channel(Role::Sequencer)),
            prover: ProverServiceClient::new(stack.channel(Role::Prover)),
        }
    }

    async fn submit(&self, transaction: proto::SignedTransaction) -> Result<proto::SubmitResponse, Status> {
        let request = proto::SubmitRequest { transaction: Some(transaction) };
        Ok(self.sequencer.clone().submit(request).await?.into_inner())
    }

    async fn act(&self, key: &KeyPair, act: Act) -> Submitted {
        self.client.submit(&self.client.sign(key, act).unwrap()).await.unwrap()
    }

    /// A transaction whose body is changed before it is signed.
    fn body(
        &self,
        key: &KeyPair,
        act: Act,
        change: impl FnOnce(&mut proto::TransactionBody),
    ) -> proto::SignedTransaction {
        let signed = self.client.sign(key, act).unwrap();
        let mut body = proto::TransactionBody::decode(signed.body.clone()).unwrap();
        change(&mut body);
        sign_body(&body, Some(key))
    }
}

#[test]
fn every_reason_of_the_table_is_provoked() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut stack = Stack::init(200);
    let mut provoked = Provoked::default();
    // No base chain at first: nothing is anchored.
    for role in [Role::Sequencer, Role::Prover] {
        stack.start(role);
        stack.wait(role);
    }
    let opened = runtime.block_on(async {
        let ledger = Ledger::of(&stack).await;
        invalid_transactions(&ledger, &mut provoked).await;
        refusals(&ledger, &mut provoked).await;
        look_ups(&ledger, &mut provoked).await;
        proofs_about_state(&ledger, &mut provoked).await;
        not_yet_proven(&ledger, &mut provoked).await
    });
    stopping(&runtime, &mut stack, &mut provoked);
    corrupt(&runtime, &mut stack, opened, &mut provoked);
    drop(stack);
    full_queue(&runtime, &mut provoked);
    without_prover(&runtime, &mut provoked);
    step_of_time(&runtime, &mut provoked);

    let mut expected = listed("gRPC errors");
    expected.extend(listed("Refusals"));
    // Half a million accesses to one patient's data take minutes to make.
    assert!(expected.remove("HISTORY_TOO_LONG"));
    // Provoked in flood.rs and access.rs.
    assert!(expected.remove("ACCOUNT_RATE_LIMITED") && expected.remove("NOT_OWN_RECORDS"));
    // A client never sees it: the sequencer answers with the earlier receipt.
    assert!(expected.remove("DUPLICATE"));
    assert!(expected.len() > 25, "{expected:?}");
    let missing: Vec<_> = expected.difference(&provoked.0).collect();
    let unlisted: Vec<_> = provoked.0.difference(&expected).collect();
    assert!(
        missing.is_empty() && unlisted.is_empty(),
        "not provoked: {missing:?}; not in the table: {unlisted:?}"
    );
}

async fn invalid_transactions(ledger: &Ledger, provoked: &mut Provoked) {
    let good = || ledger.client.sign(&key(1), open_account()).unwrap();
    let mut cases: Vec<(&str, proto::SignedTransaction)> = Vec::new();
    cases.push(("BODY_TOO_LARGE", proto::SignedTransaction { body: vec![0; 65_537].into(), ..good() }));
    cases.push(("BODY_MALFORMED", proto::SignedTransaction { body: vec![0xff; 40].into(), ..good() }));
    let mut unknown = good();
    // Field 100, which nobody knows.
    unknown.body = [&unknown.body[..], &[0xa0, 0x06, 0x01]].concat().into();
    cases.push(("BODY_NOT_CANONICAL", unknown));
    cases.push(("WRONG_CHAIN", ledger.body(&key(1), open_account(), |body| body.chain_id[0] ^= 1)));
    cases.push(("FIELD_INVALID", ledger.body(&key(1), open_account(), |body| body.salt.truncate(3))));
    cases.push(("AUTHORIZATION_COUNT", proto::SignedTransaction { authorizations: vec![], ..good() }));
    let mut other = good();
    other.authorizations = sign_body(&proto::TransactionBody::default(), Some(&key(2))).authorizations;
    cases.push(("NOT_SENDER_KEY", other));
    let mut forged = good();
    forged.authorizations[0].signature[3] ^= 1;
    cases.push(("SIGNATURE_INVALID", forged));
    for (reason, transaction) in cases {
        let status = ledger.submit(transaction).await.unwrap_err();
        provoked.error(reason, Code::InvalidArgument, &status);
    }
    for count in [0, 1_001] {
        let transactions = vec![proto::SignedTransaction::default(); count];
        let many = proto::SubmitManyRequest { transactions };
        let status = ledger.sequencer.clone().submit_many(many).await.unwrap_err();
        provoked.error("TOO_MANY_TRANSACTIONS", Code::InvalidArgument, &status);
    }
    // More than the gate lets through: refused by its length, and nothing breaks.
    let large = proto::SignedTransaction { body: vec![0; 5 << 20].into(), ..good() };
    let status = ledger.submit(large).await.unwrap_err();
    assert_eq!((status.code(), reason_of(&status)), (Code::OutOfRange, Some("MESSAGE_TOO_LARGE".to_owned())));
}

async fn refusals(ledger: &Ledger, provoked: &mut Provoked) {
    let (patient, stranger) = (key(10), key(11));
    let client = &ledger.client;
    ledger.act(&patient, open_account()).await;
    provoked.refused("ACCOUNT_EXISTS", ledger.act(&patient, open_account()).await);
    let grant = || grant_to(AccountId([7; 32]));
    provoked.refused("UNKNOWN_ACCOUNT", ledger.act(&stranger, grant()).await);
    let expired = ledger.body(&patient, grant(), |body| body.expires_at_ms = 1_700_000_000_000);
    provoked.refused("EXPIRED", client.submit(&expired).await.unwrap());
    let far = ledger.body(&patient, grant(), |body| body.expires_at_ms += 30 * 24 * 3_600_000);
    provoked.refused("EXPIRY_TOO_FAR", client.submit(&far).await.unwrap());
    let mut unknown = request(patient.public().account_id());
    if let Act::RequestAccess(proto::RequestAccess { scope: Some(scope), .. }) = &mut unknown {
        scope.purpose = "NONSENSE".into();
    }
    provoked.refused("UNKNOWN_CODE", ledger.act(&patient, unknown).await);
    let code = client.revocation_by_code(&[9; 32]).unwrap();
    provoked.refused("UNKNOWN_REVOCATION_CODE", client.submit(&code).await.unwrap());
    let coded = || match grant() {
        Act::GrantConsent(grant) => {
            Act::GrantConsent(proto::GrantConsent { revocation_code_hash: vec![5; 32], ..grant })
        }
        other => other,
    };
    ledger.act(&patient, coded()).await;
    provoked.refused("REVOCATION_CODE_TAKEN", ledger.act(&patient, coded()).await);
    for _ in 1..32 {
        assert!(matches!(ledger.act(&patient, grant()).await, Submitted::Sequenced(_)));
    }
    provoked.refused("TOO_MANY_CONSENTS", ledger.act(&patient, grant()).await);
}

async fn look_ups(ledger: &Ledger, provoked: &mut Provoked) {
    let (mut sequencer, mut prover) = (ledger.sequencer.clone(), ledger.prover.clone());
    let nothing = || vec![1; 32];
    let status = sequencer.get_transaction(proto::GetTransactionRequest { transaction_id: nothing() }).await;
    provoked.error("TRANSACTION_NOT_FOUND", Code::NotFound, &status.unwrap_err());
    let status = sequencer.get_consent(proto::GetConsentRequest { consent_id: nothing() }).await;
    provoked.error("CONSENT_NOT_FOUND", Code::NotFound, &status.unwrap_err());
    let status = sequencer.get_account(proto::GetAccountRequest { account_id: nothing() }).await;
    provoked.error("ACCOUNT_NOT_FOUND", Code::NotFound, &status.unwrap_err());
    let status = sequencer.stream_batches(proto::StreamBatchesRequest { from_batch: 1 << 40 }).await;
    provoked.error("BATCH_OUT_OF_RANGE", Code::InvalidArgument, &status.unwrap_err());
    // Not a note, and one by somebody else.
    let forged = Checkpoint { size: 1, root: [0; 32] }.sign(&ledger.client.chain_id(), &key(3));
    for checkpoint in ["rubbish".to_owned(), forged] {
        let status = sequencer.report_checkpoint(proto::ReportCheckpointRequest { checkpoint }).await;
        provoked.error("CHECKPOINT_INVALID", Code::InvalidArgument, &status.unwrap_err());
    }
    let status = prover.get_tier(proto::GetTierRequest { transaction_id: nothing() }).await;
    provoked.error("TRANSACTION_NOT_PROVEN", Code::NotFound, &status.unwrap_err());
    let proof = proto::GetConsistencyProofRequest { old_size: 3, new_size: 1 << 40 };
    let status = prover.get_consistency_proof(proof).await;
    provoked.error("SIZE_OUT_OF_RANGE", Code::InvalidArgument, &status.unwrap_err());
    let status = prover.get_checkpoint(proto::GetCheckpointRequest { size: 1 << 40 }).await;
    provoked.error("CHECKPOINT_NOT_HELD", Code::FailedPrecondition, &status.unwrap_err());
}

/// Checkpointed, and there is no base chain.
async fn not_yet_proven(ledger: &Ledger, provoked: &mut Provoked) -> TransactionId {
    let transaction = ledger.client.sign(&key(77), open_account()).unwrap();
    ledger.client.submit(&transaction).await.unwrap();
    let id = id_of(&transaction);
    let request = || proto::GetBundleRequest { transaction_id: id.0.to_vec(), open_details: false };
    for _ in 0..200 {
        let status = ledger.prover.clone().get_bundle(request()).await.unwrap_err();
        if reason_of(&status).as_deref() == Some("NOT_ANCHORED") {
            provoked.error("NOT_ANCHORED", Code::FailedPrecondition, &status);
            return id;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("the transaction is never checkpointed");
}

/// Decisions, consents, histories and cosignatures that cannot be had.
async fn proofs_about_state(ledger: &Ledger, provoked: &mut Provoked) {
    let (client, mut prover) = (&ledger.client, ledger.prover.clone());
    let subject = key(50).public().account_id();
    let scope = || match request(subject) {
        Act::RequestAccess(request) => request.scope,
        _ => None,
    };
    let subjects = vec![subject.0.to_vec(), vec![9; 32]];
    let cohort = Act::RequestAccess(proto::RequestAccess { subjects, scope: scope() });
    let open = client.sign(&key(51), open_account()).unwrap();
    client.submit(&open).await.unwrap();
    let cohort = client.sign(&key(51), cohort).unwrap();
    client.submit(&cohort).await.unwrap();
    // A record that cites nothing, behind more accesses than are shown.
    for _ in 0..5 {
        let many: Vec<_> = (0..1_000).map(|_| client.sign(&key(51), request(subject)).unwrap()).collect();
        client.submit_many(&many).await.unwrap();
    }
    let record = proto::RecordAccess { request_id: vec![7; 32], subject: subject.0.to_vec(), scope: scope() };
    let record = client.sign(&key(51), Act::RecordAccess(record)).unwrap();
    client.submit(&record).await.unwrap();
    let decision = |transaction: &proto::SignedTransaction, cosignatures| proto::GetDecisionProofRequest {
        transaction_id: id_of(transaction).0.to_vec(),
        subject: Vec::new(),
        cosignatures,
    };
    for _ in 0..400 {
        let status = prover.get_decision_proof(decision(&record, 0)).await.unwrap_err();
        if reason_of(&status).as_deref() != Some("TRANSACTION_NOT_PROVEN") {
            provoked.error("WINDOW_TOO_LARGE", Code::FailedPrecondition, &status);
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let status = prover.get_decision_proof(decision(&open, 0)).await.unwrap_err();
    provoked.error("NOT_A_DECISION", Code::InvalidArgument, &status);
    let status = prover.get_decision_proof(decision(&cohort, 0)).await.unwrap_err();
    provoked.error("SUBJECT_REQUIRED", Code::InvalidArgument, &status);
    let of =
        |subject: u8| proto::GetDecisionProofRequest { subject: vec![subject; 32], ..decision(&cohort, 0) };
    let status = prover.get_decision_proof(of(8)).await.unwrap_err();
    provoked.error("SUBJECT_REQUIRED", Code::InvalidArgument, &status);
    prover.get_decision_proof(of(9)).await.unwrap();
    let cosigned = proto::GetDecisionProofRequest { cosignatures: 1, ..of(9) };
    let status = prover.get_decision_proof(cosigned).await.unwrap_err();
    provoked.error("TOO_FEW_COSIGNATURES", Code::FailedPrecondition, &status);

    use proto::get_consent_proof_request::At;
    let consent = |at| proto::GetConsentProofRequest { consent_id: vec![7; 32], at, cosignatures: 0 };
    let status = prover.get_consent_proof(consent(Some(At::Sequence(1 << 40)))).await.unwrap_err();
    provoked.error("MOMENT_NOT_REACHED", Code::FailedPrecondition, &status);
    let status = prover.get_consent_proof(consent(Some(At::TimeMs(u64::MAX)))).await.unwrap_err();
    provoked.error("FIELD_INVALID", Code::InvalidArgument, &status);
    let history = |account: Vec<u8>, from_ms, to_ms| proto::GetHistoryProofRequest {
        account,
        from_ms,
        to_ms,
        ..Default::default()
    };
    for wrong in [history(vec![1; 31], 0, 0), history(vec![1; 32], 5, 5)] {
        let status = prover.get_history_proof(wrong).await.unwrap_err();
        provoked.error("FIELD_INVALID", Code::InvalidArgument, &status);
    }
    let stranger = "\u{2014} nobody AAAAAAAA\n";
    for line in ["", "rubbish\n", stranger, &stranger.repeat(2)] {
        let request = proto::AddCosignatureRequest { size: 1, line: line.into() };
        let status = prover.add_cosignature(request).await.unwrap_err();
        provoked.error("COSIGNATURE_INVALID", Code::InvalidArgument, &status);
    }
    let request = proto::AddCosignatureRequest { size: 1 << 40, line: "\n".into() };
    let status = prover.add_cosignature(request).await.unwrap_err();
    provoked.error("CHECKPOINT_NOT_HELD", Code::FailedPrecondition, &status);
}

fn stopping(runtime: &tokio::runtime::Runtime, stack: &mut Stack, provoked: &mut Provoked) {
    let mut responses = runtime.block_on(async {
        let mut sequencer = Ledger::of(stack).await.sequencer;
        sequencer.submit_stream(tokio_stream::pending()).await.unwrap().into_inner()
    });
    assert_eq!(stack.terminate(Role::Sequencer), Some(0));
    let status = runtime.block_on(responses.message()).unwrap_err();
    provoked.error("STOPPING", Code::Unavailable, &status);
}

/// A header of the base chain is damaged on the prover's disk.
fn corrupt(runtime: &tokio::runtime::Runtime, stack: &mut Stack, id: TransactionId, provoked: &mut Provoked) {
    stack.start(Role::Mockchain);
    let prover = {
        let _context = runtime.enter();
        stack.channel(Role::Prover)
    };
    let anchored = runtime.block_on(async {
        let mut client = ProverServiceClient::new(prover.clone());
        for _ in 0..400 {
            let tier =
                client.get_tier(proto::GetTierRequest { transaction_id: id.0.to_vec() }).await.unwrap();
            let status = tier.into_inner().status.unwrap();
            // Deep enough that the damaged header is not the one that is followed from.
            if status.depth > 2 {
                return status.anchor_height;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("never anchored");
    });
    stack.kill(Role::Prover);
    stack.kill(Role::Mockchain);
    {
        let chain = stack.chain.parse().unwrap();
        let store =
            LedgerStore::open(&stack.folder(Role::Prover).join("prover"), Stored::Prover, &chain).unwrap();
        let key = [b"header/", &anchored.to_be_bytes()[..]].concat();
        assert!(store.anchoring_get(&key).unwrap().is_some());
        store.anchoring_write(&[(key, Some(b"rubbish".to_vec()))]).unwrap();
    }
    stack.start(Role::Prover);
    stack.wait(Role::Prover);
    runtime.block_on(async {
        let mut client = ProverServiceClient::new(prover);
        let request = proto::GetBundleRequest { transaction_id: id.0.to_vec(), open_details: false };
        let status = client.get_bundle(request).await.unwrap_err();
        provoked.error("INTERNAL", Code::Internal, &status);
    });
}

fn full_queue(runtime: &tokio::runtime::Runtime, provoked: &mut Provoked) {
    let mut stack = Stack::init(60_000);
    stack.environment.push(("ASSENT_SEQUENCER_QUEUE".into(), "1".into()));
    stack.start(Role::Sequencer);
    stack.wait(Role::Sequencer);
    runtime.block_on(async {
        let ledger = Ledger::of(&stack).await;
        // More than ever find a place: no reason to try again.
        let transactions = (0..2).map(|n| ledger.client.sign(&key(n), open_account()).unwrap()).collect();
        let many = proto::SubmitManyRequest { transactions };
        let status = ledger.sequencer.clone().submit_many(many).await.unwrap_err();
        provoked.error("TOO_MANY_TRANSACTIONS", Code::InvalidArgument, &status);
        // Many side by side, until one finds the queue full.
        let mut full = None;
        while full.is_none() {
            let calls: Vec<_> = (0..32)
                .map(|n| {
                    let mut sequencer = ledger.sequencer.clone();
                    let transaction = Some(ledger.client.sign(&key(n), open_account()).unwrap());
                    tokio::spawn(async move { sequencer.submit(proto::SubmitRequest { transaction }).await })
                })
                .collect();
            for call in calls {
                full = call.await.unwrap().err().or(full);
            }
        }
        provoked.error("QUEUE_FULL", Code::ResourceExhausted, &full.unwrap());
        // One finds its place, and a stream waits for it.
        assert!(matches!(ledger.act(&key(99), open_account()).await, Submitted::Sequenced(_)));
    });
}

/// No prover follows: from a limit on only revocations are taken, until one does.
fn without_prover(runtime: &tokio::runtime::Runtime, provoked: &mut Provoked) {
    let mut stack = Stack::init(60_000);
    for (name, value) in [("ASSENT_RETENTION_ALARM_S", "1"), ("ASSENT_RETENTION_LIMIT_S", "2")] {
        stack.environment.push((name.into(), value.into()));
    }
    stack.start(Role::Sequencer);
    stack.wait(Role::Sequencer);
    runtime.block_on(async {
        let ledger = Ledger::of(&stack).await;
        ledger.act(&key(1), open_account()).await;
        tokio::time::sleep(Duration::from_secs(3)).await;
        let status = ledger.submit(ledger.client.sign(&key(2), open_account()).unwrap()).await.unwrap_err();
        provoked.error("UNPROVEN_LIMIT", Code::ResourceExhausted, &status);
        let by = Some(proto::revoke_consent::By::ConsentId(vec![4; 32]));
        let revocation = ledger.act(&key(1), Act::RevokeConsent(proto::RevokeConsent { by })).await;
        assert!(matches!(revocation, Submitted::Sequenced(_)), "a revocation is always sequenced");
        let about = ledger.client.ledger().await.unwrap();
        assert!(about.proven_batches == 0 && about.unproven_since_ms > 0, "{about:?}");
    });
    // A restart does not forget it, and its log says so.
    stack.kill(Role::Sequencer);
    stack.start(Role::Sequencer);
    stack.until_logged(Role::Sequencer, "ONLY REVOCATIONS are sequenced");
    stack.start(Role::Prover);
    runtime.block_on(async {
        let ledger = Ledger::of(&stack).await;
        // The SDK tries until the prover has caught up.
        assert!(matches!(ledger.act(&key(2), open_account()).await, Submitted::Sequenced(_)));
        assert!(ledger.client.ledger().await.unwrap().proven_batches > 0);
    });
}

/// A ledger made ten days ago that was never used, without a base chain that could confirm the time.
fn step_of_time(runtime: &tokio::runtime::Runtime, provoked: &mut Provoked) {
    let mut stack = Stack::init(60_000);
    let path = stack.folder(Role::Sequencer).join("manifest.bin");
    let mut manifest = GenesisManifest::decode(&std::fs::read(&path).unwrap()).unwrap();
    manifest.created_ms -= 10 * 24 * 3_600_000;
    std::fs::write(&path, manifest.encode()).unwrap();
    stack.environment.push(("ASSENT_BASE_URL".into(), String::new()));
    stack.start(Role::Sequencer);
    stack.wait(Role::Sequencer);
    runtime.block_on(async {
        let ledger = Ledger::of(&stack).await;
        let status = ledger.submit(ledger.client.sign(&key(1), open_account()).unwrap()).await.unwrap_err();
        provoked.error("TIME_STEP", Code::Unavailable, &status);
    });
}
