//! Compiles `proto/` with protox, so that no `protoc` has to be installed.

use std::{env, error::Error, path::PathBuf};

/// Fields that are slices of the message that they came in, not copies.
const SHARED: [&str; 5] = [
    ".assent.v1.SignedTransaction.body",
    ".assent.v1.SequencedTransaction",
    ".assent.v1.SignedReceipt",
    ".assent.v1.SealedBatch.log_records",
    ".assent.v1.SealedBatch.entries",
];

const FILES: [&str; 3] =
    ["assent/v1/transaction.proto", "assent/v1/sequencer.proto", "assent/v1/prover.proto"];

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).join("../../proto");
    for file in FILES {
        println!("cargo:rerun-if-changed={}", root.join(file).display());
    }
    let descriptors = protox::compile(FILES.map(|file| root.join(file)), [&root])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    std::fs::write(out.join("descriptors.bin"), protox::prost::Message::encode_to_vec(&descriptors))?;
    if env::var_os("CARGO_FEATURE_SERVICES").is_some() {
        SHARED
            .iter()
            .fold(tonic_prost_build::configure(), |config, path| config.bytes(path))
            .compile_fds(descriptors)?;
    } else {
        prost_build::Config::new().bytes(SHARED).compile_fds(descriptors)?;
    }
    Ok(())
}
