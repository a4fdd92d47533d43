//! Storing what is committed. Each group's entries are written as it comes, so that less is left to do at once when its batch is
//! sealed.

use std::{
    sync::{Arc, mpsc::Receiver},
    time::Instant,
};

use assent_core::machine::GroupOutput;
use assent_metrics::{Stage, transaction_span};
use assent_store::{SealedWrite, StoreError};

use crate::{commit::Stages, executor::Halt};

/// Stores batches, in order.
pub(crate) struct Storer {
    stages: Stages,
    /// Position of the open batch's first log record.
    first_position: u64,
}

impl Storer {
    /// Goes on where the store ends.
    pub(crate) fn new(stages: Stages, first_position: u64) -> Self {
        Self { stages, first_position }
    }

    /// Stores what comes until nothing does any more. Each sealed batch gives back one of `places`.
    pub(crate) fn run(
        mut self,
        committed: &Receiver<Arc<GroupOutput>>,
        places: &Receiver<()>,
    ) -> Result<(), Halt> {
        while let Ok(group) = committed.recv() {
            let seals = group.sealed.is_some();
            self.take(&group)?;
            if seals {
                let _ = places.recv();
            }
        }
        Ok(())
    }

    /// Takes in the next group, and stores the batch where it was sealed.
    pub(crate) fn take(&mut self, group: &GroupOutput) -> Result<(), StoreError> {
        let stages = &self.stages;
        stages.store.store_group(group)?;
        let Some(sealed) = &group.sealed else { return Ok(()) };
        let begun = Instant::now();
        stages.store.store_sealed(&SealedWrite {
            sealed,
            signature: stages.key.sign(&sealed.header.hash()),
            first_position: self.first_position,
            groups: &[],
            tiles: &[],
            pages: None,
            state_root: None,
            checkpoint: None,
        })?;
        self.first_position = sealed.cursor.next_position;
        stages.metrics.stages.observe(Stage::Seal, begun.elapsed());
        stages.overlay.stored();
        for id in sealed.seen.keys() {
            let span = transaction_span(id);
            if span.is_disabled() {
                break;
            }
            span.in_scope(|| tracing::debug!(batch = sealed.header.number, "SEALED"));
        }
        stages.view.sealed(&sealed.header, &sealed.cursor);
        tracing::debug!(batch = sealed.header.number, entries = sealed.header.entry_count, "batch sealed");
        Ok(())
    }
}
