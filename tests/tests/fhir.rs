//! FHIR consents through the real binary, from the examples that ship.

use std::path::PathBuf;

use assent_tests::{Ledger, write};

fn examples() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../examples/fhir")
}

#[test]
fn a_fhir_consent_is_granted_decides_and_leaves_no_trace_of_the_resource() {
    let ledger = Ledger::start(60_000, 1);
    let (patient_key, patient) = ledger.party("patient", "patient");
    let (clinic_key, clinic) = ledger.party("clinic", "organisation");
    let (maker_key, maker) = ledger.party("maker", "organisation");
    let map = ledger.path("refs.toml");
    write(
        &map,
        format!(
            "[references]\n\"Patient/sensor-wearer\" = \"{patient}\"\n\"Organization/diabetes-clinic\" = \"{clinic}\"\n\"Organization/sensor-maker\" = \"{maker}\"\n"
        )
        .as_bytes(),
    );
    let file = examples().join("glucose-sensor.json");
    let file = file.to_str().unwrap();
    let import = |extra: &[&str]| {
        ledger.cli(
            &[&["consent", "import", file, "--map", &map, "--key", &patient_key, "--json"], extra].concat(),
        )
    };
    let _ = import(&["--dry-run"]).exits(0);
    let granted = import(&[]).exits(0).json();
    assert_eq!(granted["outcomes"][0]["kind"], "CONSENT_GRANTED");
    let ask = |key: &str, purpose: &str| {
        ledger.cli(&[
            "access",
            "request",
            "--subject",
            &patient,
            "--custodian",
            &maker,
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
    let _ = ask(&clinic_key, "TREAT").exits(0);
    let _ = ask(&clinic_key, "HMARKT").exits(4);
    let _ = ask(&maker_key, "TREAT").exits(4);

    // Somebody else's consent, an unmapped reference, an ambiguous root, and rubbish.
    let refused = |args: &[&str]| ledger.cli(args).exits(1);
    let _ =
        refused(&["consent", "import", file, "--map", &map, "--key", &clinic_key]).says("only the subject");
    let empty = ledger.path("empty.toml");
    write(&empty, b"[references]\n");
    let _ =
        refused(&["consent", "import", file, "--map", &empty, "--key", &patient_key]).says("Consent.patient");
    let rubbish = ledger.path("rubbish.json");
    write(&rubbish, b"{\"resourceType\": \"Consent\"");
    let _ = refused(&["consent", "import", &rubbish, "--map", &map, "--key", &patient_key]).says("refused");
    // A refused file among good ones grants none of them.
    let before =
        ledger.cli(&["account", "show", &patient, "--json"]).exits(0).json()["active_consents"].clone();
    let _ = refused(&["consent", "import", file, &rubbish, "--map", &map, "--key", &patient_key]);
    let after =
        ledger.cli(&["account", "show", &patient, "--json"]).exits(0).json()["active_consents"].clone();
    assert_eq!(before, after);

    // Nothing of the resource's text is on disk with the ledger.
    let resource = std::fs::read_to_string(file).unwrap();
    let marked = ["sensor-wearer", "diabetes-clinic"];
    assert!(marked.iter().all(|mark| resource.to_lowercase().contains(mark)));
    let mut folders = vec![ledger.dir()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let bytes = std::fs::read(&path).unwrap_or_default().to_ascii_lowercase();
            for mark in marked {
                assert!(
                    !bytes.windows(mark.len()).any(|w| w == mark.as_bytes()),
                    "{mark} in {}",
                    path.display()
                );
            }
        }
    }
}
