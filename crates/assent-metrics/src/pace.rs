//! How fast something that only grows has grown lately.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

/// Least time between two samples.
const STEP: Duration = Duration::from_millis(500);
/// How far back it can be asked.
const SPAN: Duration = Duration::from_secs(60);

/// How fast something that only grows has grown lately.
#[derive(Debug)]
pub struct Pace {
    begun: Instant,
    samples: Mutex<VecDeque<(Instant, u64)>>,
}

impl Pace {
    /// It stands at `total` now.
    #[must_use]
    pub fn new(total: u64) -> Self {
        let begun = Instant::now();
        Self { begun, samples: Mutex::new(VecDeque::from([(begun, total)])) }
    }

    /// It stands at `total` now.
    pub fn note(&self, total: u64) {
        self.note_at(Instant::now(), total);
    }

    fn note_at(&self, now: Instant, total: u64) {
        let mut samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        if samples.back().is_some_and(|(at, _)| now.duration_since(*at) < STEP) {
            return;
        }
        samples.push_back((now, total));
        // One sample that is older than the span is kept: from it on the whole span is known.
        while samples.get(1).is_some_and(|(at, _)| now.duration_since(*at) > SPAN) {
            samples.pop_front();
        }
    }

    /// How much was added in the last `span`, or since the start where that is shorter ago; it stands at `total` now.
    #[must_use]
    pub fn within(&self, span: Duration, total: u64) -> u64 {
        self.within_at(Instant::now(), span, total)
    }

    fn within_at(&self, now: Instant, span: Duration, total: u64) -> u64 {
        let samples = self.samples.lock().unwrap_or_else(PoisonError::into_inner);
        let old_enough = |(at, _): &&(Instant, u64)| now.duration_since(*at) >= span;
        let since = samples.iter().rev().find(old_enough).or_else(|| samples.front());
        total.saturating_sub(since.map_or(total, |(_, then)| *then))
    }

    /// Since when it is counted.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.begun.elapsed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_tells_what_was_added_within_a_span_in_bounded_memory() {
        let pace = Pace::new(100);
        let at = |second: u64| pace.begun + Duration::from_secs(second);
        for second in 1..=1_000 {
            pace.note_at(at(second), 100 + 7 * second);
        }
        let total = 100 + 7 * 1_000;
        assert_eq!(pace.within_at(at(1_000), Duration::from_secs(10), total), 70);
        assert_eq!(pace.within_at(at(1_000), Duration::from_secs(60), total), 420);
        // Nothing more came.
        assert_eq!(pace.within_at(at(1_100), Duration::from_secs(10), total), 0);
        assert!(pace.samples.lock().unwrap().len() < 130);
        // Since the start, where that is shorter ago.
        assert_eq!(Pace::new(5).within(Duration::from_secs(60), 25), 20);
    }
}
