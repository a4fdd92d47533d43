//! `assent verify` and `assent-verify`: arguments, output, exit codes.

use std::{fs::File, io::Read, path::PathBuf, process::ExitCode, str::FromStr};

use assent_core::{ChainId, Hash};
use bitcoin::hashes::Hash as _;
use clap::Args;

use crate::{
    bundle::{MAX_BUNDLE_BYTES, ReadError},
    check::{Pins, VerifyError, verify_bundle},
    report::{Report, Status},
};

/// Exit code: all checks hold, and the chain id is the pinned one.
pub const EXIT_VERIFIED: u8 = 0;
/// Exit code: all checks hold, but no chain id was pinned.
pub const EXIT_NOT_PINNED: u8 = 10;
/// Exit code: a check failed.
pub const EXIT_FAILED: u8 = 20;
/// Exit code: the file could not be read as a proof at all.
pub const EXIT_UNREADABLE: u8 = 30;

/// Text for the end of `--help`.
pub const EXIT_CODES: &str = "Exit codes:
  0   verified: every check holds and the chain id is the pinned one
  10  consistent, not pinned: every check holds, but --chain was not given
  20  failed: a check does not hold; the output names it
  30  could not read: no such file, cut off, or not a proof
  2   wrong arguments";

/// Arguments of both commands.
#[derive(Clone, Debug, Args)]
pub struct VerifyArgs {
    /// The proof file.
    pub file: PathBuf,
    /// The chain id of the ledger that you mean, from a source that you trust.
    #[arg(long = "chain", value_name = "ID")]
    pub chain: Option<ChainId>,
    /// Hash of a block of the real base chain, as Bitcoin Core prints it, that must be in the file: the anchor's block or
    /// one above it.
    #[arg(long, value_name = "HASH")]
    pub base_block: Option<bitcoin::BlockHash>,
    /// Least work of the base-chain headers in the file, in hexadecimal.
    #[arg(long, value_name = "HEX")]
    pub least_work: Option<Work>,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Work as hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub struct Work(Hash);

impl FromStr for Work {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let mut bytes = [0; 32];
        hex::decode_to_slice(format!("{digits:0>64}"), &mut bytes)
            .map_err(|_| format!("expected up to 64 hexadecimal digits, found {text:?}"))?;
        Ok(Self(bytes))
    }
}

fn read(args: &VerifyArgs) -> Result<Vec<u8>, ReadError> {
    let file = File::open(&args.file)?;
    let length = file.metadata()?.len();
    if length > MAX_BUNDLE_BYTES as u64 {
        return Err(ReadError::TooLarge { limit: MAX_BUNDLE_BYTES, found: length });
    }
    let mut bytes = Vec::new();
    // A pipe has no length: never read more than the limit.
    file.take(MAX_BUNDLE_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Verifies a file, prints what came of it, and says with which code to exit.
#[must_use]
pub fn run(args: &VerifyArgs) -> ExitCode {
    let pins = Pins {
        chain_id: args.chain,
        base_block: args.base_block.map(|hash| hash.to_byte_array()),
        least_work: args.least_work.map(|work| work.0),
    };
    let result = read(args).map_err(VerifyError::from).and_then(|file| verify_bundle(&file, &pins));
    let (text, json, code) = match &result {
        Ok(report) => (
            human(report),
            serde_json::json!(report),
            match report.status {
                Status::Verified => EXIT_VERIFIED,
                Status::ConsistentNotPinned => EXIT_NOT_PINNED,
            },
        ),
        Err(VerifyError::Check(error)) => (
            format!("FAILED at check {}: {error}\n\nThis file proves nothing.", error.name()),
            serde_json::json!({"status": "FAILED", "check": error.name(), "error": error.to_string()}),
            EXIT_FAILED,
        ),
        Err(VerifyError::Read(error)) => (
            format!("COULD NOT READ {}: {error}", args.file.display()),
            serde_json::json!({"status": "UNREADABLE", "error": error.to_string()}),
            EXIT_UNREADABLE,
        ),
    };
    println!("{}", if args.json { format!("{json:#}") } else { text });
    ExitCode::from(code)
}

fn human(report: &Report) -> String {
    let mut lines = vec![match report.status {
        Status::Verified => "VERIFIED".to_owned(),
        Status::ConsistentNotPinned => {
            "CONSISTENT, NOT PINNED: every check holds, but for a ledger that nobody vouches for".to_owned()
        }
    }];
    lines.push(String::new());
    lines.extend(report.steps.iter().map(|step| format!("  ok  {step}")));
    for (title, sentences) in [
        ("This file PROVES", &report.proves),
        ("It DOES NOT PROVE", &report.does_not_prove),
        ("TRUSTED were", &report.trusted),
    ] {
        lines.push(format!("\n{title}"));
        lines.extend(sentences.iter().map(|sentence| format!("  {sentence}")));
    }
    lines.join("\n")
}
