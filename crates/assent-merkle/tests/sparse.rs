//! The state tree against its definition: the shape, the proofs, the pages, and what is refused.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "tests")]

use std::{cell::Cell, collections::BTreeMap, convert::Infallible};

use assent_merkle::{
    Hash,
    sparse::{
        EMPTY_STATE_ROOT, LEAF_DEPTH, PageReader, PageWrites, SparseProof, SparseProofError, SparseTree,
        Terminal, verify_sparse,
    },
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

/// Pages in memory, counting what is read.
#[derive(Default)]
struct Rows {
    rows: BTreeMap<Vec<u8>, Vec<u8>>,
    read: Cell<usize>,
}

impl Rows {
    fn write(&mut self, writes: PageWrites) {
        for (id, row) in writes.iter() {
            match row {
                Some(row) => self.rows.insert(id.to_vec(), row.to_vec()),
                None => Some(self.rows.remove(id).expect("only what is there is deleted")),
            };
        }
    }

    fn open(&self, budget: usize) -> SparseTree {
        let rows = self.rows.iter().map(|(id, row)| {
            Ok::<_, Infallible>((id.clone().into_boxed_slice(), row.clone().into_boxed_slice()))
        });
        SparseTree::open(rows, budget).unwrap()
    }
}

impl PageReader for Rows {
    type Error = Infallible;

    fn page(&self, id: &[u8]) -> Result<Option<Vec<u8>>, Infallible> {
        self.read.set(self.read.get() + 1);
        Ok(self.rows.get(id).cloned())
    }
}

fn sha(parts: &[&[u8]]) -> Hash {
    Sha256::digest(parts.concat()).into()
}

fn key(number: u64) -> Hash {
    sha(&[b"key", &number.to_be_bytes()])
}

fn bit(key: &Hash, index: usize) -> bool {
    key[index / 8] >> (7 - index % 8) & 1 == 1
}

/// The definition, word for word, without any of the tree's code.
fn defined(keys: &[(Hash, Hash)], depth: usize) -> Option<Hash> {
    match keys {
        [] => None,
        [(key, value)] if depth >= 48 => Some(sha(&[&[2], key, value])),
        _ => {
            let side = |wanted| -> Vec<(Hash, Hash)> {
                keys.iter().filter(|(key, _)| bit(key, depth) == wanted).copied().collect()
            };
            match (defined(&side(false), depth + 1), defined(&side(true), depth + 1)) {
                (Some(left), Some(right)) => Some(sha(&[&[3], &left, &right])),
                (Some(child), None) => Some(sha(&[&[4, 0], &child])),
                (None, Some(child)) => Some(sha(&[&[4, 1], &child])),
                (None, None) => None,
            }
        }
    }
}

fn check_all(tree: &SparseTree, rows: &Rows, map: &BTreeMap<Hash, Hash>, absent: &[Hash]) {
    let keys: Vec<(Hash, Hash)> = map.iter().map(|(key, value)| (*key, *value)).collect();
    let root = defined(&keys, 0).unwrap_or(EMPTY_STATE_ROOT);
    assert_eq!(tree.root(), root);
    assert_eq!(tree.keys(), map.len() as u64);
    for (key, value) in map {
        let (proof, found) = tree.prove(rows, key).unwrap();
        assert_eq!(found, Some(*value));
        verify_sparse(&root, key, Some(value), &proof).unwrap();
        assert!(matches!(verify_sparse(&root, key, None, &proof), Err(SparseProofError::Presence { .. })));
        assert_eq!(verify_sparse(&root, key, Some(&[9; 32]), &proof), Err(SparseProofError::RootMismatch));
    }
    for key in absent.iter().filter(|key| !map.contains_key(*key)) {
        let (proof, found) = tree.prove(rows, key).unwrap();
        assert_eq!(found, None);
        verify_sparse(&root, key, None, &proof).unwrap();
        assert!(verify_sparse(&root, key, Some(&[9; 32]), &proof).is_err());
    }
}

#[test]
fn follows_its_definition_batch_by_batch_with_pages_and_without() {
    let (mut rows, mut map) = (Rows::default(), BTreeMap::new());
    // No page stays in memory in the second.
    let (mut tree, mut thrifty) = (SparseTree::new(usize::MAX), SparseTree::new(0));
    let absent: Vec<Hash> = (10_000..10_050).map(key).collect();
    check_all(&tree, &rows, &map, &absent);
    for batch in 0..30u64 {
        // Some keys are new, some are written again, some with the value that they have.
        let updates: BTreeMap<Hash, Hash> = (0..batch * 3 + 1)
            .map(|i| {
                (key((batch * batch * 7 + i * 13) % 700), sha(&[b"value", &(batch + i % 2).to_be_bytes()]))
            })
            .collect();
        map.extend(&updates);
        let updates: Vec<(Hash, Hash)> = updates.into_iter().collect();
        let writes = tree.apply(&rows, &updates).unwrap();
        let same = thrifty.apply(&rows, &updates).unwrap();
        assert!(writes.iter().eq(same.iter()));
        rows.write(writes);
        check_all(&tree, &rows, &map, &absent);
        assert_eq!(thrifty.root(), tree.root());
        for budget in [0, 20, usize::MAX] {
            check_all(&rows.open(budget), &rows, &map, &absent);
        }
    }
    assert!(rows.read.get() > 1000, "the thrifty tree reads its pages");
}

#[test]
fn keys_that_share_many_bits_are_kept_apart() {
    for shared in [0, 1, 30, 47, 48, 49, 100, 254, 255] {
        let first = key(1);
        let mut second = first;
        second[shared / 8] ^= 1 << (7 - shared % 8);
        let mut near = first;
        near[31] ^= if shared == 255 { 2 } else { 1 };
        let (mut rows, mut tree) = (Rows::default(), SparseTree::new(usize::MAX));
        let mut map = BTreeMap::from([(first, [1; 32])]);
        rows.write(tree.apply(&rows, &[(first, [1; 32])]).unwrap());
        check_all(&tree, &rows, &map, &[second, near, key(2)]);
        let (proof, _) = tree.prove(&rows, &second).unwrap();
        // Only where it shares 48 bits is the other key shown.
        assert_eq!(matches!(proof.terminal, Terminal::Other { .. }), shared >= LEAF_DEPTH, "{shared}");
        map.insert(second, [2; 32]);
        rows.write(tree.apply(&rows, &[(second, [2; 32])]).unwrap());
        check_all(&tree, &rows, &map, &[near, key(2)]);
    }
    // A page's worth of keys that agree on 60 bits: pages below the leaf depth.
    let (mut rows, mut tree, mut map) = (Rows::default(), SparseTree::new(4), BTreeMap::new());
    for i in 0..60u64 {
        let mut near = key(1);
        near[8..16].copy_from_slice(&(i << 56 | i).to_be_bytes());
        map.insert(near, sha(&[&i.to_be_bytes()]));
    }
    let updates: Vec<(Hash, Hash)> = map.iter().map(|(key, value)| (*key, *value)).collect();
    for chunk in updates.chunks(7) {
        rows.write(tree.apply(&rows, chunk).unwrap());
    }
    check_all(&tree, &rows, &map, &[key(1), key(2)]);
    check_all(&rows.open(3), &rows, &map, &[key(1), key(2)]);
}

#[test]
fn a_wrong_proof_is_refused() {
    let map: BTreeMap<Hash, Hash> = (0..500).map(|i| (key(i), sha(&[&i.to_be_bytes()]))).collect();
    let updates: Vec<(Hash, Hash)> = map.iter().map(|(key, value)| (*key, *value)).collect();
    let (rows, mut tree) = (Rows::default(), SparseTree::new(usize::MAX));
    tree.apply(&rows, &updates).unwrap();
    let root = tree.root();
    for subject in [key(3), key(1000)] {
        let (proof, value) = tree.prove(&rows, &subject).unwrap();
        let check = |changed: &SparseProof| {
            if *changed != proof {
                assert!(verify_sparse(&root, &subject, value.as_ref(), changed).is_err(), "{changed:?}");
            }
        };
        for level in 0..proof.siblings.len() {
            let mut changed = proof.clone();
            changed.siblings[level] = match changed.siblings[level] {
                Some(_) => None,
                None => Some([7; 32]),
            };
            check(&changed);
            changed = proof.clone();
            changed.siblings.remove(level);
            check(&changed);
            changed = proof.clone();
            changed.siblings.insert(level, None);
            check(&changed);
            changed = proof.clone();
            changed.siblings.truncate(level);
            check(&changed);
            changed.terminal = Terminal::Empty;
            check(&changed);
        }
        let mut changed = proof.clone();
        changed.siblings.extend(vec![None; 300]);
        check(&changed);
        for terminal in [Terminal::Empty, Terminal::Present, Terminal::Other { key: key(4), value: [4; 32] }]
        {
            check(&SparseProof { terminal, ..proof.clone() });
        }
        // Another key's proof, another root.
        let (other, _) = tree.prove(&rows, &key(77)).unwrap();
        check(&other);
        assert_eq!(
            verify_sparse(&[1; 32], &subject, value.as_ref(), &proof),
            Err(SparseProofError::RootMismatch)
        );
    }
    // Updates that are not sorted, or twice the same key.
    assert!(tree.apply(&rows, &[(key(1), [1; 32]), (key(1), [1; 32])]).is_err());
}

#[test]
fn damaged_rows_are_named() {
    let mut rows = Rows::default();
    let mut tree = SparseTree::new(0);
    let mut updates: Vec<(Hash, Hash)> = (0..50).map(|i| (key(i), [1; 32])).collect();
    updates.sort_unstable();
    rows.write(tree.apply(&rows, &updates).unwrap());
    let empty = Rows::default();
    let error = tree.prove(&empty, &key(3)).unwrap_err().to_string();
    assert!(error.contains("missing"), "{error}");
    let (id, row) = rows.rows.iter().next().map(|(id, row)| (id.clone(), row.clone())).unwrap();
    for damaged in [vec![], row[..40].to_vec(), row[..32].to_vec(), [&row[..], &[0]].concat()] {
        rows.rows.insert(id.clone(), damaged);
        let opened = SparseTree::open(
            rows.rows.iter().map(|(id, row)| Ok::<_, Infallible>((id.clone().into(), row.clone().into()))),
            0,
        );
        assert!(opened.is_err());
    }
    rows.rows.insert(id, row.clone());
    rows.rows.insert(vec![0, 0], row);
    let twice = SparseTree::open(
        rows.rows.iter().map(|(id, row)| Ok::<_, Infallible>((id.clone().into(), row.clone().into()))),
        0,
    );
    assert!(twice.is_err());
}

proptest! {
    #[test]
    fn any_keys_in_any_batches(
        seeds in prop::collection::vec((any::<u8>(), any::<u8>(), any::<u8>()), 1..120),
        cut in 1usize..40,
    ) {
        // Keys that agree on long prefixes, so that all depths occur.
        let map: BTreeMap<Hash, Hash> = seeds.iter().map(|(a, b, c)| {
            let mut key = [0; 32];
            (key[0], key[5], key[31]) = (a & 3, b & 7, *c);
            (key, sha(&[&[*a, *b]]))
        }).collect();
        let updates: Vec<(Hash, Hash)> = map.iter().map(|(key, value)| (*key, *value)).collect();
        let (mut rows, mut tree) = (Rows::default(), SparseTree::new(16));
        for chunk in updates.chunks(cut) {
            let writes = tree.apply(&rows, chunk).unwrap();
            rows.write(writes);
        }
        check_all(&tree, &rows, &map, &[[0; 32], [255; 32], key(1)]);
        check_all(&rows.open(8), &rows, &map, &[[3; 32]]);
    }
}
