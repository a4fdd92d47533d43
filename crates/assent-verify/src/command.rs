//! `assent verify` and `assent-verify`: arguments, output, exit codes.

use std::{
    fs::File,
    io::{Read, Write},
    path::{Path, PathBuf},
    process::ExitCode,
    str::FromStr,
};

use assent_core::{ChainId, Hash, note::CosignerKey};
use bitcoin::hashes::Hash as _;
use clap::Args;

use crate::{
    Verified,
    check::{Pins, VerifyError},
    file::{Kind, ReadError},
    report::Status,
    verify_file,
};

/// Exit code: all checks hold, and the chain id is the pinned one.
pub const EXIT_VERIFIED: u8 = 0;
/// Exit code: all checks hold, but no chain id was pinned.
pub const EXIT_NOT_PINNED: u8 = 10;
/// Exit code: a check failed.
pub const EXIT_FAILED: u8 = 20;
/// Exit code: wrong arguments, as of every command.
const EXIT_USAGE: u8 = 2;
/// Exit code: the file could not be read as a proof at all.
pub const EXIT_UNREADABLE: u8 = 30;

/// Bytes of a file of no kind that is read: a manifest, a signed checkpoint, JSON with receipts.
const MAX_OTHER_BYTES: usize = 64 * 1024 * 1024;

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
    /// The file: a proof bundle, a decision, a consent, a history, evidence, a consistency proof or a receipt.
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
    /// Key of a validator that you trust, NAME+HASH+BASE64, from a source that you trust. May be given several times.
    #[arg(long = "validator", value_name = "KEY")]
    pub validators: Vec<CosignerKey>,
    /// How many of these validators must have cosigned the checkpoint in the file.
    #[arg(long, value_name = "K", default_value_t = 0)]
    pub require: usize,
    /// Print JSON.
    #[arg(long)]
    pub json: bool,
}

/// Work as hexadecimal digits.
#[derive(Clone, Copy, Debug)]
pub struct Work(Hash);

impl Work {
    /// Big-endian.
    #[must_use]
    pub fn bytes(self) -> Hash {
        self.0
    }
}

impl FromStr for Work {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let digits = text.strip_prefix("0x").unwrap_or(text);
        let mut bytes = [0; 32];
        let wrong = || format!("expected 1 to 64 hexadecimal digits, found {text:?}");
        if digits.is_empty() {
            return Err(wrong());
        }
        hex::decode_to_slice(format!("{digits:0>64}"), &mut bytes).map_err(|_| wrong())?;
        Ok(Self(bytes))
    }
}

/// Reads a file of any kind, up to the limit of its kind.
///
/// # Errors
/// [`ReadError`].
pub fn read_file(path: &Path) -> Result<Vec<u8>, ReadError> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::new();
    // The longest of the first bytes that name a kind, and then as much as that kind may have. A pipe has no length.
    (&mut file).take(32).read_to_end(&mut bytes)?;
    let limit = Kind::of(&bytes).map_or(MAX_OTHER_BYTES, Kind::limit);
    file.take(limit as u64 + 1 - bytes.len() as u64).read_to_end(&mut bytes)?;
    if bytes.len() > limit {
        let found = std::fs::metadata(path).map_or(0, |data| data.len()).max(bytes.len() as u64);
        return Err(ReadError::TooLarge { limit, found });
    }
    Ok(bytes)
}

/// What came of a file, in words and for machines.
struct Answer {
    status: Status,
    json: serde_json::Value,
    sections: [Vec<String>; 4],
}

fn verify(path: &Path, pins: &Pins) -> Result<Answer, VerifyError> {
    let file = read_file(path)?;
    if pins.require > 0 && matches!(Kind::of(&file), Some(Kind::Receipt | Kind::Evidence)) {
        return Err(ReadError::NoCosignatures.into());
    }
    Ok(match verify_file(&file, pins)? {
        Verified::Bundle(report) => Answer {
            status: report.status,
            json: serde_json::json!(report),
            sections: [report.steps, report.proves, report.does_not_prove, report.trusted],
        },
        Verified::Other(finding) => Answer {
            status: finding.status,
            json: serde_json::json!(finding),
            sections: [finding.steps, finding.proves, finding.does_not_prove, finding.trusted],
        },
    })
}

/// Verifies a file, prints what came of it, and says with which code to exit.
#[must_use]
pub fn run(args: &VerifyArgs) -> ExitCode {
    let pins = Pins {
        chain_id: args.chain,
        base_block: args.base_block.map(|hash| hash.to_byte_array()),
        least_work: args.least_work.map(|work| work.0),
        validators: args.validators.clone(),
        require: args.require,
    };
    if args.require > args.validators.len() {
        eprintln!(
            "error: --require {} wants more cosignatures than the {} key(s) given with --validator",
            args.require,
            args.validators.len()
        );
        return ExitCode::from(EXIT_USAGE);
    }
    let (text, json, code) = match verify(&args.file, &pins) {
        Ok(answer) => {
            let code = match answer.status {
                Status::Verified => EXIT_VERIFIED,
                Status::ConsistentNotPinned => EXIT_NOT_PINNED,
            };
            (human(&answer), answer.json, code)
        }
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
    print_line(&printable(&if args.json { format!("{json:#}") } else { text }));
    ExitCode::from(code)
}

/// Prints a line. Whoever reads it may have gone, as `head` does after enough lines: that is no failure.
pub fn print_line(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

/// Text that may hold what others wrote, with every control character but the newline made visible: a file must not be able
/// to move the cursor or to paint a verdict of its own.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars()
        .flat_map(|c| {
            let escaped = (c.is_control() && c != '\n').then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect()
}

fn human(answer: &Answer) -> String {
    let is_evidence = answer.json["kind"] == "evidence";
    let mut lines = vec![match answer.status {
        Status::Verified if is_evidence => "VERIFIED: the evidence holds".to_owned(),
        Status::Verified => "VERIFIED".to_owned(),
        Status::ConsistentNotPinned => {
            "CONSISTENT, NOT PINNED: every check holds, but for a ledger that nobody vouches for".to_owned()
        }
    }];
    lines.push(String::new());
    let [steps, proves, does_not_prove, trusted] = &answer.sections;
    lines.extend(steps.iter().map(|step| format!("  ok  {step}")));
    for (title, sentences) in
        [("This file PROVES", proves), ("It DOES NOT PROVE", does_not_prove), ("TRUSTED were", trusted)]
    {
        lines.push(format!("\n{title}"));
        lines.extend(sentences.iter().map(|sentence| format!("  {sentence}")));
    }
    lines.join("\n")
}
