//! Reading back what was written down: the outbox and the wallet.

use assent_core::manifest::OutPoint;
use bdk_wallet::{ChangeSet, chain::Merge};
use bitcoin::{Transaction, consensus::encode::deserialize, hashes::Hash as _};

use crate::{
    error::AnchorError,
    rows::{AnchorStore, OutboxRow, keys},
};

/// Versions of one anchor. The fee rate grows by a quarter each, so far fewer reach any sensible cap.
pub(crate) const MAX_VERSIONS: u32 = 200;

pub(crate) fn outbox_keys(store: &dyn AnchorStore, index: u64) -> Result<Vec<Vec<u8>>, AnchorError> {
    let mut found = Vec::new();
    for version in 0..MAX_VERSIONS {
        let key = keys::outbox(index, version);
        if store.get(&key).map_err(AnchorError::Store)?.is_none() {
            break;
        }
        found.push(key);
    }
    Ok(found)
}

/// The versions under an index that spend this seal, and the number of the next one.
pub(crate) fn load_outbox(
    store: &dyn AnchorStore,
    index: u64,
    seal: OutPoint,
) -> Result<(Vec<OutboxRow>, u32), AnchorError> {
    let keys = outbox_keys(store, index)?;
    let mut rows = Vec::new();
    for key in &keys {
        let bytes = store.get(key).map_err(AnchorError::Store)?.unwrap_or_default();
        let corrupt = |problem: String| AnchorError::Corrupt(format!("outbox: {problem}"));
        let row = OutboxRow::decode(&bytes).map_err(|error| corrupt(error.to_string()))?;
        let transaction: Transaction =
            deserialize(&row.transaction).map_err(|error| corrupt(error.to_string()))?;
        let spends = transaction.input.first().map(|input| input.previous_output);
        if spends.is_some_and(|spent| spent.txid.to_byte_array() == seal.txid && spent.vout == seal.vout) {
            rows.push(row);
        }
    }
    Ok((rows, u32::try_from(keys.len()).unwrap_or(u32::MAX)))
}

/// Merges what the wallet staged over time into one row, so that it does not grow with every start.
pub(crate) fn load_wallet(store: &dyn AnchorStore) -> Result<(Option<ChangeSet>, u64), AnchorError> {
    let Some(count) = store.get(keys::WALLET_COUNT).map_err(AnchorError::Store)? else {
        return Ok((None, 0));
    };
    let count =
        count.try_into().map(u64::from_be_bytes).map_err(|_| AnchorError::Corrupt("wallet".into()))?;
    let corrupt = |error: serde_json::Error| AnchorError::Corrupt(format!("wallet: {error}"));
    let mut merged: Option<ChangeSet> = None;
    for number in 0..count {
        let bytes = store.get(&keys::wallet(number)).map_err(AnchorError::Store)?.unwrap_or_default();
        let changes: ChangeSet = serde_json::from_slice(&bytes).map_err(corrupt)?;
        match &mut merged {
            Some(merged) => merged.merge(changes),
            None => merged = Some(changes),
        }
    }
    if let Some(merged) = &merged
        && count > 1
    {
        let mut changes = vec![
            (keys::wallet(0), Some(serde_json::to_vec(merged).map_err(corrupt)?)),
            (keys::WALLET_COUNT.to_vec(), Some(1u64.to_be_bytes().to_vec())),
        ];
        changes.extend((1..count).map(|number| (keys::wallet(number), None)));
        store.write(&changes).map_err(AnchorError::Store)?;
    }
    let rows = u64::from(merged.is_some());
    Ok((merged, rows))
}
