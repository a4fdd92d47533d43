//! Receipts with their paths, as clients get them: for a group just committed and for one read back.

use std::sync::Arc;

use assent_core::{
    ChainId, Hash,
    batch::{GroupStatement, Receipt},
    manifest::GenesisManifest,
};
use assent_merkle::BatchTree;
use assent_proto::v1 as proto;
use assent_store::StoredEntry;

/// A committed group: everything that its receipts need.
pub(crate) struct Group {
    pub(crate) entries: Vec<StoredEntry>,
    pub(crate) receipts: Vec<Receipt>,
    pub(crate) statement: Vec<u8>,
    pub(crate) signature: [u8; 64],
    tree: BatchTree,
}

impl Group {
    pub(crate) fn new(
        entries: Vec<StoredEntry>,
        receipts: Vec<Receipt>,
        statement: &GroupStatement,
        signature: [u8; 64],
    ) -> Self {
        let tree = GroupStatement::tree(&receipts);
        Self { entries, receipts, statement: statement.encode(), signature, tree }
    }

    /// A group of a stored batch: its receipts follow from its entries.
    pub(crate) fn of_stored(
        manifest: &GenesisManifest,
        chain_id: ChainId,
        key_id: Hash,
        entries: Vec<StoredEntry>,
        signature: [u8; 64],
    ) -> Option<Self> {
        let receipts: Vec<Receipt> = entries
            .iter()
            .map(|row| Receipt {
                chain_id,
                key_id,
                epoch: row.epoch,
                batch_number: row.batch_number,
                deadline_ms: row.entry.time_ms + manifest.limits.max_seal_delay_ms,
                entry: row.entry.clone(),
            })
            .collect();
        let position = entries.first()?.position;
        let statement = GroupStatement::over(chain_id, position, &receipts);
        Some(Self::new(entries, receipts, &statement, signature))
    }
}

/// One transaction of a committed group.
#[derive(Clone)]
pub(crate) struct Answer {
    pub(crate) group: Arc<Group>,
    pub(crate) index: usize,
    pub(crate) already_sequenced: bool,
}

impl Answer {
    pub(crate) fn to_proto(&self) -> Option<proto::SequencedTransaction> {
        let (group, row) = (&self.group, self.group.entries.get(self.index)?);
        let path = group.tree.inclusion_path(self.index as u64)?;
        Some(proto::SequencedTransaction {
            receipt: Some(proto::SignedReceipt {
                receipt: group.receipts.get(self.index)?.encode(),
                group_statement: group.statement.clone(),
                index: row.index,
                path: path.iter().map(|hash| hash.to_vec()).collect(),
                signature: group.signature.to_vec(),
            }),
            outcome_leaves: row.leaves.iter().map(|leaf| leaf.encode()).collect(),
            already_sequenced: self.already_sequenced,
        })
    }
}
