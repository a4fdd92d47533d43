//! Who may call what: roles, tokens, certificates, and queries signed with an account's key.

use std::{collections::BTreeMap, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use assent_client::{Authorized, Client, ClientConfig, ClientError, Credentials, Submitted};
use assent_core::{AccountId, ChainId, TransactionId, signature::KeyPair};
use assent_gate::role::{METHODS, Role, Roles};
use assent_proto::{
    errors::reason_of,
    v1::{self as proto, transaction_body::Act},
};
use assent_tests::{Ledger, assent, channel, grant_to, id_of, key, open_account, request, token};
use prost::Message;
use prost_types::FileDescriptorProto;
use tokio_stream::StreamExt;
use tonic::{Code, Request, Status, client::Grpc};
use tonic_prost::ProstCodec;
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_client::ServerReflectionClient,
    server_reflection_request::MessageRequest, server_reflection_response::MessageResponse,
};

async fn reflect(channel: Authorized, request: MessageRequest) -> MessageResponse {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(request) };
    let mut client = ServerReflectionClient::new(channel);
    let answers = client.server_reflection_info(tokio_stream::once(request)).await.unwrap();
    answers.into_inner().message().await.unwrap().unwrap().message_response.unwrap()
}

/// The paths of all methods that a server says it has.
async fn methods(channel: Authorized) -> Vec<String> {
    let listed = reflect(channel.clone(), MessageRequest::ListServices(String::new())).await;
    let MessageResponse::ListServicesResponse(services) = listed else { panic!("no services") };
    let mut paths = Vec::new();
    for service in services.service {
        let asked = MessageRequest::FileContainingSymbol(service.name.clone());
        let MessageResponse::FileDescriptorResponse(files) = reflect(channel.clone(), asked).await else {
            panic!("no file for {}", service.name)
        };
        for file in files.file_descriptor_proto {
            let file = FileDescriptorProto::decode(file.as_slice()).unwrap();
            let found = file
                .service
                .iter()
                .find(|found| format!("{}.{}", file.package(), found.name()) == service.name);
            for method in found.iter().flat_map(|found| &found.method) {
                paths.push(format!("/{}/{}", service.name, method.name()));
            }
        }
    }
    paths.sort();
    paths
}

/// Calls a method with an empty message. On the wire all kinds of methods begin alike. Gives the first answer.
async fn call(channel: Authorized, path: &str) -> Result<(), Status> {
    let mut grpc = Grpc::new(channel);
    grpc.ready().await.unwrap();
    let codec: ProstCodec<(), ()> = ProstCodec::default();
    let answer = grpc.streaming(Request::new(tokio_stream::once(())), path.parse().unwrap(), codec);
    let mut stream =
        tokio::time::timeout(Duration::from_secs(20), answer).await.expect("an answer")?.into_inner();
    // A stream that waits for news has let us in.
    match tokio::time::timeout(Duration::from_millis(300), stream.message()).await {
        Ok(Err(status)) => Err(status),
        Ok(Ok(_)) | Err(_) => Ok(()),
    }
}

fn with_token(ledger: &Ledger, name: &str, roles: &[Role]) -> Credentials {
    let file = ledger.path(&format!("{name}.token"));
    let mut args =
        vec!["clients".to_owned(), "add".into(), ledger.dir().to_str().unwrap().into(), name.into()];
    args.extend(roles.iter().flat_map(|role| ["--role".to_owned(), role.name().to_owned()]));
    args.extend(["--token-file".to_owned(), file.clone()]);
    let _ = assent(&args.iter().map(String::as_str).collect::<Vec<_>>()).exits(0);
    token(Path::new(&file))
}

fn as_whom(ledger: &Ledger, credentials: Credentials) -> ClientConfig {
    let mut config = ledger.config();
    config.credentials = credentials;
    config.chain = Some(ledger.chain_id().parse::<ChainId>().unwrap());
    config.deadline = Duration::from_secs(5);
    config
}

fn refused(result: &Result<(), Status>) -> Option<String> {
    let status = result.as_ref().err()?;
    let by_the_gate = matches!(status.code(), Code::Unauthenticated | Code::PermissionDenied);
    by_the_gate.then(|| reason_of(status).unwrap())
}

#[test]
fn every_method_needs_a_role_and_no_wrong_one_will_do() {
    let mut ledger = Ledger::init(60_000, 1);
    let by_role: BTreeMap<Role, Credentials> =
        Role::ALL.into_iter().map(|role| (role, with_token(&ledger, role.name(), &[role]))).collect();
    ledger.run();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let listed = methods(ledger.channel()).await;
        let mut known: Vec<String> = METHODS.iter().map(|method| method.path.to_owned()).collect();
        known.sort();
        assert_eq!(listed, known, "the table of roles and what the server has are two lists");

        let mut checked = 0;
        for method in METHODS {
            let nobody = call(channel(&as_whom(&ledger, Credentials::default())), method.path).await;
            assert_eq!(refused(&nobody).as_deref(), Some("CREDENTIAL_REQUIRED"), "{}", method.path);
            let wrong = Credentials { token: Some("assent-token-00".into()), ..Credentials::default() };
            let stranger = call(channel(&as_whom(&ledger, wrong)), method.path).await;
            assert_eq!(refused(&stranger).as_deref(), Some("CREDENTIAL_UNKNOWN"), "{}", method.path);
            for (role, credentials) in &by_role {
                let answer = call(channel(&as_whom(&ledger, credentials.clone())), method.path).await;
                let allowed = method.roles.meets(Roles::of(&[*role]));
                let found = refused(&answer);
                let expected = (!allowed).then(|| "ROLE_REQUIRED".to_owned());
                assert_eq!(found, expected, "{} as {role}: {answer:?}", method.path);
                checked += 1;
            }
        }
        assert_eq!(checked, METHODS.len() * Role::ALL.len());
        let unknown = call(ledger.channel(), "/assent.v1.SequencerService/NoSuchMethod").await.unwrap_err();
        assert_eq!(unknown.code(), Code::Unimplemented);
        let unknown = call(
            channel(&as_whom(&ledger, Credentials::default())),
            "/assent.v1.SequencerService/NoSuchMethod",
        );
        assert_eq!(unknown.await.unwrap_err().code(), Code::Unauthenticated);
    });
}

fn reason<T: std::fmt::Debug>(result: Result<T, ClientError>) -> String {
    match result.unwrap_err() {
        ClientError::Node(status) => reason_of(&status).unwrap_or_else(|| panic!("{status:?}")),
        other => panic!("{other:?}"),
    }
}

async fn sequenced(client: &Client, by: &KeyPair, act: Act) -> TransactionId {
    let transaction = client.sign(by, act).unwrap();
    match client.submit(&transaction).await.unwrap() {
        Submitted::Sequenced(_) => id_of(&transaction),
        Submitted::Refused(refusal) => panic!("{refusal:?}"),
    }
}

fn about(subjects: &[AccountId]) -> Act {
    let Act::RequestAccess(mut asked) = request(subjects[0]) else { panic!("a request") };
    asked.subjects = subjects.iter().map(|subject| subject.0.to_vec()).collect();
    Act::RequestAccess(asked)
}

#[test]
fn an_account_reads_its_own_records_by_a_signed_query_and_nobody_elses() {
    let ledger = Ledger::start(200, 1);
    let (patient, other, clinic, stranger) = (key(1), key(2), key(3), key(4));
    let [patient_id, other_id, clinic_id] = [&patient, &other, &clinic].map(|key| key.public().account_id());
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let operator = ledger.client().await;
        for key in [&patient, &other, &clinic] {
            sequenced(&operator, key, open_account()).await;
        }
        let consent = sequenced(&operator, &patient, grant_to(clinic_id)).await;
        let asked = sequenced(&operator, &clinic, request(patient_id)).await;
        let cohort = sequenced(&operator, &clinic, about(&[patient_id, other_id])).await;
        let mut tiers = Box::pin(operator.follow(cohort).await.unwrap());
        while tiers.next().await.unwrap().unwrap().tier < proto::Tier::Confirmed as i32 {}

        let by_key = |key: &KeyPair| {
            let credentials = Credentials { account: Some(key.clone()), ..Credentials::default() };
            Client::connect(as_whom(&ledger, credentials))
        };
        let [patient, other, clinic, stranger] = [
            by_key(&patient).await.unwrap(),
            by_key(&other).await.unwrap(),
            by_key(&clinic).await.unwrap(),
            by_key(&stranger).await.unwrap(),
        ];
        // The subject: everything about itself, details of decisions included.
        assert_eq!(patient.consent(consent).await.unwrap().subject, patient_id.0);
        assert_eq!(patient.account(patient_id).await.unwrap().active_consents, [consent.0.to_vec()]);
        patient.transaction(asked).await.unwrap();
        patient.bundle(asked, true).await.unwrap();
        patient.decision_proof(asked, None, 0).await.unwrap();
        patient.decision_proof(cohort, Some(patient_id), 0).await.unwrap();
        patient.consent_proof(consent, None, 0).await.unwrap();
        patient.history_proof(patient_id, false, (0, None), 0, |_| {}).await.unwrap();
        assert!(patient.follow(asked).await.is_ok());

        // One of several subjects does not see the transaction that names the others, nor the decision about another.
        assert_eq!(reason(patient.transaction(cohort).await), "TRANSACTION_NOT_FOUND");
        assert_eq!(reason(patient.bundle(cohort, false).await), "TRANSACTION_NOT_PROVEN");
        assert_eq!(reason(patient.decision_proof(cohort, Some(other_id), 0).await), "TRANSACTION_NOT_PROVEN");
        assert_eq!(reason(patient.decision_proof(cohort, None, 0).await), "TRANSACTION_NOT_PROVEN");

        // The recipient: what it asked and the answer, and never why.
        clinic.transaction(asked).await.unwrap();
        clinic.bundle(asked, false).await.unwrap();
        clinic.history_proof(clinic_id, true, (0, None), 0, |_| {}).await.unwrap();
        assert_eq!(reason(clinic.bundle(asked, true).await), "TRANSACTION_NOT_PROVEN");
        assert_eq!(reason(clinic.decision_proof(asked, None, 0).await), "TRANSACTION_NOT_PROVEN");
        assert_eq!(reason(clinic.decision_proof(asked, Some(patient_id), 0).await), "TRANSACTION_NOT_PROVEN");
        assert_eq!(reason(clinic.consent(consent).await), "CONSENT_NOT_FOUND");
        assert_eq!(reason(clinic.consent_proof(consent, None, 0).await), "CONSENT_NOT_FOUND");
        assert_eq!(reason(clinic.account(patient_id).await), "NOT_OWN_RECORDS");
        let history = clinic.history_proof(patient_id, false, (0, None), 0, |_| {});
        assert_eq!(reason(history.await), "NOT_OWN_RECORDS");

        // Anybody else: as if there were nothing.
        for nobody in [&other, &stranger] {
            assert_eq!(reason(nobody.consent(consent).await), "CONSENT_NOT_FOUND");
            assert_eq!(reason(nobody.consent_proof(consent, None, 0).await), "CONSENT_NOT_FOUND");
            assert_eq!(reason(nobody.account(patient_id).await), "NOT_OWN_RECORDS");
            assert_eq!(reason(nobody.transaction(asked).await), "TRANSACTION_NOT_FOUND");
            assert_eq!(reason(nobody.bundle(asked, false).await), "TRANSACTION_NOT_PROVEN");
            assert_eq!(reason(nobody.decision_proof(asked, None, 0).await), "TRANSACTION_NOT_PROVEN");
            // A signed query is for reading.
            let transaction = nobody.sign(&key(2), open_account()).unwrap();
            assert_eq!(reason(nobody.submit(&transaction).await), "CREDENTIAL_REQUIRED");
        }
    });
    // The same by the command, as a patient would.
    let (me, account) = ledger.party("me", "patient");
    let by_key = |args: &[&str]| {
        let output = std::process::Command::new(assent_tests::program("assent"))
            .args(args)
            .args(["--as", &me, "--node", &ledger.url()])
            .output();
        assent_tests::Ran::from(output.unwrap())
    };
    let shown = by_key(&["account", "show", &account, "--chain", &ledger.chain_id()]).exits(0);
    assert!(shown.out.contains(&account), "{shown:?}");
    let _ = by_key(&["account", "show", &account]).exits(1).says("the chain id has to be given");
    let other = other_id.to_string();
    let _ =
        by_key(&["account", "show", &other, "--chain", &ledger.chain_id()]).exits(1).says("NOT_OWN_RECORDS");
}

#[test]
fn a_signed_query_is_good_once_for_its_own_request_and_for_a_minute() {
    use assent_core::query::{METADATA_KEY, Query};
    let ledger = Ledger::start(60_000, 1);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let (me, other) = (key(1), key(2));
        let operator = ledger.client().await;
        sequenced(&operator, &me, open_account()).await;
        let mine = proto::GetAccountRequest { account_id: me.public().account_id().0.to_vec() };
        let now = || {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
            u64::try_from(now.as_millis()).unwrap()
        };
        let fresh = |nonce: u8| Query {
            chain_id: operator.chain_id(),
            key: me.public(),
            method: "/assent.v1.SequencerService/GetAccount".into(),
            request_hash: assent_core::codec::sha256(&mine.encode_to_vec()),
            time_ms: now(),
            nonce: [nonce; 16],
        };
        let nobody = channel(&as_whom(&ledger, Credentials::default()));
        let ask = async |signed: Vec<u8>, message: &proto::GetAccountRequest| {
            let mut client = proto::sequencer_service_client::SequencerServiceClient::new(nobody.clone());
            let mut request = Request::new(message.clone());
            let value = tonic::metadata::MetadataValue::from_bytes(&signed);
            request.metadata_mut().insert_bin(METADATA_KEY, value);
            client.get_account(request).await.map_err(|status| reason_of(&status).unwrap())
        };
        let signed = fresh(1).sign(&me);
        assert!(ask(signed.clone(), &mine).await.is_ok());
        assert_eq!(ask(signed, &mine).await.unwrap_err(), "QUERY_REPLAYED");
        // For another request, by another key, for another method, too old, damaged, nothing at all.
        let theirs = proto::GetAccountRequest { account_id: other.public().account_id().0.to_vec() };
        assert_eq!(ask(fresh(2).sign(&me), &theirs).await.unwrap_err(), "QUERY_INVALID");
        assert_eq!(ask(fresh(3).sign(&other), &mine).await.unwrap_err(), "QUERY_INVALID");
        let method = "/assent.v1.SequencerService/GetConsent".to_owned();
        let elsewhere = Query { method, ..fresh(4) };
        assert_eq!(ask(elsewhere.sign(&me), &mine).await.unwrap_err(), "QUERY_INVALID");
        let old = Query { time_ms: now() - 61_000, ..fresh(5) };
        assert_eq!(ask(old.sign(&me), &mine).await.unwrap_err(), "QUERY_INVALID");
        let mut damaged = fresh(6).sign(&me);
        damaged[70] ^= 1;
        assert_eq!(ask(damaged, &mine).await.unwrap_err(), "QUERY_INVALID");
        assert_eq!(ask(vec![0; 5_000], &mine).await.unwrap_err(), "QUERY_INVALID");
        assert_eq!(ask(Vec::new(), &mine).await.unwrap_err(), "QUERY_INVALID");
    });
}

#[test]
fn clients_come_and_go_without_a_restart() {
    let ledger = Ledger::start(60_000, 1);
    let dir = ledger.dir();
    let dir = dir.to_str().unwrap();
    let auditor = with_token(&ledger, "auditor", &[Role::Audit]);
    let listed = assent(&["clients", "list", dir, "--json"]).exits(0).json();
    let names: Vec<&str> =
        listed.as_array().unwrap().iter().map(|client| client["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["operator", "peer", "auditor"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let enters = || {
        runtime.block_on(async {
            let config = as_whom(&ledger, auditor.clone());
            Client::connect(ClientConfig { deadline: Duration::from_millis(400), ..config }).await.is_ok()
        })
    };
    let within_seconds = |wanted: bool| {
        (0..50).any(|_| {
            std::thread::sleep(Duration::from_millis(100));
            enters() == wanted
        })
    };
    assert!(within_seconds(true));
    let _ = assent(&["clients", "remove", dir, "auditor"]).exits(0);
    assert!(within_seconds(false));
    let _ = assent(&["clients", "remove", dir, "auditor"]).exits(1).says("there is no client auditor");
    let _ = assent(&["clients", "add", dir, "peer", "--role", "audit"]).exits(1).says("already");
    let _ = assent(&["clients", "add", dir, "x", "--role", "king"]).exits(2).says("expected submit");
    let _ = assent(&["clients", "add", dir, "a b", "--role", "audit"]).exits(1).says("letters, digits");
    // What a client has open is closed when it may not have it any more.
    let follower = with_token(&ledger, "follower", &[Role::Follow]);
    let mut config = as_whom(&ledger, follower);
    config.deadline = Duration::from_secs(20);
    runtime.block_on(async {
        let client = loop {
            if let Ok(client) = Client::connect(config.clone()).await {
                break client;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        let mut batches = client.batches(0).await.unwrap();
        let waited = tokio::time::timeout(Duration::from_millis(300), batches.message()).await;
        assert!(waited.is_err(), "there is no batch yet: {waited:?}");
        let _ = assent(&["clients", "remove", dir, "follower"]).exits(0);
        let ended = tokio::time::timeout(Duration::from_secs(20), batches.message()).await.expect("an end");
        assert!(ended.is_err(), "{ended:?}");
    });
    // A file that cannot be read changes nothing while it runs, and keeps a node from starting.
    std::fs::write(ledger.dir().join("clients.toml"), "[[client]]\nname = 1\n").unwrap();
    std::thread::sleep(Duration::from_millis(2_500));
    assert!(ledger.log().contains("the access file stays as it was"), "{}", ledger.log());
    let _ = ledger.cli(&["status"]).exits(0);
    drop(ledger);
}

#[test]
fn secrets_that_others_can_read_keep_a_role_from_starting() {
    let ledger = Ledger::init(60_000, 1);
    let dir = ledger.dir();
    for (file, mode) in
        [("keys/sequencer.key", 0o640), ("keys/operator.token", 0o604), ("keys/peer.token", 0o644)]
    {
        let path = dir.join(file);
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        let _ =
            assent(&["node", dir.to_str().unwrap()]).exits(1).says("can be read by others").says("chmod 600");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
    }
    // A folder that is closed closes what is in it; an open one does not.
    std::fs::set_permissions(&dir, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::create_dir(dir.join("sequencer")).unwrap();
    std::fs::set_permissions(dir.join("sequencer"), std::fs::Permissions::from_mode(0o755)).unwrap();
    let _ = assent(&["node", dir.to_str().unwrap()])
        .exits(1)
        .says("sequencer can be read by others")
        .says("chmod 700");
    // A password in the settings.
    std::fs::set_permissions(dir.join("sequencer"), std::fs::Permissions::from_mode(0o700)).unwrap();
    let config = dir.join("config.toml");
    std::fs::write(&config, "[base]\nurl = \"http://me:secret@127.0.0.1:1\"\n").unwrap();
    std::fs::set_permissions(&config, std::fs::Permissions::from_mode(0o644)).unwrap();
    let refused = assent(&["node", dir.to_str().unwrap()]).exits(1).says("config.toml can be read by others");
    assert!(!refused.err.contains("secret"), "{refused:?}");
}

/// A node with certificates that `assent certs` made.
fn with_tls(require: bool) -> (Ledger, String) {
    let mut ledger = Ledger::init(60_000, 1);
    let certs = ledger.path("certs");
    let _ = assent(&["certs", &certs, "--client", "stranger", "--host", "ledger.example"]).exits(0);
    let again = assent(&["certs", &certs]).exits(0);
    assert!(again.out.contains("nothing: all of them are there"), "{again:?}");
    let dir = ledger.dir();
    let dir = dir.to_str().unwrap();
    for (name, role) in [("auditor", "audit"), ("gateway", "submit")] {
        let _ = assent(&["clients", "add", dir, name, "--role", role, "--certificate", name]).exits(0);
    }
    let flag = |name: &str, file: &str| format!("--tls-{name}={certs}/{file}");
    let mut args = vec![
        flag("certificate", "sequencer/cert.pem"),
        flag("key", "sequencer/key.pem"),
        flag("client-ca", "ca.pem"),
        flag("ca", "ca.pem"),
    ];
    if require {
        args.push("--tls-require-client-certificate".into());
    }
    ledger.run_with(&args.iter().map(String::as_str).collect::<Vec<_>>());
    (ledger, certs)
}

#[test]
fn with_tls_a_certificate_says_who_calls_and_nothing_goes_in_the_clear() {
    let (ledger, certs) = with_tls(false);
    let url = ledger.url().replace("http://", "https://");
    let run = |args: &[&str], more: &[(&str, String)]| {
        let mut command = std::process::Command::new(assent_tests::program("assent"));
        command.args(args).args(["--node", &url, "--timeout", "4"]).envs(more.iter().map(|(k, v)| (*k, v)));
        assent_tests::Ran::from(command.output().unwrap())
    };
    let as_client = |name: &str| {
        vec![
            ("ASSENT_CA", format!("{certs}/ca.pem")),
            ("ASSENT_CERT", format!("{certs}/{name}/cert.pem")),
            ("ASSENT_CERT_KEY", format!("{certs}/{name}/key.pem")),
        ]
    };
    let me = ledger.path("me.key");
    let _ = assent(&["keys", "new", &me]).exits(0);
    let open = ["account", "open", "--kind", "patient", "--key", &me];
    let _ = run(&open, &as_client("gateway")).exits(0);
    // An auditor may not submit, a stranger's certificate is of nobody who is known, and without a certificate a token does.
    let _ = run(&open, &as_client("auditor")).exits(1).says("ROLE_REQUIRED");
    let _ = run(&open, &as_client("stranger")).exits(1).says("CREDENTIAL_REQUIRED");
    let ca = ("ASSENT_CA", format!("{certs}/ca.pem"));
    let token = ("ASSENT_TOKEN_FILE", ledger.dir().join("keys/operator.token").display().to_string());
    let _ = run(&open, &[ca.clone(), token.clone()]).exits(3).says("ACCOUNT_EXISTS");
    let _ = run(&open, std::slice::from_ref(&ca)).exits(1).says("CREDENTIAL_REQUIRED");
    // Whoever does not know the authority does not talk to it, and plain HTTP gets nothing.
    let _ = run(&open, std::slice::from_ref(&token)).exits(1).says("certificate");
    let plain = ledger.cli(&["account", "open", "--kind", "patient", "--key", &me, "--timeout", "2"]);
    assert_eq!(plain.code, 1, "{plain:?}");
    // The base chain's port speaks TLS as well.
    let password = std::fs::read_to_string(ledger.dir().join("keys/mockchain-password")).unwrap();
    let base = |scheme: &str, ca: &str| {
        let url = format!("{scheme}://127.0.0.1:{}/", ledger.mock_port);
        let user = format!("assent:{}", password.trim());
        let body = r#"{"method":"getblockcount","params":[],"id":1}"#;
        let curl = ["-s", "--max-time", "5", "--cacert", ca, "--user", &user, "--data", body, &url];
        assent_tests::Ran::from(std::process::Command::new("curl").args(curl).output().unwrap())
    };
    let ca = format!("{certs}/ca.pem");
    let answered = base("https", &ca);
    assert!(answered.out.contains("\"result\""), "{answered:?}");
    assert_ne!(base("http", &ca).code, 0);
    drop(ledger);

    // Mutual: without a client certificate there is no connection at all.
    let (ledger, certs) = with_tls(true);
    let url = ledger.url().replace("http://", "https://");
    let mut config = as_whom(&ledger, ledger.operator());
    config.sequencer = url;
    config.credentials.ca = Some(std::fs::read(format!("{certs}/ca.pem")).unwrap());
    config.deadline = Duration::from_secs(2);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let unidentified = runtime.block_on(Client::connect(config.clone()));
    assert!(matches!(unidentified, Err(ClientError::Unreachable { .. })), "{unidentified:?}");
    let read = |file: &str| std::fs::read(format!("{certs}/stranger/{file}")).unwrap();
    config.credentials.identity = Some((read("cert.pem"), read("key.pem")));
    runtime.block_on(Client::connect(config)).unwrap();
}

#[test]
fn without_tls_only_loopback_is_listened_on_unless_somebody_insists() {
    let ledger = Ledger::init(60_000, 1);
    let dir = ledger.dir();
    let dir = dir.to_str().unwrap();
    for flag in ["--listen=0.0.0.0:0", "--mock-listen=0.0.0.0:0", "--metrics-listen=0.0.0.0:0"] {
        let _ = assent(&["node", dir, flag])
            .exits(1)
            .says("without TLS only loopback addresses")
            .says("--insecure");
    }
    let _ = assent(&["node", dir, "--tls-certificate=x.pem"]).exits(1).says("belong together");
    let _ = assent(&["node", dir, "--tls-certificate=/no/x.pem", "--tls-key=/no/x.pem"])
        .exits(1)
        .says("/no/x.pem");
}

#[test]
fn a_stack_apart_is_made_once_goes_on_where_it_was_interrupted_and_its_roles_know_each_other() {
    use std::process::{Child, Command, Stdio};
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("stack");
    let text = dir.to_str().unwrap();
    // What an interrupted run leaves: half a ledger, with keys.
    std::fs::create_dir_all(dir.join("setup/ledger.1.part/keys")).unwrap();
    std::fs::write(dir.join("setup/ledger.1.part/keys/prover.key"), "secret").unwrap();
    let made = assent(&["init", text, "--apart", "--block-interval-ms", "200", "--json"]).exits(0).json();
    assert_eq!(made["made"], true);
    let left: Vec<_> =
        std::fs::read_dir(dir.join("setup")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert!(left.iter().all(|name| !name.to_string_lossy().starts_with("ledger")), "{left:?}");
    let again = assent(&["init", text, "--apart", "--json"]).exits(0).json();
    assert_eq!((&again["made"], &again["chain_id"]), (&serde_json::json!(false), &made["chain_id"]));
    // Each role has its own keys and nobody else's.
    for (role, keys) in [
        ("sequencer", vec!["sequencer.key"]),
        ("prover", vec!["anchor.key", "prover.key"]),
        ("validator", vec!["validator.key"]),
        ("mockchain", vec!["mockchain-password"]),
    ] {
        let mut found: Vec<_> = std::fs::read_dir(dir.join(role).join("keys"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        found.sort();
        assert_eq!(found, keys, "{role}");
    }

    struct Running(Vec<Child>);
    impl Drop for Running {
        fn drop(&mut self) {
            for child in &mut self.0 {
                let _ = child.kill();
                let _ = child.wait();
            }
        }
    }
    let ports: BTreeMap<&str, u16> = ["mockchain", "sequencer", "prover", "validator"]
        .map(|role| (role, assent_tests::free_port()))
        .into();
    let password = std::fs::read_to_string(dir.join("mockchain/keys/mockchain-password")).unwrap();
    let url = |role: &str| format!("https://127.0.0.1:{}", ports[role]);
    let base = url("mockchain").replace("https://", &format!("https://assent:{}@", password.trim()));
    let mut running = Running(Vec::new());
    for role in ["mockchain", "sequencer", "prover", "validator"] {
        let mut command = Command::new(assent_tests::program("assent"));
        command.arg(role).arg(dir.join(role)).arg(format!("--listen=127.0.0.1:{}", ports[role]));
        if role != "mockchain" {
            command.arg(format!("--base-url={base}"));
        }
        if ["prover", "validator"].contains(&role) {
            command.arg(format!("--sequencer={}", url("sequencer")));
        }
        if role == "validator" {
            command.arg(format!("--prover={}", url("prover")));
        }
        command.stdout(Stdio::null()).stderr(Stdio::null());
        running.0.push(command.spawn().unwrap());
    }
    for role in ["mockchain", "sequencer", "prover", "validator"] {
        let start = std::time::Instant::now();
        let healthy = || {
            let mut command = Command::new(assent_tests::program("assent"));
            command.arg("health").arg(role).arg(dir.join(role));
            let variable = format!("ASSENT_{}_LISTEN", role.to_uppercase());
            command.env(variable, format!("127.0.0.1:{}", ports[role])).stderr(Stdio::null());
            command.output().unwrap().status.success()
        };
        while !healthy() {
            assert!(start.elapsed() < Duration::from_secs(60), "{role} is not healthy");
        }
    }
    let as_client = |name: &str, args: &[&str]| {
        let file = |file: &str| dir.join("clients").join(name).join(file).display().to_string();
        let mut command = Command::new(assent_tests::program("assent"));
        command.args(args).envs([
            ("ASSENT_NODE", url("sequencer")),
            ("ASSENT_PROVER", url("prover")),
            ("ASSENT_CA", file("ca.pem")),
            ("ASSENT_CERT", file("cert.pem")),
            ("ASSENT_CERT_KEY", file("key.pem")),
        ]);
        assent_tests::Ran::from(command.output().unwrap())
    };
    let me = temp.path().join("me.key").display().to_string();
    let _ = assent(&["keys", "new", &me]).exits(0);
    let opened = as_client("gateway", &["account", "open", "--kind", "patient", "--key", &me, "--json"]);
    let id = opened.exits(0).json()["transaction_id"].as_str().unwrap().to_owned();
    let watched = as_client("auditor", &["tx", "watch", &id, "--until", "anchored"]).exits(0);
    assert!(watched.out.contains("ANCHORED"), "{watched:?}");
    // The validator's certificate lets it cosign, and the prover knows its key.
    let file = temp.path().join("history.assent").display().to_string();
    let account =
        assent(&["keys", "show", &me, "--json"]).exits(0).json()["account"].as_str().unwrap().to_owned();
    let validator = std::fs::read_to_string(dir.join("clients/validator")).unwrap();
    let proven = as_client(
        "auditor",
        &["audit", "history", &account, "-o", &file, "--validator", validator.trim(), "--require", "1"],
    );
    let _ = proven.exits(0);
}

#[test]
fn a_role_whose_access_file_is_gone_does_not_start_with_old_tokens() {
    let mut ledger = Ledger::start(60_000, 1);
    assert_eq!(ledger.terminate(), Some(0));
    let dir = ledger.dir();
    std::fs::remove_file(dir.join("clients.toml")).unwrap();
    let text = dir.to_str().unwrap();
    let _ = assent(&["node", text]).exits(1).says("clients.toml does not exist");
    let _ = assent(&["clients", "add", text, "auditor", "--role", "audit"]).exits(0);
    ledger.run();
    let _ = ledger.cli(&["status"]).exits(0);
}
