//! Raw transactions: looking them up, sending them, proving where they are.

use std::collections::BTreeSet;

use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::constants::genesis_block;
use bitcoin::{MerkleBlock, Transaction, Txid};

use super::Command;
use super::answer::{Answer, object};
use super::args::{self, Args, Kind, optional, required};
use super::blockchain::known;
use super::describe;
use super::error::RpcError;
use crate::admission::{Entrance, admit};
use crate::chain::{Chain, Entry};
use crate::handle::MockChain;
use crate::node::unix_seconds;
use crate::params::{MAX_PACKAGE, NETWORK, fee_for};
use crate::utxo::{is_unspendable, outpoint};

/// Core's default ceiling on what is sent, in satoshi per 1000 virtual bytes: 0.10 BTC.
const DEFAULT_MAX_FEERATE: u64 = 10_000_000;
/// A ceiling from here on is refused as a mistake: 1 BTC.
const FEERATE_LIMIT: u64 = 100_000_000;

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "getrawtransaction",
        params: &[
            required("txid", Kind::Text),
            optional("verbosity|verbose", Kind::Any),
            optional("blockhash", Kind::Text),
        ],
        about: "A transaction of the mempool or of any block: 0 as hex, 1 described, 2 with the coins it spent too.",
        run: get_raw_transaction,
    },
    Command {
        name: "gettxoutproof",
        params: &[required("txids", Kind::List), optional("blockhash", Kind::Text)],
        about: "The proof, in hex, that a block holds transactions.",
        run: get_tx_out_proof,
    },
    Command {
        name: "sendrawtransaction",
        params: &[
            required("hexstring", Kind::Text),
            optional("maxfeerate", Kind::Any),
            optional("maxburnamount", Kind::Any),
        ],
        about: "Takes a transaction into the mempool, and answers its id.",
        run: send_raw_transaction,
    },
    Command {
        name: "testmempoolaccept",
        params: &[required("rawtxs", Kind::List), optional("maxfeerate", Kind::Any)],
        about: "What sendrawtransaction would say to each of these, one after the other.",
        run: test_mempool_accept,
    },
];

pub(super) fn decode(hex: &str) -> Option<Transaction> {
    deserialize_hex::<Transaction>(hex).ok().filter(|tx| !tx.input.is_empty())
}

fn max_feerate(args: &Args) -> Result<u64, RpcError> {
    let feerate = args.amount(1)?.unwrap_or(DEFAULT_MAX_FEERATE);
    if feerate >= FEERATE_LIMIT {
        let text = "Fee rates larger than or equal to 1BTC/kvB are not accepted";
        return Err(RpcError::new(RpcError::INVALID_PARAMETER, text));
    }
    Ok(feerate)
}

fn max_fee(feerate: u64, tx: &Transaction) -> u64 {
    fee_for(feerate, u64::try_from(tx.vsize()).unwrap_or(u64::MAX))
}

fn send_raw_transaction(chain: &MockChain, args: &Args) -> Result<Answer, RpcError> {
    let max_burn = args.amount(2)?.unwrap_or(0);
    let tx = decode(args.text(0)?).ok_or_else(|| {
        RpcError::new(RpcError::DESERIALIZATION, "TX decode failed. Make sure the tx has at least one input.")
    })?;
    let burns = |output: &bitcoin::TxOut| {
        let is_readable = output.script_pubkey.instructions().all(|instruction| instruction.is_ok());
        (is_unspendable(output) || !is_readable) && output.value.to_sat() > max_burn
    };
    if tx.output.iter().any(burns) {
        return Err(RpcError::new(
            RpcError::VERIFY,
            "Unspendable output exceeds maximum configured by user (maxburnamount)",
        ));
    }
    let ceiling = max_fee(max_feerate(args)?, &tx);
    let txid = tx.compute_txid();
    let mut node = chain.node();
    if (0..tx.output.len()).any(|vout| node.chain.coin(&outpoint(txid, vout)).is_some()) {
        return Err(RpcError::new(RpcError::ALREADY_IN_UTXO_SET, "Transaction outputs already in utxo set"));
    }
    if node.pool.get(&txid).is_some() {
        return Ok(txid.into());
    }
    let admission = admit(&node.chain, &node.pool, tx, Entrance::Relay, unix_seconds())?;
    if ceiling > 0 && admission.entry.fee > ceiling {
        return Err(RpcError::new(
            RpcError::VERIFY,
            "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)",
        ));
    }
    admission.apply(&mut node.pool);
    Ok(txid.into())
}

fn test_mempool_accept(chain: &MockChain, args: &Args) -> Result<Answer, RpcError> {
    let given = args.list(0);
    if given.is_empty() || given.len() > MAX_PACKAGE {
        let text = format!("Array must contain between 1 and {MAX_PACKAGE} transactions.");
        return Err(RpcError::new(RpcError::INVALID_PARAMETER, text));
    }
    let feerate = max_feerate(args)?;
    let mut txs = Vec::with_capacity(given.len());
    for value in given {
        let hex = args::text(value)?;
        let tx = decode(hex).ok_or_else(|| {
            let text = format!("TX decode failed: {hex} Make sure the tx has at least one input.");
            RpcError::new(RpcError::DESERIALIZATION, text)
        })?;
        txs.push(tx);
    }
    let node = chain.node();
    // Later transactions may spend the outputs of earlier ones, so they are admitted to a copy.
    let mut pool = node.pool.clone();
    let mut answers = Vec::with_capacity(txs.len());
    let mut is_over = false;
    for tx in txs {
        let mut answer = object! { "txid": tx.compute_txid(), "wtxid": tx.compute_wtxid() };
        if !is_over {
            let (ceiling, wtxid) = (max_fee(feerate, &tx), tx.compute_wtxid());
            match admit(&node.chain, &pool, tx, Entrance::Relay, unix_seconds()) {
                Ok(admission) if ceiling > 0 && admission.entry.fee > ceiling => {
                    answer.push("allowed", false);
                    answer.push("reject-reason", "max-fee-exceeded");
                    is_over = true;
                }
                Ok(admission) => {
                    let entry = &admission.entry;
                    answer.push("allowed", true);
                    answer.push("vsize", entry.vsize);
                    answer.push(
                        "fees",
                        object! {
                            "base": Answer::Amount(entry.fee),
                            "effective-feerate": Answer::Amount(entry.fee * 1000 / entry.vsize.max(1)),
                            "effective-includes": vec![wtxid.into()],
                        },
                    );
                    admission.apply(&mut pool);
                }
                Err(reject) => {
                    answer.push("allowed", false);
                    if reject.is_missing_inputs() {
                        answer.push("reject-reason", "missing-inputs");
                    } else {
                        answer.push("reject-reason", reject.reason.to_string());
                        answer.push("reject-details", reject.to_string());
                    }
                    is_over = true;
                }
            }
        }
        answers.push(answer);
    }
    Ok(answers.into())
}

fn get_raw_transaction(chain: &MockChain, args: &Args) -> Result<Answer, RpcError> {
    let txid = args.txid(0, "parameter 1")?;
    if genesis_block(NETWORK).txdata.first().is_some_and(|tx| tx.compute_txid() == txid) {
        return Err(RpcError::new(
            RpcError::INVALID_ADDRESS_OR_KEY,
            "The genesis block coinbase is not considered an ordinary transaction and cannot be retrieved",
        ));
    }
    let verbosity = args.verbosity(1, 0)?;
    let node = chain.node();
    let asked = match args.get(2) {
        None => None,
        Some(_) => {
            let hash = args.block_hash(2, "parameter 3")?;
            Some(
                node.chain
                    .entry(&hash)
                    .ok_or_else(|| RpcError::new(RpcError::INVALID_ADDRESS_OR_KEY, "Block hash not found"))?,
            )
        }
    };
    let (tx, entry) = match asked {
        Some(entry) => (entry.block.txdata.iter().find(|tx| tx.compute_txid() == txid), Some(entry)),
        None => match (node.pool.get(&txid), node.chain.mined(&txid)) {
            (Some(waiting), _) => (Some(waiting.tx.as_ref()), None),
            (None, Some((entry, tx))) => (Some(tx), Some(entry)),
            (None, None) => (None, None),
        },
    };
    let tx = tx.ok_or_else(|| {
        let found = match asked {
            Some(_) => "No such transaction found in the provided block",
            None => "No such mempool or blockchain transaction",
        };
        RpcError::new(
            RpcError::INVALID_ADDRESS_OR_KEY,
            format!("{found}. Use gettransaction for wallet transactions."),
        )
    })?;
    if verbosity <= 0 {
        return Ok(serialize_hex(tx).into());
    }
    let mut answer = Answer::Object(Vec::new());
    if let Some(entry) = asked {
        answer.push("in_active_chain", node.chain.is_active(entry));
    }
    let spent = entry.filter(|_| verbosity >= 2).and_then(|entry| spent_by(entry, &txid));
    if let (Answer::Object(fields), Answer::Object(described)) =
        (&mut answer, describe::transaction(tx, spent, verbosity >= 2))
    {
        fields.extend(described);
    }
    if let Some(entry) = entry {
        answer.push("blockhash", entry.hash);
        if node.chain.is_active(entry) {
            answer.push("confirmations", node.chain.tip().height - entry.height + 1);
            answer.push("time", entry.block.header.time);
            answer.push("blocktime", entry.block.header.time);
        } else {
            answer.push("confirmations", 0u32);
        }
    }
    Ok(answer)
}

/// The coins a transaction of a block spent.
fn spent_by<'a>(entry: &'a Entry, txid: &Txid) -> Option<&'a [crate::utxo::Coin]> {
    let place = entry.block.txdata.iter().position(|tx| tx.compute_txid() == *txid)?;
    entry.undo.as_ref()?.get(place).map(Vec::as_slice)
}

fn get_tx_out_proof(chain: &MockChain, args: &Args) -> Result<Answer, RpcError> {
    let mut txids = BTreeSet::new();
    for value in args.list(0) {
        let txid: Txid = args::hash(value, "txid")?;
        if !txids.insert(txid) {
            let text = format!("Invalid parameter, duplicated txid: {txid}");
            return Err(RpcError::new(RpcError::INVALID_PARAMETER, text));
        }
    }
    let Some(first) = txids.first() else {
        let text = "Parameter 'txids' cannot be empty";
        return Err(RpcError::new(RpcError::INVALID_PARAMETER, text));
    };
    let node = chain.node();
    let entry = match args.get(1) {
        Some(_) => known(&node.chain, &args.block_hash(1, "blockhash")?)?,
        None => holder(&node.chain, &txids)
            .or_else(|| node.chain.mined(first).map(|(entry, _)| entry))
            .ok_or_else(|| RpcError::new(RpcError::INVALID_ADDRESS_OR_KEY, "Transaction not yet in block"))?,
    };
    let found = entry.block.txdata.iter().filter(|tx| txids.contains(&tx.compute_txid())).count();
    if found != txids.len() {
        return Err(RpcError::new(
            RpcError::INVALID_ADDRESS_OR_KEY,
            "Not all transactions found in specified or retrieved block",
        ));
    }
    let proof = MerkleBlock::from_block_with_predicate(&entry.block, |txid| txids.contains(txid));
    Ok(serialize_hex(&proof).into())
}

/// The active block of the first transaction that has an unspent output.
fn holder<'a>(chain: &'a Chain, txids: &BTreeSet<Txid>) -> Option<&'a Entry> {
    txids.iter().find_map(|txid| {
        let (entry, tx) = chain.mined(txid)?;
        let has_unspent = (0..tx.output.len()).any(|vout| chain.coin(&outpoint(*txid, vout)).is_some());
        has_unspent.then_some(entry)
    })
}
