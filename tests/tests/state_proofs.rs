//! Decisions, consents and histories through the real commands: made by a prover and by a validator, cosigned, checked by the
//! same program, and refused where they are not what they say.

use assent_core::AccountId;
use assent_proto::v1::{self as proto, transaction_body::Act};
use assent_tests::{
    Ran, grant_to, id_of, key, open_account, request, revoke,
    stack::{Role, Stack},
};

/// The sender of what is recorded and asked, and whose data they are.
const CLINIC: u64 = 1;
const PATIENT: u64 = 0;

fn account(n: u64) -> AccountId {
    key(n).public().account_id()
}

/// Transactions of a story, by what became of them.
struct Story {
    grant: String,
    permitted: String,
    unknown: String,
    covered: String,
    uncovered: String,
    denied: String,
    cohort: String,
}

fn tell(stack: &Stack) -> Story {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let client = stack.client().await;
        // One stream: in order, and mostly in one batch.
        let (sender, mut results) = client.stream();
        let mut acts = Vec::new();
        let mut submit = |n: u64, act: Act| {
            let transaction = client.sign(&key(n), act).unwrap();
            let id = id_of(&transaction);
            acts.push(transaction);
            id
        };
        let scope = || match request(account(PATIENT)) {
            Act::RequestAccess(request) => request.scope,
            _ => None,
        };
        let record = |request: assent_core::TransactionId| {
            Act::RecordAccess(proto::RecordAccess {
                request_id: request.0.to_vec(),
                subject: account(PATIENT).0.to_vec(),
                scope: scope(),
            })
        };
        submit(PATIENT, open_account());
        submit(CLINIC, open_account());
        let grant = submit(PATIENT, grant_to(account(CLINIC)));
        let permitted = submit(CLINIC, request(account(PATIENT)));
        let unknown = submit(CLINIC, request(account(77)));
        let covered = submit(CLINIC, record(permitted));
        let uncovered = submit(CLINIC, record(grant));
        submit(PATIENT, revoke(grant));
        let denied = submit(CLINIC, request(account(PATIENT)));
        let subjects = vec![account(PATIENT).0.to_vec(), account(77).0.to_vec()];
        let cohort = submit(CLINIC, Act::RequestAccess(proto::RequestAccess { subjects, scope: scope() }));
        for transaction in acts {
            sender.send(transaction).await.unwrap();
        }
        drop(sender);
        while let Some(item) = results.next().await {
            item.result.unwrap();
        }
        Story {
            grant: grant.to_string(),
            permitted: permitted.to_string(),
            unknown: unknown.to_string(),
            covered: covered.to_string(),
            uncovered: uncovered.to_string(),
            denied: denied.to_string(),
            cohort: cohort.to_string(),
        }
    })
}

#[test]
fn what_was_decided_was_right_what_was_in_force_was_and_nothing_is_missing() {
    let mut stack = Stack::init(60_000);
    let validator = stack.folder(Role::Validator).display().to_string();
    let ran = assent_tests::assent(&["keys", "validator", &validator, "--name", "watch.example/v"]).exits(0);
    let watcher = ran.out.lines().next().unwrap().to_owned();
    let settings = [("prover", Role::Prover), ("validator", Role::Validator)];
    let lines = [format!("validators = {watcher:?}"), "name = \"watch.example/v\"".to_owned()];
    for ((section, role), line) in settings.into_iter().zip(lines) {
        let path = stack.folder(role).join("config.toml");
        let before = std::fs::read_to_string(&path).unwrap_or_default();
        std::fs::write(
            path,
            before.replace(&format!("[{section}]\n"), "") + &format!("\n[{section}]\n{line}\n"),
        )
        .unwrap();
    }
    for role in [Role::Mockchain, Role::Sequencer, Role::Prover, Role::Validator] {
        stack.start(role);
        stack.wait(role);
    }
    let story = tell(&stack);
    let (patient, clinic) = (account(PATIENT).to_string(), account(CLINIC).to_string());
    let from = [stack.url(Role::Prover), stack.url(Role::Validator)];
    let trusting = ["--validator", &watcher, "--require", "1"];
    let made_by = |stack: &Stack, args: &[&str], prover: &str| -> Ran {
        stack.cli(&[&["audit"], args, &["-o", "file", "--prover", prover], &trusting].concat())
    };
    let make = |args: &[&str], prover: &str| made_by(&stack, args, prover);
    let verify =
        |more: &[&str]| -> Ran { stack.cli(&[&["verify", "file", "--chain", &stack.chain], more].concat()) };
    for prover in &from {
        for (id, says) in [
            (&story.permitted, "rightly PERMITTED"),
            (&story.unknown, "the subject had no account"),
            (&story.covered, "rightly found COVERED"),
            (&story.uncovered, "names no request by this recipient"),
            (&story.denied, "rightly DENIED: the subject had no consent in force"),
        ] {
            let _ = make(&["decision", id], prover).exits(0).says(says);
            let _ = verify(&trusting).exits(0).says("VERIFIED").says("watch.example/v").says(says);
            assert!(std::fs::metadata(stack.path("file")).unwrap().len() < 16 * 1024);
        }
        let _ = make(&["decision", &story.cohort], prover).exits(1).says("SUBJECT_REQUIRED");
        let subject = account(77).to_string();
        let _ = make(&["decision", &story.cohort, "--subject", &subject], prover).exits(0);
        let _ = verify(&trusting).exits(0).says("because it may name other subjects");
        let _ = make(&["decision", &story.grant], prover).exits(1).says("NOT_A_DECISION");
        for (at, says) in [(None, "was REVOKED"), (Some("2"), "was ACTIVE"), (Some("1"), "was ABSENT")] {
            let at: Vec<&str> = at.iter().flat_map(|at| ["--at", *at]).collect();
            let _ = make(&[&["consent", &story.grant], &at[..]].concat(), prover).exits(0).says(says);
            let _ = verify(&trusting).exits(0).says(says);
            assert!(std::fs::metadata(stack.path("file")).unwrap().len() < 16 * 1024);
        }
        let _ = make(&["consent", &story.denied], prover).exits(0).says("was ABSENT");
        let _ = make(&["consent", &story.grant, "--at", "9999-01-01"], prover)
            .exits(1)
            .says("MOMENT_NOT_REACHED");
        let _ = make(&["history", &patient], prover).exits(0).says("in this list of 5");
        let _ = verify(&trusting).exits(0).says("in this list of 5");
        let _ = make(&["history", &clinic, "--as-recipient"], prover).exits(0).says("in this list of 7");
        let _ = make(&["history", &clinic], prover).exits(0).says("There is no access");
        let _ =
            make(&["history", &patient, "--to", "2001-01-01"], prover).exits(0).says("There is no access");
        let _ =
            make(&["history", &patient, "--from", "9999-01-01"], prover).exits(1).says("MOMENT_NOT_REACHED");
        let _ = make(&["history", &patient, "--from", "2002-01-01", "--to", "2001-01-01"], prover).exits(1);
    }
    // Every byte counts.
    let _ = make(&["history", &patient], &from[0]).exits(0);
    let whole = std::fs::read(stack.path("file")).unwrap();
    for place in (0..whole.len()).step_by(97) {
        let mut changed = whole.clone();
        changed[place] ^= 1;
        std::fs::write(stack.path("file"), changed).unwrap();
        assert!([20, 30].contains(&verify(&[]).code), "byte {place}");
    }
    std::fs::write(stack.path("file"), &whole).unwrap();
    // Who is not believed, or not enough.
    let stranger =
        assent_tests::assent(&["keys", "validator", &stack.path("stranger").display().to_string()]);
    let stranger = stranger.out.lines().next().unwrap().to_owned();
    let _ = verify(&["--validator", &stranger, "--require", "1"]).exits(20).says("cosignatures");
    let _ = verify(&["--require", "1"]).exits(2).says("--require");
    let _ = verify(&["--validator", "rubbish"]).exits(2).says("NAME+HASH+BASE64");
    let more = stack.cli(&[
        "audit",
        "history",
        &patient,
        "-o",
        "more",
        "--validator",
        &watcher,
        "--validator",
        &stranger,
        "--require",
        "2",
    ]);
    let _ = more.exits(1).says("TOO_FEW_COSIGNATURES");

    // After SIGKILL of both, the same state is proven.
    stack.kill(Role::Prover);
    stack.kill(Role::Validator);
    for role in [Role::Prover, Role::Validator] {
        stack.start(role);
        stack.wait(role);
        let _ = made_by(&stack, &["history", &patient], &stack.url(role)).exits(0).says("in this list of 5");
    }
}
