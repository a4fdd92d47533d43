use rs_merkle::{Hasher, MerkleTree};

use crate::hash::{EMPTY_ROOT, Hash, leaf_hash, node_hash};

/// RFC 6962 hashing for `rs_merkle`, whose tree has RFC 6962's shape: a node without a right sibling moves up unchanged.
#[derive(Clone)]
struct Rfc6962;

impl Hasher for Rfc6962 {
    type Hash = Hash;

    fn hash(data: &[u8]) -> Hash {
        leaf_hash(data)
    }

    fn concat_and_hash(left: &Hash, right: Option<&Hash>) -> Hash {
        right.map_or(*left, |right| node_hash(left, right))
    }
}

/// A tree over a known list of leaves, held in memory: the entries of a batch, the receipts of a group, the effects of a
/// batch, the decisions of an outcome.
pub struct BatchTree(MerkleTree<Rfc6962>);

impl BatchTree {
    /// Builds the tree over leaves that are hashed already, in O(n).
    #[must_use]
    pub fn from_leaf_hashes(leaves: &[Hash]) -> Self {
        Self(MerkleTree::from_leaves(leaves))
    }

    /// Builds the tree over the bytes of its leaves.
    pub fn from_leaves<L: AsRef<[u8]>>(leaves: impl IntoIterator<Item = L>) -> Self {
        let hashes: Vec<Hash> = leaves.into_iter().map(|leaf| leaf_hash(leaf.as_ref())).collect();
        Self::from_leaf_hashes(&hashes)
    }

    /// The number of leaves.
    #[must_use]
    pub fn size(&self) -> u64 {
        self.0.leaves_len() as u64
    }

    /// The root; [`EMPTY_ROOT`] without leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.0.root().unwrap_or(EMPTY_ROOT)
    }

    /// The inclusion path of a leaf from the bottom up, or `None` past the end.
    #[must_use]
    pub fn inclusion_path(&self, index: u64) -> Option<Vec<Hash>> {
        let index = usize::try_from(index).ok().filter(|index| *index < self.0.leaves_len())?;
        Some(self.0.proof(&[index]).proof_hashes().to_vec())
    }
}
