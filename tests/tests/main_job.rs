//! The main job through the real binary: submit, sequence, seal, prove, anchor, verify.

use assent_core::ChainId;
use assent_tests::{Ledger, assent, free_port, write};
use assent_verify::{Pins, VerifyError, verify_bundle};

fn names(json: &serde_json::Value) -> Vec<&str> {
    json["outcomes"].as_array().unwrap().iter().map(|outcome| outcome["kind"].as_str().unwrap()).collect()
}

#[test]
fn a_consent_becomes_a_proof_that_outlives_the_node() {
    let mut ledger = Ledger::start(200, 2);
    let (patient_key, patient) = ledger.party("patient", "patient");
    let (clinic_key, clinic) = ledger.party("clinic", "organisation");
    let (insurer_key, _) = ledger.party("insurer", "organisation");

    let granted = ledger
        .cli(&[
            "consent",
            "grant",
            "--recipient",
            &clinic,
            "--purpose",
            "TREAT",
            "--action",
            "access",
            "--class",
            "Observation",
            "--without-label",
            "SUD",
            "--with-code",
            "--key",
            &patient_key,
            "--json",
        ])
        .exits(0)
        .json();
    let consent = granted["transaction_id"].as_str().unwrap().to_owned();
    let ask = |key: &str, purpose: &str| {
        ledger.cli(&[
            "access",
            "request",
            "--subject",
            &patient,
            "--custodian",
            &clinic,
            "--purpose",
            purpose,
            "--action",
            "access",
            "--class",
            "Observation",
            "--key",
            key,
            "--json",
        ])
    };
    let permitted = ask(&clinic_key, "TREAT").exits(0).json();
    assert_eq!(names(&permitted), ["ACCESS_PERMITTED"]);
    assert_eq!(permitted["outcomes"][0]["must_leave_out"][0], "data labelled SUD");
    let denied = ask(&insurer_key, "HPAYMT").exits(4).json();
    assert_eq!(names(&denied), ["ACCESS_DENIED"]);
    let request = permitted["transaction_id"].as_str().unwrap();
    let recorded = ledger.cli(&["access", "record", request, "--key", &clinic_key, "--json"]).exits(0).json();
    assert_eq!(names(&recorded), ["ACCESS_COVERED"]);

    // The patient lost the key and revokes with the printed code.
    let code = granted["revocation_code"].as_str().unwrap();
    let revoked = ledger.cli(&["consent", "revoke", "--code", code, "--json"]).exits(0).json();
    assert_eq!(names(&revoked), ["CONSENT_REVOKED"]);
    let _ = ledger.cli(&["consent", "show", &consent]).exits(0).says("REVOKED");
    assert_eq!(names(&ask(&clinic_key, "TREAT").exits(4).json()), ["ACCESS_DENIED"]);
    let late = ledger.cli(&["access", "record", request, "--key", &clinic_key, "--json"]).exits(4).json();
    assert_eq!(names(&late), ["ACCESS_UNCOVERED"]);
    let shown = ledger.cli(&["account", "show", &patient, "--json"]).exits(0).json();
    assert_eq!(shown["active_consents"].as_array().unwrap().len(), 0);

    let watched = ledger.cli(&["tx", "watch", request]).exits(0).says("CONFIRMED");
    assert!(watched.out.lines().count() >= 2, "{watched:?}");
    let shown = ledger.cli(&["tx", "show", request, "--json"]).exits(0).json();
    assert_eq!(shown["tier"]["tier"], "CONFIRMED");

    let (file, opened) = (ledger.path("proof.assent"), ledger.path("opened.assent"));
    let _ = ledger.cli(&["audit", "bundle", request, "-o", &file]).exits(0);
    let _ = ledger.cli(&["audit", "bundle", request, "-o", &opened, "--open-details"]).exits(0);
    let chain = ledger.chain_id();
    assert_eq!(ledger.terminate(), Some(0));
    std::fs::remove_dir_all(ledger.dir()).unwrap();

    let verified = assent(&["verify", &file, "--chain", &chain]).exits(0).says("VERIFIED");
    assert!(!verified.out.contains(&consent), "a closed bundle does not name the consent");
    let _ = assent(&["verify", &opened, "--chain", &chain]).exits(0).says(&consent);
    let _ = assent(&["verify", &file]).exits(10).says("NOT PINNED");
    let _ = assent(&["verify", &file, "--chain", &"00".repeat(32)]).exits(20).says("chain-id");
    let _ = assent(&["verify", &file, "--least-work", "ffffffff"]).exits(20).says("least-work");
    let _ = assent(&["verify", "/nonexistent"]).exits(30).says("COULD NOT READ");
    let _ = assent(&["verify", &file, "--chain", "xyz"]).exits(2);
    every_changed_byte_is_refused(&std::fs::read(&opened).unwrap(), &chain);
}

/// Flips a bit of every byte, and cuts the file at every length.
fn every_changed_byte_is_refused(file: &[u8], chain: &str) {
    let pins = Pins { chain_id: Some(chain.parse::<ChainId>().unwrap()), ..Default::default() };
    verify_bundle(file, &pins).unwrap();
    let mut checks = std::collections::BTreeSet::new();
    for i in 0..file.len() {
        for bit in [0, 5] {
            let mut changed = file.to_vec();
            changed[i] ^= 1 << bit;
            match verify_bundle(&changed, &pins) {
                Ok(_) => panic!("byte {i} bit {bit} may be changed"),
                Err(VerifyError::Check(error)) => {
                    checks.insert(error.name());
                }
                Err(VerifyError::Read(_)) => {}
            }
        }
        assert!(matches!(verify_bundle(&file[..i], &pins), Err(VerifyError::Read(_))), "cut at {i}");
    }
    let mut longer = file.to_vec();
    longer.push(0);
    assert!(verify_bundle(&longer, &pins).is_err());
    // The named checks, not only the digest at the end, find the changes.
    for name in [
        "chain-id",
        "transaction",
        "sender-signature",
        "entry-inclusion",
        "header-signature",
        "checkpoint",
        "seals",
        "block-inclusion",
    ] {
        assert!(checks.contains(name), "{name} is not in {checks:?}");
    }
}

#[test]
fn what_is_set_up_wrongly_is_refused_with_its_reason_and_changes_nothing() {
    let mut ledger = Ledger::init(60_000, 1);
    let dir = ledger.dir();
    let dir_text = dir.to_str().unwrap().to_owned();
    let node = |args: &[&str]| assent(&[&["node", &dir_text], args].concat());

    let _ = assent(&["init", &dir_text]).exits(1).says("not empty");
    let _ = assent(&["node", "/nonexistent"]).exits(1).says("assent init");
    let _ = node(&["--listen", "0.0.0.0:7420"]).exits(1).says("loopback");

    let busy = std::net::TcpListener::bind(("127.0.0.1", ledger.port)).unwrap();
    let _ = node(&[]).exits(1).says("cannot listen").says("in use");
    drop(busy);

    let config = std::fs::read_to_string(dir.join("config.toml")).unwrap();
    let with = |from: &str, to: &str| {
        assert!(config.contains(from), "{config}");
        write(dir.join("config.toml"), config.replace(from, to).as_bytes());
        node(&[])
    };
    let _ = with("confirmations = 1", "confirmations = 0")
        .exits(1)
        .says("anchor.confirmations from")
        .says("expected 1 to 1000, found 0");
    let _ = with("age_ms = 100", "age_ms = 5").exits(1).says("seal.age_ms from").says("found 5");
    let _ = with("age_ms = 100", "age_ms = \"soon\"").exits(1).says("config.toml");
    let _ = with("[seal]", "[seal]\nsurprise = 1").exits(1).says("surprise");
    write(dir.join("config.toml"), config.as_bytes());

    // A key that others can read, and another ledger's key.
    let key = dir.join("keys/sequencer.key");
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let _ = node(&[]).exits(1).says("chmod 600");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o600)).unwrap();

    ledger.run();
    // A second node on the same folder, on other ports.
    let other = format!("127.0.0.1:{}", free_port());
    let mock = format!("127.0.0.1:{}", free_port());
    let _ = node(&["--listen", &other, "--mock-listen", &mock]).exits(1).says("another process");
    assert_eq!(ledger.terminate(), Some(0));

    // Another chain's database, and a newer schema.
    let stranger = Ledger::init(60_000, 1);
    std::fs::rename(dir.join("sequencer"), dir.join("kept")).unwrap();
    let copy = std::process::Command::new("cp")
        .args(["-r", dir.join("kept").to_str().unwrap(), stranger.dir().join("sequencer").to_str().unwrap()])
        .status();
    assert!(copy.unwrap().success());
    std::fs::rename(dir.join("kept"), dir.join("sequencer")).unwrap();
    let _ = assent(&["node", stranger.dir().to_str().unwrap()]).exits(1).says("belongs to chain");
    ledger.run();
    assert_eq!(ledger.terminate(), Some(0), "the refused starts changed nothing");
}

#[test]
fn keys_are_private_and_never_overwritten() {
    let temp = tempfile::tempdir().unwrap();
    let file = temp.path().join("a.key").to_str().unwrap().to_owned();
    let made = assent(&["keys", "new", &file, "--json"]).exits(0).json();
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let _ = assent(&["keys", "new", &file]).exits(1).says("exists");
    assert_eq!(assent(&["keys", "show", &file, "--json"]).exits(0).json()["account"], made["account"]);
    write(&file, b"{}");
    let _ = assent(&["keys", "show", &file]).exits(1).says("not an Assent key file");
}

#[test]
fn every_command_explains_itself() {
    for command in [
        vec![],
        vec!["init"],
        vec!["node"],
        vec!["keys", "new"],
        vec!["keys", "show"],
        vec!["account", "open"],
        vec!["account", "show"],
        vec!["consent", "import"],
        vec!["consent", "grant"],
        vec!["consent", "revoke"],
        vec!["consent", "show"],
        vec!["access", "request"],
        vec!["access", "record"],
        vec!["tx", "show"],
        vec!["tx", "watch"],
        vec!["audit", "bundle"],
        vec!["verify"],
    ] {
        let help = assent(&[command.as_slice(), &["--help"]].concat()).exits(0);
        assert!(help.out.contains("Usage:") && help.out.len() > 150, "{command:?}: {help:?}");
    }
}
