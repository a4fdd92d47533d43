//! Transactions waiting to be mined: what they spend, who depends on whom, and which go into the next block.
//!
//! Invariants: no two entries spend the same output; every input of an entry is in the active chain's unspent set or made
//! by another entry; every entry may be mined in the next block. [`crate::admission`] lets nothing else in, and the
//! node re-admits everything after a reorganisation.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use bitcoin::{Block, OutPoint, Transaction, Txid};

use crate::params::{
    BYTES_PER_SIGOP, MAX_BLOCK_SIGOPS_COST, MAX_BLOCK_WEIGHT, RESERVED_BLOCK_SIGOPS_COST,
    RESERVED_BLOCK_WEIGHT,
};
use crate::utxo::{Coin, MEMPOOL_HEIGHT, outpoint};

/// A transaction in the mempool.
#[derive(Debug, Clone)]
pub(crate) struct PoolEntry {
    pub(crate) tx: Arc<Transaction>,
    pub(crate) txid: Txid,
    /// In satoshi.
    pub(crate) fee: u64,
    /// Virtual bytes, raised for signature operations as Core does.
    pub(crate) vsize: u64,
    pub(crate) weight: u64,
    pub(crate) sigops: usize,
    /// Unix seconds of admission.
    pub(crate) time: u64,
    /// Height of the chain at admission.
    pub(crate) height: u32,
}

impl PoolEntry {
    pub(crate) fn new(tx: Transaction, fee: u64, sigops: usize, time: u64, height: u32) -> Self {
        let weight = tx.weight().to_wu();
        Self {
            txid: tx.compute_txid(),
            vsize: policy_vsize(weight, sigops),
            tx: Arc::new(tx),
            fee,
            weight,
            sigops,
            time,
            height,
        }
    }
}

/// Virtual size as relay policy counts it: a transaction dense in signature operations weighs more.
pub(crate) fn policy_vsize(weight: u64, sigops: usize) -> u64 {
    let sigops = u64::try_from(sigops).unwrap_or(u64::MAX);
    weight.max(sigops.saturating_mul(BYTES_PER_SIGOP)).div_ceil(4)
}

/// Sums over a set of entries.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Totals {
    pub(crate) count: usize,
    pub(crate) vsize: u64,
    pub(crate) fee: u64,
}

#[derive(Debug, Default, Clone)]
pub(crate) struct Mempool {
    entries: HashMap<Txid, PoolEntry>,
    spent_by: HashMap<OutPoint, Txid>,
    /// By admission, oldest first, so parents before children.
    order: BTreeMap<u64, Txid>,
    places: HashMap<Txid, u64>,
    next_place: u64,
    vsize: u64,
    fees: u64,
}

impl Mempool {
    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Virtual bytes of all entries.
    pub(crate) fn vsize(&self) -> u64 {
        self.vsize
    }

    /// Fees of all entries in satoshi.
    pub(crate) fn fees(&self) -> u64 {
        self.fees
    }

    /// How many admissions there were; grows with every change that adds.
    pub(crate) fn sequence(&self) -> u64 {
        self.next_place
    }

    pub(crate) fn get(&self, txid: &Txid) -> Option<&PoolEntry> {
        self.entries.get(txid)
    }

    /// Entries by admission.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &PoolEntry> {
        self.order.values().filter_map(|txid| self.entries.get(txid))
    }

    pub(crate) fn spender(&self, outpoint: &OutPoint) -> Option<Txid> {
        self.spent_by.get(outpoint).copied()
    }

    /// The coin an entry makes, spent by another entry or not.
    pub(crate) fn coin(&self, outpoint: &OutPoint) -> Option<Coin> {
        let entry = self.entries.get(&outpoint.txid)?;
        let output = entry.tx.output.get(usize::try_from(outpoint.vout).ok()?)?;
        Some(Coin { output: output.clone(), height: MEMPOOL_HEIGHT, coinbase: false })
    }

    pub(crate) fn insert(&mut self, entry: PoolEntry) {
        let txid = entry.txid;
        for input in &entry.tx.input {
            self.spent_by.insert(input.previous_output, txid);
        }
        self.order.insert(self.next_place, txid);
        self.places.insert(txid, self.next_place);
        self.next_place += 1;
        self.vsize += entry.vsize;
        self.fees += entry.fee;
        self.entries.insert(txid, entry);
    }

    /// Removes one entry and leaves its descendants, which is right only where it was mined or they go too.
    fn remove(&mut self, txid: &Txid) -> Option<PoolEntry> {
        let entry = self.entries.remove(txid)?;
        for input in &entry.tx.input {
            self.spent_by.remove(&input.previous_output);
        }
        if let Some(place) = self.places.remove(txid) {
            self.order.remove(&place);
        }
        self.vsize -= entry.vsize;
        self.fees -= entry.fee;
        Some(entry)
    }

    /// Removes an entry and everything that depends on it.
    pub(crate) fn evict(&mut self, txid: &Txid) {
        for descendant in self.descendants(txid) {
            self.remove(&descendant);
        }
        self.remove(txid);
    }

    /// Removes what `block` mined, and what it made impossible.
    pub(crate) fn follow(&mut self, block: &Block) {
        for tx in &block.txdata {
            self.remove(&tx.compute_txid());
            for input in &tx.input {
                if let Some(conflict) = self.spender(&input.previous_output) {
                    self.evict(&conflict);
                }
            }
        }
    }

    /// Takes out every entry, by admission.
    pub(crate) fn drain(&mut self) -> Vec<PoolEntry> {
        let entries = self.iter().cloned().collect();
        *self = Self { next_place: self.next_place, ..Self::default() };
        entries
    }

    pub(crate) fn parents(&self, tx: &Transaction) -> BTreeSet<Txid> {
        let inputs = tx.input.iter().map(|input| input.previous_output.txid);
        inputs.filter(|txid| self.entries.contains_key(txid)).collect()
    }

    pub(crate) fn children(&self, txid: &Txid) -> BTreeSet<Txid> {
        let outputs = self.entries.get(txid).map_or(0, |entry| entry.tx.output.len());
        (0..outputs).filter_map(|vout| self.spender(&outpoint(*txid, vout))).collect()
    }

    /// Everything unconfirmed that `tx` depends on.
    pub(crate) fn ancestors(&self, tx: &Transaction) -> HashSet<Txid> {
        reach(self.parents(tx), |txid| {
            self.entries.get(txid).map(|e| self.parents(&e.tx)).unwrap_or_default()
        })
    }

    /// Everything that depends on an entry.
    pub(crate) fn descendants(&self, txid: &Txid) -> HashSet<Txid> {
        reach(self.children(txid), |txid| self.children(txid))
    }

    /// Sums over `others` and `entry`.
    pub(crate) fn totals(&self, entry: &PoolEntry, others: &HashSet<Txid>) -> Totals {
        let own = Totals { count: 1, vsize: entry.vsize, fee: entry.fee };
        others.iter().filter_map(|txid| self.entries.get(txid)).fold(own, |sum, other| Totals {
            count: sum.count + 1,
            vsize: sum.vsize + other.vsize,
            fee: sum.fee + other.fee,
        })
    }

    /// What the next block takes: by the feerate of a transaction together with what it still needs, parents first.
    pub(crate) fn select(&self) -> Vec<&PoolEntry> {
        let mut ranked: Vec<_> = self
            .iter()
            .map(|entry| {
                let ancestors = self.ancestors(&entry.tx);
                (self.totals(entry, &ancestors), entry, ancestors)
            })
            .collect();
        // Feerates are compared by cross-multiplication; the sort is stable, so equals stay by admission.
        ranked.sort_by(|(a, ..), (b, ..)| {
            let rate = |x: &Totals, y: &Totals| u128::from(x.fee) * u128::from(y.vsize);
            rate(b, a).cmp(&rate(a, b))
        });
        let mut chosen = Vec::new();
        let mut included = HashSet::new();
        let mut weight = RESERVED_BLOCK_WEIGHT;
        let mut sigops = RESERVED_BLOCK_SIGOPS_COST;
        for (_, entry, ancestors) in ranked {
            let mut package: Vec<&PoolEntry> = ancestors
                .iter()
                .chain([&entry.txid])
                .filter(|txid| !included.contains(*txid))
                .filter_map(|txid| self.entries.get(txid))
                .collect();
            let more_weight: u64 = package.iter().map(|entry| entry.weight).sum();
            let more_sigops: usize = package.iter().map(|entry| entry.sigops).sum();
            if weight + more_weight > MAX_BLOCK_WEIGHT || sigops + more_sigops > MAX_BLOCK_SIGOPS_COST {
                continue;
            }
            weight += more_weight;
            sigops += more_sigops;
            // A parent was always admitted before its child.
            package.sort_by_key(|entry| self.places.get(&entry.txid));
            included.extend(package.iter().map(|entry| entry.txid));
            chosen.extend(package);
        }
        chosen
    }
}

/// Everything reachable from `start` by `next`, `start` included.
fn reach(start: BTreeSet<Txid>, next: impl Fn(&Txid) -> BTreeSet<Txid>) -> HashSet<Txid> {
    let mut found = HashSet::new();
    let mut waiting: Vec<_> = start.into_iter().collect();
    while let Some(txid) = waiting.pop() {
        if found.insert(txid) {
            waiting.extend(next(&txid));
        }
    }
    found
}
