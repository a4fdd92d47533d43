//! `assent-verify`: the auditor's binary.

use std::process::ExitCode;

use assent_verify::command::{EXIT_CODES, VerifyArgs, run};
use clap::Parser;

/// Checks an Assent proof file offline: what it proves, what it does not, and who was trusted.
#[derive(Parser)]
#[command(version, after_help = EXIT_CODES)]
struct Cli {
    #[command(flatten)]
    verify: VerifyArgs,
}

fn main() -> ExitCode {
    run(&Cli::parse().verify)
}
