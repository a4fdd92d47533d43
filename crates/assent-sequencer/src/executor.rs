//! The one thread that owns the state machine.

use std::{
    collections::VecDeque,
    sync::{
        Arc, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, channel, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use assent_core::{
    batch::{BaseBlock, Refusal, RefusalReason},
    machine::{Fault, GroupStart, LOOK_AHEAD, Machine, StateError},
};
use assent_metrics::{Stage, Submission as Judged};
use assent_store::{LedgerStore, Niceness, Overlay, Role, StoreError, give_way};
use thiserror::Error;
use tokio::sync::oneshot;

use crate::{
    OpenError, SequencerConfig,
    admission::{Reply, Submission},
    commit::{Committer, Executed, Pending, Stages},
    storing::Storer,
    view::View,
};

/// How often the executor looks whether it is to stop or a batch is due, when nothing comes in.
const IDLE_TICK: Duration = Duration::from_millis(20);

/// Submissions of one group, so that neither the queues before it nor the answers after it go in lumps that leave processors
/// idle. A log record may hold more ([`assent_core::limits::MAX_GROUP_TRANSACTIONS`]).
const GROUP_TRANSACTIONS: usize = 512;

/// Executed groups that wait while one is being synced: with more, a group waits longer than its own sync takes.
const GROUPS_AHEAD: usize = 2;

/// Closed batches that are being sealed and stored or wait for it. They are in memory, twice.
const SEALED_AHEAD: usize = 2;

/// How long a group pauses while the prover is behind: with full groups, about what one takes beside a prover.
const PACE: Duration = Duration::from_millis(40);

/// How often the log tells how far applying it again has come.
const PROGRESS: Duration = Duration::from_secs(5);

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
    /// The operating system refused a thread.
    #[error("cannot start a thread: {0}")]
    Thread(#[from] std::io::Error),
    /// A rule that the sequencer itself must obey.
    #[error(transparent)]
    Fault(Fault),
}

pub(crate) struct Executor {
    config: SequencerConfig,
    machine: Machine,
    state: Arc<Overlay>,
    view: Arc<View>,
    stages: Stages,
    storer: Storer,
    epoch: u64,
    /// Did not fit into the batch that was open; opens the next one.
    carried: Option<Submission>,
    time_step_accepted: bool,
}

impl Executor {
    /// Opens the database and applies the log records again that are not stored as batches.
    pub(crate) fn open(config: &SequencerConfig) -> Result<Self, OpenError> {
        let manifest = config.manifest.clone();
        let store = Arc::new(LedgerStore::open(&config.path, Role::Sequencer, &manifest.chain_id())?);
        let cursor = store.cursor(&manifest)?;
        let epoch = store.begin_epoch()?;
        let mut machine = Machine::new(manifest.clone(), cursor.clone())?
            .with_cache(config.cache_bytes)
            .without_appends()
            .without_details();
        let view = Arc::new(View::new(
            manifest,
            store.clone(),
            cursor.clone(),
            config.retention,
            epoch,
            config.metrics.clone(),
        )?);
        let state = Arc::new(Overlay::new(store.clone()));
        let stages = Stages {
            chain_id: machine.chain_id(),
            key: config.key.clone(),
            epoch,
            store: store.clone(),
            overlay: state.clone(),
            view: view.clone(),
            metrics: config.metrics.clone(),
        };
        let committer = Committer::new(stages.clone());
        let mut storer = Storer::new(stages.clone(), &cursor);
        let end = store.log_end()?;
        let mut told = Instant::now();
        for position in cursor.next_position..end {
            if told.elapsed() >= PROGRESS {
                told = Instant::now();
                tracing::info!("applying the log again: record {position} of {end}");
            }
            let replay = |source| OpenError::Replay { position, source };
            let record = store.record(position)?;
            let transactions = machine.decode_record(&record).map_err(replay)?;
            let output = machine.apply_record(state.as_ref(), &record, &transactions).map_err(replay)?;
            let signature = store.group_signature(position)?;
            if let Some(closed) = &output.closed {
                state.push(closed.clone());
            }
            let output = committer.recover(output, signature, machine.cursor());
            storer.take(&output)?;
        }
        let now = machine.cursor();
        tracing::info!(
            epoch,
            sequence = now.next_sequence,
            batch = now.next_batch,
            replayed = end - cursor.next_position.min(end),
            "sequencer opened"
        );
        Ok(Self {
            machine,
            state,
            view,
            stages,
            storer,
            epoch,
            carried: None,
            time_step_accepted: config.accept_time_step,
            config: config.clone(),
        })
    }

    pub(crate) fn view(&self) -> Arc<View> {
        self.view.clone()
    }

    /// Runs until it is told to stop, or must not go on.
    pub(crate) fn run(self, queue: &Receiver<Vec<Submission>>, stop: &AtomicBool) -> Result<(), Halt> {
        let Self { config, machine, state, view, stages, storer, epoch, carried, time_step_accepted } = self;
        thread::scope(|scope| {
            let (to_commit, executed) = sync_channel(GROUPS_AHEAD);
            let (to_store, committed) = channel();
            let (taken, places) = sync_channel(SEALED_AHEAD);
            let named = |name: &str| thread::Builder::new().name(name.into());
            let storing = named("store").spawn_scoped(scope, move || {
                give_way(Niceness::Storing);
                storer.run(&committed, &places)
            })?;
            let committer = Committer::new(stages);
            let committing =
                named("commit").spawn_scoped(scope, move || committer.run(&executed, &to_store, &taken))?;
            let mut executing = Executing {
                config,
                machine,
                state,
                view,
                epoch,
                carried,
                backlog: VecDeque::new(),
                time_step_accepted,
                to_commit,
            };
            // Also where nothing comes in that could not be handed on.
            let stage_has_ended = || committing.is_finished() || storing.is_finished();
            let result = executing.run(queue, stop, stage_has_ended);
            // The stages end when nothing more can come.
            drop(executing);
            for stage in [committing, storing] {
                // The first one that fails makes the others end, and its reason counts.
                let ended = stage.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
                ended.inspect_err(|halt| tracing::error!(%halt, "sequencer halted"))?;
            }
            result.inspect_err(|halt| tracing::error!(%halt, "sequencer halted"))
        })
    }
}

/// The executor while it runs.
struct Executing {
    config: SequencerConfig,
    machine: Machine,
    state: Arc<Overlay>,
    view: Arc<View>,
    epoch: u64,
    carried: Option<Submission>,
    /// Admitted, and next in turn.
    backlog: VecDeque<Submission>,
    time_step_accepted: bool,
    to_commit: SyncSender<Executed>,
}

impl Executing {
    fn run(
        &mut self,
        queue: &Receiver<Vec<Submission>>,
        stop: &AtomicBool,
        stage_has_ended: impl Fn() -> bool,
    ) -> Result<(), Halt> {
        let mut last_alarm: Option<Instant> = None;
        loop {
            if last_alarm.is_none_or(|at| at.elapsed() >= ALARM_INTERVAL) {
                last_alarm = Some(Instant::now());
                if let Some(alarm) = self.view.proven.alarm(&self.config.clock) {
                    tracing::error!("{alarm}");
                }
            }
            let first = match self.carried.take().or_else(|| self.backlog.pop_front()) {
                Some(first) => Some(first),
                None => match queue.recv_timeout(IDLE_TICK) {
                    Ok(submissions) => {
                        self.backlog.extend(submissions);
                        self.backlog.pop_front()
                    }
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return Ok(()),
                },
            };
            if stop.load(Ordering::Acquire) || stage_has_ended() {
                return Ok(());
            }
            let goes_on = match first {
                Some(first) => {
                    if self.view.proven.is_behind(&self.config.clock) {
                        thread::sleep(PACE);
                    }
                    self.group(first, queue)?
                }
                None => self.seal_if_due()?,
            };
            if !goes_on {
                // A stage has ended, and says why.
                return Ok(());
            }
        }
    }

    /// Takes in what is there for the next group, and finds out which of it is new.
    fn gather(&mut self, first: &Submission, queue: &Receiver<Vec<Submission>>) -> Result<(), Halt> {
        while self.backlog.len() < GROUP_TRANSACTIONS {
            let Ok(submissions) = queue.try_recv() else { break };
            self.backlog.extend(submissions);
        }
        let waiting = self.backlog.iter().take(GROUP_TRANSACTIONS - 1);
        let ids: Vec<_> =
            [first].into_iter().chain(waiting).map(|submission| submission.transaction.id).collect();
        Ok(self.machine.look_up(self.state.as_ref(), &ids)?)
    }

    /// The next submission, where one is there.
    fn next(&mut self, queue: &Receiver<Vec<Submission>>) -> Option<Submission> {
        if self.backlog.is_empty() {
            self.backlog.extend(queue.try_recv().ok()?);
        }
        self.backlog.pop_front()
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

    fn seal_if_due(&mut self) -> Result<bool, Halt> {
        let open = self.machine.open_size();
        let now = (self.config.clock)();
        if !self.config.seal.is_due(&open, now) {
            return Ok(true);
        }
        let start = self.start()?;
        match self.machine.begin_group(start) {
            Ok(()) => Ok(self.hand_on(Vec::new(), true)),
            // The batch is sealed when time is confirmed.
            Err(Fault::TimeStep { .. }) => Ok(true),
            Err(fault) => Err(Halt::Fault(fault)),
        }
    }

    fn group(&mut self, first: Submission, queue: &Receiver<Vec<Submission>>) -> Result<bool, Halt> {
        let start = self.start()?;
        if let Err(fault) = self.machine.begin_group(start) {
            let Fault::TimeStep { .. } = fault else { return Err(Halt::Fault(fault)) };
            let message = format!("{fault}; the operator can confirm it with --accept-time-step");
            tracing::error!("{message}");
            let _ = first.reply.send(Reply::TimeStep(message));
            return Ok(true);
        }
        let begun = Instant::now();
        self.gather(&first, queue)?;
        let mut waiting = Vec::new();
        let first_sequence = self.machine.cursor().next_sequence;
        let mut sequenced = 0;
        let mut next = Some(first);
        while let Some(submission) = next {
            let size = self.machine.open_size();
            if !self.config.seal.fits(&size, submission.transaction.stored_bytes()) {
                self.carried = Some(submission);
                break;
            }
            if waiting.len() % LOOK_AHEAD == 0 {
                let next = [&submission].into_iter().chain(&self.backlog);
                self.machine.look_ahead(next.map(|submission| &submission.transaction));
            }
            let queued = Instant::now().duration_since(submission.since);
            self.config.metrics.stages.observe(Stage::Queue, queued);
            let pending = self.execute(&submission, first_sequence, &mut sequenced)?;
            waiting.push((submission.reply, pending));
            // Refused ones count too: nobody in the group waits for an endless stream of them.
            next = if waiting.len() < GROUP_TRANSACTIONS { self.next(queue) } else { None };
        }
        self.config.metrics.stages.observe(Stage::Execute, begun.elapsed());
        self.config.metrics.group.observe(waiting.len() as f64);
        let now = (self.config.clock)();
        let seal = self.carried.is_some() || self.config.seal.is_due(&self.machine.open_size(), now);
        Ok(self.hand_on(waiting, seal))
    }

    fn execute(
        &mut self,
        submission: &Submission,
        first_sequence: u64,
        sequenced: &mut usize,
    ) -> Result<Pending, Halt> {
        let id = submission.transaction.id;
        let metrics = &self.config.metrics;
        let reason = match self.machine.execute(self.state.as_ref(), &submission.transaction)? {
            Ok(()) => {
                *sequenced += 1;
                metrics.judged(Judged::Sequenced);
                return Ok(Pending::Entry(*sequenced - 1, false));
            }
            Err(reason) => reason,
        };
        // Look-up comes before the expiry check: what was sequenced once gets its receipt for ever.
        let may_be_known =
            matches!(reason, RefusalReason::Duplicate | RefusalReason::Expired | RefusalReason::ExpiryTooFar);
        let known = if may_be_known { self.machine.sequence_of(self.state.as_ref(), &id)? } else { None };
        if let Some(sequence) = known {
            metrics.judged(Judged::Duplicate);
            if let Some(index) = sequence.checked_sub(first_sequence) {
                return Ok(Pending::Entry(usize::try_from(index).unwrap_or(usize::MAX), true));
            }
            // In a group before this one: that is on disk, and can be looked up, by the time that this group is answered.
            return Ok(Pending::Known(Reply::Sequenced));
        }
        metrics.refused(reason.name());
        let sequence = first_sequence + *sequenced as u64;
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

    /// Ends the group and hands it on to be committed. False where nobody takes it any more.
    fn hand_on(&mut self, waiting: Vec<(oneshot::Sender<Reply>, Pending)>, seal: bool) -> bool {
        // The thread that stores the batch seals it.
        let output = self.machine.close_group(seal);
        if let Some(output) = &output {
            // The operator's word is used up by the group that is committed with it, not by one that came to nothing.
            self.time_step_accepted &= !output.record.time_confirmed;
            if let Some(closed) = &output.closed {
                self.state.push(closed.clone());
            }
        }
        self.to_commit.send(Executed { output, cursor: self.machine.cursor().clone(), waiting }).is_ok()
    }
}
