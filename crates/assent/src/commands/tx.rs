//! `assent tx`.

use std::{io::Write, path::PathBuf};

use assent_core::TransactionId;
use assent_proto::v1::{Tier, TierStatus, TransactionBody, transaction_body::Act};
use assent_verify::ReceiptFile;
use clap::{Subcommand, ValueEnum};
use prost::Message;
use serde_json::{Value, json};
use tokio_stream::StreamExt;

use super::ClientArgs;
use crate::{
    files,
    output::{self, Outcome},
};

/// A tier to wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Until {
    /// In a sealed batch
    Sealed,
    /// Under a signed checkpoint
    Checkpointed,
    /// On the base chain
    Anchored,
    /// Deep enough on the base chain
    Confirmed,
    /// Never: watch until stopped
    Never,
}

impl Until {
    fn is_reached(self, tier: i32) -> bool {
        let wanted = match self {
            Self::Sealed => Tier::Sealed,
            Self::Checkpointed => Tier::Checkpointed,
            Self::Anchored => Tier::Anchored,
            Self::Confirmed => Tier::Confirmed,
            Self::Never => return false,
        };
        tier >= wanted as i32
    }
}

/// `assent tx …`
#[derive(Subcommand)]
pub enum TxCommand {
    /// Show a transaction, its receipt and its tier
    Show {
        /// Transaction
        #[arg(value_name = "TXID")]
        id: TransactionId,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Write a transaction's signed receipt to a file: with it the sequencer can be held to its word
    Receipt {
        /// Transaction
        #[arg(value_name = "TXID")]
        id: TransactionId,
        /// File to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Watch a transaction's tier advance, and fall back where the base chain reorganises
    Watch {
        /// Transaction
        #[arg(value_name = "TXID")]
        id: TransactionId,
        /// Where to stop
        #[arg(long, value_enum, default_value = "confirmed")]
        until: Until,
        #[command(flatten)]
        client: ClientArgs,
    },
}

fn name(tier: i32) -> &'static str {
    let tier = Tier::try_from(tier).unwrap_or(Tier::Unspecified);
    tier.as_str_name().trim_start_matches("TIER_")
}

fn txid(status: &TierStatus) -> String {
    hex::encode(&status.anchor_txid)
}

fn describe(status: &TierStatus) -> String {
    let name = name(status.tier);
    match Tier::try_from(status.tier).unwrap_or(Tier::Unspecified) {
        Tier::Unspecified | Tier::Sequenced => {
            format!("{name:<13} number {}, on the sequencer's disk", status.sequence)
        }
        Tier::Sealed => format!("{name:<13} in batch {}", status.batch_number),
        Tier::Checkpointed => {
            format!("{name:<13} executed again by the prover, under checkpoint {}", status.checkpoint_size)
        }
        Tier::Anchored | Tier::Confirmed => format!(
            "{name:<13} {} block(s) deep of {} wanted, {} block {}, transaction {}",
            status.depth,
            status.required_depth,
            status.network,
            status.anchor_height,
            txid(status)
        ),
    }
}

fn to_json(status: &TierStatus) -> Value {
    json!({
        "tier": name(status.tier),
        "sequence": status.sequence,
        "batch_number": status.batch_number,
        "checkpoint_size": status.checkpoint_size,
        "anchor_txid": txid(status),
        "anchor_height": status.anchor_height,
        "depth": status.depth,
        "required_depth": status.required_depth,
        "network": status.network,
    })
}

fn act_name(body: &[u8]) -> &'static str {
    match TransactionBody::decode(body).ok().and_then(|body| body.act) {
        Some(Act::OpenAccount(_)) => "open account",
        Some(Act::GrantConsent(_)) => "grant consent",
        Some(Act::RevokeConsent(_)) => "revoke consent",
        Some(Act::RequestAccess(_)) => "request access",
        Some(Act::RecordAccess(_)) => "record access",
        None => "unknown act",
    }
}

/// Runs it.
pub async fn run(command: TxCommand) -> anyhow::Result<Outcome> {
    match command {
        TxCommand::Show { id, client } => {
            let connected = client.connect().await?;
            let (sequenced, transaction, _) = connected.transaction(id).await?;
            let mut tiers = Box::pin(connected.follow(id).await?);
            let mut status = None;
            // The first is what the sequencer knows; the prover's follows at once where it has got that far.
            while let Ok(Some(next)) =
                tokio::time::timeout(std::time::Duration::from_millis(300), tiers.next()).await
            {
                status = Some(next?);
            }
            output::print(
                client.json,
                || {
                    let mut lines = vec![format!("Transaction: {}", act_name(&transaction.body))];
                    lines.extend(output::receipt_lines(&sequenced));
                    lines
                        .extend(status.iter().map(|status| format!("  {:<12} {}", "tier", describe(status))));
                    lines.join("\n")
                },
                || {
                    let mut value = output::receipt_json(&sequenced);
                    value["act"] = json!(act_name(&transaction.body));
                    value["body"] = json!(hex::encode(&transaction.body));
                    value["tier"] = json!(status.as_ref().map(to_json));
                    value
                },
            );
            Ok(Outcome::Done)
        }
        TxCommand::Receipt { id, output: path, client } => {
            let connected = client.connect().await?;
            let (sequenced, _, _) = connected.transaction(id).await?;
            let file =
                ReceiptFile { manifest: connected.manifest().encode(), receipt: sequenced.signed.clone() };
            files::write_whole(&path, &file.encode())?;
            output::print(
                client.json,
                || {
                    format!(
                        "Wrote {}: the sequencer's promise for number {} in batch {}, signature checked",
                        path.display(),
                        sequenced.receipt.entry.sequence,
                        sequenced.receipt.batch_number
                    )
                },
                || json!({"file": path.display().to_string(), "sequence": sequenced.receipt.entry.sequence}),
            );
            Ok(Outcome::Done)
        }
        TxCommand::Watch { id, until, client } => {
            let connected = client.connect().await?;
            let mut tiers = Box::pin(connected.follow(id).await?);
            let mut last = 0;
            while let Some(status) = tiers.next().await {
                let status = status?;
                let mut out = std::io::stdout().lock();
                if client.json {
                    writeln!(out, "{}", to_json(&status))?;
                } else {
                    let back = if status.tier < last { "taken back to " } else { "" };
                    writeln!(out, "{back}{}", describe(&status))?;
                }
                out.flush()?;
                last = status.tier;
                if until.is_reached(status.tier) {
                    break;
                }
            }
            Ok(Outcome::Done)
        }
    }
}
