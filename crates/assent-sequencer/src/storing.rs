//! Sealing and storing what is committed. Each group's entries are written as it comes, so that less is left to do at once when
//! its batch is sealed; and what a header commits to is hashed here, where no client waits for it while storing keeps up.

use std::{
    sync::{Arc, mpsc::Receiver},
    time::Instant,
};

use assent_core::{
    Hash,
    machine::{Cursor, GroupOutput},
};
use assent_metrics::{Stage, transaction_span};
use assent_store::{SealedWrite, StoreError};

use crate::{commit::Stages, executor::Halt};

/// Stores batches, in order.
pub(crate) struct Storer {
    stages: Stages,
    /// Position of the open batch's first log record.
    first_position: u64,
    /// Of the header of the newest sealed batch.
    previous_hash: Hash,
}

impl Storer {
    /// Goes on where the store ends.
    pub(crate) fn new(stages: Stages, stored: &Cursor) -> Self {
        Self { stages, first_position: stored.next_position, previous_hash: stored.previous_hash }
    }

    /// Stores what comes until nothing does any more. Each sealed batch gives back one of `places`.
    pub(crate) fn run(
        mut self,
        committed: &Receiver<Arc<GroupOutput>>,
        places: &Receiver<()>,
    ) -> Result<(), Halt> {
        while let Ok(group) = committed.recv() {
            let seals = group.closed.is_some();
            self.take(&group)?;
            if seals {
                let _ = places.recv();
            }
        }
        Ok(())
    }

    /// Takes in the next group, and seals and stores the batch that ends with it.
    pub(crate) fn take(&mut self, group: &GroupOutput) -> Result<(), StoreError> {
        let stages = &self.stages;
        stages.store.store_group(group)?;
        let Some(closed) = &group.closed else { return Ok(()) };
        let begun = Instant::now();
        // One that is applied again is sealed already.
        let sealed = group.sealed.clone();
        let sealed = sealed.unwrap_or_else(|| Arc::new(closed.clone().seal(self.previous_hash)));
        stages.store.store_sealed(&SealedWrite {
            sealed: &sealed,
            signature: stages.key.sign(&sealed.header.hash()),
            first_position: self.first_position,
            groups: &[],
            tiles: &[],
            pages: None,
            state_root: None,
            checkpoint: None,
        })?;
        self.first_position = sealed.cursor.next_position;
        self.previous_hash = sealed.cursor.previous_hash;
        stages.metrics.stages.observe(Stage::Seal, begun.elapsed());
        stages.overlay.stored();
        for id in closed.seen.keys() {
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
