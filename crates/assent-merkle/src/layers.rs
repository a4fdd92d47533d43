use crate::hash::{EMPTY_ROOT, Hash, node_hash};

/// One layer up: a node without a right sibling moves up unchanged, which gives RFC 6962's shape.
fn above(layer: &[Hash]) -> Vec<Hash> {
    let (pairs, last) = layer.as_chunks::<2>();
    pairs.iter().map(|[left, right]| node_hash(left, right)).chain(last.iter().copied()).collect()
}

/// The RFC 6962 root over leaves that are hashed already; [`EMPTY_ROOT`] without leaves. The same as [`crate::BatchTree::root`], where
/// no path is wanted.
#[must_use]
pub fn root_of_leaf_hashes(leaves: &[Hash]) -> Hash {
    let (mut layer, mut next);
    let mut rest = leaves;
    while rest.len() > 1 {
        next = above(rest);
        layer = next;
        rest = &layer;
    }
    rest.first().copied().unwrap_or(EMPTY_ROOT)
}

/// A tree of which the path of every leaf is wanted, as of the receipts of a group. [`crate::BatchTree`] is for a few paths.
#[derive(Clone, Debug)]
pub struct PathTree {
    /// From the leaves up to the root.
    layers: Vec<Vec<Hash>>,
}

impl PathTree {
    /// Builds the tree over leaves that are hashed already.
    #[must_use]
    pub fn from_leaf_hashes(leaves: Vec<Hash>) -> Self {
        let mut layers = vec![leaves];
        while let Some(layer) = layers.last().filter(|layer| layer.len() > 1) {
            layers.push(above(layer));
        }
        Self { layers }
    }

    /// The root; [`EMPTY_ROOT`] without leaves.
    #[must_use]
    pub fn root(&self) -> Hash {
        self.layers.last().and_then(|layer| layer.first()).copied().unwrap_or(EMPTY_ROOT)
    }

    /// All nodes, layer by layer from the leaves up to the root.
    #[must_use]
    pub fn layers(&self) -> &[Vec<Hash>] {
        &self.layers
    }

    /// The inclusion path of a leaf from the bottom up; empty past the end, as for the only leaf.
    pub fn inclusion_path(&self, index: u64) -> impl Iterator<Item = &Hash> {
        self.inclusion_places(index).map(|(layer, place)| &self.layers[layer][place])
    }

    /// Where the hashes of that path are: which layer, and which of its nodes.
    pub fn inclusion_places(&self, index: u64) -> impl Iterator<Item = (usize, usize)> {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let within =
            self.layers[..self.layers.len() - 1].iter().filter(move |_| index < self.layers[0].len());
        within.enumerate().filter_map(move |(level, layer)| {
            let place = (index >> level) ^ 1;
            (place < layer.len()).then_some((level, place))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{BatchTree, leaf_hash, verify_inclusion};

    #[test]
    fn roots_and_paths_are_those_of_rs_merkle() {
        let mut leaves: Vec<Hash> = Vec::new();
        for size in 0..70u64 {
            let other = BatchTree::from_leaf_hashes(&leaves);
            let tree = PathTree::from_leaf_hashes(leaves.clone());
            assert_eq!(tree.root(), other.root(), "{size}");
            assert_eq!(root_of_leaf_hashes(&leaves), other.root(), "{size}");
            for index in 0..size {
                let path: Vec<Hash> = tree.inclusion_path(index).copied().collect();
                assert_eq!(Some(&path), other.inclusion_path(index).as_ref(), "{index} of {size}");
                let leaf = leaves[usize::try_from(index).unwrap()];
                verify_inclusion(index, size, leaf, &path, &tree.root()).unwrap();
            }
            assert_eq!(tree.inclusion_path(size).count(), 0);
            leaves.push(leaf_hash(&size.to_be_bytes()));
        }
    }
}
