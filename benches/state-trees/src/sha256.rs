//! SHA-256 for the compared trees, so that all of them run on the same implementation.

use sha2::Digest;

pub struct Sha256(sha2::Sha256);

impl jmt::SimpleHasher for Sha256 {
    fn new() -> Self {
        Self(<sha2::Sha256 as Digest>::new())
    }

    fn update(&mut self, data: &[u8]) {
        Digest::update(&mut self.0, data);
    }

    fn finalize(self) -> [u8; 32] {
        Digest::finalize(self.0).into()
    }
}

#[cfg(feature = "nomt")]
impl nomt::hasher::BinaryHash for Sha256 {
    fn hash(input: &[u8]) -> [u8; 32] {
        <sha2::Sha256 as Digest>::digest(input).into()
    }
}
