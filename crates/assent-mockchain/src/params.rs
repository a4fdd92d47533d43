//! The numbers of the mock chain, each with its source or reason.

use bitcoin::Network;

/// Everything is regtest: a real node in regtest mode accepts the blocks.
pub(crate) const NETWORK: Network = Network::Regtest;
/// Compact target of every regtest block; regtest never retargets.
pub(crate) const BITS: u32 = 0x207f_ffff;
/// Version of mined blocks: BIP9 with no deployment signalled.
pub(crate) const BLOCK_VERSION: i32 = 0x2000_0000;
/// Blocks from one halving of the subsidy to the next, on regtest (Core `chainparams.cpp`).
pub(crate) const HALVING_INTERVAL: u32 = 150;
/// Subsidy of the first blocks in satoshi.
pub(crate) const INITIAL_SUBSIDY: u64 = 50 * 100_000_000;
/// Blocks after which a coinbase may be spent (Core `consensus.h`).
pub(crate) const COINBASE_MATURITY: u32 = 100;
/// BIP141: the limit of a block's weight.
pub(crate) const MAX_BLOCK_WEIGHT: u64 = 4_000_000;
/// BIP141: the limit of a block's signature operation cost.
pub(crate) const MAX_BLOCK_SIGOPS_COST: usize = 80_000;
/// Room for header and coinbase when a block is filled (Core's `-blockreservedweight`).
pub(crate) const RESERVED_BLOCK_WEIGHT: u64 = 8_000;
/// Signature operation cost kept free for the coinbase when a block is filled (Core `miner.h`).
pub(crate) const RESERVED_BLOCK_SIGOPS_COST: usize = 400;
/// Seconds a block may be ahead of the clock (Core `chain.h`).
pub(crate) const MAX_FUTURE_BLOCK_TIME: u32 = 2 * 60 * 60;
/// Blocks whose median time bounds the next block's time from below (Core `chain.h`).
pub(crate) const MEDIAN_TIME_SPAN: usize = 11;
/// No amount exceeds the coins that can ever exist, in satoshi.
pub(crate) const MAX_MONEY: u64 = 21_000_000 * 100_000_000;

/// Least feerate that is relayed, in satoshi per 1000 virtual bytes (the default up to Core 29; later ones ask less).
pub(crate) const MIN_RELAY_FEERATE: u64 = 1_000;
/// What a replacement pays on top for its own relay, in satoshi per 1000 virtual bytes (likewise).
pub(crate) const INCREMENTAL_RELAY_FEERATE: u64 = 1_000;
/// Largest standard transaction (Core `policy.h`).
pub(crate) const MAX_STANDARD_TX_WEIGHT: u64 = 400_000;
/// Smallest standard transaction without witness: a 64-byte one could pose as an inner Merkle node.
pub(crate) const MIN_STANDARD_TX_NONWITNESS_SIZE: usize = 65;
/// Longest standard scriptSig (Core `policy.cpp`).
pub(crate) const MAX_STANDARD_SCRIPTSIG_SIZE: usize = 1_650;
/// Largest signature operation cost of a standard transaction (Core `policy.h`).
pub(crate) const MAX_STANDARD_TX_SIGOPS_COST: usize = MAX_BLOCK_SIGOPS_COST / 5;
/// Virtual bytes that one signature operation weighs at least (Core's `-bytespersigop`).
pub(crate) const BYTES_PER_SIGOP: u64 = 20;
/// Longest standard OP_RETURN script: 80 data bytes, their push and the opcode (the default up to Core 29).
pub(crate) const MAX_OP_RETURN_SCRIPT: usize = 83;
/// Longest script that can be spent at all (Core `script.h`).
pub(crate) const MAX_SCRIPT_SIZE: usize = 10_000;
/// Unconfirmed transactions in a chain, the own included (the default up to Core 30).
pub(crate) const MAX_CHAIN_LENGTH: usize = 25;
/// Transactions that one replacement may evict (BIP125 rule 5).
pub(crate) const MAX_REPLACED: usize = 100;
/// Transactions in the mempool: a bound on memory, well above what one rollup sends between two blocks.
pub(crate) const MAX_MEMPOOL_TRANSACTIONS: usize = 50_000;
/// Virtual bytes in the mempool, as Core's default `-maxmempool` of 300 MB.
pub(crate) const MAX_MEMPOOL_BYTES: u64 = 300_000_000;

/// Blocks one RPC call may mine: a bound on how long it takes, since each is written to disk on its own.
pub(crate) const MAX_GENERATE: i64 = 10_000;
/// Transactions that `testmempoolaccept` takes (Core's `MAX_PACKAGE_COUNT`).
pub(crate) const MAX_PACKAGE: usize = 25;
/// Bytes of a request's body: Core's limit, room for a full block in hex with its JSON around it.
pub(crate) const MAX_BODY_BYTES: usize = 32 * 1024 * 1024;
/// Calls in a batch: Core has no limit, but a batch is executed in one go, so an unbounded one would starve others.
pub(crate) const MAX_BATCH: usize = 1_000;
/// Connections served at once; further ones wait to be accepted.
pub(crate) const MAX_CONNECTIONS: usize = 256;
/// Seconds a client may take to send a request, as Core's `-rpcservertimeout`.
pub(crate) const REQUEST_SECONDS: u64 = 30;
/// Seconds that answers under way get to finish when the server is told to stop.
pub(crate) const DRAIN_SECONDS: u64 = 5;

/// The subsidy at `height` in satoshi.
pub(crate) fn subsidy(height: u32) -> u64 {
    // A shift by 64 or more would be an overflow; by then the subsidy is long zero.
    INITIAL_SUBSIDY.checked_shr(height / HALVING_INTERVAL).unwrap_or(0)
}

/// The fee that `feerate` (satoshi per 1000 virtual bytes) asks of `vsize`, rounded up as Core does since 28.
pub(crate) fn fee_for(feerate: u64, vsize: u64) -> u64 {
    feerate.saturating_mul(vsize).div_ceil(1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subsidy_halves_every_150_blocks_and_ends_at_zero() {
        assert_eq!(subsidy(149), 5_000_000_000);
        assert_eq!(subsidy(150), 2_500_000_000);
        assert_eq!(subsidy(300), 1_250_000_000);
        assert_eq!(subsidy(u32::MAX), 0);
    }
}
