//! Headers, transactions and scripts as Core describes them.

use bitcoin::consensus::encode::serialize_hex;
use bitcoin::opcodes::all::{OP_CLTV, OP_CSV, OP_PUSHNUM_1, OP_PUSHNUM_16, OP_PUSHNUM_NEG1};
use bitcoin::script::{Instruction, read_scriptint};
use bitcoin::secp256k1::XOnlyPublicKey;
use bitcoin::{Address, CompactTarget, Opcode, Script, Target, Transaction};

use super::answer::{Answer, object};
use crate::chain::{Chain, Entry, no_block};
use crate::params::NETWORK;
use crate::script::ScriptKind;
use crate::utxo::Coin;

/// Fields of a header and of its place in the chain.
pub(super) fn header(chain: &Chain, entry: &Entry) -> Answer {
    let header = &entry.block.header;
    let version = header.version.to_consensus();
    let is_active = chain.is_active(entry);
    let confirmations = if is_active { i64::from(chain.tip().height - entry.height) + 1 } else { -1 };
    let mut answer = object! {
        "hash": entry.hash,
        "confirmations": confirmations,
        "height": entry.height,
        "version": version,
        "versionHex": format!("{version:08x}"),
        "merkleroot": header.merkle_root.to_string(),
        "time": header.time,
        "mediantime": entry.median_time,
        "nonce": header.nonce,
        "bits": bits(header.bits),
        "target": target(header.bits),
        "difficulty": difficulty(header.bits),
        "chainwork": chain_work(entry),
        "nTx": entry.block.txdata.len(),
    };
    if header.prev_blockhash != no_block() {
        answer.push("previousblockhash", header.prev_blockhash);
    }
    let next = is_active.then(|| chain.at_height(entry.height + 1)).flatten();
    if let Some(next) = next {
        answer.push("nextblockhash", next.hash);
    }
    answer
}

pub(super) fn bits(bits: CompactTarget) -> String {
    format!("{:08x}", bits.to_consensus())
}

pub(super) fn target(bits: CompactTarget) -> String {
    hex::encode(Target::from_compact(bits).to_be_bytes())
}

pub(super) fn chain_work(entry: &Entry) -> String {
    hex::encode(entry.work.to_be_bytes())
}

/// How much harder than the easiest mainnet target, by Core's arithmetic, so that the float is the same one.
pub(super) fn difficulty(bits: CompactTarget) -> f64 {
    let bits = bits.to_consensus();
    let mut difficulty = f64::from(0x0000_ffffu32) / f64::from(bits & 0x00ff_ffff);
    let mut shift = (bits >> 24) & 0xff;
    while shift < 29 {
        difficulty *= 256.0;
        shift += 1;
    }
    while shift > 29 {
        difficulty /= 256.0;
        shift -= 1;
    }
    difficulty
}

/// A coinbase as `getblock` sums it up.
pub(super) fn coinbase(tx: &Transaction) -> Answer {
    let mut answer = object! { "version": tx.version.0, "locktime": tx.lock_time.to_consensus_u32() };
    if let Some(input) = tx.input.first() {
        answer.push("sequence", input.sequence.0);
        answer.push("coinbase", hex::encode(input.script_sig.as_bytes()));
        if let Some(reserved) = input.witness.nth(0) {
            answer.push("witness", hex::encode(reserved));
        }
    }
    answer
}

/// A transaction; with the coins it spent also its fee, and with `prevouts` those coins themselves.
pub(super) fn transaction(tx: &Transaction, spent: Option<&[Coin]>, prevouts: bool) -> Answer {
    // The coinbase spends nothing.
    let spent = spent.filter(|_| !tx.is_coinbase());
    let mut inputs = Vec::with_capacity(tx.input.len());
    for (place, input) in tx.input.iter().enumerate() {
        let mut answer = Answer::Object(Vec::new());
        if tx.is_coinbase() {
            answer.push("coinbase", hex::encode(input.script_sig.as_bytes()));
        } else {
            answer.push("txid", input.previous_output.txid);
            answer.push("vout", input.previous_output.vout);
            answer.push(
                "scriptSig",
                object! { "asm": asm(&input.script_sig), "hex": hex::encode(input.script_sig.as_bytes()) },
            );
        }
        if !input.witness.is_empty() {
            let elements: Vec<Answer> = input.witness.iter().map(|item| hex::encode(item).into()).collect();
            answer.push("txinwitness", elements);
        }
        if prevouts && let Some(coin) = spent.and_then(|spent| spent.get(place)) {
            answer.push(
                "prevout",
                object! {
                    "generated": coin.coinbase,
                    "height": coin.height,
                    "value": coin.output.value,
                    "scriptPubKey": script(&coin.output.script_pubkey),
                },
            );
        }
        answer.push("sequence", input.sequence.0);
        inputs.push(answer);
    }
    let outputs: Vec<Answer> = tx
        .output
        .iter()
        .enumerate()
        .map(|(n, output)| {
            object! { "value": output.value, "n": n, "scriptPubKey": script(&output.script_pubkey) }
        })
        .collect();
    let mut answer = object! {
        "txid": tx.compute_txid(),
        "hash": tx.compute_wtxid(),
        // Core reads the version unsigned.
        "version": u32::from_ne_bytes(tx.version.0.to_ne_bytes()),
        "size": tx.total_size(),
        "vsize": tx.vsize(),
        "weight": tx.weight().to_wu(),
        "locktime": tx.lock_time.to_consensus_u32(),
        "vin": inputs,
        "vout": outputs,
    };
    if let Some(spent) = spent {
        let value_in: u64 = spent.iter().map(|coin| coin.output.value.to_sat()).sum();
        let value_out: u64 = tx.output.iter().map(|output| output.value.to_sat()).sum();
        answer.push("fee", Answer::Amount(value_in.saturating_sub(value_out)));
    }
    answer.push("hex", serialize_hex(tx));
    answer
}

/// An output script.
pub(super) fn script(script: &Script) -> Answer {
    let kind = ScriptKind::of(script);
    let address = (kind != ScriptKind::PubKey).then(|| Address::from_script(script, NETWORK).ok()).flatten();
    let address = address.map(|address| address.to_string());
    let mut answer = object! {
        "asm": asm(script),
        "desc": descriptor(script, kind, address.as_deref()),
        "hex": hex::encode(script.as_bytes()),
    };
    if let Some(address) = address {
        answer.push("address", address);
    }
    answer.push("type", kind.name());
    answer
}

/// What Core infers of a script whose keys it does not know.
fn descriptor(script: &Script, kind: ScriptKind, address: Option<&str>) -> String {
    let bytes = script.as_bytes();
    let key = bytes.get(2..).and_then(|key| XOnlyPublicKey::from_slice(key).ok());
    let body = match (kind, address, key) {
        (ScriptKind::PubKey, _, _) => {
            let key = bytes.get(1..bytes.len().saturating_sub(1)).unwrap_or_default();
            format!("pk({})", hex::encode(key))
        }
        (ScriptKind::Taproot, _, Some(key)) => format!("rawtr({key})"),
        (_, Some(address), _) => format!("addr({address})"),
        _ => format!("raw({})", hex::encode(bytes)),
    };
    let checksum = descriptor_checksum(&body);
    format!("{body}#{checksum}")
}

/// BIP380's checksum. The characters of the descriptors made here all belong to its alphabet.
fn descriptor_checksum(body: &str) -> String {
    const INPUT: &[u8] = b"0123456789()[],'/*abcdefgh@:$%{}\
        IJKLMNOPQRSTUVWXYZ&+-.;<=>?!^_|~\
        ijklmnopqrstuvwxyzABCDEFGH`#\"\\ ";
    const OUTPUT: &[u8] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";
    const GENERATOR: [u64; 5] =
        [0x00f5_dee5_1989, 0x00a9_fdca_3312, 0x001b_ab10_e32d, 0x0037_06b1_677a, 0x0064_4d62_6ffd];
    let step = |state: u64, value: u64| {
        let top = state >> 35;
        let state = ((state & 0x0007_ffff_ffff) << 5) ^ value;
        GENERATOR.iter().enumerate().fold(state, |state, (bit, generator)| {
            if (top >> bit) & 1 == 1 { state ^ generator } else { state }
        })
    };
    let mut state = 1u64;
    let mut groups = 0u64;
    let mut count = 0;
    for byte in body.bytes() {
        let place = INPUT.iter().position(|known| *known == byte).unwrap_or_default();
        let place = u64::try_from(place).unwrap_or_default();
        state = step(state, place & 31);
        groups = groups * 3 + (place >> 5);
        count += 1;
        if count == 3 {
            state = step(state, groups);
            groups = 0;
            count = 0;
        }
    }
    if count > 0 {
        state = step(state, groups);
    }
    let state = (0..8).fold(state, |state, _| step(state, 0)) ^ 1;
    (0..8u32)
        .filter_map(|place| usize::try_from((state >> (5 * (7 - place))) & 31).ok())
        .filter_map(|value| OUTPUT.get(value).copied())
        .map(char::from)
        .collect()
}

/// A script as Core writes it: pushes as hex, small ones as numbers.
pub(super) fn asm(script: &Script) -> String {
    let mut words = Vec::new();
    for instruction in script.instructions() {
        words.push(match instruction {
            Ok(Instruction::PushBytes(push)) if push.len() <= 4 => {
                // Core prints a number here even where its encoding is not the shortest.
                read_scriptint(push.as_bytes())
                    .map_or_else(|_| number(push.as_bytes()), i64::from)
                    .to_string()
            }
            Ok(Instruction::PushBytes(push)) => hex::encode(push.as_bytes()),
            Ok(Instruction::Op(op)) => opcode(op),
            Err(_) => {
                words.push("[error]".to_owned());
                break;
            }
        });
    }
    words.join(" ")
}

/// A script number: little-endian, the highest bit of the last byte is the sign.
fn number(bytes: &[u8]) -> i64 {
    let Some((last, rest)) = bytes.split_last() else { return 0 };
    let high = i64::from(last & 0x7f) << (8 * rest.len());
    let magnitude = rest.iter().rev().fold(0i64, |value, byte| (value << 8) | i64::from(*byte)) | high;
    if last & 0x80 == 0 { magnitude } else { -magnitude }
}

fn opcode(op: Opcode) -> String {
    let code = op.to_u8();
    if op == OP_PUSHNUM_NEG1 {
        "-1".to_owned()
    } else if (OP_PUSHNUM_1.to_u8()..=OP_PUSHNUM_16.to_u8()).contains(&code) {
        (code - OP_PUSHNUM_1.to_u8() + 1).to_string()
    } else if op == OP_CLTV {
        "OP_CHECKLOCKTIMEVERIFY".to_owned()
    } else if op == OP_CSV {
        "OP_CHECKSEQUENCEVERIFY".to_owned()
    } else {
        let name = op.to_string();
        // Core has no names for what has no meaning.
        if name.starts_with("OP_RETURN_") { "OP_UNKNOWN".to_owned() } else { name }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_descriptor_checksum_is_that_of_bip_380() {
        assert_eq!(descriptor_checksum("raw(deadbeef)"), "89f8spxm");
    }

    #[test]
    fn scripts_read_as_core_writes_them() {
        let asm_of = |hex: &str| asm(&bitcoin::ScriptBuf::from_hex(hex).unwrap());
        assert_eq!(
            asm_of("0014000102030405060708090a0b0c0d0e0f10111213"),
            "0 000102030405060708090a0b0c0d0e0f10111213"
        );
        assert_eq!(asm_of("6a0411223344"), "OP_RETURN 1144201745");
        assert_eq!(asm_of("51024e73"), "1 29518");
        assert_eq!(asm_of("6a0181"), "OP_RETURN -1");
        assert_eq!(asm_of("4fb1b2"), "-1 OP_CHECKLOCKTIMEVERIFY OP_CHECKSEQUENCEVERIFY");
        assert_eq!(asm_of("6a05aa"), "OP_RETURN [error]");
    }
}
