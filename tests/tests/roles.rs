//! Roles on their own: any order of starting, a prover that was away, settings from three places, exports and audits.

use std::{process::Command, time::Duration};

use assent_client::Client;
use assent_store::{LedgerStore, Role as Stored};
use assent_tests::{
    assent, id_of, key, open_account, program, request,
    stack::{Role, Stack},
};

async fn status(stack: &Stack, role: Role) -> assent_proto::v1::GetProverStatusResponse {
    let mut config = stack.config();
    config.prover = stack.url(role);
    Client::connect(config).await.unwrap().prover_status().await.unwrap()
}

#[test]
fn roles_start_in_any_order_say_what_they_wait_for_and_catch_up() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut stack = Stack::init(200);
    // From the last to the first: each needs the next.
    stack.start(Role::Validator);
    stack.until_logged(Role::Validator, "waiting for the sequencer, to learn the manifest");
    stack.start(Role::Prover);
    stack.until_logged(Role::Prover, "waiting for the sequencer");
    stack.until_logged(Role::Prover, "waiting for the base chain");
    stack.start(Role::Sequencer);
    stack.until_logged(Role::Sequencer, "waiting for the base chain; transactions are sequenced meanwhile");
    let first = runtime.block_on(async {
        let client = stack.client().await;
        let transaction = client.sign(&key(1), open_account()).unwrap();
        client.submit(&transaction).await.unwrap();
        id_of(&transaction).to_string()
    });
    stack.until_logged(Role::Validator, "waiting for the base chain");
    stack.start(Role::Mockchain);
    let _ = stack.cli(&["tx", "watch", &first, "--until", "anchored"]).exits(0).says("ANCHORED");
    assert!(stack.folder(Role::Validator).join("manifest.bin").exists());

    // The prover is away; the sequencer goes on, and so does the validator.
    stack.kill(Role::Prover);
    let last = runtime.block_on(async {
        let client = stack.client().await;
        let mut last = None;
        for n in 0..300 {
            let me = key(1);
            let transaction = client.sign(&me, request(me.public().account_id())).unwrap();
            client.submit(&transaction).await.unwrap();
            last = Some(id_of(&transaction));
            if n % 100 == 0 {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        }
        last.unwrap().to_string()
    });
    stack.until_logged(Role::Validator, "waiting for the prover; batches are executed meanwhile");
    stack.start(Role::Prover);
    stack.wait(Role::Prover);
    let _ = stack.cli(&["tx", "watch", &last, "--until", "anchored"]).exits(0);
    stack.until_logged(Role::Validator, "the prover answers");

    // A validator proves as well as the prover does.
    let (prover, validator) = (stack.url(Role::Prover), stack.url(Role::Validator));
    for from in [&prover, &validator] {
        let _ = stack.cli(&["audit", "bundle", &last, "-o", "proof.assent", "--prover", from]).exits(0);
        let _ = stack.cli(&["verify", "proof.assent", "--chain", &stack.chain]).exits(0).says("VERIFIED");
    }
    runtime.block_on(async {
        let (one, other) = (status(&stack, Role::Prover).await, status(&stack, Role::Validator).await);
        assert!(!one.validator && other.validator && other.halted.is_empty());
        let sealed = stack.client().await.ledger().await.unwrap();
        assert!(sealed.proven_batches > 0, "the prover reports: {sealed:?}");
    });
    for role in Role::ALL {
        assert_eq!(stack.terminate(role), Some(0), "{role:?}\n{}", stack.log(role));
        stack.until_logged(role, "stopped; everything acknowledged is on disk");
    }
    // What is behind a decision is the parties' business: a prover proves it to them, and a sequencer keeps none of it.
    let entries = |role, folder, stored| {
        let store =
            LedgerStore::open(&stack.folder(role).join(folder), stored, &stack.chain.parse().unwrap());
        store.unwrap().entries_while(0, |_| true).unwrap()
    };
    let sequenced = entries(Role::Sequencer, "sequencer", Stored::Sequencer);
    let proven = entries(Role::Prover, "prover", Stored::Prover);
    assert_eq!((sequenced.len(), proven.len()), (301, 301));
    assert!(sequenced.iter().all(|entry| entry.details.is_empty()));
    assert!(proven.iter().all(|entry| entry.details.len() == entry.leaves.len()));
}

#[test]
fn exported_batches_replay_import_and_show_that_the_ledger_only_grew() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let mut stack = Stack::init(200);
    for role in [Role::Mockchain, Role::Sequencer, Role::Prover] {
        stack.start(role);
        stack.wait(role);
    }
    let submit = |stack: &Stack, from: u64, to: u64| {
        runtime.block_on(async {
            let client = stack.client().await;
            let mut last = None;
            for n in from..to {
                let transaction = client.sign(&key(n), open_account()).unwrap();
                client.submit(&transaction).await.unwrap();
                last = Some(id_of(&transaction).to_string());
                if n % 10 == 0 {
                    tokio::time::sleep(Duration::from_millis(150)).await;
                }
            }
            last.unwrap()
        })
    };
    let watched = |stack: &Stack, id: &str| {
        let _ = stack.cli(&["tx", "watch", id, "--until", "checkpointed"]).exits(0);
    };
    watched(&stack, &submit(&stack, 0, 30));
    let _ = stack.cli(&["audit", "checkpoint", "-o", "old"]).exits(0).says("signature checked");
    let _ = stack.cli(&["batches", "export", "out"]).exits(0).says("Exported batches 0 to");
    let last = submit(&stack, 30, 60);
    watched(&stack, &last);
    // It goes on where it ended, and a second run has nothing to do.
    let _ = stack.cli(&["batches", "export", "out"]).exits(0).says("1 new file");
    let _ = stack.cli(&["batches", "export", "out"]).exits(0).says("0 new file");
    let _ = stack.cli(&["audit", "consistency", "old", "-o", "grew.assent"]).exits(0).says("only grew");
    let _ = stack.cli(&["verify", "grew.assent", "--chain", &stack.chain]).exits(0).says("only grew");
    let _ = stack.cli(&["verify", "grew.assent", "--chain", &"00".repeat(32)]).exits(20).says("chain-id");
    let _ = stack.cli(&["tx", "receipt", &last, "-o", "receipt"]).exits(0);
    let _ = stack.cli(&["verify", "receipt", "--chain", &stack.chain]).exits(0).says("promised");

    for from in ["out", &stack.url(Role::Sequencer)] {
        let replay = stack.cli(&["audit", "replay", from, "--with", "receipt", "--with", "old", "--json"]);
        let replay = replay.exits(0).json();
        assert_eq!(
            (replay["entries"].as_u64(), &replay["checkpoint_compared"]),
            (Some(60), &true.into()),
            "{replay}"
        );
    }
    let nothing =
        stack.cli(&["audit", "evidence", "out", "receipt", "old", "grew.assent", "--json"]).exits(6).json();
    assert_eq!(nothing["receipts"], 1, "{nothing}");

    // Into a validator that has never talked to anybody, and into the prover's own database from nothing.
    let _ = stack
        .cli(&["batches", "import", "out", "validator", "--validator"])
        .exits(0)
        .says("60 entries executed again");
    let _ = stack.cli(&["batches", "import", "out", "validator", "--validator"]).exits(0).says("0 entries");
    let refused = stack.cli(&["batches", "import", "out", "prover"]);
    let _ = refused.exits(1).says("another process");
    stack.terminate(Role::Prover);
    std::fs::remove_dir_all(stack.folder(Role::Prover).join("prover")).unwrap();
    // An export of the same ledger that was damaged is named.
    let file = std::fs::read_dir(stack.path("out")).unwrap().map(|entry| entry.unwrap().path());
    let file = file.filter(|path| path.extension().is_some()).max().unwrap();
    let good = std::fs::read(&file).unwrap();
    if file.to_string_lossy().ends_with("assent") {
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        std::fs::write(&file, bad).unwrap();
        let _ = stack.cli(&["batches", "import", "out", "prover"]).exits(1).says("its digest does not match");
        std::fs::write(&file, good).unwrap();
    }
    // What the folder lacks is said; the sequencer's folder has no prover's key.
    let _ = stack.cli(&["batches", "import", "out", "sequencer"]).exits(1).says("prover.key");
    let _ = stack.cli(&["batches", "import", "nowhere", "prover"]).exits(1).says("no folder");
    stack.start(Role::Prover);
    stack.wait(Role::Prover);
    watched(&stack, &last);
}

#[test]
fn settings_come_from_the_file_the_environment_and_flags_and_errors_name_the_place() {
    let folder = tempfile::tempdir().unwrap();
    let dir = folder.path().to_str().unwrap();
    let config = folder.path().join("config.toml");
    let run = |environment: &[(&str, &str)], flags: &[&str]| {
        let mut command = Command::new(program("assent"));
        command.args(["config", dir, "--json"]).args(flags).envs(environment.iter().copied());
        assent_tests::Ran::from(command.output().unwrap())
    };
    let value = |environment: &[(&str, &str)], flags: &[&str]| {
        let rows = run(environment, flags).exits(0).json();
        let row = rows.as_array().unwrap().iter().find(|row| row["key"] == "seal.age_ms").unwrap().clone();
        (row["value"].as_str().unwrap().to_owned(), row["origin"].as_str().unwrap().to_owned())
    };
    let pair = |value: &str, origin: &str| (value.to_owned(), origin.to_owned());
    let variable = [("ASSENT_SEAL_AGE_MS", "300")];
    assert_eq!(value(&[], &[]), pair("500", "default"));
    std::fs::write(&config, "[seal]\nage_ms = 200\n").unwrap();
    assert_eq!(value(&[], &[]), pair("200", config.to_str().unwrap()));
    assert_eq!(value(&variable, &[]), pair("300", "ASSENT_SEAL_AGE_MS"));
    assert_eq!(value(&variable, &["--seal-age-ms", "400"]), pair("400", "--seal-age-ms"));

    // docs/operations.md lists them all, with their defaults and ranges.
    let document =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/operations.md")).unwrap();
    for row in run(&[], &[]).exits(0).json().as_array().unwrap() {
        let text = |name: &str| row[name].as_str().unwrap().to_owned();
        let default = match text("default").as_str() {
            "" => "–".to_owned(),
            default => format!("`{default}`"),
        };
        let line = format!("| `{}` | {default} | {} | {} |", text("key"), text("range"), text("meaning"));
        assert!(document.contains(&line), "docs/operations.md lacks {line}");
    }

    let _ = run(&[("ASSENT_SEAL_AGE_MS", "soon")], &[])
        .exits(1)
        .says("seal.age_ms from ASSENT_SEAL_AGE_MS: expected a number");
    assert_eq!(value(&[("ASSENT_SEAL_AGE_MS", "")], &[]), pair("200", config.to_str().unwrap()));
    let _ = run(&[("ASSENT_SEAL_AGE", "1")], &[])
        .exits(0)
        .says("no setting for the environment variable ASSENT_SEAL_AGE");
    let _ = run(&[], &["--seal-age-ms", "1"]).exits(1).says("seal.age_ms from --seal-age-ms: expected 10 to");
    let _ = run(&[], &["--retention-limit-s", "5"]).exits(1).says("the alarm would come too late");
    for (text, problem) in [
        ("[seal]\nage = 200\n", "there is no setting seal.age"),
        ("[seal]\nage_ms = [1]\n", "seal.age_ms is a array"),
        ("seal.age_ms = \n", "cannot be read"),
        ("[base]\nurl = \"ftp://x\"\n", "or a URL such as"),
    ] {
        std::fs::write(&config, text).unwrap();
        let _ = run(&[], &[]).exits(1).says(problem).says("config.toml");
    }
    std::fs::write(&config, "[base]\nurl = \"http://me:secret@host:1\"\n").unwrap();
    let shown = run(&[], &[]).exits(0).says("http://me:***@host:1");
    assert!(!shown.out.contains("secret"));
    // A password is in no message either.
    for text in ["[base]\nurl = \"ftp://me:secret@host\"\n", "[base]\nurl = \"http://me:secret@host\n"] {
        std::fs::write(&config, text).unwrap();
        let refused = run(&[], &[]).exits(1);
        assert!(!refused.err.contains("secret"), "{refused:?}");
    }
}

#[test]
fn nothing_listens_beyond_this_machine_unless_it_is_told_to() {
    let stack = Stack::init(60_000);
    let sequencer = stack.folder(Role::Sequencer);
    let run = |role: &str, folder: &std::path::Path| {
        assent(&[role, folder.to_str().unwrap(), "--listen", "0.0.0.0:0"])
    };
    let _ = run("sequencer", &sequencer).exits(1).says("only loopback addresses").says("--insecure");
    let _ = run("mockchain", &stack.folder(Role::Mockchain)).exits(1).says("only loopback addresses");
    // A role whose part is not there says what is missing.
    let _ = assent(&[
        "prover",
        sequencer.to_str().unwrap(),
        "--base-url",
        "http://127.0.0.1:9",
        "--listen",
        "127.0.0.1:0",
    ])
    .exits(1)
    .says("prover.key");
    let _ = assent(&["prover", sequencer.to_str().unwrap(), "--listen", "127.0.0.1:0"])
        .exits(1)
        .says("no base chain to anchor on");
    let empty = stack.path("empty");
    let _ = assent(&["validator", empty.to_str().unwrap()]).exits(1).says("--chain");
    let _ = assent(&["sequencer", empty.to_str().unwrap()]).exits(1).says("assent init");
}
