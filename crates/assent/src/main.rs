//! `assent`: the one binary for operators, clients and auditors.

mod apart;
mod certs;
mod clients;
mod commands;
mod database_metrics;
mod files;
mod init;
mod ledger_dir;
mod logging;
mod output;
mod roles;
mod settings;
mod text;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::{logging::LogFormat, output::Outcome};

/// What is allocated on one thread is let go of on another here, group by group. glibc's allocator spends a seventh of the
/// processor's time on that (docs/performance.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXIT_CODES: &str = "Exit codes:
  0   done
  1   failed; the message says why
  2   wrong arguments
  3   refused by the ledger's rules; nothing was sequenced
  4   sequenced, and denied or uncovered
  5   audit replay found that the sequencer or the prover broke its word, and wrote evidence
  6   audit evidence found nothing
  verify has codes of its own: see assent verify --help";

/// Consent for health data, provable: a rollup sequencer, its prover, and the tools of their clients and auditors.
///
/// Operators begin with `assent init DIR` and `assent node DIR`; clients with `assent keys new FILE` and
/// `assent account open`; auditors with `assent verify FILE`.
#[derive(Parser)]
#[command(name = "assent", version, after_help = EXIT_CODES, subcommand_required = true, arg_required_else_help = true)]
struct Cli {
    /// How the log on standard error is written. What is logged is up to ASSENT_LOG (info, debug, …)
    #[arg(
        long,
        env = "ASSENT_LOG_FORMAT",
        global = true,
        value_enum,
        default_value = "text",
        hide_possible_values = true
    )]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a new ledger in a folder: keys, genesis manifest, chain id, first anchor outpoint
    Init(init::InitArgs),
    /// Run a ledger in one process: sequencer, prover and, where it has one, its mock base chain
    Node(roles::NodeArgs),
    /// Run only the sequencer: orders and executes transactions, and seals batches
    Sequencer(roles::SequencerArgs),
    /// Run only the prover: executes the batches again, signs checkpoints and anchors them
    Prover(roles::ProverArgs),
    /// Run a validator: executes the batches again, and compares the prover's checkpoints and anchors
    Validator(roles::ValidatorArgs),
    /// Run only the mock base chain, which speaks Bitcoin's JSON-RPC
    Mockchain(roles::MockchainArgs),
    /// Show how the sequencer and the prover do: rates, lags, last batches and anchors
    Status(commands::status::StatusArgs),
    /// Ask a role whether it serves: for containers and service managers
    Health(commands::health::HealthArgs),
    /// Make certificates for a stack's roles and clients, and the authority that vouches for them
    Certs(commands::certs::CertsArgs),
    /// Say who may call a ledger's services, and as what
    #[command(subcommand)]
    Clients(commands::clients::ClientsCommand),
    /// Show the settings in effect, what each means, and where it came from
    Config(commands::config::ConfigArgs),
    /// Make and show client keys
    #[command(subcommand)]
    Keys(commands::keys::KeysCommand),
    /// Open and show accounts
    #[command(subcommand)]
    Account(commands::account::AccountCommand),
    /// Import, grant, revoke and show consents
    #[command(subcommand)]
    Consent(commands::consent::ConsentCommand),
    /// Ask for access and record it
    #[command(subcommand)]
    Access(commands::access::AccessCommand),
    /// Show and watch transactions
    #[command(subcommand)]
    Tx(commands::tx::TxCommand),
    /// Export batches to files, and import them into a prover or validator
    #[command(subcommand)]
    Batches(commands::batches::BatchesCommand),
    /// Get proofs, execute the ledger again, find evidence
    #[command(subcommand)]
    Audit(commands::audit::AuditCommand),
    /// Load a node and measure it; find what the machine could do at most
    Bench(Box<commands::bench::BenchArgs>),
    /// Check a proof file offline: what it proves, what it does not, and who was trusted
    #[command(after_help = assent_verify::command::EXIT_CODES)]
    Verify(assent_verify::command::VerifyArgs),
}

impl Command {
    /// Whether its log is what people read.
    fn is_long_running(&self) -> bool {
        matches!(
            self,
            Self::Init(_)
                | Self::Node(_)
                | Self::Sequencer(_)
                | Self::Prover(_)
                | Self::Validator(_)
                | Self::Mockchain(_)
        )
    }
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = if cli.command.is_long_running() { "info" } else { "warn" };
    if let Err(error) = logging::start(cli.log_format, level) {
        eprintln!("assent: {error:#}");
        return ExitCode::from(2);
    }
    match run(cli.command) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("assent: {error:#}");
            ExitCode::from(1)
        }
    }
}

fn run(command: Command) -> anyhow::Result<ExitCode> {
    if let Command::Verify(args) = &command {
        return Ok(assent_verify::command::run(args));
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime.block_on(async {
        match command {
            Command::Init(args) => init::run(args).await,
            Command::Node(args) => roles::run_node(args).await,
            Command::Sequencer(args) => roles::run_sequencer(args).await,
            Command::Prover(args) => roles::run_prover(args).await,
            Command::Validator(args) => roles::run_validator(args).await,
            Command::Mockchain(args) => roles::run_mockchain(args).await,
            Command::Status(args) => commands::status::run(args).await,
            Command::Health(args) => commands::health::run(args).await,
            Command::Certs(args) => commands::certs::run(&args),
            Command::Clients(command) => commands::clients::run(command),
            Command::Config(args) => commands::config::run(&args),
            Command::Batches(command) => commands::batches::run(command).await,
            Command::Keys(command) => commands::keys::run(command),
            Command::Account(command) => commands::account::run(command).await,
            Command::Consent(command) => commands::consent::run(command).await,
            Command::Access(command) => commands::access::run(command).await,
            Command::Tx(command) => commands::tx::run(command).await,
            Command::Bench(args) => commands::bench::run(*args).await,
            Command::Audit(command) => commands::audit::run(command).await,
            // Answered above: an auditor's check starts no runtime.
            Command::Verify(_) => Ok(Outcome::Done),
        }
    })?;
    Ok(ExitCode::from(outcome.exit_code()))
}
