//! When a batch is sealed: pure functions of count, bytes and age.

use crate::manifest::LedgerLimits;

/// What an operator may choose, within the ledger's limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SealPolicy {
    /// Seal at this many entries.
    pub entries: u32,
    /// Seal at this many bytes of transactions.
    pub bytes: u32,
    /// Seal when the first entry is this old, in milliseconds.
    pub age_ms: u64,
}

/// The batch that is open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OpenBatchSize {
    /// Entries.
    pub entries: u32,
    /// Bytes of transactions.
    pub bytes: u32,
    /// Time of its first group.
    pub first_time_ms: u64,
}

impl SealPolicy {
    /// The ledger's own limits: a batch may grow as large, a seal wait as long as receipts allow.
    #[must_use]
    pub fn largest(limits: &LedgerLimits) -> Self {
        Self {
            entries: limits.max_batch_entries,
            bytes: limits.max_batch_bytes,
            age_ms: limits.max_seal_delay_ms,
        }
    }

    /// Whether the batch is to be sealed now.
    #[must_use]
    pub fn is_due(&self, open: &OpenBatchSize, now_ms: u64) -> bool {
        open.entries > 0
            && (open.entries >= self.entries
                || open.bytes >= self.bytes
                || now_ms.saturating_sub(open.first_time_ms) >= self.age_ms)
    }

    /// Whether a transaction of so many bytes still fits into the batch.
    #[must_use]
    pub fn fits(&self, open: &OpenBatchSize, bytes: usize) -> bool {
        open.entries < self.entries && open.bytes as usize + bytes <= self.bytes as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_due_by_count_by_bytes_and_by_age_and_never_empty() {
        let policy = SealPolicy { entries: 10, bytes: 100, age_ms: 50 };
        let open = |entries, bytes| OpenBatchSize { entries, bytes, first_time_ms: 1000 };
        assert!(!policy.is_due(&open(0, 0), 9_999));
        assert!(!policy.is_due(&open(9, 99), 1049));
        assert!(policy.is_due(&open(10, 1), 1000));
        assert!(policy.is_due(&open(1, 100), 1000));
        assert!(policy.is_due(&open(1, 1), 1050));
        assert!(!policy.is_due(&open(1, 1), 900), "a clock that went back does not seal");
        assert!(
            policy.fits(&open(9, 60), 40) && !policy.fits(&open(9, 60), 41) && !policy.fits(&open(10, 0), 1)
        );
    }
}
