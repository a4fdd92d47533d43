//! What an auditor builds stays small.

use std::process::Command;

fn tree(package: &str) -> Vec<String> {
    let output = Command::new(env!("CARGO"))
        .args(["tree", "--offline", "--prefix", "none", "--edges", "normal", "--package", package])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().filter_map(|line| line.split(' ').next()).map(str::to_owned).collect()
}

#[test]
fn the_verifier_depends_on_no_database_network_or_async_runtime() {
    let found = tree("assent-verify");
    assert!(found.iter().any(|name| name == "assent-core") && found.len() > 20, "{found:?}");
    for unwanted in
        ["rocksdb", "librocksdb-sys", "tonic", "tokio", "hyper", "reqwest", "axum", "assent-store"]
    {
        assert!(!found.iter().any(|name| name == unwanted), "assent-verify depends on {unwanted}");
    }
}

#[test]
fn crates_depend_on_each_other_as_the_architecture_says() {
    // docs/architecture.md has the same table.
    let allowed: [(&str, &[&str]); 11] = [
        ("assent-proto", &[]),
        ("assent-merkle", &[]),
        ("assent-mockchain", &[]),
        ("assent-core", &["assent-merkle", "assent-proto"]),
        ("assent-verify", &["assent-core", "assent-merkle", "assent-proto"]),
        ("assent-fhir", &["assent-core", "assent-merkle", "assent-proto"]),
        ("assent-store", &["assent-core", "assent-merkle", "assent-proto"]),
        ("assent-client", &["assent-core", "assent-merkle", "assent-proto"]),
        ("assent-anchor", &["assent-core", "assent-merkle", "assent-proto", "assent-verify"]),
        ("assent-sequencer", &["assent-core", "assent-merkle", "assent-proto", "assent-store"]),
        (
            "assent-prover",
            &[
                "assent-anchor",
                "assent-core",
                "assent-merkle",
                "assent-proto",
                "assent-store",
                "assent-verify",
            ],
        ),
    ];
    for (package, allowed) in allowed {
        let mut found = tree(package);
        found.retain(|name| name.starts_with("assent-") && name != package);
        for name in found {
            assert!(allowed.contains(&name.as_str()), "{package} depends on {name}");
        }
    }
}
