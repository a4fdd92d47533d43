//! The set of unspent outputs of the active chain, in memory, and how a block changes it and is taken back.

use std::collections::HashMap;

use bitcoin::{Block, OutPoint, Transaction, TxOut};

use crate::error::{MISSING_INPUTS, Reject};
use crate::params::{COINBASE_MATURITY, MAX_BLOCK_SIGOPS_COST, MAX_MONEY, MAX_SCRIPT_SIZE, subsidy};

/// An output that exists, and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Coin {
    pub(crate) output: TxOut,
    /// Height of the block that made it; [`MEMPOOL_HEIGHT`] while that is unconfirmed.
    pub(crate) height: u32,
    pub(crate) coinbase: bool,
}

/// The height of coins that only the mempool makes, as Core's constant of that name.
pub(crate) const MEMPOOL_HEIGHT: u32 = 0x7fff_ffff;

/// The coins each transaction of a block spent, in the order of its inputs; nothing for the coinbase.
pub(crate) type Undo = Vec<Vec<Coin>>;

/// Judges a transaction with the coins it spends.
type SpendCheck<'a> = dyn Fn(&Transaction, &[Coin]) -> Result<(), Reject> + 'a;

#[derive(Debug, Default)]
pub(crate) struct UtxoSet {
    coins: HashMap<OutPoint, Coin>,
}

impl UtxoSet {
    pub(crate) fn get(&self, outpoint: &OutPoint) -> Option<&Coin> {
        self.coins.get(outpoint)
    }

    /// Applies `block` at `height`, or changes nothing.
    ///
    /// `check` judges a transaction with the coins it spends: everything but amounts, maturity and signature
    /// operation cost.
    pub(crate) fn connect(
        &mut self,
        block: &Block,
        height: u32,
        check: &SpendCheck<'_>,
    ) -> Result<Undo, Reject> {
        let mut undo = Undo::with_capacity(block.txdata.len());
        match self.try_connect(block, height, check, &mut undo) {
            Ok(()) => Ok(undo),
            Err(reject) => {
                // One undo record was pushed for each transaction that was fully applied.
                let applied = block.txdata.get(..undo.len()).unwrap_or(&block.txdata);
                self.revert(applied, &undo);
                Err(reject)
            }
        }
    }

    fn try_connect(
        &mut self,
        block: &Block,
        height: u32,
        check: &SpendCheck<'_>,
        undo: &mut Undo,
    ) -> Result<(), Reject> {
        let mut fees = 0u64;
        let mut sigops = 0usize;
        for tx in &block.txdata {
            let txid = tx.compute_txid();
            for vout in 0..tx.output.len() {
                if self.coins.contains_key(&outpoint(txid, vout)) {
                    return Err(Reject::new("bad-txns-BIP30"));
                }
            }
            let spent = if tx.is_coinbase() {
                Vec::new()
            } else {
                let spent = tx
                    .input
                    .iter()
                    .map(|input| self.coins.get(&input.previous_output).cloned())
                    .collect::<Option<Vec<_>>>()
                    .ok_or_else(|| Reject::with(MISSING_INPUTS, format!("in transaction {txid}")))?;
                fees = fees.saturating_add(check_amounts(tx, &spent, height)?);
                check(tx, &spent)?;
                spent
            };
            sigops = sigops.saturating_add(sigop_cost(tx, &spent));
            if sigops > MAX_BLOCK_SIGOPS_COST {
                return Err(Reject::new("bad-blk-sigops"));
            }
            for input in &tx.input {
                self.coins.remove(&input.previous_output);
            }
            for (vout, output) in tx.output.iter().enumerate() {
                if !is_unspendable(output) {
                    let coin = Coin { output: output.clone(), height, coinbase: tx.is_coinbase() };
                    self.coins.insert(outpoint(txid, vout), coin);
                }
            }
            undo.push(spent);
        }
        let paid: u64 = block.txdata.first().map_or(0, |tx| tx.output.iter().map(|o| o.value.to_sat()).sum());
        let allowed = subsidy(height).saturating_add(fees);
        if paid > allowed {
            return Err(Reject::with(
                "bad-cb-amount",
                format!("coinbase pays too much (actual={paid} vs limit={allowed})"),
            ));
        }
        Ok(())
    }

    /// Takes back what [`connect`](Self::connect) did.
    pub(crate) fn revert(&mut self, txs: &[Transaction], undo: &[Vec<Coin>]) {
        for (tx, spent) in txs.iter().zip(undo).rev() {
            let txid = tx.compute_txid();
            for vout in 0..tx.output.len() {
                self.coins.remove(&outpoint(txid, vout));
            }
            for (input, coin) in tx.input.iter().zip(spent) {
                self.coins.insert(input.previous_output, coin.clone());
            }
        }
    }
}

/// The outpoint of an output by its place in the transaction.
pub(crate) fn outpoint(txid: bitcoin::Txid, vout: usize) -> OutPoint {
    // A transaction that fits a block has far fewer outputs than this saturates at.
    OutPoint::new(txid, u32::try_from(vout).unwrap_or(u32::MAX))
}

/// Whether the output can never be spent, and therefore is not kept.
pub(crate) fn is_unspendable(output: &TxOut) -> bool {
    output.script_pubkey.is_op_return() || output.script_pubkey.len() > MAX_SCRIPT_SIZE
}

/// The fee of `tx` in satoshi when it is spent at `height`; the rules of Core's `CheckTxInputs`.
pub(crate) fn check_amounts(tx: &Transaction, spent: &[Coin], height: u32) -> Result<u64, Reject> {
    let mut value_in = 0u64;
    for coin in spent {
        let depth = height.saturating_sub(coin.height);
        if coin.coinbase && depth < COINBASE_MATURITY {
            return Err(Reject::with(
                "bad-txns-premature-spend-of-coinbase",
                format!("tried to spend coinbase at depth {depth}"),
            ));
        }
        value_in = value_in.saturating_add(coin.output.value.to_sat());
        if value_in > MAX_MONEY {
            return Err(Reject::new("bad-txns-inputvalues-outofrange"));
        }
    }
    let value_out = tx.output.iter().fold(0u64, |sum, o| sum.saturating_add(o.value.to_sat()));
    value_in.checked_sub(value_out).ok_or_else(|| {
        Reject::with(
            "bad-txns-in-belowout",
            format!("value in ({}) < value out ({})", decimal(value_in), decimal(value_out)),
        )
    })
}

/// BIP141's signature operation cost of a transaction.
pub(crate) fn sigop_cost(tx: &Transaction, spent: &[Coin]) -> usize {
    tx.total_sigop_cost(|wanted| {
        tx.input
            .iter()
            .zip(spent)
            .find(|(input, _)| input.previous_output == *wanted)
            .map(|(_, coin)| coin.output.clone())
    })
}

/// Satoshi as Core's `FormatMoney` prints them in its messages.
pub(crate) fn decimal(sat: u64) -> String {
    let text = format!("{}.{:08}", sat / 100_000_000, sat % 100_000_000);
    let keep = text.find('.').map_or(text.len(), |dot| dot + 3);
    let trimmed = text.trim_end_matches('0').len().max(keep);
    text.get(..trimmed).unwrap_or(&text).to_owned()
}
