//! Admission to the mempool, in the order of Core's `PreChecks`, so that the first reason found is Core's too; and
//! replacement by fee.

use std::collections::{BTreeSet, HashSet};

use bitcoin::{Transaction, Txid};

use crate::chain::Chain;
use crate::check::check_transaction;
use crate::error::{MISSING_INPUTS, Reject};
use crate::locks;
use crate::mempool::{Mempool, PoolEntry};
use crate::params::{
    INCREMENTAL_RELAY_FEERATE, MAX_CHAIN_LENGTH, MAX_MEMPOOL_BYTES, MAX_MEMPOOL_TRANSACTIONS, MAX_REPLACED,
    MAX_STANDARD_TX_SIGOPS_COST, MIN_RELAY_FEERATE, fee_for,
};
use crate::policy::check_standard;
use crate::script::{Rules, UNSUPPORTED, check_spends};
use crate::utxo::{Coin, check_amounts, decimal, outpoint, sigop_cost};

/// A transaction that may enter the mempool, and what must leave for it.
#[derive(Debug)]
pub(crate) struct Admission {
    pub(crate) entry: PoolEntry,
    evicted: HashSet<Txid>,
}

impl Admission {
    /// Lets the transaction in.
    pub(crate) fn apply(self, pool: &mut Mempool) {
        for txid in &self.evicted {
            pool.evict(txid);
        }
        pool.insert(self.entry);
    }
}

/// How strictly a transaction is judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entrance {
    /// Sent by someone.
    Relay,
    /// It was in the mempool or in a block that is no longer active: fees and chain lengths do not matter any more.
    Return,
}

/// Judges `tx` for the next block on top of `chain`; changes nothing.
pub(crate) fn admit(
    chain: &Chain,
    pool: &Mempool,
    tx: Transaction,
    entrance: Entrance,
    now: u64,
) -> Result<Admission, Reject> {
    check_transaction(&tx)?;
    if tx.is_coinbase() {
        return Err(Reject::new("coinbase"));
    }
    if entrance == Entrance::Relay {
        check_standard(&tx)?;
    }
    let tip = chain.tip();
    let height = tip.height + 1;
    if !locks::is_final(&tx, height, tip.median_time) {
        return Err(Reject::new("non-final"));
    }
    let txid = tx.compute_txid();
    if let Some(known) = pool.get(&txid) {
        let same = known.tx.compute_wtxid() == tx.compute_wtxid();
        return Err(Reject::new(if same {
            "txn-already-in-mempool"
        } else {
            "txn-same-nonwitness-data-in-mempool"
        }));
    }
    let spent = coins(chain, pool, &tx, &txid)?;
    if !locks::are_sequence_locks_over(&tx, &spent, height, tip.median_time, &|at| chain.median_time_at(at)) {
        return Err(Reject::new("non-BIP68-final"));
    }
    let fee = check_amounts(&tx, &spent, height)?;
    if let Some((index, _)) = spent
        .iter()
        .enumerate()
        .find(|(_, coin)| !coin.output.script_pubkey.is_p2wpkh() && !coin.output.script_pubkey.is_p2tr())
    {
        return Err(Reject::with("bad-txns-nonstandard-inputs", format!("input {index}: {UNSUPPORTED}")));
    }
    let sigops = sigop_cost(&tx, &spent);
    if sigops > MAX_STANDARD_TX_SIGOPS_COST {
        return Err(Reject::with("bad-txns-too-many-sigops", sigops.to_string()));
    }
    let entry = PoolEntry::new(tx, fee, sigops, now, tip.height);
    let mut evicted = HashSet::new();
    if entrance == Entrance::Relay {
        let least = fee_for(MIN_RELAY_FEERATE, entry.vsize);
        if fee < least {
            return Err(Reject::with("min relay fee not met", format!("{fee} < {least}")));
        }
        evicted = check_replacement(pool, &entry)?;
        check_limits(pool, &entry, &evicted)?;
    } else if entry.tx.input.iter().any(|input| pool.spender(&input.previous_output).is_some()) {
        return Err(Reject::new("txn-mempool-conflict"));
    }
    let rules = if entrance == Entrance::Relay { Rules::Relay } else { Rules::Consensus };
    check_spends(&entry.tx, &spent, rules).map_err(|error| {
        Reject::with(format!("mempool-script-verify-flag-failed ({})", error.reason), {
            let spending = entry.tx.input.get(error.input).map(|input| input.previous_output);
            let (input, wtxid) = (error.input, entry.tx.compute_wtxid());
            let spending = spending.unwrap_or_default();
            format!("input {input} of {} (wtxid {wtxid}), spending {spending}", entry.txid)
        })
    })?;
    Ok(Admission { entry, evicted })
}

fn coins(chain: &Chain, pool: &Mempool, tx: &Transaction, txid: &Txid) -> Result<Vec<Coin>, Reject> {
    let find = |input: &bitcoin::TxIn| {
        pool.coin(&input.previous_output).or_else(|| chain.coin(&input.previous_output).cloned())
    };
    tx.input.iter().map(find).collect::<Option<Vec<_>>>().ok_or_else(|| {
        let is_mined = (0..tx.output.len()).any(|vout| chain.coin(&outpoint(*txid, vout)).is_some());
        Reject::new(if is_mined { "txn-already-known" } else { MISSING_INPUTS })
    })
}

/// Core prints feerates so in its messages.
fn feerate(fee: u64, vsize: u64) -> String {
    let rate = u128::from(fee) * 1000 / u128::from(vsize.max(1));
    format!("{}.{:08} BTC/kvB", rate / 100_000_000, rate % 100_000_000)
}

/// BIP125 as nodes apply it today: everything may be replaced, whether it signals or not. Returns what must leave.
fn check_replacement(pool: &Mempool, entry: &PoolEntry) -> Result<HashSet<Txid>, Reject> {
    let tx = &entry.tx;
    let direct: BTreeSet<Txid> =
        tx.input.iter().filter_map(|input| pool.spender(&input.previous_output)).collect();
    if direct.is_empty() {
        return Ok(HashSet::new());
    }
    if let Some(ancestor) = pool.ancestors(tx).iter().find(|ancestor| direct.contains(*ancestor)) {
        return Err(Reject::with(
            "bad-txns-spends-conflicting-tx",
            format!("{} spends conflicting transaction {ancestor}", entry.txid),
        ));
    }
    let refuse = |text: String| {
        Err(Reject::with("insufficient fee", format!("rejecting replacement {}{text}", entry.txid)))
    };
    let mut all: HashSet<Txid> = HashSet::new();
    let mut old_parents = BTreeSet::new();
    for txid in &direct {
        all.insert(*txid);
        all.extend(pool.descendants(txid));
        let Some(old) = pool.get(txid) else { continue };
        old_parents.extend(pool.parents(&old.tx));
        if u128::from(entry.fee) * u128::from(old.vsize) <= u128::from(old.fee) * u128::from(entry.vsize) {
            return refuse(format!(
                "; new feerate {} <= old feerate {}",
                feerate(entry.fee, entry.vsize),
                feerate(old.fee, old.vsize)
            ));
        }
    }
    if all.len() > MAX_REPLACED {
        return Err(Reject::with(
            "too many potential replacements",
            format!(
                "rejecting replacement {}; too many potential replacements ({} > {MAX_REPLACED})",
                entry.txid,
                all.len()
            ),
        ));
    }
    if !pool.parents(tx).is_subset(&old_parents) {
        return Err(Reject::with(
            "replacement-adds-unconfirmed",
            format!("replacement {} adds unconfirmed input", entry.txid),
        ));
    }
    let replaced: u64 = all.iter().filter_map(|txid| pool.get(txid)).map(|old| old.fee).sum();
    let Some(additional) = entry.fee.checked_sub(replaced) else {
        return refuse(format!(
            ", less fees than conflicting txs; {} < {}",
            decimal(entry.fee),
            decimal(replaced)
        ));
    };
    let relay = fee_for(INCREMENTAL_RELAY_FEERATE, entry.vsize);
    if additional < relay {
        return refuse(format!(
            ", not enough additional fees to relay; {} < {}",
            decimal(additional),
            decimal(relay)
        ));
    }
    Ok(all)
}

fn check_limits(pool: &Mempool, entry: &PoolEntry, evicted: &HashSet<Txid>) -> Result<(), Reject> {
    let ancestors = pool.ancestors(&entry.tx);
    if ancestors.len() >= MAX_CHAIN_LENGTH {
        return Err(Reject::with(
            "too-long-mempool-chain",
            format!("too many unconfirmed ancestors [limit: {MAX_CHAIN_LENGTH}]"),
        ));
    }
    for ancestor in &ancestors {
        let descendants = pool.descendants(ancestor);
        // The ancestor itself and the new transaction count too.
        if descendants.iter().filter(|txid| !evicted.contains(*txid)).count() + 2 > MAX_CHAIN_LENGTH {
            return Err(Reject::with(
                "too-long-mempool-chain",
                format!("too many descendants for tx {ancestor} [limit: {MAX_CHAIN_LENGTH}]"),
            ));
        }
    }
    if evicted.is_empty()
        && (pool.len() >= MAX_MEMPOOL_TRANSACTIONS || pool.vsize() + entry.vsize > MAX_MEMPOOL_BYTES)
    {
        return Err(Reject::new("mempool full"));
    }
    Ok(())
}
