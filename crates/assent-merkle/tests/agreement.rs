//! The trees against a second implementation: RFC 6962 §2.1 written down as it stands, recursive and slow.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{cell::Cell, collections::BTreeMap, convert::Infallible};

use assent_merkle::{
    BatchTree, CompactRange, EMPTY_ROOT, Hash, leaf_hash,
    tiles::{TileId, TileProver, TileReader, TileWriter},
    verify_consistency, verify_inclusion,
};
use proptest::prelude::*;
use sha2::{Digest, Sha256};

/// MTH of RFC 6962 §2.1.
fn mth(leaves: &[Vec<u8>]) -> Hash {
    match leaves.len() {
        0 => Sha256::digest([]).into(),
        1 => Sha256::digest([&[0u8], &leaves[0][..]].concat()).into(),
        n => {
            let k = n.next_power_of_two() / 2;
            Sha256::digest([&[1u8][..], &mth(&leaves[..k]), &mth(&leaves[k..])].concat()).into()
        }
    }
}

/// PATH of RFC 6962 §2.1.1.
fn path(m: usize, leaves: &[Vec<u8>]) -> Vec<Hash> {
    let n = leaves.len();
    if n == 1 {
        return Vec::new();
    }
    let k = n.next_power_of_two() / 2;
    if m < k {
        [path(m, &leaves[..k]), vec![mth(&leaves[k..])]].concat()
    } else {
        [path(m - k, &leaves[k..]), vec![mth(&leaves[..k])]].concat()
    }
}

/// SUBPROOF of RFC 6962 §2.1.2.
fn subproof(m: usize, leaves: &[Vec<u8>], whole: bool) -> Vec<Hash> {
    let n = leaves.len();
    if m == n {
        return if whole { Vec::new() } else { vec![mth(leaves)] };
    }
    let k = n.next_power_of_two() / 2;
    if m <= k {
        [subproof(m, &leaves[..k], whole), vec![mth(&leaves[k..])]].concat()
    } else {
        [subproof(m - k, &leaves[k..], false), vec![mth(&leaves[..k])]].concat()
    }
}

#[derive(Default)]
struct Tiles {
    map: BTreeMap<TileId, Vec<Hash>>,
    reads: Cell<usize>,
}

impl TileReader for Tiles {
    type Error = Infallible;

    fn tile(&self, id: TileId) -> Result<Option<Vec<Hash>>, Infallible> {
        self.reads.set(self.reads.get() + 1);
        Ok(self.map.get(&id).cloned())
    }
}

fn leaves(count: usize, seed: u64) -> Vec<Vec<u8>> {
    (0..count)
        .map(|i| Sha256::digest([seed.to_be_bytes(), (i as u64).to_be_bytes()].concat()).to_vec())
        .collect()
}

fn grow(leaves: &[Vec<u8>]) -> (Tiles, TileWriter) {
    let (mut tiles, mut writer) = (Tiles::default(), TileWriter::default());
    for leaf in leaves {
        tiles.map.extend(writer.append(leaf_hash(leaf)));
    }
    (tiles, writer)
}

#[test]
fn the_empty_trees_have_the_root_of_nothing() {
    assert_eq!(BatchTree::from_leaf_hashes(&[]).root(), EMPTY_ROOT);
    assert_eq!(CompactRange::default().root(), EMPTY_ROOT);
    assert_eq!(TileWriter::default().root(), EMPTY_ROOT);
    assert_eq!(mth(&[]), EMPTY_ROOT);
}

#[test]
fn every_proof_of_every_small_tree_is_that_of_the_second_implementation() {
    let all = leaves(40, 1);
    let (tiles, _) = grow(&all);
    let prover = TileProver::new(&tiles, 40);
    for n in 1..=40 {
        let (some, root) = (&all[..n], mth(&all[..n]));
        let batch = BatchTree::from_leaves(some);
        assert_eq!(batch.root(), root);
        assert_eq!(prover.root(n as u64).unwrap(), root);
        for m in 0..n {
            let expected = path(m, some);
            assert_eq!(batch.inclusion_path(m as u64).unwrap(), expected, "{m} of {n}");
            assert_eq!(prover.inclusion_path(m as u64, n as u64).unwrap(), expected);
            verify_inclusion(m as u64, n as u64, leaf_hash(&all[m]), &expected, &root).unwrap();
            for other in (0..n + 2).filter(|other| *other != m) {
                assert!(
                    verify_inclusion(other as u64, n as u64, leaf_hash(&all[m]), &expected, &root).is_err()
                );
            }
            let old = m + 1;
            let proof = prover.consistency_path(old as u64, n as u64).unwrap();
            assert_eq!(proof, if old == n { Vec::new() } else { subproof(old, some, true) }, "{old} to {n}");
            verify_consistency(old as u64, n as u64, &proof, &mth(&all[..old]), &root).unwrap();
        }
        assert!(batch.inclusion_path(n as u64).is_none());
    }
}

#[test]
fn surplus_and_missing_hashes_are_refused() {
    let all = leaves(13, 2);
    let tree = BatchTree::from_leaves(&all);
    let good = tree.inclusion_path(5).unwrap();
    let mut long = good.clone();
    long.push([0; 32]);
    assert!(verify_inclusion(5, 13, leaf_hash(&all[5]), &long, &tree.root()).is_err());
    assert!(verify_inclusion(5, 13, leaf_hash(&all[5]), &good[1..], &tree.root()).is_err());
    assert!(verify_inclusion(0, 0, leaf_hash(&all[5]), &[], &EMPTY_ROOT).is_err());
}

#[test]
fn a_restart_and_a_proof_read_no_more_tiles_than_the_height() {
    let all = leaves(70_000, 3);
    let (tiles, writer) = grow(&all);
    tiles.reads.set(0);
    let again = TileWriter::open(&tiles, 70_000).unwrap();
    assert_eq!(again.root(), writer.root());
    assert_eq!(tiles.reads.get(), 3, "one partial tile a level");
    tiles.reads.set(0);
    let proof = TileProver::new(&tiles, 70_000).inclusion_path(12_345, 70_000).unwrap();
    assert!(tiles.reads.get() <= 2 * 17, "{} reads", tiles.reads.get());
    verify_inclusion(12_345, 70_000, leaf_hash(&all[12_345]), &proof, &writer.root()).unwrap();
}

#[test]
fn a_tree_with_lost_tiles_does_not_open() {
    let all = leaves(300, 4);
    let (mut tiles, _) = grow(&all);
    tiles.map.remove(&TileId { level: 0, index: 1 });
    assert!(TileWriter::open(&tiles, 300).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn random_trees_agree_in_all_implementations(n in 1usize..1200, seed: u64, pick: prop::sample::Index, old: prop::sample::Index) {
        let all = leaves(n, seed);
        let root = mth(&all);
        let (tiles, writer) = grow(&all);
        let mut range = CompactRange::default();
        all.iter().for_each(|leaf| drop(range.append(leaf_hash(leaf))));
        prop_assert_eq!(writer.root(), root);
        prop_assert_eq!(range.root(), root);
        prop_assert_eq!(BatchTree::from_leaves(&all).root(), root);
        prop_assert_eq!(&CompactRange::from_parts(range.size(), range.peaks().to_vec()).unwrap(), &range);
        let mut reopened = TileWriter::open(&tiles, n as u64).unwrap();
        prop_assert_eq!(reopened.root(), root);
        let mut longer = all.clone();
        longer.push(b"one more".to_vec());
        reopened.append(leaf_hash(b"one more"));
        prop_assert_eq!(reopened.root(), mth(&longer));

        let (m, old) = (pick.index(n), old.index(n) + 1);
        let prover = TileProver::new(&tiles, n as u64);
        let inclusion = prover.inclusion_path(m as u64, n as u64).unwrap();
        prop_assert_eq!(&inclusion, &path(m, &all));
        let consistency = prover.consistency_path(old as u64, n as u64).unwrap();
        verify_consistency(old as u64, n as u64, &consistency, &mth(&all[..old]), &root).unwrap();
        for i in 0..consistency.len() {
            let mut bad = consistency.clone();
            bad[i][0] ^= 1;
            prop_assert!(verify_consistency(old as u64, n as u64, &bad, &mth(&all[..old]), &root).is_err());
        }
    }
}
