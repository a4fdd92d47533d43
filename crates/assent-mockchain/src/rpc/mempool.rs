//! The mempool, and the fee estimate.

use std::collections::BTreeSet;

use bitcoin::{OutPoint, Txid};
use serde_json::Value;

use super::Command;
use super::answer::{Answer, object};
use super::args::{self, Args, Kind, optional, required};
use super::error::RpcError;
use crate::handle::MockChain;
use crate::mempool::{Mempool, PoolEntry, Totals, policy_vsize};
use crate::params::{INCREMENTAL_RELAY_FEERATE, MAX_MEMPOOL_BYTES, MAX_OP_RETURN_SCRIPT, MIN_RELAY_FEERATE};
use crate::utxo::sigop_cost;

/// The farthest target that can be estimated for (Core's longest horizon).
const MAX_CONFIRMATION_TARGET: i64 = 1_008;
/// Blocks the estimate looks back over at least.
const ESTIMATE_BLOCKS: u32 = 6;
/// Below so many transactions in those blocks there is no estimate: a quiet regtest node has none either.
const ESTIMATE_TRANSACTIONS: usize = 10;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "estimatesmartfee",
        params: &[required("conf_target", Kind::Number), optional("estimate_mode", Kind::Text)],
        about: "The median feerate of recent blocks.",
        run: estimate_smart_fee,
    },
    Command {
        name: "getmempoolentry",
        params: &[required("txid", Kind::Text)],
        about: "A waiting transaction.",
        run: get_mempool_entry,
    },
    Command { name: "getmempoolinfo", params: &[], about: "The mempool as a whole.", run: get_mempool_info },
    Command {
        name: "getrawmempool",
        params: &[optional("verbose", Kind::Bool), optional("mempool_sequence", Kind::Bool)],
        about: "The ids of all waiting transactions, or all entries.",
        run: get_raw_mempool,
    },
    Command {
        name: "gettxspendingprevout",
        params: &[required("outputs", Kind::List), optional("options", Kind::Any)],
        about: "Which waiting transactions spend these outputs.",
        run: get_tx_spending_prevout,
    },
];

fn estimate_smart_fee(chain: &MockChain, args: &Args) -> Result<Answer, RpcError> {
    let target = args.int(0)?;
    if !(1..=MAX_CONFIRMATION_TARGET).contains(&target) {
        let text = format!("Invalid conf_target, must be between 1 and {MAX_CONFIRMATION_TARGET}");
        return Err(RpcError::new(RpcError::INVALID_PARAMETER, text));
    }
    if args.get(1).is_some() {
        let mode = args.text(1)?.to_ascii_lowercase();
        if !["unset", "economical", "conservative"].contains(&mode.as_str()) {
            let text = "Invalid estimate_mode parameter, must be one of: \"unset\", \"economical\", \"conservative\"";
            return Err(RpcError::new(RpcError::INVALID_PARAMETER, text));
        }
    }
    let node = chain.node();
    let tip = node.chain.tip().height;
    let span = u32::try_from(target).unwrap_or(u32::MAX).max(ESTIMATE_BLOCKS);
    let mut rates = Vec::new();
    for entry in (tip.saturating_sub(span - 1)..=tip).filter_map(|height| node.chain.at_height(height)) {
        let Some(undo) = &entry.undo else { continue };
        for (tx, spent) in entry.block.txdata.iter().zip(undo.iter()).skip(1) {
            let value_in: u64 = spent.iter().map(|coin| coin.output.value.to_sat()).sum();
            let value_out: u64 = tx.output.iter().map(|output| output.value.to_sat()).sum();
            let vsize = policy_vsize(tx.weight().to_wu(), sigop_cost(tx, spent));
            rates.push(value_in.saturating_sub(value_out).saturating_mul(1000) / vsize.max(1));
        }
    }
    rates.sort_unstable();
    let median = rates.get(rates.len() / 2).filter(|_| rates.len() >= ESTIMATE_TRANSACTIONS);
    let mut answer = Answer::Object(Vec::new());
    match median {
        Some(rate) => answer.push("feerate", Answer::Amount((*rate).max(MIN_RELAY_FEERATE))),
        None => answer.push("errors", vec!["Insufficient data or no feerate found".into()]),
    }
    answer.push("blocks", target);
    Ok(answer)
}

fn entry(pool: &Mempool, entry: &PoolEntry) -> Answer {
    let ancestors: Totals = pool.totals(entry, &pool.ancestors(&entry.tx));
    let descendants: Totals = pool.totals(entry, &pool.descendants(&entry.txid));
    let ids = |txids: BTreeSet<Txid>| txids.into_iter().map(Answer::from).collect::<Vec<_>>();
    let signals = |tx: &bitcoin::Transaction| tx.is_explicitly_rbf();
    let is_replaceable = signals(&entry.tx)
        || pool.ancestors(&entry.tx).iter().filter_map(|txid| pool.get(txid)).any(|a| signals(&a.tx));
    object! {
        "vsize": entry.vsize,
        "weight": entry.weight,
        "time": entry.time,
        "height": entry.height,
        "descendantcount": descendants.count,
        "descendantsize": descendants.vsize,
        "ancestorcount": ancestors.count,
        "ancestorsize": ancestors.vsize,
        "wtxid": entry.tx.compute_wtxid(),
        "fees": object! {
            "base": Answer::Amount(entry.fee),
            "modified": Answer::Amount(entry.fee),
            "ancestor": Answer::Amount(ancestors.fee),
            "descendant": Answer::Amount(descendants.fee),
        },
        "depends": ids(pool.parents(&entry.tx)),
        "spentby": ids(pool.children(&entry.txid)),
        "bip125-replaceable": is_replaceable,
        // Without peers nobody ever asked for it.
        "unbroadcast": true,
    }
}

fn get_mempool_entry(chain: &MockChain, args: &Args) -> Result<Answer, RpcError> {
    let txid = args.txid(0, "txid")?;
    let node = chain.node();
    let found = node
        .pool
        .get(&txid)
        .ok_or_else(|| RpcError::new(RpcError::INVALID_ADDRESS_OR_KEY, "Transaction not in mempool"))?;
    Ok(entry(&node.pool, found))
}

fn get_raw_mempool(chain: &MockChain, args: &Args) -> Result<Answer, RpcError> {
    let node = chain.node();
    let with_sequence = args.bool_or(1, false);
    if args.bool_or(0, false) {
        if with_sequence {
            let text = "Verbose results cannot contain mempool sequence values.";
            return Err(RpcError::new(RpcError::INVALID_PARAMETER, text));
        }
        let described = node.pool.iter().map(|found| (found.txid.to_string(), entry(&node.pool, found)));
        return Ok(Answer::Map(described.collect()));
    }
    let txids: Vec<Answer> = node.pool.iter().map(|entry| entry.txid.into()).collect();
    if with_sequence {
        Ok(object! { "txids": txids, "mempool_sequence": node.pool.sequence() })
    } else {
        Ok(txids.into())
    }
}

fn get_mempool_info(chain: &MockChain, _: &Args) -> Result<Answer, RpcError> {
    let node = chain.node();
    let pool = &node.pool;
    Ok(object! {
        "loaded": true,
        "size": pool.len(),
        "bytes": pool.vsize(),
        // Not measured: the mock bounds virtual bytes, not memory.
        "usage": pool.vsize(),
        "total_fee": Answer::Amount(pool.fees()),
        "maxmempool": MAX_MEMPOOL_BYTES,
        "mempoolminfee": Answer::Amount(MIN_RELAY_FEERATE),
        "minrelaytxfee": Answer::Amount(MIN_RELAY_FEERATE),
        "incrementalrelayfee": Answer::Amount(INCREMENTAL_RELAY_FEERATE),
        "unbroadcastcount": pool.len(),
        "fullrbf": true,
        "permitbaremultisig": true,
        "maxdatacarriersize": MAX_OP_RETURN_SCRIPT,
    })
}

fn get_tx_spending_prevout(chain: &MockChain, args: &Args) -> Result<Answer, RpcError> {
    let invalid = |text: &str| RpcError::new(RpcError::INVALID_PARAMETER, text);
    let given = args.list(0);
    if given.is_empty() {
        return Err(invalid("Invalid parameter, outputs are missing"));
    }
    let mut outpoints = Vec::with_capacity(given.len());
    for output in given {
        let txid: Txid = args::hash(output.get("txid").unwrap_or(&Value::Null), "txid")?;
        let vout = args::int(output.get("vout").unwrap_or(&Value::Null))?;
        let vout = u32::try_from(vout).map_err(|_| invalid("Invalid parameter, vout cannot be negative"))?;
        outpoints.push(OutPoint::new(txid, vout));
    }
    let node = chain.node();
    let answers = outpoints.into_iter().map(|outpoint| {
        let mut answer = object! { "txid": outpoint.txid, "vout": outpoint.vout };
        if let Some(spender) = node.pool.spender(&outpoint) {
            answer.push("spendingtxid", spender);
        }
        answer
    });
    Ok(answers.collect::<Vec<_>>().into())
}
