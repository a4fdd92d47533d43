//! What follows execution, in two stages beside it: committing a group and answering, and storing a sealed batch.
//!
//! While one group is being synced the next one is executed, on state that is not durable yet; its answers wait for its own
//! sync, which comes after that of the group before. Where a sync fails the process ends, and nobody has heard of either.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender},
    },
    time::Instant,
};

use assent_core::{
    ChainId,
    batch::GroupReceipts,
    machine::{Cursor, GroupOutput, SealedBatch},
    outcome::OutcomeKind,
    signature::KeyPair,
};
use assent_metrics::{Decision, Sequencer as Metrics, Stage, transaction_span};
use assent_store::{Commit, LedgerStore, Overlay, SealedWrite, StoreError};
use tokio::sync::oneshot;

use crate::{
    admission::Reply,
    answer::{Answer, Group},
    executor::Halt,
    view::View,
};

/// What a submission of a group waits for.
pub(crate) enum Pending {
    /// The entry with this index in the group; whether it had been sequenced before.
    Entry(usize, bool),
    /// An answer that is known already.
    Known(Reply),
}

/// An executed group, and who waits for it.
pub(crate) struct Executed {
    /// `None` where nothing was sequenced.
    pub(crate) output: Option<GroupOutput>,
    /// Where the ledger stands after it.
    pub(crate) cursor: Cursor,
    pub(crate) waiting: Vec<(oneshot::Sender<Reply>, Pending)>,
}

/// A sealed batch that is to be stored.
pub(crate) struct Sealing {
    sealed: Arc<SealedBatch>,
    groups: Vec<GroupOutput>,
    first_position: u64,
}

/// What both stages work on.
#[derive(Clone)]
pub(crate) struct Stages {
    pub(crate) chain_id: ChainId,
    pub(crate) key: KeyPair,
    pub(crate) epoch: u64,
    pub(crate) store: Arc<LedgerStore>,
    pub(crate) overlay: Arc<Overlay>,
    pub(crate) view: Arc<View>,
    pub(crate) metrics: Arc<Metrics>,
}

/// Commits groups, in order.
pub(crate) struct Committer {
    stages: Stages,
    /// Groups of the open batch.
    groups: Vec<GroupOutput>,
    /// Position of the open batch's first log record.
    first_position: u64,
}

impl Committer {
    /// Goes on where the store ends.
    pub(crate) fn new(stages: Stages, first_position: u64) -> Self {
        Self { stages, groups: Vec::new(), first_position }
    }

    /// Commits what comes until nothing does any more, and hands sealed batches on to be stored.
    pub(crate) fn run(
        mut self,
        executed: &Receiver<Executed>,
        to_store: &SyncSender<Sealing>,
    ) -> Result<(), Halt> {
        while let Ok(group) = executed.recv() {
            let Executed { output, cursor, waiting } = group;
            let group = match output {
                None => None,
                Some(output) => {
                    let (group, sealing) = self.commit(output, &cursor)?;
                    if let Some(sealing) = sealing
                        && to_store.send(sealing).is_err()
                    {
                        // The other stage has ended, and says why.
                        return Ok(());
                    }
                    Some(group)
                }
            };
            answer(waiting, group.as_ref());
        }
        Ok(())
    }

    /// Commits one group and publishes it. In this order: a crash between the two loses nothing that anyone was told.
    fn commit(
        &mut self,
        output: GroupOutput,
        cursor: &Cursor,
    ) -> Result<(Arc<Group>, Option<Sealing>), Halt> {
        let stages = &self.stages;
        let position = output.record.position;
        let receipts = GroupReceipts::new(stages.chain_id, position, &output.receipts);
        let signature = stages.key.sign(&receipts.statement.signing_hash());
        let begun = Instant::now();
        let committed = stages.store.commit(stages.epoch, position, &output.record_bytes, &signature);
        stages.metrics.stages.observe(Stage::Sync, begun.elapsed());
        match committed {
            Commit::Committed => {}
            Commit::Fenced { epoch, position } => return Err(Halt::Fenced { epoch, position }),
            Commit::Unknown(error) => return Err(Halt::CommitUnknown(error)),
        }
        count(&stages.metrics, &output);
        Ok(self.publish(output, receipts, signature, cursor))
    }

    /// Makes a durable group visible. Gives the batch where the group sealed it.
    fn publish(
        &mut self,
        output: GroupOutput,
        receipts: GroupReceipts,
        signature: [u8; 64],
        cursor: &Cursor,
    ) -> (Arc<Group>, Option<Sealing>) {
        let group = Arc::new(Group::new(&output, receipts, signature));
        self.stages.view.publish(&output, &group, cursor);
        let sealed = output.sealed.clone();
        self.groups.push(output);
        let sealing = sealed.map(|sealed| {
            let first_position = self.first_position;
            self.first_position = sealed.cursor.next_position;
            Sealing { sealed, groups: std::mem::take(&mut self.groups), first_position }
        });
        (group, sealing)
    }

    /// Publishes a group whose log record was found on disk, and stores the batch where it was sealed.
    pub(crate) fn recover(
        &mut self,
        output: GroupOutput,
        signature: [u8; 64],
        cursor: &Cursor,
    ) -> Result<(), StoreError> {
        let receipts = GroupReceipts::new(self.stages.chain_id, output.record.position, &output.receipts);
        let (_, sealing) = self.publish(output, receipts, signature, cursor);
        match sealing {
            Some(sealing) => self.stages.store(sealing),
            None => Ok(()),
        }
    }
}

impl Stages {
    /// Stores what comes until nothing does any more.
    pub(crate) fn store_all(&self, sealed: &Receiver<Sealing>) -> Result<(), Halt> {
        while let Ok(sealing) = sealed.recv() {
            self.store(sealing)?;
        }
        Ok(())
    }

    fn store(&self, sealing: Sealing) -> Result<(), StoreError> {
        let Sealing { sealed, groups, first_position } = sealing;
        let begun = Instant::now();
        self.store.store_sealed(&SealedWrite {
            sealed: &sealed,
            signature: self.key.sign(&sealed.header.hash()),
            first_position,
            groups: &groups.iter().collect::<Vec<_>>(),
            is_follower: false,
            tiles: &[],
            pages: None,
            state_root: None,
            checkpoint: None,
        })?;
        self.metrics.stages.observe(Stage::Seal, begun.elapsed());
        self.overlay.stored();
        for executed in groups.iter().flat_map(|group| &group.executed) {
            let span = transaction_span(&executed.entry.transaction_id);
            if span.is_disabled() {
                break;
            }
            span.in_scope(|| tracing::debug!(batch = sealed.header.number, "SEALED"));
        }
        self.view.sealed(&sealed.header, &sealed.cursor);
        tracing::debug!(batch = sealed.header.number, entries = sealed.header.entry_count, "batch sealed");
        Ok(())
    }
}

/// Tells everybody of a group what became of theirs.
fn answer(waiting: Vec<(oneshot::Sender<Reply>, Pending)>, group: Option<&Arc<Group>>) {
    for (reply, pending) in waiting {
        let message = match (pending, group) {
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
}

/// Counts what a durable group holds, and lets whoever follows one of its transactions know.
fn count(metrics: &Metrics, output: &GroupOutput) {
    for executed in &output.executed {
        let mut act = "request_access";
        for leaf in &executed.leaves {
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
        let span = transaction_span(&executed.entry.transaction_id);
        if !span.is_disabled() {
            let sequence = executed.entry.sequence;
            span.in_scope(|| tracing::debug!(sequence, "SEQUENCED"));
        }
    }
}
