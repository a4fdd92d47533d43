//! What follows execution, in two stages beside it: committing a group and answering; and then storing it
//! ([`crate::storing`]).
//!
//! While one group is being synced the next one is executed, on state that is not durable yet; its answers wait for its own
//! sync, which comes after that of the group before. Where a sync fails the process ends, and nobody has heard of either.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender, SyncSender},
    },
    time::Instant,
};

use assent_core::{
    ChainId,
    batch::GroupReceipts,
    machine::{Cursor, GroupOutput},
    outcome::OutcomeKind,
    signature::KeyPair,
};
use assent_metrics::{Decision, Sequencer as Metrics, Stage, transaction_span};
use assent_store::{Commit, LedgerStore, Overlay};
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
pub(crate) struct Committer(Stages);

impl Committer {
    pub(crate) fn new(stages: Stages) -> Self {
        Self(stages)
    }

    /// Commits what comes until nothing does any more, and hands it on to be stored. A group that closes a batch waits for one of
    /// `places` before.
    pub(crate) fn run(
        self,
        executed: &Receiver<Executed>,
        to_store: &Sender<Arc<GroupOutput>>,
        places: &SyncSender<()>,
    ) -> Result<(), Halt> {
        while let Ok(Executed { output, cursor, waiting }) = executed.recv() {
            let Some(output) = output else {
                answer(waiting, None);
                continue;
            };
            let (output, group) = self.commit(output, &cursor)?;
            answer(waiting, Some(&group));
            let has_place = output.closed.is_none() || places.send(()).is_ok();
            if !has_place || to_store.send(output).is_err() {
                // The other stage has ended, and says why.
                return Ok(());
            }
        }
        Ok(())
    }

    /// Commits one group and publishes it. In this order: a crash between the two loses nothing that anyone was told.
    fn commit(&self, output: GroupOutput, cursor: &Cursor) -> Result<(Arc<GroupOutput>, Arc<Group>), Halt> {
        let stages = &self.0;
        let position = output.record.position;
        let receipts = GroupReceipts::new(stages.chain_id, position, output.receipts());
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

    /// Makes a durable group visible.
    fn publish(
        &self,
        mut output: GroupOutput,
        receipts: GroupReceipts,
        signature: [u8; 64],
        cursor: &Cursor,
    ) -> (Arc<GroupOutput>, Arc<Group>) {
        // It is in the log.
        output.record_bytes = Vec::new();
        let output = Arc::new(output);
        let group = Arc::new(Group::new(output.clone(), receipts, signature));
        self.0.view.publish(&output, &group, cursor);
        (output, group)
    }

    /// Publishes a group whose log record was found on disk.
    pub(crate) fn recover(
        &self,
        output: GroupOutput,
        signature: [u8; 64],
        cursor: &Cursor,
    ) -> Arc<GroupOutput> {
        let receipts = GroupReceipts::new(self.0.chain_id, output.record.position, output.receipts());
        self.publish(output, receipts, signature, cursor).0
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
        for kind in executed.outcome.kinds() {
            match kind {
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
