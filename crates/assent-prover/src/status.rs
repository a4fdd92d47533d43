//! How a prover or validator does: for its status, its metrics, and whoever follows one transaction in its log.

use std::{sync::PoisonError, time::Duration};

use assent_core::batch::BatchHeader;
use assent_metrics::{Follower, Tier, transaction_span};
use assent_proto::v1::{AnchorSummary, GetProverStatusResponse};
use assent_store::StoreError;
use assent_verify::replay::Replayed;

use crate::{Duty, ProverError, Shared};

/// Anchors that a status shows.
const RECENT_ANCHORS: usize = 10;
/// As it tells its version.
const VERSION: &str = concat!("assent ", env!("CARGO_PKG_VERSION"));

fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// Time of a batch, in milliseconds since 1970; 0 where it is not here.
fn time_of(shared: &Shared, number: u64) -> Result<u64, StoreError> {
    let batch = shared.store.batch(number)?;
    Ok(batch.and_then(|batch| BatchHeader::decode(&batch.header).ok()).map_or(0, |header| header.time_ms))
}

/// How long ago a batch was sealed, where it is here.
pub(crate) fn age_of(shared: &Shared, number: u64) -> Result<Option<Duration>, StoreError> {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    let time = Duration::from_millis(time_of(shared, number)?);
    Ok((time > Duration::ZERO).then(|| now.saturating_sub(time)))
}

/// Time of the first batch after so many, where it has been executed; otherwise 0.
fn waiting_since(shared: &Shared, reached: u64) -> Result<u64, StoreError> {
    if reached < *shared.batches.borrow() { time_of(shared, reached) } else { Ok(0) }
}

/// Batches that are anchored, and that are confirmed.
fn on_the_base_chain(shared: &Shared) -> (u64, u64) {
    let anchored = shared.anchors.newest(1).first().map_or(0, |seal| seal.size);
    (anchored, shared.anchors.size_at_depth(shared.config.confirmations))
}

/// Brings the metrics up to date.
pub(crate) fn tell(shared: &Shared) -> Result<(), ProverError> {
    let metrics = &shared.config.metrics;
    let (anchored, confirmed) = on_the_base_chain(shared);
    for (tier, reached) in [
        (Tier::Executed, *shared.batches.borrow()),
        (Tier::Checkpointed, *shared.checkpointed.borrow()),
        (Tier::Anchored, anchored),
        (Tier::Confirmed, confirmed),
    ] {
        metrics.reached(tier, reached, waiting_since(shared, reached)? / 1000);
    }
    let (anchors, height, balance) = shared.anchors.summary();
    metrics.anchors.set(signed(anchors));
    metrics.base_height.set(height.into());
    metrics.wallet_balance.set(match shared.config.duty {
        Duty::Prover { .. } => signed(balance),
        Duty::Validator { .. } => -1,
    });
    let outbox = shared.anchors.outbox();
    metrics.unconfirmed_anchors.set(signed(outbox.versions));
    metrics.anchor_fee_rate.set(signed(outbox.fee_rate));
    metrics.fee_capped.set(outbox.capped.into());
    Follower::count_to(&metrics.anchor_fees, outbox.fees_sat);
    Follower::count_to(&metrics.base_reorganisations, shared.anchors.reorganisations());
    metrics.halted.set(shared.halted().is_some().into());
    Ok(())
}

/// A batch is committed.
pub(crate) fn committed(shared: &Shared, batch: &Replayed) -> Result<(), ProverError> {
    let entries = batch.sealed().map_or(0, |sealed| sealed.cursor.next_sequence);
    shared.pace.note(entries);
    shared.config.metrics.entries.set(signed(entries));
    let tier = match shared.config.duty {
        Duty::Prover { .. } => "CHECKPOINTED",
        Duty::Validator { .. } => "executed again",
    };
    let number = batch.header.number;
    for executed in batch.outputs.iter().flat_map(|output| &output.executed) {
        let span = transaction_span(&executed.entry.transaction_id);
        if span.is_disabled() {
            break;
        }
        span.in_scope(|| tracing::debug!(batch = number, "{tier}"));
    }
    tell(shared)
}

/// Batches up to this number have reached a tier of the base chain: says so for each transaction that is followed.
pub(crate) fn reached(shared: &Shared, tier: &str, from: u64, to: u64) -> Result<(), ProverError> {
    // Nobody follows any where even this one is not wanted.
    if transaction_span(&"none").is_disabled() {
        return Ok(());
    }
    let first = |number: u64| -> Result<Option<u64>, StoreError> {
        let batch = shared.store.batch(number)?;
        Ok(batch
            .and_then(|batch| BatchHeader::decode(&batch.header).ok())
            .map(|header| header.first_sequence))
    };
    let Some(first) = first(from)? else { return Ok(()) };
    for row in shared.store.entries_while(first, |row| row.batch_number < to)? {
        let span = transaction_span(&row.entry.transaction_id);
        span.in_scope(|| tracing::debug!(batch = row.batch_number, "{tier}"));
    }
    Ok(())
}

/// The status.
pub(crate) fn status(shared: &Shared) -> Result<GetProverStatusResponse, StoreError> {
    let cursor = shared.store.cursor(&shared.config.manifest)?;
    let (anchors, base_height, wallet_balance_sat) = shared.anchors.summary();
    let (anchored_batches, confirmed_batches) = on_the_base_chain(shared);
    let entries = cursor.next_sequence;
    let recent = shared.anchors.newest(RECENT_ANCHORS).into_iter().map(|seal| AnchorSummary {
        size: seal.size,
        // Bitcoin Core prints hashes in reverse.
        txid: seal.txid.iter().rev().copied().collect(),
        height: seal.height,
        depth: seal.depth,
    });
    Ok(GetProverStatusResponse {
        batches: cursor.next_batch,
        entries,
        anchors,
        base_height,
        halted: shared.halted().unwrap_or_default(),
        wallet_balance_sat,
        validator: matches!(shared.config.duty, Duty::Validator { .. }),
        checkpoint_size: *shared.checkpointed.borrow(),
        version: VERSION.to_owned(),
        uptime_ms: u64::try_from(shared.pace.uptime().as_millis()).unwrap_or(u64::MAX),
        following: shared.config.metrics.following.get() > 0,
        entries_10s: shared.pace.within(Duration::from_secs(10), entries),
        entries_60s: shared.pace.within(Duration::from_secs(60), entries),
        anchored_batches,
        confirmed_batches,
        required_depth: shared.config.confirmations,
        network: shared.config.manifest.base.name.clone(),
        base_problem: shared.base_problem.read().unwrap_or_else(PoisonError::into_inner).clone(),
        newest_batch_time_ms: cursor
            .next_batch
            .checked_sub(1)
            .map_or(Ok(0), |newest| time_of(shared, newest))?,
        unanchored_since_ms: waiting_since(shared, anchored_batches)?,
        recent_anchors: recent.collect(),
    })
}
