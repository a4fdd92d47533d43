use sha2::{Digest, Sha256, block_api::compress256};

/// A SHA-256 hash: 32 bytes.
pub type Hash = [u8; 32];

/// The root of a tree without leaves: SHA-256 of nothing (RFC 6962 §2.1).
pub const EMPTY_ROOT: Hash = [
    0xe3, 0xb0, 0xc4, 0x42, 0x98, 0xfc, 0x1c, 0x14, 0x9a, 0xfb, 0xf4, 0xc8, 0x99, 0x6f, 0xb9, 0x24, 0x27,
    0xae, 0x41, 0xe4, 0x64, 0x9b, 0x93, 0x4c, 0xa4, 0x95, 0x99, 0x1b, 0x78, 0x52, 0xb8, 0x55,
];

/// `SHA-256(0x00 || data)` (RFC 6962 §2.1).
#[must_use]
pub fn leaf_hash(data: &[u8]) -> Hash {
    Sha256::new().chain_update([0x00]).chain_update(data).finalize().into()
}

/// `SHA-256(0x01 || left || right)` (RFC 6962 §2.1).
#[must_use]
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    hash_pair(0x01, left, right)
}

/// The first state of SHA-256 (FIPS 180-4 §5.3.3).
const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];

/// SHA-256 of blocks that hold a whole message with its padding. Trees hash messages of two lengths only, so padding them
/// in place saves a third of the time of the general interface.
fn hash_blocks(blocks: &[[u8; 64]]) -> Hash {
    let mut state = INITIAL;
    compress256(&mut state, blocks);
    let mut hash = [0; 32];
    for (bytes, word) in hash.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    hash
}

/// `SHA-256(prefix || left || right)`: two blocks.
pub(crate) fn hash_pair(prefix: u8, left: &Hash, right: &Hash) -> Hash {
    let mut blocks = [[0; 64]; 2];
    let bytes = blocks.as_flattened_mut();
    bytes[0] = prefix;
    bytes[1..33].copy_from_slice(left);
    bytes[33..65].copy_from_slice(right);
    bytes[65] = 0x80;
    bytes[126..].copy_from_slice(&(65u16 * 8).to_be_bytes());
    hash_blocks(&blocks)
}

/// `SHA-256(prefix || flag || child)`: one block.
pub(crate) fn hash_single(prefix: u8, flag: u8, child: &Hash) -> Hash {
    let mut block = [0; 64];
    (block[0], block[1]) = (prefix, flag);
    block[2..34].copy_from_slice(child);
    block[34] = 0x80;
    block[62..].copy_from_slice(&(34u16 * 8).to_be_bytes());
    hash_blocks(&[block])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn padding_in_place_is_sha_256() {
        let mut hash = EMPTY_ROOT;
        for prefix in 0..=255 {
            let (left, right) = (hash, leaf_hash(&hash));
            let pair: Hash = Sha256::digest([&[prefix][..], &left, &right].concat()).into();
            assert_eq!(hash_pair(prefix, &left, &right), pair);
            let single: Hash = Sha256::digest([&[prefix, 1][..], &left].concat()).into();
            assert_eq!(hash_single(prefix, 1, &left), single);
            hash = pair;
        }
    }
}
