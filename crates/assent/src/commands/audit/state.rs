//! `assent audit decision`, `consent` and `history`: files about state.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use assent_client::{Client, ClientError, Moment};
use assent_core::{AccountId, TransactionId, note::CosignerKey};
use assent_verify::{Finding, Pins, Verified, verify_file};
use clap::Args;
use serde_json::json;

use crate::{
    commands::ClientArgs,
    files,
    output::{self, Outcome},
    text,
};

/// Whose cosignatures are wanted.
#[derive(Args)]
pub struct CosignatureArgs {
    /// Key of a validator that you trust, NAME+HASH+BASE64. May be given several times
    #[arg(long = "validator", value_name = "KEY")]
    validators: Vec<CosignerKey>,
    /// How many of these validators must have cosigned; the prover is asked to wait for them
    #[arg(long, value_name = "K", default_value_t = 0)]
    require: usize,
}

impl CosignatureArgs {
    fn pins(&self, client: &Client) -> anyhow::Result<Pins> {
        ensure!(
            self.require <= self.validators.len(),
            "--require {} wants more cosignatures than the {} key(s) given with --validator",
            self.require,
            self.validators.len()
        );
        Ok(Pins {
            chain_id: Some(client.chain_id()),
            validators: self.validators.clone(),
            require: self.require,
            ..Default::default()
        })
    }

    /// How many the prover is asked for. It counts those that it knows, which may be others.
    fn count(&self) -> u32 {
        u32::try_from(self.require).unwrap_or(u32::MAX)
    }
}

/// Arguments of `assent audit decision`.
#[derive(Args)]
pub struct DecisionArgs {
    /// Transaction: an access request or a record of access
    #[arg(value_name = "TXID")]
    id: TransactionId,
    /// Which subject, where the request names several
    #[arg(long, value_name = "ACCOUNT")]
    subject: Option<AccountId>,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    cosignatures: CosignatureArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Arguments of `assent audit consent`.
#[derive(Args)]
pub struct ConsentArgs {
    /// Consent
    #[arg(value_name = "CONSENT_ID")]
    id: TransactionId,
    /// When: a time such as 2030-01-31T12:00:00Z, a date, or the sequence of an entry. The newest state by default
    #[arg(long, value_name = "TIME|SEQUENCE", value_parser = moment)]
    at: Option<Moment>,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    cosignatures: CosignatureArgs,
    #[command(flatten)]
    client: ClientArgs,
}

/// Arguments of `assent audit history`.
#[derive(Args)]
pub struct HistoryArgs {
    /// The subject whose data were accessed
    #[arg(value_name = "ACCOUNT")]
    account: AccountId,
    /// The account is meant as a recipient: what it asked for and read
    #[arg(long)]
    as_recipient: bool,
    /// From this time on (inclusive): a time or a date
    #[arg(long, value_name = "TIME", value_parser = text::time)]
    from: Option<u64>,
    /// Up to this time (exclusive)
    #[arg(long, value_name = "TIME", value_parser = text::time)]
    to: Option<u64>,
    /// File to write
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    cosignatures: CosignatureArgs,
    #[command(flatten)]
    client: ClientArgs,
}

fn moment(argument: &str) -> anyhow::Result<Moment> {
    match argument.parse() {
        Ok(sequence) => Ok(Moment::Sequence(sequence)),
        Err(_) => text::time(argument)
            .map(Moment::Time)
            .with_context(|| format!("{argument:?} is neither the sequence of an entry nor a time")),
    }
}

/// Asks until the prover is far enough, or the time is up.
async fn when_proven<F: Future<Output = Result<Vec<u8>, ClientError>>>(
    args: &ClientArgs,
    ask: impl Fn() -> F,
) -> anyhow::Result<Vec<u8>> {
    let end = Instant::now() + args.timeout();
    loop {
        match ask().await {
            Err(ClientError::Node(status)) if super::is_too_early(&status) && Instant::now() < end => {
                output::progress(args.json, "waiting until the prover has executed it …");
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
            result => {
                output::progress_done(args.json);
                return Ok(result?);
            }
        }
    }
}

/// Checks a file before it is handed out, writes it, and says what it proves.
fn hand_out(file: &[u8], path: Option<&Path>, pins: &Pins, args: &ClientArgs) -> anyhow::Result<Outcome> {
    let finding: Finding = match verify_file(file, pins).context("the prover's file does not verify")? {
        Verified::Other(finding) => *finding,
        Verified::Bundle(_) => anyhow::bail!("the prover sent a file of another kind"),
    };
    if let Some(path) = path {
        files::write_whole(path, file)?;
    }
    output::print(
        args.json,
        || {
            let mut lines = finding.proves.clone();
            if let Some(path) = path {
                lines.push(format!("Wrote {} ({} bytes): checks out", path.display(), file.len()));
                let keys: String = pins.validators.iter().map(|key| format!(" --validator {key}")).collect();
                let require =
                    if pins.require > 0 { format!(" --require {}", pins.require) } else { String::new() };
                lines.push(format!(
                    "  check it offline: assent verify {} --chain {}{keys}{require}",
                    path.display(),
                    finding.chain_id
                ));
            }
            lines.join("\n")
        },
        || {
            json!({
                "file": path.map(|path| path.display().to_string()),
                "bytes": file.len(),
                "finding": finding,
            })
        },
    );
    Ok(Outcome::Done)
}

/// `assent audit decision`.
pub async fn decision(args: DecisionArgs) -> anyhow::Result<Outcome> {
    let client = args.client.connect().await?;
    let pins = args.cosignatures.pins(&client)?;
    let count = args.cosignatures.count();
    let file = when_proven(&args.client, || client.decision_proof(args.id, args.subject, count)).await?;
    hand_out(&file, Some(&args.output), &pins, &args.client)
}

/// `assent audit consent`.
pub async fn consent(args: ConsentArgs) -> anyhow::Result<Outcome> {
    let client = args.client.connect().await?;
    let pins = args.cosignatures.pins(&client)?;
    let count = args.cosignatures.count();
    let file = when_proven(&args.client, || client.consent_proof(args.id, args.at, count)).await?;
    hand_out(&file, args.output.as_deref(), &pins, &args.client)
}

/// `assent audit history`.
pub async fn history(args: HistoryArgs) -> anyhow::Result<Outcome> {
    let period = (args.from.unwrap_or(0), args.to);
    ensure!(args.to.is_none_or(|to| to > period.0), "--to is not after --from");
    let client = args.client.connect().await?;
    let pins = args.cosignatures.pins(&client)?;
    let count = args.cosignatures.count();
    let progress = |bytes: usize| {
        if bytes > 1 << 20 {
            output::progress(args.client.json, &format!("{} MiB received", bytes >> 20));
        }
    };
    let file = when_proven(&args.client, || {
        client.history_proof(args.account, args.as_recipient, period, count, progress)
    })
    .await?;
    hand_out(&file, Some(&args.output), &pins, &args.client)
}
