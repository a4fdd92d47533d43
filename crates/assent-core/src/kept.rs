//! State as execution has it in memory: what the open group wrote, and of what is older as much as fits. How much that is changes
//! no result.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, Hash},
    sync::Arc,
};

use bytes::Bytes;
use foldhash::fast::RandomState;
use hashbrown::{HashTable, hash_table::Entry};

use crate::{
    TransactionId,
    records::{
        AccountRecord, ActiveConsents, ActorAccesses, Consent, Record, RevocationCodeRecord, SeenTransaction,
        StateKey, SubjectAccesses,
    },
};

/// A record as execution uses it: decoded, and shared with whatever else keeps it.
pub(crate) trait Decoded: Record {
    fn any(self: Arc<Self>) -> AnyRecord;
    /// `None` for a record of another type. A key has records of one type only.
    fn of(record: &AnyRecord) -> Option<&Arc<Self>>;
}

macro_rules! any_record {
    ($($type:ident),*) => {
        /// A decoded record of any type.
        #[derive(Clone, Debug)]
        pub(crate) enum AnyRecord {
            $($type(Arc<$type>)),*
        }

        $(impl Decoded for $type {
            fn any(self: Arc<Self>) -> AnyRecord {
                AnyRecord::$type(self)
            }

            fn of(record: &AnyRecord) -> Option<&Arc<Self>> {
                match record {
                    AnyRecord::$type(record) => Some(record),
                    _ => None,
                }
            }
        })*
    };
}

any_record!(AccountRecord, ActiveConsents, ActorAccesses, Consent, RevocationCodeRecord, SubjectAccesses);

/// Bytes that decoded records may take unless it is said otherwise.
pub(crate) const DEFAULT_BYTES: u64 = 256 * 1024 * 1024;

/// Bytes of a record beside those of its content, which decoded and in small pieces are half as many again as encoded: key,
/// pointers, counts, what the allocator adds.
const KEPT_OVERHEAD: usize = 192;
/// Share of the bytes for transactions that later ones may cite: one in so many.
const SEEN_SHARE: u64 = 8;
/// Bytes that such a transaction takes: its key, and a request's scope.
const SEEN_BYTES: u64 = 512;

/// Places that the hand passes for one record that is kept. That is enough to let go of more than comes, and what it costs has a limit
/// also where most of the table must stay; whatever is too much goes when the group ends.
const STEPS: usize = 64;

/// Bytes that a record takes in memory.
fn weight(encoded: usize) -> u32 {
    u32::try_from(KEPT_OVERHEAD + encoded + encoded / 2).unwrap_or(u32::MAX)
}

/// A record in its place: one line of the processor's cache.
#[derive(Debug)]
#[repr(align(64))]
struct Slot {
    key: StateKey,
    record: AnyRecord,
    /// What it counts as.
    weight: u32,
    /// Where the open group has it among what it wrote, if it is one of these.
    written: u32,
    /// Asked for since the hand last came by.
    used: bool,
}

/// What the open group wrote under a key, and what was there before.
#[derive(Debug)]
struct Written {
    key: StateKey,
    encoded: Bytes,
    before: Option<(AnyRecord, u32)>,
}

/// Decoded records as of the last transaction that was executed, and requests, as far as they fit. Nobody else changes state, so
/// what is here is newer than, or the same as, what the store has.
///
/// A record lies in the table itself, so that one that is not in the processor's cache costs few waits for memory. What has to go
/// is found by a hand that goes around the table and spares what was asked for since it last came by (the "clock" of
/// [Corbató, 1968]).
///
/// [Corbató, 1968]: https://apps.dtic.mil/sti/citations/AD0687552
#[derive(Debug)]
pub(crate) struct Kept {
    records: HashTable<Slot>,
    /// By the open group, each key once. These stay until it ends.
    written: Vec<Written>,
    hasher: RandomState,
    /// Where the hand is.
    hand: usize,
    weight: u64,
    limit: u64,
    seen: HashTable<(TransactionId, Arc<SeenTransaction>)>,
    /// The same in the order in which they came. A request is cited within minutes, often once: what matters is how many of the
    /// newest there are.
    order: VecDeque<TransactionId>,
    most_seen: usize,
}

impl Kept {
    /// What fits into so many bytes.
    pub(crate) fn new(bytes: u64) -> Self {
        let of_seen = bytes / SEEN_SHARE;
        Self {
            records: HashTable::new(),
            written: Vec::new(),
            hasher: RandomState::default(),
            hand: 0,
            weight: 0,
            limit: bytes - of_seen,
            seen: HashTable::new(),
            order: VecDeque::new(),
            most_seen: usize::try_from(of_seen / SEEN_BYTES).unwrap_or(usize::MAX).max(1),
        }
    }

    fn hash(&self, key: &impl Hash) -> u64 {
        self.hasher.hash_one(key)
    }

    /// A record.
    pub(crate) fn record<R: Decoded>(&mut self, key: &StateKey) -> Option<Arc<R>> {
        let slot = self.records.find_mut(self.hasher.hash_one(key), |slot| slot.key == *key)?;
        if !slot.used {
            slot.used = true;
        }
        R::of(&slot.record).cloned()
    }

    /// Those of several records that are here, in the order of their keys. Nothing but looking: no record counts as asked for.
    pub(crate) fn records<'a>(&'a self, keys: &[StateKey]) -> Vec<Option<&'a AnyRecord>> {
        find_all(&self.records, &self.hasher, keys, |slot| &slot.key, |slot| &slot.record)
    }

    /// Those of several transactions that are here, in the order of their ids.
    pub(crate) fn transactions<'a>(&'a self, ids: &[TransactionId]) -> Vec<Option<&'a SeenTransaction>> {
        find_all(&self.seen, &self.hasher, ids, |(id, _)| id, |(_, seen)| seen.as_ref())
    }

    /// Keeps a record of the store that takes so many bytes encoded.
    pub(crate) fn keep<R: Decoded>(&mut self, key: StateKey, record: Arc<R>, encoded: usize) {
        let weight = weight(encoded);
        self.put(key, record.any(), weight);
        self.make_room(STEPS);
    }

    fn put(&mut self, key: StateKey, record: AnyRecord, weight: u32) {
        let slot = Slot { key, record, weight, written: 0, used: false };
        let before = match entry(&mut self.records, &self.hasher, key) {
            Entry::Occupied(mut entry) => std::mem::replace(entry.get_mut(), slot).weight,
            Entry::Vacant(entry) => {
                entry.insert(slot);
                0
            }
        };
        self.weight = self.weight + u64::from(weight) - u64::from(before);
    }

    /// Takes in what the open group writes.
    pub(crate) fn write<R: Decoded>(&mut self, key: StateKey, record: R, encoded: Bytes) {
        let record = Arc::new(record).any();
        let weight = weight(encoded.len());
        let place = u32::try_from(self.written.len()).unwrap_or(u32::MAX);
        let (before, slot) = match entry(&mut self.records, &self.hasher, key) {
            Entry::Occupied(entry) => {
                let slot = entry.into_mut();
                let before = (std::mem::replace(&mut slot.record, record), slot.weight);
                slot.weight = weight;
                (Some(before), slot)
            }
            Entry::Vacant(entry) => {
                let slot = Slot { key, record, weight, written: place, used: false };
                (None, entry.insert(slot).into_mut())
            }
        };
        self.weight =
            self.weight + u64::from(weight) - before.as_ref().map_or(0, |(_, weight)| u64::from(*weight));
        match of_slot(&mut self.written, slot) {
            Some(written) => written.encoded = encoded,
            None => {
                slot.written = place;
                self.written.push(Written { key, encoded, before });
            }
        }
        self.make_room(STEPS);
    }

    /// Ends a group. Gives what it wrote, each key once, encoded.
    pub(crate) fn settle(&mut self) -> impl ExactSizeIterator<Item = (StateKey, Bytes)> + use<> {
        let next = Vec::with_capacity(self.written.len());
        let written = std::mem::replace(&mut self.written, next);
        // Once around to forget what was asked for, once more to let go of it.
        self.make_room(2 * self.records.num_buckets());
        written.into_iter().map(|written| (written.key, written.encoded))
    }

    /// Leaves nothing of a group.
    pub(crate) fn restore(&mut self) {
        for Written { key, before, .. } in std::mem::take(&mut self.written) {
            match before {
                Some((record, weight)) => self.put(key, record, weight),
                None => {
                    if let Entry::Occupied(entry) = entry(&mut self.records, &self.hasher, key) {
                        let (slot, _) = entry.remove();
                        self.weight -= u64::from(slot.weight);
                    }
                }
            }
        }
        // What comes back may be larger than what goes.
        self.make_room(2 * self.records.num_buckets());
    }

    /// Lets go of records until the others fit, or the hand has made so many steps.
    fn make_room(&mut self, mut steps: usize) {
        while self.weight > self.limit && steps > 0 {
            steps -= 1;
            self.hand = if self.hand + 1 < self.records.num_buckets() { self.hand + 1 } else { 0 };
            match self.records.get_bucket_mut(self.hand) {
                Some(slot) if of_slot(&mut self.written, slot).is_some() => {}
                Some(slot) if slot.used => slot.used = false,
                Some(slot) => {
                    self.weight -= u64::from(slot.weight);
                    if let Ok(entry) = self.records.get_bucket_entry(self.hand) {
                        entry.remove();
                    }
                }
                None => {}
            }
        }
    }

    /// A transaction.
    pub(crate) fn transaction(&self, id: &TransactionId) -> Option<Arc<SeenTransaction>> {
        let found = self.seen.find(self.hash(id), |(kept, _)| kept == id)?;
        Some(found.1.clone())
    }

    /// Keeps a transaction.
    pub(crate) fn keep_transaction(&mut self, id: TransactionId, seen: Arc<SeenTransaction>) {
        let hasher = &self.hasher;
        match self.seen.entry(hasher.hash_one(id), |(kept, _)| *kept == id, |(kept, _)| hasher.hash_one(kept))
        {
            Entry::Occupied(mut entry) => entry.get_mut().1 = seen,
            Entry::Vacant(entry) => {
                entry.insert((id, seen));
                self.order.push_back(id);
            }
        }
        while self.order.len() > self.most_seen
            && let Some(oldest) = self.order.pop_front()
        {
            self.forget_transaction(&oldest);
        }
    }

    /// Forgets a transaction that came to nothing, or is the oldest. In the first case its place in the order goes when its turn comes.
    pub(crate) fn forget_transaction(&mut self, id: &TransactionId) {
        let hash = self.hash(id);
        if let Ok(entry) = self.seen.find_entry(hash, |(kept, _)| kept == id) {
            entry.remove();
        }
    }
}

/// The place of a record, or where it would be.
fn entry<'a>(records: &'a mut HashTable<Slot>, hasher: &RandomState, key: StateKey) -> Entry<'a, Slot> {
    records.entry(hasher.hash_one(key), |slot| slot.key == key, |slot| hasher.hash_one(slot.key))
}

/// What the open group wrote of a place, if it did. A place keeps the number that it had in a group which has ended; what has
/// that number now is another key's then, or nothing.
fn of_slot<'a>(written: &'a mut [Written], slot: &Slot) -> Option<&'a mut Written> {
    written.get_mut(usize::try_from(slot.written).ok()?).filter(|written| written.key == slot.key)
}

/// Looks several keys up at once. Each step is made for all of them before the next one, and none of a step waits for another:
/// so the processor waits for many pieces of memory at a time.
fn find_all<'a, K: Hash + Eq, T, V>(
    table: &'a HashTable<T>,
    hasher: &RandomState,
    keys: &[K],
    key_of: impl Fn(&T) -> &K,
    value_of: impl Fn(&'a T) -> &'a V,
) -> Vec<Option<&'a V>> {
    let hashes: Vec<u64> = keys.iter().map(|key| hasher.hash_one(key)).collect();
    // A table of this kind has a byte for each place, and looks for a key from that one on which the low bits of its hash say. Were
    // it to look elsewhere, this step would be in vain.
    let last_place = table.num_buckets() as u64 - 1;
    let bytes = hashes.iter().fold(0, |bytes, hash| {
        let place = usize::try_from(hash & last_place).unwrap_or_default();
        bytes ^ usize::from(table.get_bucket(place).is_some())
    });
    // The byte holds some bits of the hash of what is there: mostly they tell which place it is, and no entry is read yet.
    let places: Vec<Option<usize>> =
        hashes.iter().map(|hash| table.find_bucket_index(*hash, |_| true)).collect();
    let at = |place: Option<usize>| place.and_then(|place| table.get_bucket(place));
    let found: Vec<Option<&T>> = (keys.iter().zip(&places))
        .map(|(key, place)| at(*place).filter(|entry| key_of(entry) == key))
        .collect();
    std::hint::black_box(bytes);
    (keys.iter().zip(hashes).zip(found))
        .map(|((key, hash), found)| found.or_else(|| table.find(hash, |entry| key_of(entry) == key)))
        .map(|found| found.map(&value_of))
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::AccountId;

    fn key(number: u8) -> StateKey {
        StateKey::revocation_code([number; 32])
    }

    fn record(number: u8) -> RevocationCodeRecord {
        RevocationCodeRecord(TransactionId([number; 32]))
    }

    #[derive(Clone, Debug)]
    enum Step {
        Keep(u8, usize),
        Write(u8, u8),
        Settle,
        Restore,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            4 => (0u8..12, 0usize..600).prop_map(|(key, encoded)| Step::Keep(key, encoded)),
            4 => (0u8..12, any::<u8>()).prop_map(|(key, value)| Step::Write(key, value)),
            1 => Just(Step::Settle),
            1 => Just(Step::Restore),
        ];
        proptest::collection::vec(step, 1..200)
    }

    proptest! {
        /// Against a store that has everything, and what the open group wrote over it.
        #[test]
        fn what_is_kept_is_the_newest_and_no_more_than_fits(steps in steps(), limit in 0u64..6_000) {
            let mut kept = Kept::new(limit);
            let mut store: BTreeMap<u8, u8> = (0..12).map(|number| (number, number)).collect();
            let mut open = BTreeMap::new();
            for step in steps {
                match step {
                    // As after a miss: what the open group wrote is never missed.
                    Step::Keep(number, encoded) if !open.contains_key(&number) => {
                        kept.keep(key(number), Arc::new(record(store[&number])), encoded);
                    }
                    Step::Keep(..) => {}
                    Step::Write(number, value) => {
                        kept.write(key(number), record(value), record(value).encode().into());
                        open.insert(number, value);
                    }
                    Step::Settle => {
                        let settled: BTreeMap<StateKey, RevocationCodeRecord> = (kept.settle())
                            .map(|(key, encoded)| (key, RevocationCodeRecord::decode(&encoded).unwrap()))
                            .collect();
                        let expected = open.iter().map(|(number, value)| (key(*number), record(*value)));
                        prop_assert_eq!(settled, expected.collect());
                        store.append(&mut open);
                    }
                    Step::Restore => {
                        kept.restore();
                        open.clear();
                    }
                }
                prop_assert_eq!(kept.weight, kept.records.iter().map(|slot| u64::from(slot.weight)).sum::<u64>());
                let written = |slot: &Slot| open.keys().any(|number| key(*number) == slot.key);
                prop_assert_eq!(kept.records.iter().filter(|slot| written(slot)).count(), open.len());
                prop_assert_eq!(kept.written.len(), open.len());
                prop_assert!(kept.weight <= kept.limit || kept.records.iter().all(written));
                for number in 0..12 {
                    let looked = kept.records(&[key(number)])[0].cloned();
                    let found = kept.record::<RevocationCodeRecord>(&key(number));
                    prop_assert_eq!(looked.as_ref().and_then(RevocationCodeRecord::of), found.as_ref());
                    match open.get(&number) {
                        Some(value) => prop_assert_eq!(found.as_deref(), Some(&record(*value))),
                        None => prop_assert!(found.is_none_or(|found| *found == record(store[&number]))),
                    }
                }
            }
        }
    }

    #[test]
    fn many_are_found_as_each_alone_is() {
        let key = |number: u16| StateKey::revocation_code(crate::codec::sha256(&number.to_be_bytes()));
        let mut kept = Kept::new(DEFAULT_BYTES);
        for number in (0..6_000u16).filter(|number| number % 3 != 0) {
            let id = TransactionId(crate::codec::sha256(&number.to_be_bytes()));
            kept.keep(key(number), Arc::new(RevocationCodeRecord(id)), 33);
        }
        let keys: Vec<StateKey> = (0..6_000).map(key).collect();
        let found: Vec<Option<AnyRecord>> =
            kept.records(&keys).into_iter().map(|record| record.cloned()).collect();
        assert!(kept.records(&[]).is_empty() && kept.transactions(&[TransactionId([0; 32])]) == [None]);
        for (key, found) in keys.iter().zip(found) {
            let alone = kept.record::<RevocationCodeRecord>(key);
            assert_eq!(found.as_ref().and_then(RevocationCodeRecord::of), alone.as_ref());
        }
        assert_eq!(kept.records.len(), 4_000);
    }

    #[test]
    fn what_is_asked_for_outlasts_what_is_not() {
        let mut kept = Kept::new(20_000);
        kept.keep(key(0), Arc::new(record(0)), 33);
        for number in 1..=255 {
            kept.keep(key(number), Arc::new(record(number)), 33);
            assert!(kept.record::<RevocationCodeRecord>(&key(0)).is_some(), "{number}");
        }
        assert!(kept.records.len() < 100);
    }

    #[test]
    fn the_newest_transactions_are_kept() {
        let mut kept = Kept::new(10 * SEEN_SHARE * SEEN_BYTES);
        let id = |number| TransactionId([number; 32]);
        let moment = crate::records::Moment { sequence: 0, time_ms: 0 };
        let seen = Arc::new(SeenTransaction {
            at: moment,
            sender: Some(AccountId([0; 32])),
            decisions: Vec::new(),
            scope: None,
        });
        for number in 0..100 {
            kept.keep_transaction(id(number), seen.clone());
        }
        let found: Vec<u8> = (0..100).filter(|number| kept.transaction(&id(*number)).is_some()).collect();
        assert_eq!(found, (90..100).collect::<Vec<_>>());
        kept.forget_transaction(&id(95));
        assert!(kept.transaction(&id(95)).is_none());
        assert_eq!(kept.seen.len(), 9);
    }
}
