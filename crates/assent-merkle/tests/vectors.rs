//! The published RFC 6962 vectors of the transparency-dev/merkle project.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{env, fs, path::PathBuf};

use assent_merkle::{Hash, verify_consistency, verify_inclusion};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Inclusion {
    leaf_idx: u64,
    tree_size: u64,
    root: String,
    leaf_hash: String,
    proof: Option<Vec<String>>,
    want_err: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Consistency {
    size1: u64,
    size2: u64,
    root1: String,
    root2: String,
    proof: Option<Vec<String>>,
    want_err: bool,
}

/// The folder with the vectors: `ASSENT_VECTORS`, or `shared/vectors` beside the checkout.
fn folder(kind: &str) -> Option<PathBuf> {
    let base = env::var_os("ASSENT_VECTORS").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/vectors"),
        PathBuf::from,
    );
    let folder = base.join("rfc6962").join(kind);
    if folder.is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no vectors at {} (set ASSENT_VECTORS)", folder.display());
    None
}

fn files(folder: PathBuf) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![folder];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { found.push(path) }
        }
    }
    found.sort();
    found
}

/// A hash of another length can be no hash of ours: decoding refuses it before a verifier sees it.
fn hash(text: &str) -> Option<Hash> {
    STANDARD.decode(text).unwrap().try_into().ok()
}

fn hashes(texts: Option<Vec<String>>) -> Option<Vec<Hash>> {
    texts.unwrap_or_default().iter().map(|text| hash(text)).collect()
}

#[test]
fn every_published_inclusion_vector_is_judged_as_published() {
    let Some(folder) = folder("inclusion") else { return };
    let files = files(folder);
    assert!(files.len() > 10, "only {} vectors", files.len());
    for file in files {
        let case: Inclusion = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let accepted = (|| {
            let (root, leaf, path) = (hash(&case.root)?, hash(&case.leaf_hash)?, hashes(case.proof)?);
            verify_inclusion(case.leaf_idx, case.tree_size, leaf, &path, &root).ok()
        })();
        assert_eq!(accepted.is_none(), case.want_err, "{}", file.display());
    }
}

#[test]
fn every_published_consistency_vector_is_judged_as_published() {
    let Some(folder) = folder("consistency") else { return };
    let files = files(folder);
    assert!(files.len() > 10, "only {} vectors", files.len());
    for file in files {
        let case: Consistency = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        let accepted = (|| {
            let (old_root, new_root, path) = (hash(&case.root1)?, hash(&case.root2)?, hashes(case.proof)?);
            verify_consistency(case.size1, case.size2, &path, &old_root, &new_root).ok()
        })();
        assert_eq!(accepted.is_none(), case.want_err, "{}", file.display());
    }
}
