//! `assent bench` as its users run it: every mode, the report, a node that is killed under it, and wrong arguments.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use assent_tests::{Ledger, assent, program};

const SMALL: [&str; 10] =
    ["--patients", "20", "--clinics", "5", "--warm-up", "1", "--duration", "2", "--connections", "2"];

fn latency<'a>(report: &'a serde_json::Value, tier: &str) -> &'a serde_json::Value {
    let found = report["latencies"].as_array().unwrap().iter().find(|latency| latency["tier"] == tier);
    found.unwrap_or_else(|| panic!("no {tier} in {report}"))
}

#[test]
fn a_node_is_loaded_in_every_mode_and_the_report_says_what_was_seen() {
    let ledger = Ledger::start(200, 3);
    for (mode, rate) in
        [("stream", Some("200")), ("unary", Some("200")), ("many", Some("200")), ("stream", None)]
    {
        let mut args = vec!["bench", "--mode", mode, "--many", "20", "--json"];
        args.extend(SMALL);
        args.extend(rate.map(|rate| ["--rate", rate]).into_iter().flatten());
        // One account's rate would hold back a closed loop, and be refused in calls.
        args.extend(["--mix", "grants=1,revocations=1,requests=48,records=50"]);
        let report = ledger.cli(&args).exits(0).json();
        let receipts = report["receipts"].as_u64().unwrap();
        assert!(receipts >= 390 || rate.is_none() && receipts > 100, "{report}");
        assert_eq!(report["errors"], serde_json::json!({}), "{report}");
        assert!(report["rate"].as_f64().unwrap() > 50.0, "{report}");
        for tier in ["receipt", "sealed", "checkpointed"] {
            let found = latency(&report, tier);
            let at = |name: &str| found[name].as_f64().unwrap();
            assert_eq!(found["count"].as_u64(), Some(receipts), "{tier} of {report}");
            assert!(at("p50") <= at("p99") && at("p99") <= at("max") && at("p50") > 0.0, "{report}");
        }
        assert!(
            latency(&report, "receipt")["p50"].as_f64() < latency(&report, "checkpointed")["p50"].as_f64()
        );
        let processes = report["processes"].as_array().unwrap();
        assert!(processes.iter().any(|process| process["name"] == "bench"), "{report}");
    }
    // What the report counted is on the ledger, and nothing of it was uncovered by a mistake of the load's.
    let replayed = ledger.cli(&["status", "--json"]).exits(0).json();
    assert!(replayed["sequencer"]["entries"].as_u64().unwrap() > 1_500, "{replayed}");
}

#[test]
fn what_a_run_granted_is_not_in_the_way_of_the_next() {
    let ledger = Ledger::start(200, 3);
    // Twelve grants for each patient: with those of three runs in force, all would be past the limit of 32.
    for _ in 0..3 {
        let mut args = vec!["bench", "--json", "--mix", "grants=1", "--rate", "80"];
        args.extend(SMALL);
        let report = ledger.cli(&args).exits(0).json();
        assert_eq!(report["errors"], serde_json::json!({}), "{report}");
        assert!(report["still_granted"].is_null(), "{report}");
    }
}

#[test]
fn a_node_that_is_killed_under_load_goes_on_with_the_load() {
    let mut ledger = Ledger::start(200, 3);
    let mut bench = Command::new(program("assent"))
        .args(["bench", "--json", "--mode", "stream", "--node", &ledger.url()])
        .args(["--patients", "20", "--clinics", "5", "--connections", "2", "--warm-up", "1"])
        .args(["--duration", "8", "--rate", "300", "--seed", "7"])
        .env("ASSENT_TOKEN_FILE", ledger.dir().join("keys/operator.token"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_secs(5));
    for _ in 0..3 {
        ledger.kill();
        ledger.run();
        std::thread::sleep(Duration::from_millis(700));
        assert!(bench.try_wait().unwrap().is_none(), "the load has ended before the kills");
    }
    let output = bench.wait_with_output().unwrap();
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(output.status.success(), "{report}");
    // What was sent is answered in the end, and every receipt holds. What was not sent yet when the time was over never is.
    let receipts = report["receipts"].as_u64().unwrap();
    assert!((1_000..=2_400).contains(&receipts), "{report}");
    assert!(report["reconnects"].as_u64().unwrap() >= 2, "{report}");
    let errors = report["errors"].as_object().unwrap();
    assert!(
        errors.keys().all(|name| ["Unavailable", "Unknown", "STOPPING"].contains(&name.as_str())),
        "{report}"
    );
}

#[test]
fn wrong_arguments_and_nodes_that_are_not_there_are_told() {
    let _ = assent(&["bench", "--mix", "reads=1"])
        .exits(2)
        .says("none of grants, revocations, requests and records");
    let _ = assent(&["bench", "--mix", "grants=0"]).exits(2).says("all shares are 0");
    let _ = assent(&["bench", "--rate", "0"]).exits(2);
    let _ = assent(&["bench", "--process", "node"]).exits(1).says("is not NAME=PID");
    let _ = assent(&["bench", "--process", "node=999999999"]).exits(1).says("is not there");
    let _ =
        assent(&["bench", "--node", "http://127.0.0.1:1", "--timeout", "1"]).exits(1).says("no answer from");
    let _ = assent(&["bench", "limits", "--dir", "/nonexistent"]).exits(1).says("/nonexistent");
    let ledger = Ledger::start(1_000, 3);
    let _ = ledger
        .cli(&["bench", "--rate", "1000000", "--duration", "86400"])
        .exits(1)
        .says("take a lower rate or a shorter time");
}
