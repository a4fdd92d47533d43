//! When a transaction may be mined: lock time (BIP65, BIP113) and relative lock time (BIP68).

use bitcoin::Transaction;
use bitcoin::transaction::Version;

use crate::utxo::{Coin, MEMPOOL_HEIGHT};

/// Lock times from here on are seconds, below it they are heights.
const LOCKTIME_THRESHOLD: u32 = 500_000_000;
/// BIP68: this bit switches the relative lock off.
const SEQUENCE_DISABLE: u32 = 1 << 31;
/// BIP68: this bit makes it time rather than height.
const SEQUENCE_TIME: u32 = 1 << 22;
/// BIP68: the bits of the value.
const SEQUENCE_MASK: u32 = 0xffff;
/// BIP68: time comes in units of 512 seconds.
const SEQUENCE_GRANULARITY: u32 = 9;

/// Whether `tx` is final in a block at `height` whose parent's median time is `median_time`.
pub(crate) fn is_final(tx: &Transaction, height: u32, median_time: u32) -> bool {
    let lock = tx.lock_time.to_consensus_u32();
    let now = if lock < LOCKTIME_THRESHOLD { height } else { median_time };
    lock < now || lock == 0 || tx.input.iter().all(|input| input.sequence.0 == u32::MAX)
}

/// Whether every relative lock of `tx` is over in a block at `height` whose parent's median time is `median_time`.
///
/// `median_time_at` is the median time of the active block at a height. A coin of the mempool counts as made by the
/// very block that is asked about, as in Core.
pub(crate) fn are_sequence_locks_over(
    tx: &Transaction,
    spent: &[Coin],
    height: u32,
    median_time: u32,
    median_time_at: &dyn Fn(u32) -> u32,
) -> bool {
    // Core reads the version unsigned here.
    if tx.version == Version::ONE || tx.version.0 == 0 {
        return true;
    }
    tx.input.iter().zip(spent).all(|(input, coin)| {
        let sequence = input.sequence.0;
        if sequence & SEQUENCE_DISABLE != 0 {
            return true;
        }
        let coin_height = if coin.height == MEMPOOL_HEIGHT { height } else { coin.height };
        let value = sequence & SEQUENCE_MASK;
        if sequence & SEQUENCE_TIME != 0 {
            let from = u64::from(median_time_at(coin_height.saturating_sub(1)));
            from + (u64::from(value) << SEQUENCE_GRANULARITY) <= u64::from(median_time)
        } else {
            u64::from(coin_height) + u64::from(value) <= u64::from(height)
        }
    })
}

#[cfg(test)]
mod tests {
    use bitcoin::absolute::LockTime;
    use bitcoin::hashes::Hash;
    use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, TxIn, TxOut, Txid, Witness};

    use super::*;

    fn tx(lock: u32, sequence: u32) -> Transaction {
        Transaction {
            version: Version::TWO,
            lock_time: LockTime::from_consensus(lock),
            input: vec![TxIn {
                previous_output: OutPoint::new(Txid::all_zeros(), 0),
                script_sig: ScriptBuf::new(),
                sequence: Sequence(sequence),
                witness: Witness::new(),
            }],
            output: vec![],
        }
    }

    fn coin(height: u32) -> Coin {
        let output = TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new() };
        Coin { output, height, coinbase: false }
    }

    #[test]
    fn a_lock_time_holds_until_the_height_or_median_time_is_passed() {
        assert!(!is_final(&tx(10, 0), 10, 0));
        assert!(is_final(&tx(10, 0), 11, 0));
        assert!(is_final(&tx(10, u32::MAX), 10, 0));
        assert!(!is_final(&tx(600_000_000, 0), 11, 600_000_000));
        assert!(is_final(&tx(600_000_000, 0), 11, 600_000_001));
    }

    #[test]
    fn a_relative_lock_counts_blocks_or_512_seconds_from_the_coin() {
        let over = |sequence, height, time| {
            are_sequence_locks_over(&tx(0, sequence), &[coin(5)], height, time, &|_| 1_000)
        };
        assert!(!over(3, 7, 0));
        assert!(over(3, 8, 0));
        assert!(!over(SEQUENCE_TIME | 1, 7, 1_511));
        assert!(over(SEQUENCE_TIME | 1, 7, 1_512));
        assert!(over(SEQUENCE_DISABLE | 500, 6, 0));
        assert!(!are_sequence_locks_over(&tx(0, 1), &[coin(MEMPOOL_HEIGHT)], 8, 0, &|_| 0));
    }
}
