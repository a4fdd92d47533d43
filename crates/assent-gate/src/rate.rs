//! Rates: how many of something a second, with a burst (the generic cell rate algorithm, ITU-T I.371).
//!
//! A bucket is one number: the time at which it would be full again. Of the kept libraries none gives back what was taken,
//! and an account must not pay for forged transactions in its name: they are charged when they arrive and given back when
//! the signature turns out to be bad.

use std::{
    hash::Hash,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use assent_core::Map;

/// How many a second, and how many at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    interval_ns: u64,
    burst_ns: u64,
}

impl Rate {
    /// `per_second` of them, and `burst` of them at once. Neither may be 0.
    #[must_use]
    pub fn new(per_second: u64, burst: u64) -> Self {
        let interval_ns = (1_000_000_000 / per_second.max(1)).max(1);
        Self { interval_ns, burst_ns: interval_ns.saturating_mul(burst.max(1)) }
    }
}

/// The state of one bucket: when it is full again, in nanoseconds since the clock began.
#[derive(Clone, Copy, Debug, Default)]
struct Bucket(u64);

impl Bucket {
    /// Takes so many where one could be had, or says how long to wait for that. What is taken beyond the burst is owed: whoever
    /// sends a thousand at once waits the longer afterwards.
    fn take(&mut self, rate: Rate, now: u64, count: u64) -> Result<(), Duration> {
        let since = self.0.max(now);
        let over = (since - now).saturating_add(rate.interval_ns).saturating_sub(rate.burst_ns);
        if over > 0 {
            return Err(Duration::from_nanos(over));
        }
        self.0 = since.saturating_add(rate.interval_ns.saturating_mul(count));
        Ok(())
    }

    fn give_back(&mut self, rate: Rate, count: u64) {
        self.0 = self.0.saturating_sub(rate.interval_ns.saturating_mul(count));
    }
}

/// One bucket of one rate.
#[derive(Debug)]
pub struct Limiter {
    rate: Rate,
    begun: Instant,
    bucket: Mutex<Bucket>,
}

impl Limiter {
    /// Full.
    #[must_use]
    pub fn new(rate: Rate) -> Self {
        Self { rate, begun: Instant::now(), bucket: Mutex::default() }
    }

    /// Takes so many.
    ///
    /// # Errors
    /// How long to wait before trying again.
    pub fn take(&self, count: u64) -> Result<(), Duration> {
        let now = nanos(self.begun);
        self.bucket.lock().unwrap_or_else(PoisonError::into_inner).take(self.rate, now, count)
    }
}

fn nanos(begun: Instant) -> u64 {
    u64::try_from(begun.elapsed().as_nanos()).unwrap_or(u64::MAX)
}

/// A bucket of one rate for each of many keys, in bounded memory.
#[derive(Debug)]
pub struct Limiters<K> {
    rate: Rate,
    most: usize,
    begun: Instant,
    buckets: Mutex<Buckets<K>>,
}

#[derive(Debug)]
struct Buckets<K> {
    by_key: Map<K, Bucket>,
    /// Of everybody for whom there is no room: only where more keys than that are active at the same time.
    others: Bucket,
    /// When full buckets were last forgotten.
    swept: u64,
}

/// Least time between two sweeps, so that a flood of new keys does not sweep at each.
const SWEEP_NS: u64 = 100_000_000;

impl<K: Hash + Eq> Limiters<K> {
    /// At most `most` keys are told apart at a time; a bucket that is full again is forgotten.
    #[must_use]
    pub fn new(rate: Rate, most: usize) -> Self {
        let buckets = Buckets { by_key: Map::default(), others: Bucket::default(), swept: 0 };
        Self { rate, most, begun: Instant::now(), buckets: Mutex::new(buckets) }
    }

    /// Takes so many of a key's.
    ///
    /// # Errors
    /// How long to wait before trying again.
    pub fn take(&self, key: K, count: u64) -> Result<(), Duration> {
        let now = nanos(self.begun);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.by_key.len() >= self.most && now.saturating_sub(buckets.swept) >= SWEEP_NS {
            buckets.swept = now;
            buckets.by_key.retain(|_, bucket| bucket.0 > now);
        }
        if buckets.by_key.len() >= self.most && !buckets.by_key.contains_key(&key) {
            return buckets.others.take(self.rate, now, count);
        }
        buckets.by_key.entry(key).or_default().take(self.rate, now, count)
    }

    /// Gives back what was taken for nothing.
    pub fn give_back(&self, key: &K, count: u64) {
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(bucket) = buckets.by_key.get_mut(key) {
            bucket.give_back(self.rate, count);
        }
    }

    /// Keys that are told apart now.
    #[must_use]
    pub fn len(&self) -> usize {
        self.buckets.lock().unwrap_or_else(PoisonError::into_inner).by_key.len()
    }

    /// Whether nobody has taken anything.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn a_burst_is_had_at_once_and_then_the_rate() {
        let (rate, mut bucket) = (Rate::new(10, 5), Bucket::default());
        let now = 7 * SECOND;
        assert_eq!((0..20).filter(|_| bucket.take(rate, now, 1).is_ok()).count(), 5);
        let wait = bucket.take(rate, now, 1).unwrap_err();
        assert_eq!(wait, Duration::from_millis(100));
        // In the ten seconds after, a hundred and what has filled up meanwhile.
        let had = (0..10_000).filter(|n| bucket.take(rate, now + n * SECOND / 1_000, 1).is_ok()).count();
        assert!((99..=100).contains(&had), "{had}");
    }

    #[test]
    fn what_is_given_back_can_be_taken_again_and_never_more() {
        let (rate, mut bucket) = (Rate::new(10, 5), Bucket::default());
        let now = SECOND;
        while bucket.take(rate, now, 1).is_ok() {}
        bucket.give_back(rate, 2);
        assert_eq!((0..5).filter(|_| bucket.take(rate, now, 1).is_ok()).count(), 2);
        // Giving back to a full bucket does not make it larger.
        let mut full = Bucket::default();
        full.give_back(rate, 100);
        assert_eq!((0..20).filter(|_| full.take(rate, now, 1).is_ok()).count(), 5);
    }

    #[test]
    fn more_than_a_burst_is_had_at_once_and_paid_for_afterwards() {
        let (rate, mut bucket) = (Rate::new(10, 5), Bucket::default());
        bucket.take(rate, SECOND, 20).unwrap();
        assert_eq!(bucket.take(rate, SECOND, 1).unwrap_err(), Duration::from_millis(1_600));
    }

    #[test]
    fn memory_is_bounded_and_idle_keys_make_room() {
        let limiters = Limiters::new(Rate::new(1, 2), 100);
        let taken = (0..10_000u32).filter(|key| limiters.take(*key, 1).is_ok()).count();
        // A hundred of their own, and two of what all others share.
        assert_eq!((limiters.len(), taken), (100, 102));
        limiters.give_back(&5, 1);
        limiters.give_back(&9_999, 1);
        assert!(limiters.take(5, 2).is_ok());
    }
}
