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
    let allowed: [(&str, &[&str]); 15] = [
        ("assent-proto", &[]),
        ("assent-merkle", &[]),
        ("assent-metrics", &[]),
        ("assent-mockchain", &[]),
        ("assent-wire", &[]),
        ("assent-core", &["assent-merkle", "assent-proto"]),
        ("assent-verify", &["assent-core", "assent-merkle", "assent-proto"]),
        ("assent-fhir", &["assent-core", "assent-merkle", "assent-proto"]),
        ("assent-store", &["assent-core", "assent-merkle", "assent-proto"]),
        ("assent-client", &["assent-core", "assent-merkle", "assent-proto", "assent-wire"]),
        (
            "assent-bench",
            &[
                "assent-client",
                "assent-core",
                "assent-merkle",
                "assent-proto",
                "assent-store",
                "assent-verify",
                "assent-wire",
            ],
        ),
        ("assent-gate", &["assent-core", "assent-merkle", "assent-metrics", "assent-proto", "assent-wire"]),
        ("assent-anchor", &["assent-core", "assent-merkle", "assent-proto", "assent-verify"]),
        (
            "assent-sequencer",
            &[
                "assent-core",
                "assent-gate",
                "assent-merkle",
                "assent-metrics",
                "assent-proto",
                "assent-store",
                "assent-wire",
            ],
        ),
        (
            "assent-prover",
            &[
                "assent-anchor",
                "assent-client",
                "assent-core",
                "assent-gate",
                "assent-merkle",
                "assent-metrics",
                "assent-proto",
                "assent-store",
                "assent-verify",
                "assent-wire",
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

/// Licences under which the work of others may be used here: permissive ones, and those that bind only their own files.
const LICENCES: [&str; 16] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "ISC",
    "MIT",
    "MIT-0",
    // MIT, and: do not pass off changed versions as the original. hex_lit of the Bitcoin crates has it.
    "MITNFA",
    "MPL-2.0",
    // Of the University of Illinois, for LLVM's libFuzzer: MIT and BSD in one.
    "NCSA",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// Whether an SPDX expression can be met: one side of each OR, all sides of each AND.
fn allowed(expression: &str) -> bool {
    let expression = expression.replace('/', " OR ");
    let expression = expression.trim();
    if LICENCES.contains(&expression) {
        return true;
    }
    let inner = expression.strip_prefix('(').and_then(|rest| rest.strip_suffix(')'));
    if let Some(inner) = inner.filter(|inner| !inner.contains('(')) {
        return allowed(inner);
    }
    // Split at the outermost operators only.
    for (operator, every) in [(" AND ", true), (" OR ", false)] {
        let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
        for (index, character) in expression.char_indices() {
            match character {
                '(' => depth += 1,
                ')' => depth -= 1,
                _ => {}
            }
            if depth == 0 && expression[index..].starts_with(operator) {
                parts.push(&expression[start..index]);
                start = index + operator.len();
            }
        }
        if !parts.is_empty() {
            parts.push(&expression[start..]);
            return if every {
                parts.iter().all(|part| allowed(part))
            } else {
                parts.iter().any(|part| allowed(part))
            };
        }
    }
    false
}

#[test]
fn every_dependency_comes_from_the_registry_under_a_licence_that_fits() {
    assert!(allowed("MIT OR GPL-3.0") && allowed("(MIT OR Apache-2.0) AND Unicode-3.0"));
    assert!(
        !allowed("GPL-3.0") && !allowed("MIT AND GPL-3.0") && !allowed("(MIT OR Apache-2.0) AND GPL-3.0")
    );
    // Of this platform only: what others would need is not downloaded.
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let rustc = String::from_utf8(rustc.stdout).unwrap();
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--offline", "--format-version", "1", "--filter-platform", host])
        .current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/.."))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap();
    assert!(packages.len() > 100);
    for package in packages {
        let name = &package["name"];
        if let Some(source) = package["source"].as_str() {
            assert!(source.starts_with("registry+"), "{name} comes from {source}");
        }
        let licence = package["license"].as_str().unwrap_or("none");
        assert!(allowed(licence), "{name} has licence {licence:?}");
    }
}
