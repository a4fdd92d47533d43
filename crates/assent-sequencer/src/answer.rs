//! Receipts with their paths, as clients get them: for a group just committed and for one read back.

use std::sync::Arc;

use assent_core::{
    ChainId, Hash,
    batch::{GroupReceipts, Receipt},
    machine::GroupOutput,
    manifest::GenesisManifest,
};
use assent_proto::v1 as proto;
use assent_store::StoredEntry;
use bytes::Bytes;

/// A committed group: everything that its answers need.
pub(crate) struct Group {
    receipts: GroupReceipts,
    /// The nodes of the receipts' tree, layer by layer: paths are slices of them.
    nodes: Vec<Bytes>,
    statement: Bytes,
    signature: Bytes,
    pub(crate) position: u64,
    pub(crate) batch_number: u64,
    content: Content,
}

/// Where a group's outcomes are.
enum Content {
    /// Just executed.
    Executed(Arc<GroupOutput>),
    /// Read back: the encoded leaves of each transaction.
    Stored(Vec<Vec<Bytes>>),
}

impl Group {
    /// Of a group that has been executed.
    pub(crate) fn new(output: Arc<GroupOutput>, receipts: GroupReceipts, signature: [u8; 64]) -> Self {
        let (position, batch_number) = (output.record.position, output.batch_number);
        Self::with(receipts, signature, position, batch_number, Content::Executed(output))
    }

    fn with(
        receipts: GroupReceipts,
        signature: [u8; 64],
        position: u64,
        batch_number: u64,
        content: Content,
    ) -> Self {
        Self {
            nodes: receipts.tree().layers().iter().map(|layer| layer.concat().into()).collect(),
            statement: receipts.statement.encode().into(),
            receipts,
            signature: signature.to_vec().into(),
            position,
            batch_number,
            content,
        }
    }

    /// What execution gave, where it was not read back.
    pub(crate) fn output(&self) -> Option<&GroupOutput> {
        match &self.content {
            Content::Executed(output) => Some(output),
            Content::Stored(_) => None,
        }
    }

    /// The encoded leaves of a transaction.
    fn outcome(&self, index: usize) -> Option<Vec<Bytes>> {
        match &self.content {
            Content::Executed(output) => Some(output.executed.get(index)?.outcome.encoded_leaves().collect()),
            Content::Stored(outcomes) => outcomes.get(index).cloned(),
        }
    }

    /// A group of a stored batch: its receipts follow from its entries.
    pub(crate) fn of_stored(
        manifest: &GenesisManifest,
        chain_id: ChainId,
        key_id: Hash,
        entries: &[StoredEntry],
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
        let first = entries.first()?;
        let receipts = GroupReceipts::new(chain_id, first.position, &receipts);
        let leaves = |row: &StoredEntry| row.leaves.iter().map(|leaf| leaf.encode().into()).collect();
        let outcomes = entries.iter().map(leaves).collect();
        Some(Self::with(receipts, signature, first.position, first.batch_number, Content::Stored(outcomes)))
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
        let group = &self.group;
        // The answers to a fresh group are slices of it and soon sent. One that was looked up would keep a whole group for
        // itself, and a thousand of them may be collected for one call.
        let part = |bytes: Bytes| if self.already_sequenced { Bytes::copy_from_slice(&bytes) } else { bytes };
        let places = group.receipts.tree().inclusion_places(self.index as u64);
        let hash = |(layer, place): (usize, usize)| {
            let start = place * size_of::<Hash>();
            part(group.nodes[layer].slice(start..start + size_of::<Hash>()))
        };
        Some(proto::SequencedTransaction {
            receipt: Some(proto::SignedReceipt {
                receipt: part(group.receipts.encoded.get(self.index)?.clone()),
                group_statement: group.statement.clone(),
                index: u32::try_from(self.index).unwrap_or(u32::MAX),
                path: places.map(hash).collect(),
                signature: group.signature.clone(),
            }),
            outcome_leaves: group.outcome(self.index)?.into_iter().map(part).collect(),
            already_sequenced: self.already_sequenced,
        })
    }
}

#[cfg(test)]
mod tests {
    use assent_core::{outcome::Entry, receipt::SignedReceipt, signature::KeyPair};

    use super::*;

    #[test]
    fn answers_hold_the_paths_of_their_receipts_and_what_was_looked_up_holds_nothing_else() {
        let key = KeyPair::from_seed([7; 32]);
        let (chain_id, key_id) = (ChainId([1; 32]), key.public().key_id());
        for count in [1u64, 2, 3, 7, 512] {
            let receipts: Vec<Receipt> = (0..count)
                .map(|sequence| Receipt {
                    chain_id,
                    key_id,
                    epoch: 1,
                    batch_number: 4,
                    deadline_ms: 5,
                    entry: Entry {
                        sequence,
                        time_ms: 3,
                        transaction_id: assent_core::TransactionId([9; 32]),
                        authorizations_hash: [8; 32],
                        outcome_root: [7; 32],
                    },
                })
                .collect();
            let receipts = GroupReceipts::new(chain_id, 6, &receipts);
            let signature = key.sign(&receipts.statement.signing_hash());
            let outcomes = vec![Vec::new(); usize::try_from(count).unwrap()];
            let group = Arc::new(Group::with(receipts, signature, 6, 4, Content::Stored(outcomes)));
            for (index, already_sequenced) in
                (0..usize::try_from(count).unwrap()).zip([false, true].repeat(256))
            {
                let answer = Answer { group: group.clone(), index, already_sequenced };
                let receipt = answer.to_proto().unwrap().receipt.unwrap();
                // Bytes that nobody shares are unique.
                assert_eq!(receipt.receipt.is_unique(), already_sequenced);
                assert!(receipt.path.iter().all(|hash| hash.is_unique() == already_sequenced));
                let (opened, _) =
                    SignedReceipt::from_proto(&receipt).unwrap().in_group(&chain_id, &key_id).unwrap();
                assert_eq!(opened.entry.sequence, index as u64);
            }
            let past = Answer { group, index: usize::try_from(count).unwrap(), already_sequenced: false };
            assert!(past.to_proto().is_none());
        }
    }
}
