//! How far a transaction has come.

use assent_core::TransactionId;
use assent_proto::v1::{Tier, TierStatus};
use assent_store::StoreError;

use crate::Shared;

/// The tier of a transaction that the prover has executed, or `None`.
pub(crate) fn status(shared: &Shared, id: &TransactionId) -> Result<Option<TierStatus>, StoreError> {
    let Some(sequence) = shared.store.sequence_of(id)? else { return Ok(None) };
    let Some(row) = shared.store.entry(sequence)? else { return Ok(None) };
    let config = &shared.config;
    let mut status = TierStatus {
        tier: Tier::Sealed as i32,
        sequence: row.entry.sequence,
        batch_number: row.batch_number,
        required_depth: config.confirmations,
        network: config.manifest.base.name.clone(),
        ..TierStatus::default()
    };
    if *shared.checkpointed.borrow() > row.batch_number {
        status.tier = Tier::Checkpointed as i32;
        // A checkpoint is signed with every batch.
        status.checkpoint_size = row.batch_number + 1;
    }
    if let Some(seal) = shared.anchors.first_over(row.batch_number) {
        let confirmed = seal.depth >= config.confirmations;
        status.tier = if confirmed { Tier::Confirmed } else { Tier::Anchored } as i32;
        status.checkpoint_size = seal.size;
        // Bitcoin Core prints hashes in reverse.
        status.anchor_txid = seal.txid.iter().rev().copied().collect();
        status.anchor_height = seal.height;
        status.depth = seal.depth;
    }
    Ok(Some(status))
}

/// Whether a watcher is told: any change, but not the growing depth of what is confirmed.
pub(crate) fn is_news(last: Option<&TierStatus>, now: &TierStatus) -> bool {
    let Some(last) = last else { return true };
    let settled = last.tier == Tier::Confirmed as i32 && now.tier == last.tier;
    if settled {
        last.anchor_txid != now.anchor_txid || last.anchor_height != now.anchor_height
    } else {
        last != now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn watchers_hear_of_every_change_and_of_falling_back_but_not_of_growing_depth() {
        let at = |tier: Tier, depth| TierStatus { tier: tier as i32, depth, ..TierStatus::default() };
        assert!(is_news(None, &at(Tier::Checkpointed, 0)));
        assert!(is_news(Some(&at(Tier::Anchored, 1)), &at(Tier::Anchored, 2)));
        assert!(is_news(Some(&at(Tier::Anchored, 2)), &at(Tier::Confirmed, 3)));
        assert!(!is_news(Some(&at(Tier::Confirmed, 3)), &at(Tier::Confirmed, 4)));
        assert!(is_news(Some(&at(Tier::Confirmed, 4)), &at(Tier::Checkpointed, 0)));
        assert!(!is_news(Some(&at(Tier::Checkpointed, 0)), &at(Tier::Checkpointed, 0)));
    }
}
