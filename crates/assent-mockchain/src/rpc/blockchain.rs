//! Blocks, headers, the chain and its unspent outputs.

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{BlockHash, OutPoint};

use super::Command;
use super::answer::{Answer, object};
use super::args::{Args, Kind, optional, required};
use super::describe;
use super::error::RpcError;
use crate::chain::{Chain, Entry};
use crate::handle::MockChain;
use crate::utxo::{Coin, MEMPOOL_HEIGHT};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "getbestblockhash",
        params: &[],
        about: "The hash of the active tip.",
        run: get_best_block_hash,
    },
    Command {
        name: "getblock",
        params: &[required("blockhash", Kind::Text), optional("verbosity|verbose", Kind::Any)],
        about: "A block: 0 as hex, 1 with ids, 2 with transactions, 3 with the coins they spent too.",
        run: get_block,
    },
    Command {
        name: "getblockchaininfo",
        params: &[],
        about: "The state of the chain.",
        run: get_blockchain_info,
    },
    Command {
        name: "getblockcount",
        params: &[],
        about: "The height of the active tip.",
        run: get_block_count,
    },
    Command {
        name: "getblockhash",
        params: &[required("height", Kind::Number)],
        about: "The hash of the active block at a height.",
        run: get_block_hash,
    },
    Command {
        name: "getblockheader",
        params: &[required("blockhash", Kind::Text), optional("verbose", Kind::Bool)],
        about: "A header, described (the default) or as hex.",
        run: get_block_header,
    },
    Command { name: "getchaintips", params: &[], about: "The ends of all branches.", run: get_chain_tips },
    Command {
        name: "gettxout",
        params: &[
            required("txid", Kind::Text),
            required("n", Kind::Number),
            optional("include_mempool", Kind::Bool),
        ],
        about: "An unspent output, or null.",
        run: get_tx_out,
    },
    Command {
        name: "invalidateblock",
        params: &[required("blockhash", Kind::Text)],
        about: "Treats a block as if it broke a rule.",
        run: invalidate_block,
    },
    Command {
        name: "reconsiderblock",
        params: &[required("blockhash", Kind::Text)],
        about: "Takes back invalidateblock.",
        run: reconsider_block,
    },
];

/// The block of a hash, or Core's error.
pub(super) fn known<'a>(chain: &'a Chain, hash: &BlockHash) -> Result<&'a Entry, RpcError> {
    chain.entry(hash).ok_or_else(|| RpcError::new(RpcError::INVALID_ADDRESS_OR_KEY, "Block not found"))
}

fn get_best_block_hash(chain: &MockChain, _: &Args) -> Result<Answer, RpcError> {
    Ok(chain.tip().into())
}

fn get_block_count(chain: &MockChain, _: &Args) -> Result<Answer, RpcError> {
    Ok(chain.height().into())
}

fn get_block_hash(chain: &MockChain, args: &Args) -> Result<Answer, RpcError> {
    let height = args.int(0)?;
    let hash = u32::try_from(height).ok().and_then(|height| chain.block_hash(height));
    hash.map(Answer::from)
        .ok_or_else(|| RpcError::new(RpcError::INVALID_PARAMETER, "Block height out of range"))
}

fn get_block_header(chain: &MockChain, args: &Args) -> Result<Answer, RpcError> {
    let hash = args.block_hash(0, "hash")?;
    let node = chain.node();
    let entry = known(&node.chain, &hash)?;
    if args.bool_or(1, true) {
        Ok(describe::header(&node.chain, entry))
    } else {
        Ok(serialize_hex(&entry.block.header).into())
    }
}

fn get_block(chain: &MockChain, args: &Args) -> Result<Answer, RpcError> {
    let hash = args.block_hash(0, "blockhash")?;
    let verbosity = args.verbosity(1, 1)?;
    let node = chain.node();
    let entry = known(&node.chain, &hash)?;
    let block = &entry.block;
    if verbosity <= 0 {
        return Ok(serialize_hex(block.as_ref()).into());
    }
    let mut answer = describe::header(&node.chain, entry);
    let weight = block.weight().to_wu();
    let size = block.total_size();
    // Weight is three times the size without witness plus the size with it.
    let stripped = weight.saturating_sub(u64::try_from(size).unwrap_or_default()) / 3;
    answer.push("strippedsize", stripped);
    answer.push("size", size);
    answer.push("weight", weight);
    if let Some(coinbase) = block.txdata.first() {
        answer.push("coinbase_tx", describe::coinbase(coinbase));
    }
    let txs: Vec<Answer> = if verbosity == 1 {
        block.txdata.iter().map(|tx| tx.compute_txid().into()).collect()
    } else {
        let spent =
            |place: usize| entry.undo.as_ref().and_then(|undo| undo.get(place)).map(Vec::<Coin>::as_slice);
        let described = |(place, tx)| describe::transaction(tx, spent(place), verbosity >= 3);
        block.txdata.iter().enumerate().map(described).collect()
    };
    answer.push("tx", txs);
    Ok(answer)
}

fn get_blockchain_info(chain: &MockChain, _: &Args) -> Result<Answer, RpcError> {
    let node = chain.node();
    let tip = node.chain.tip();
    let header = &tip.block.header;
    Ok(object! {
        "chain": "regtest",
        "blocks": tip.height,
        "headers": tip.height,
        "bestblockhash": tip.hash,
        "bits": describe::bits(header.bits),
        "target": describe::target(header.bits),
        "difficulty": describe::difficulty(header.bits),
        "time": header.time,
        "mediantime": tip.median_time,
        "verificationprogress": 1u32,
        "initialblockdownload": false,
        "chainwork": describe::chain_work(tip),
        "size_on_disk": node.chain.bytes(),
        "pruned": false,
        "warnings": Vec::new(),
    })
}

fn get_chain_tips(chain: &MockChain, _: &Args) -> Result<Answer, RpcError> {
    let node = chain.node();
    let chain = &node.chain;
    let is_side = |entry: &&Entry| !chain.is_active(entry);
    let parents: std::collections::HashSet<_> =
        chain.known().filter(is_side).map(|entry| entry.block.header.prev_blockhash).collect();
    let mut tips: Vec<&Entry> =
        chain.known().filter(is_side).filter(|entry| !parents.contains(&entry.hash)).collect();
    tips.push(chain.tip());
    tips.sort_by_key(|entry| std::cmp::Reverse(entry.height));
    let described = tips.into_iter().map(|entry| {
        let status = if chain.is_active(entry) {
            "active"
        } else if entry.is_failed() {
            "invalid"
        } else if entry.undo.is_some() {
            "valid-fork"
        } else {
            "valid-headers"
        };
        object! {
            "height": entry.height,
            "hash": entry.hash,
            "branchlen": entry.height - chain.fork_of(entry).height,
            "status": status,
        }
    });
    Ok(described.collect::<Vec<_>>().into())
}

fn get_tx_out(chain: &MockChain, args: &Args) -> Result<Answer, RpcError> {
    let txid = args.txid(0, "txid")?;
    let vout = u32::try_from(args.int(1)?)
        .map_err(|_| RpcError::new(RpcError::MISC, "JSON integer out of range"))?;
    let outpoint = OutPoint::new(txid, vout);
    let node = chain.node();
    let coin = if args.bool_or(2, true) {
        if node.pool.spender(&outpoint).is_some() {
            return Ok(Answer::Null);
        }
        node.pool.coin(&outpoint).or_else(|| node.chain.coin(&outpoint).cloned())
    } else {
        node.chain.coin(&outpoint).cloned()
    };
    // An output that can never be spent is not unspent, not even in the mempool.
    let Some(coin) = coin.filter(|coin| !crate::utxo::is_unspendable(&coin.output)) else {
        return Ok(Answer::Null);
    };
    let tip = node.chain.tip();
    let confirmations = if coin.height == MEMPOOL_HEIGHT { 0 } else { tip.height - coin.height + 1 };
    Ok(object! {
        "bestblock": tip.hash,
        "confirmations": confirmations,
        "value": coin.output.value,
        "scriptPubKey": describe::script(&coin.output.script_pubkey),
        "coinbase": coin.coinbase,
    })
}

fn invalidate_block(chain: &MockChain, args: &Args) -> Result<Answer, RpcError> {
    chain.invalidate(&args.block_hash(0, "blockhash")?)?;
    Ok(Answer::Null)
}

fn reconsider_block(chain: &MockChain, args: &Args) -> Result<Answer, RpcError> {
    chain.reconsider(&args.block_hash(0, "blockhash")?)?;
    Ok(Answer::Null)
}
