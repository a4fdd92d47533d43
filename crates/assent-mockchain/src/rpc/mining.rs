//! Making blocks and taking them in.

use std::str::FromStr;

use bitcoin::address::NetworkUnchecked;
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{Address, Block, ScriptBuf, Txid};

use super::Command;
use super::answer::{Answer, object};
use super::args::{self, Args, Kind, optional, required};
use super::describe;
use super::error::RpcError;
use super::transactions::decode;
use crate::chain::Submitted;
use crate::error::MockChainError;
use crate::handle::MockChain;
use crate::params::{MAX_GENERATE, MIN_RELAY_FEERATE, NETWORK};

pub(super) const COMMANDS: &[Command] = &[
    Command {
        name: "generateblock",
        params: &[
            required("output", Kind::Text),
            required("transactions", Kind::List),
            optional("submit", Kind::Bool),
        ],
        about: "Mines a block of exactly these transactions (hex, or ids of waiting ones), paying an address.",
        run: generate_block,
    },
    Command {
        name: "generatetoaddress",
        params: &[
            required("nblocks", Kind::Number),
            required("address", Kind::Text),
            optional("maxtries", Kind::Number),
        ],
        about: "Mines blocks that pay an address.",
        run: generate_to_address,
    },
    Command {
        name: "getmininginfo",
        params: &[],
        about: "What the next block will be.",
        run: get_mining_info,
    },
    Command {
        name: "submitblock",
        params: &[required("hexdata", Kind::Text), optional("dummy", Kind::Any)],
        about: "Takes in a block: null, or what is wrong with it.",
        run: submit_block,
    },
];

fn script_of(address: &str) -> Result<ScriptBuf, RpcError> {
    Address::<NetworkUnchecked>::from_str(address)
        .ok()
        .and_then(|address| address.require_network(NETWORK).ok())
        .map(|address| address.script_pubkey())
        .ok_or_else(|| RpcError::new(RpcError::INVALID_ADDRESS_OR_KEY, "Error: Invalid address"))
}

fn generate_to_address(chain: &MockChain, args: &Args) -> Result<Answer, RpcError> {
    let count = args.int(0)?;
    if count > MAX_GENERATE {
        let text = format!("at most {MAX_GENERATE} blocks at a time, found {count}");
        return Err(RpcError::new(RpcError::INVALID_PARAMETER, text));
    }
    let script = script_of(args.text(1)?)?;
    // As in Core, a negative number mines nothing.
    let mined = chain.mine_to(u32::try_from(count).unwrap_or(0), &script)?;
    Ok(mined.into_iter().map(Answer::from).collect::<Vec<_>>().into())
}

fn generate_block(chain: &MockChain, args: &Args) -> Result<Answer, RpcError> {
    let script = script_of(args.text(0)?)?;
    if !args.bool_or(2, true) {
        let text = "the mock chain mines only blocks it also takes in";
        return Err(RpcError::new(RpcError::INVALID_PARAMETER, text));
    }
    let mut node = chain.node();
    let mut txs = Vec::new();
    for value in args.list(1) {
        let text = args::text(value)?;
        let waiting = Txid::from_str(text).ok().map(|txid| {
            let found = node.pool.get(&txid).map(|entry| entry.tx.as_ref().clone());
            found.ok_or_else(|| {
                let text = format!("Transaction {text} not in mempool.");
                RpcError::new(RpcError::INVALID_ADDRESS_OR_KEY, text)
            })
        });
        txs.push(match waiting {
            Some(found) => found?,
            None => decode(text).ok_or_else(|| {
                let text =
                    format!("Transaction decode failed for {text}. Make sure the tx has at least one input.");
                RpcError::new(RpcError::DESERIALIZATION, text)
            })?,
        });
    }
    // As in Core, such a block claims no fees.
    let hash = node.mine_these(&script, txs, 0).map_err(|error| match error {
        MockChainError::Rejected(reject) => {
            RpcError::new(RpcError::VERIFY, format!("TestBlockValidity failed: {reject}"))
        }
        other => other.into(),
    })?;
    Ok(object! { "hash": hash })
}

fn get_mining_info(chain: &MockChain, _: &Args) -> Result<Answer, RpcError> {
    let node = chain.node();
    let tip = node.chain.tip();
    let bits = tip.block.header.bits;
    Ok(object! {
        "blocks": tip.height,
        "bits": describe::bits(bits),
        "difficulty": describe::difficulty(bits),
        "target": describe::target(bits),
        "networkhashps": 0u32,
        "pooledtx": node.pool.len(),
        "blockmintxfee": Answer::Amount(MIN_RELAY_FEERATE),
        "chain": "regtest",
        "next": object! {
            "height": tip.height + 1,
            "bits": describe::bits(bits),
            "difficulty": describe::difficulty(bits),
            "target": describe::target(bits),
        },
        "warnings": Vec::new(),
    })
}

fn submit_block(chain: &MockChain, args: &Args) -> Result<Answer, RpcError> {
    let block = deserialize_hex::<Block>(args.text(0)?)
        .map_err(|_| RpcError::new(RpcError::DESERIALIZATION, "Block decode failed"))?;
    match chain.submit(block) {
        Ok(Submitted::Active) => Ok(Answer::Null),
        Ok(Submitted::Duplicate) => Ok("duplicate".into()),
        Ok(Submitted::SideBranch) => Ok("inconclusive".into()),
        Err(MockChainError::Rejected(reject)) => Ok(reject.reason.to_string().into()),
        Err(error) => Err(error.into()),
    }
}
