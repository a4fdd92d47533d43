//! The client and verifier in another language, written from the documents alone: `examples/python`.

use std::{path::PathBuf, process::Command};

use assent_tests::{Ledger, Ran};

fn repository() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
}

/// Its virtual environment, made once, in the target folder.
fn python() -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("python");
    let script = repository().join("examples/python/setup.sh");
    let ran: Ran = Command::new(script).arg(&folder).output().unwrap().into();
    assert_eq!(ran.code, 0, "examples/python/setup.sh: {ran:?}");
    folder.join("bin/python")
}

fn run(args: &[&str]) -> Ran {
    let ran = Command::new(python()).args(args).current_dir(repository().join("examples/python")).output();
    ran.unwrap().into()
}

#[test]
fn python_does_the_main_job_judges_the_corpus_and_executes_a_ledger_again() {
    let _ = run(&["-m", "unittest", "-q", "test_assent"]).exits(0);
    let corpus = repository().join("tests/vectors/files");
    let _ = run(&["run_corpus.py", corpus.to_str().unwrap()]).exits(0);
    let vectors = repository().join("tests/vectors/ledger.json");
    let _ = run(&["run_vectors.py", vectors.to_str().unwrap()]).exits(0);

    let ledger = Ledger::start(300, 2);
    let (url, chain) = (ledger.url(), ledger.chain_id());
    let token = ledger.dir().join("keys/operator.token").display().to_string();
    let story = run(&["main_job.py", "--node", &url, "--chain", &chain, "--token-file", &token]).exits(0);
    eprintln!("{}", story.out);
    // What Python signed, exported and executed again in Python: entries, headers, effects and the prover's checkpoint.
    let folder = ledger.path("exported");
    let _ = ledger.cli(&["batches", "export", &folder]).exits(0);
    let _ = run(&["replay.py", &folder, "--chain", &chain]).exits(0);
}
