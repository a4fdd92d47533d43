//! What the prover is known to have checkpointed, and how far the ledger may run ahead of it.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use assent_core::{batch::BatchHeader, note::Checkpoint};
use assent_store::{LedgerStore, StoreError};

use crate::Clock;

/// How far a sequencer goes on without a prover. Nothing is ever thrown away: past the limit it takes revocations only, so
/// that nobody relies for longer on entries that nobody has checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Age of the oldest unproven batch from which on groups pause, while a prover reports; zero for never.
    pub pace: Duration,
    /// Age of the oldest unproven batch from which on the log is full of warnings.
    pub alarm: Duration,
    /// Age of the oldest unproven batch from which on only revocations are sequenced.
    pub limit: Duration,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            pace: Duration::from_secs(3),
            alarm: Duration::from_secs(24 * 3600),
            limit: Duration::from_secs(72 * 3600),
        }
    }
}

/// The proven part of the ledger, for any thread.
pub(crate) struct Proven {
    retention: Retention,
    batches: AtomicU64,
    /// Time of the oldest sealed batch that is not proven; 0 where there is none.
    since_ms: AtomicU64,
    /// When a prover reported last that it had come further; held while anything changes, so that a report and a seal do not
    /// cross.
    changing: Mutex<Option<Instant>>,
}

/// A prover that has come no further for so long is not waited for.
const REPORTING: Duration = Duration::from_secs(5);

impl Proven {
    pub(crate) fn open(store: &LedgerStore, retention: Retention, sealed: u64) -> Result<Self, StoreError> {
        let proven = Self {
            retention,
            batches: AtomicU64::new(store.proven_batches()?),
            since_ms: AtomicU64::new(0),
            changing: Mutex::new(None),
        };
        proven.refresh(store, sealed)?;
        Ok(proven)
    }

    /// Batches, and the time of the oldest sealed one after them or 0.
    pub(crate) fn get(&self) -> (u64, u64) {
        (self.batches.load(Ordering::Acquire), self.since_ms.load(Ordering::Acquire))
    }

    /// Looks up again since when there is an unproven batch.
    fn refresh(&self, store: &LedgerStore, sealed: u64) -> Result<(), StoreError> {
        let next = self.batches.load(Ordering::Acquire);
        let time = match store.batch(next)? {
            Some(batch) if next < sealed => {
                BatchHeader::decode(&batch.header).map_or(0, |header| header.time_ms)
            }
            _ => 0,
        };
        self.since_ms.store(time, Ordering::Release);
        Ok(())
    }

    /// A batch was sealed.
    pub(crate) fn sealed(&self, header: &BatchHeader) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        // A report may have come first: it found the batch in the store.
        if header.number < self.batches.load(Ordering::Acquire) {
            return;
        }
        // Only where nothing older waits.
        let _ = self.since_ms.compare_exchange(0, header.time_ms, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The prover has reported a checkpoint. One past what is sealed here, or below what was reported, changes nothing.
    pub(crate) fn report(
        &self,
        store: &LedgerStore,
        sealed: impl FnOnce() -> u64,
        checkpoint: &Checkpoint,
    ) -> Result<u64, StoreError> {
        let mut reported = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let sealed = sealed();
        if checkpoint.size <= sealed
            && self.batches.fetch_max(checkpoint.size, Ordering::AcqRel) < checkpoint.size
        {
            *reported = Some(Instant::now());
            store.set_proven_batches(checkpoint.size)?;
            self.refresh(store, sealed)?;
        }
        Ok(self.get().0)
    }

    /// How old the oldest unproven batch is. The clock is read only where there is one.
    fn age(&self, clock: &Clock) -> Duration {
        match self.get().1 {
            0 => Duration::ZERO,
            since => Duration::from_millis(clock().saturating_sub(since)),
        }
    }

    /// Whether a prover that reports is so far behind that sequencing should leave it some of the processor's time.
    pub(crate) fn is_behind(&self, clock: &Clock) -> bool {
        let pace = self.retention.pace;
        if pace.is_zero() || self.age(clock) <= pace {
            return false;
        }
        let reported = *self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        reported.is_some_and(|at| at.elapsed() < REPORTING)
    }

    /// How old the oldest unproven batch is, where that is past the limit.
    pub(crate) fn over_limit(&self, clock: &Clock) -> Option<Duration> {
        Some(self.age(clock)).filter(|age| *age > self.retention.limit)
    }

    /// What to warn of, if anything.
    pub(crate) fn alarm(&self, clock: &Clock) -> Option<String> {
        let age = self.age(clock);
        let hours = |duration: Duration| duration.as_secs() / 3600;
        if age > self.retention.limit {
            return Some(format!(
                "no prover has checkpointed batch {} for {} hours: ONLY REVOCATIONS are sequenced until one does",
                self.get().0,
                hours(age)
            ));
        }
        (age > self.retention.alarm).then(|| {
            format!(
                "no prover has checkpointed batch {} for {} hours; from {} hours on only revocations will be sequenced",
                self.get().0,
                hours(age),
                hours(self.retention.limit)
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[test]
    fn only_a_prover_that_reports_is_waited_for() {
        let behind = |age_ms: u64, reported: Option<Instant>, pace_ms: u64| {
            let proven = Proven {
                retention: Retention { pace: Duration::from_millis(pace_ms), ..Retention::default() },
                batches: AtomicU64::new(4),
                since_ms: AtomicU64::new(1_000_000),
                changing: Mutex::new(reported),
            };
            let clock: Clock = Arc::new(move || 1_000_000 + age_ms);
            proven.is_behind(&clock)
        };
        let now = Instant::now();
        assert!(behind(3_001, Some(now), 3_000));
        assert!(!behind(3_000, Some(now), 3_000), "in step");
        assert!(!behind(60_000, None, 3_000), "no prover has ever reported");
        assert!(!behind(60_000, now.checked_sub(REPORTING), 3_000), "it does not report any more");
        assert!(!behind(60_000, Some(now), 0), "the operator does not want it");
    }
}
