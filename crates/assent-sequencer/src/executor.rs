//! The one thread that owns the state machine.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use assent_core::outcome::OutcomeKind;
use assent_core::{
    TransactionId,
    batch::{BaseBlock, Refusal, RefusalReason},
    limits,
    machine::{Fault, GroupOutput, GroupStart, Machine, StateError},
    signature::KeyPair,
};
use assent_metrics::{Decision, Stage, Submission as Judged, transaction_span};
use assent_store::{Commit, LedgerStore, Role, SealedWrite, StoreError, StoredEntry};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::{
    OpenError, SequencerConfig,
    admission::{Reply, Submission},
    answer::{Answer, Group},
    view::View,
};

/// How often the executor looks whether it is to stop or a batch is due, when nothing comes in.
const IDLE_TICK: Duration = Duration::from_millis(20);

/// How often the log tells that no prover follows.
const ALARM_INTERVAL: Duration = Duration::from_secs(60);

/// Why a sequencer ended by itself: going on could contradict what it acknowledged.
#[derive(Debug, Error)]
pub enum Halt {
    /// It was told to.
    #[error("stopped")]
    Stopped,
    /// A newer sequencer has taken over.
    #[error("fenced: epoch {epoch} has begun and the log ends at position {position}")]
    Fenced {
        /// Newest epoch.
        epoch: u64,
        /// End of the log.
        position: u64,
    },
    /// It is not known whether the last group is on disk.
    #[error("the log could not be written; what is on disk is found out at the next start: {0}")]
    CommitUnknown(#[source] StoreError),
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// State cannot be read.
    #[error(transparent)]
    State(#[from] StateError),
    /// The operating system has no random bytes.
    #[error("no random bytes: {0}")]
    Random(getrandom::Error),
    /// A rule that the sequencer itself must obey.
    #[error(transparent)]
    Fault(Fault),
}

pub(crate) struct Executor {
    config: SequencerConfig,
    machine: Machine,
    store: Arc<LedgerStore>,
    view: Arc<View>,
    epoch: u64,
    /// Entries of the open batch.
    entries: Vec<StoredEntry>,
    /// Position of the open batch's first log record.
    first_position: u64,
    /// Did not fit into the batch that was open; opens the next one.
    carried: Option<Submission>,
    time_step_accepted: bool,
}

/// What a submission of the open group waits for.
enum Pending {
    /// The entry with this index in the group.
    Entry(usize, bool),
    /// An answer that is known already.
    Known(Reply),
}

impl Executor {
    /// Opens the database and applies the log records of the open batch again.
    pub(crate) fn open(config: &SequencerConfig) -> Result<Self, OpenError> {
        let manifest = config.manifest.clone();
        let store = Arc::new(LedgerStore::open(&config.path, Role::Sequencer, &manifest.chain_id())?);
        let cursor = store.cursor(&manifest)?;
        let epoch = store.begin_epoch()?;
        let mut executor = Self {
            machine: Machine::new(manifest.clone(), cursor.clone())?,
            view: Arc::new(View::new(
                manifest,
                store.clone(),
                cursor.clone(),
                config.retention,
                epoch,
                config.metrics.clone(),
            )?),
            epoch,
            entries: Vec::new(),
            first_position: cursor.next_position,
            carried: None,
            time_step_accepted: config.accept_time_step,
            config: config.clone(),
            store,
        };
        let end = executor.store.log_end()?;
        for position in cursor.next_position..end {
            let replay = |source| OpenError::Replay { position, source };
            let record = executor.store.record(position)?;
            let transactions = executor.machine.decode_record(&record).map_err(replay)?;
            let output = executor
                .machine
                .apply_record(executor.store.as_ref(), &record, &transactions)
                .map_err(replay)?;
            let signature = executor.store.group_signature(position)?;
            executor.publish(output, signature)?;
        }
        let cursor = executor.machine.cursor();
        tracing::info!(
            epoch,
            sequence = cursor.next_sequence,
            batch = cursor.next_batch,
            replayed = end - executor.first_position.min(end),
            "sequencer opened"
        );
        Ok(executor)
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.view.clone()
    }

    /// Runs until it is told to stop, or must not go on.
    pub(crate) fn run(mut self, queue: &Receiver<Submission>, stop: &AtomicBool) -> Result<(), Halt> {
        let mut last_alarm: Option<Instant> = None;
        loop {
            if last_alarm.is_none_or(|at| at.elapsed() >= ALARM_INTERVAL) {
                last_alarm = Some(Instant::now());
                if let Some(alarm) = self.view.proven.alarm(&self.config.clock) {
                    tracing::error!("{alarm}");
                }
            }
            let first = match self.carried.take() {
                Some(carried) => Some(carried),
                None => match queue.recv_timeout(IDLE_TICK) {
                    Ok(submission) => Some(submission),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                },
            };
            if stop.load(Ordering::Acquire) {
                return Ok(());
            }
            let result = match first {
                Some(first) => self.group(first, queue),
                None => self.seal_if_due(),
            };
            if let Err(halt) = result {
                tracing::error!(%halt, "sequencer halted");
                return Err(halt);
            }
        }
    }

    fn start(&mut self) -> Result<GroupStart, Halt> {
        let mut seed = [0; 32];
        getrandom::fill(&mut seed).map_err(Halt::Random)?;
        let cursor = self.machine.cursor();
        let time_ms = (self.config.clock)().max(cursor.time_ms);
        let mut start = GroupStart {
            epoch: self.epoch,
            time_ms,
            time_confirmed: false,
            seed,
            base: self.base_block(cursor.base, time_ms),
        };
        if let Err(Fault::TimeStep { step, .. }) = self.machine.check_time(&start)
            && self.time_step_accepted
        {
            tracing::warn!(step_ms = step, "step of time confirmed by the operator");
            start.time_confirmed = true;
        }
        Ok(start)
    }

    /// The newest known base block whose median time is not after the group's time; never a lower one than before.
    fn base_block(&self, cited: BaseBlock, time_ms: u64) -> BaseBlock {
        let feed = self.config.base.read().unwrap_or_else(PoisonError::into_inner);
        let citable = |block: &&BaseBlock| {
            block.height >= cited.height && u64::from(block.median_time_s) * 1000 <= time_ms
        };
        feed.iter().rev().find(citable).copied().unwrap_or(cited)
    }

    fn seal_if_due(&mut self) -> Result<(), Halt> {
        let open = self.machine.open_size();
        let now = (self.config.clock)();
        if !self.config.seal.is_due(&open, now) {
            return Ok(());
        }
        let start = self.start()?;
        match self.machine.begin_group(start) {
            Ok(()) => self.commit(Vec::new(), true),
            // The batch is sealed when time is confirmed.
            Err(Fault::TimeStep { .. }) => Ok(()),
            Err(fault) => Err(Halt::Fault(fault)),
        }
    }

    fn group(&mut self, first: Submission, queue: &Receiver<Submission>) -> Result<(), Halt> {
        let start = self.start()?;
        if let Err(fault) = self.machine.begin_group(start) {
            let Fault::TimeStep { .. } = fault else { return Err(Halt::Fault(fault)) };
            let message = format!("{fault}; the operator can confirm it with --accept-time-step");
            tracing::error!("{message}");
            let _ = first.reply.send(Reply::TimeStep(message));
            return Ok(());
        }
        let begun = Instant::now();
        let mut waiting = Vec::new();
        let mut in_group = BTreeMap::new();
        let mut next = Some(first);
        while let Some(submission) = next {
            let size = self.machine.open_size();
            if !self.config.seal.fits(&size, submission.transaction.stored_bytes()) {
                self.carried = Some(submission);
                break;
            }
            let queued = Instant::now().duration_since(submission.since);
            self.config.metrics.stages.observe(Stage::Queue, queued);
            let pending = self.execute(&submission, &mut in_group)?;
            waiting.push((submission.reply, pending));
            // Refused ones count too: nobody in the group waits for an endless stream of them.
            next = if waiting.len() < limits::MAX_GROUP_TRANSACTIONS { queue.try_recv().ok() } else { None };
        }
        self.config.metrics.stages.observe(Stage::Execute, begun.elapsed());
        self.config.metrics.group.observe(waiting.len() as f64);
        let now = (self.config.clock)();
        let seal = self.carried.is_some() || self.config.seal.is_due(&self.machine.open_size(), now);
        self.commit(waiting, seal)
    }

    fn execute(
        &mut self,
        submission: &Submission,
        in_group: &mut BTreeMap<TransactionId, usize>,
    ) -> Result<Pending, Halt> {
        let id = submission.transaction.id;
        let metrics = &self.config.metrics;
        let reason = match self.machine.execute(self.store.as_ref(), &submission.transaction)? {
            Ok(()) => {
                let index = in_group.len();
                in_group.insert(id, index);
                metrics.judged(Judged::Sequenced);
                return Ok(Pending::Entry(index, false));
            }
            Err(reason) => reason,
        };
        if let Some(index) = in_group.get(&id) {
            metrics.judged(Judged::Duplicate);
            return Ok(Pending::Entry(*index, true));
        }
        // Look-up comes before the expiry check: what was sequenced once gets its receipt for ever.
        let may_be_known =
            matches!(reason, RefusalReason::Duplicate | RefusalReason::Expired | RefusalReason::ExpiryTooFar);
        if may_be_known && self.view.contains(&id)? {
            metrics.judged(Judged::Duplicate);
            return Ok(Pending::Known(Reply::Sequenced));
        }
        metrics.refused(reason.name());
        let sequence = self.machine.cursor().next_sequence + in_group.len() as u64;
        let refusal = Refusal {
            chain_id: self.machine.chain_id(),
            key_id: self.config.manifest.sequencer_key.key_id(),
            transaction_id: id,
            reason,
            sequence,
            time_ms: self.machine.cursor().time_ms.max((self.config.clock)()),
        };
        let signature = self.config.key.sign(&refusal.signing_hash());
        Ok(Pending::Known(Reply::Refusal { refusal: refusal.encode(), signature, reason }))
    }

    /// Commits the open group, publishes it, answers. In this order: a crash between any two of them loses nothing that
    /// anyone was told.
    fn commit(&mut self, waiting: Vec<(oneshot::Sender<Reply>, Pending)>, seal: bool) -> Result<(), Halt> {
        let group = match self.machine.end_group(seal) {
            None => None,
            Some(output) => {
                let signature = self.config.key.sign(&output.statement.signing_hash());
                let begun = Instant::now();
                let committed =
                    self.store.commit(self.epoch, output.record.position, &output.record_bytes, &signature);
                self.config.metrics.stages.observe(Stage::Sync, begun.elapsed());
                match committed {
                    // The operator's word is used up by the group that was committed with it, not by one that came to nothing.
                    Commit::Committed => self.time_step_accepted &= !output.record.time_confirmed,
                    Commit::Fenced { epoch, position } => return Err(Halt::Fenced { epoch, position }),
                    Commit::Unknown(error) => return Err(Halt::CommitUnknown(error)),
                }
                let group = self.publish(output, signature)?;
                self.count(&group);
                Some(group)
            }
        };
        for (reply, pending) in waiting {
            let message = match (pending, &group) {
                (Pending::Known(known), _) => known,
                (Pending::Entry(index, already_sequenced), Some(group)) => {
                    Reply::Answer(Answer { group: group.clone(), index, already_sequenced })
                }
                // An entry makes a group, so this cannot be; dropping the sender reads as "try again".
                (Pending::Entry(..), None) => continue,
            };
            // The client may have gone away.
            let _ = reply.send(message);
        }
        Ok(())
    }

    /// Counts what a durable group holds, and lets whoever follows one of its transactions know.
    fn count(&self, group: &Group) {
        let metrics = &self.config.metrics;
        for row in &group.entries {
            let mut act = "request_access";
            for leaf in &row.leaves {
                match leaf.kind {
                    OutcomeKind::AccountOpened => act = "open_account",
                    OutcomeKind::ConsentGranted => act = "grant_consent",
                    OutcomeKind::ConsentRevoked | OutcomeKind::RevocationWithoutEffect => {
                        act = "revoke_consent";
                    }
                    OutcomeKind::AccessPermitted => metrics.decided(Decision::Permitted),
                    OutcomeKind::AccessDenied => metrics.decided(Decision::Denied),
                    OutcomeKind::AccessCovered => {
                        act = "record_access";
                        metrics.decided(Decision::Covered);
                    }
                    OutcomeKind::AccessUncovered => {
                        act = "record_access";
                        metrics.decided(Decision::Uncovered);
                    }
                }
            }
            metrics.act(act);
            let span = transaction_span(&row.entry.transaction_id);
            if !span.is_disabled() {
                let (sequence, batch) = (row.entry.sequence, row.batch_number);
                span.in_scope(|| tracing::debug!(sequence, batch, "SEQUENCED"));
            }
        }
    }

    /// Makes a committed group visible, and stores the batch where it was sealed.
    fn publish(&mut self, output: GroupOutput, signature: [u8; 64]) -> Result<Arc<Group>, StoreError> {
        let rows = StoredEntry::of_group(&output);
        self.entries.extend(rows.iter().cloned());
        let group = Arc::new(Group::new(rows, output.receipts.clone(), &output.statement, signature));
        let mut cursor = self.machine.cursor().clone();
        if let Some(sealed) = &output.sealed {
            // Sealed for readers once it is stored.
            cursor.next_batch = sealed.header.number;
        }
        self.view.publish(&output, &group, &cursor);
        if let Some(sealed) = &output.sealed {
            let write = SealedWrite {
                sealed,
                signature: sign_header(&self.config.key, sealed),
                first_position: self.first_position,
                entries: &self.entries,
                records: &[],
                tiles: &[],
                pages: None,
                state_root: None,
                checkpoint: None,
            };
            let begun = Instant::now();
            self.store.store_sealed(&write, false)?;
            self.config.metrics.stages.observe(Stage::Seal, begun.elapsed());
            for row in &self.entries {
                let span = transaction_span(&row.entry.transaction_id);
                if span.is_disabled() {
                    break;
                }
                span.in_scope(|| tracing::debug!(batch = row.batch_number, "SEALED"));
            }
            self.view.sealed(&sealed.header, &sealed.cursor);
            self.entries.clear();
            self.first_position = sealed.cursor.next_position;
            tracing::debug!(
                batch = sealed.header.number,
                entries = sealed.header.entry_count,
                "batch sealed"
            );
        }
        Ok(group)
    }
}

fn sign_header(key: &KeyPair, sealed: &assent_core::machine::SealedBatch) -> [u8; 64] {
    key.sign(&sealed.header.hash())
}
