//! What survives: restarts, torn tails, and what is refused instead of guessed at.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test that finds something missing is to fail there")]

mod common;

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;

use assent_mockchain::{MockChain, MockChainConfig, MockChainError};
use common::{Wallet, coinbase};

fn open(dir: &Path) -> Result<MockChain, MockChainError> {
    MockChain::open(MockChainConfig { dir: Some(dir.to_owned()), ..MockChainConfig::default() })
}

/// A folder with a fork: two branches of which one was invalidated.
fn busy(dir: &Path) -> MockChain {
    let wallet = Wallet::new();
    let chain = open(dir).unwrap();
    chain.mine_to(105, &wallet.p2wpkh()).unwrap();
    chain.send(wallet.forward(&coinbase(&chain, 1), wallet.p2tr(), 1_000)).unwrap();
    chain.mine(2).unwrap();
    chain.invalidate(&chain.block_hash(106).unwrap()).unwrap();
    chain.mine(1).unwrap();
    chain
}

fn corruption(dir: &Path) -> String {
    match open(dir) {
        Err(error @ MockChainError::Corrupt { .. }) => error.to_string(),
        other => panic!("expected corruption, found {other:?}"),
    }
}

#[test]
fn a_restart_finds_the_same_tip_the_same_branches_and_the_same_marks() {
    let dir = tempfile::tempdir().unwrap();
    let chain = busy(dir.path());
    let (tip, blocks) = (chain.tip(), chain.blocks());
    let marked = blocks[106].block_hash();
    assert_eq!(chain.height(), 106);
    drop(chain);
    let chain = open(dir.path()).unwrap();
    assert_eq!((chain.tip(), chain.blocks()), (tip, blocks.clone()));
    assert!(chain.mempool().is_empty());
    // The mark was what kept the longer branch away.
    chain.reconsider(&marked).unwrap();
    assert_eq!(chain.tip(), blocks[107].block_hash());
    drop(chain);
    let chain = open(dir.path()).unwrap();
    assert_eq!(chain.tip(), blocks[107].block_hash());
    chain.mine(1).unwrap();
    assert_eq!(chain.height(), 108);
}

#[test]
fn a_torn_tail_is_cut_off_wherever_the_crash_came() {
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path()).unwrap();
    chain.mine(3).unwrap();
    let second = chain.block_hash(2).unwrap();
    let last = bitcoin::consensus::serialize(chain.block(&chain.tip()).unwrap().as_ref()).len() + 8;
    drop(chain);
    let path = dir.path().join("blocks.dat");
    let whole = fs::read(&path).unwrap();
    for kept in 0..last {
        fs::write(&path, &whole[..whole.len() - last + kept]).unwrap();
        let chain = open(dir.path()).unwrap();
        assert_eq!(chain.tip(), second, "with {kept} bytes of the last record");
        drop(chain);
        assert_eq!(fs::metadata(&path).unwrap().len(), u64::try_from(whole.len() - last).unwrap());
    }
    // The file had grown, but its data had not arrived.
    fs::write(&path, [&whole[..whole.len() - last], &vec![0; last]].concat()).unwrap();
    let chain = open(dir.path()).unwrap();
    assert_eq!(chain.tip(), second);
    chain.mine(1).unwrap();
    let tip = chain.tip();
    drop(chain);
    assert_eq!(open(dir.path()).unwrap().tip(), tip);
}

#[test]
fn damage_elsewhere_is_an_error_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    drop(busy(dir.path()));
    let path = dir.path().join("blocks.dat");
    let whole = fs::read(&path).unwrap();
    let damage = |at: usize, byte: u8| {
        let mut damaged = whole.clone();
        damaged[at] ^= byte;
        fs::write(&path, &damaged).unwrap();
    };
    // The magic, the length made longer than what follows, and the length made longer than any block.
    let second = 8 + 285;
    damage(second, 1);
    assert!(corruption(dir.path()).contains("expected the magic"));
    damage(second + 6, 1);
    assert!(corruption(dir.path()).contains("cut short"));
    damage(second + 7, 0x80);
    assert!(corruption(dir.path()).contains("longer than a block can be"));
    // A bit within a block breaks its work, its Merkle root or its link.
    damage(second + 8 + 100, 1);
    assert!(open(dir.path()).unwrap_err().to_string().contains("in the store"));
    assert_eq!(fs::metadata(&path).unwrap().len(), u64::try_from(whole.len()).unwrap());
    fs::write(&path, &whole).unwrap();
    drop(open(dir.path()).unwrap());
    let mut marks = OpenOptions::new().append(true).open(dir.path().join("invalid")).unwrap();
    marks.write_all(b"no hash\n").unwrap();
    assert!(corruption(dir.path()).contains("no hash"));
}

#[test]
fn another_format_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("something.txt"), "else").unwrap();
    assert!(matches!(open(dir.path()), Err(MockChainError::Format { .. })));
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()).unwrap());
    fs::write(dir.path().join("format"), "assent-mockchain blocks 2 regtest\n").unwrap();
    let error = open(dir.path()).unwrap_err().to_string();
    assert!(error.contains("blocks 1 regtest") && error.contains("blocks 2 regtest"), "{error}");
}

#[test]
fn a_folder_that_is_open_cannot_be_opened_again() {
    let dir = tempfile::tempdir().unwrap();
    let chain = open(dir.path()).unwrap();
    assert!(matches!(open(dir.path()), Err(MockChainError::Locked { .. })));
    drop(chain);
    open(dir.path()).unwrap();
}
