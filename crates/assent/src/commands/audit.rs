//! `assent audit`.

use std::path::PathBuf;

use anyhow::Context;
use assent_client::ClientError;
use assent_core::TransactionId;
use clap::Subcommand;
use serde_json::json;
use tokio_stream::StreamExt;

use super::ClientArgs;
use crate::{
    files,
    output::{self, Outcome},
};

/// `assent audit …`
#[derive(Subcommand)]
pub enum AuditCommand {
    /// Write the proof bundle of a transaction to a file that anybody can check offline (assent verify FILE)
    Bundle {
        /// Transaction
        #[arg(value_name = "TXID")]
        id: TransactionId,
        /// File to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        /// Open the detail of each decision: which consents, which provision, why. Not for the recipient's eyes.
        #[arg(long)]
        open_details: bool,
        /// Do not wait until the transaction is anchored
        #[arg(long)]
        no_wait: bool,
        #[command(flatten)]
        client: ClientArgs,
    },
}

/// Runs it.
pub async fn run(command: AuditCommand) -> anyhow::Result<Outcome> {
    let AuditCommand::Bundle { id, output: path, open_details, no_wait, client } = command;
    let connected = client.connect().await?;
    let bundle = loop {
        match connected.bundle(id, open_details).await {
            Err(ClientError::Node(status)) if !no_wait && is_too_early(&status) => {}
            result => break result?,
        }
        output::progress(client.json, "waiting until the transaction is anchored …");
        let mut tiers = Box::pin(connected.follow(id).await?);
        while let Some(status) = tiers.next().await {
            if status?.tier >= assent_proto::v1::Tier::Anchored as i32 {
                break;
            }
        }
    };
    output::progress_done(client.json);
    // A proof that does not hold must not be handed out.
    let pins = assent_verify::Pins { chain_id: Some(connected.chain_id()), ..Default::default() };
    let report =
        assent_verify::verify_bundle(&bundle, &pins).context("the prover's bundle does not verify")?;
    files::write_whole(&path, &bundle)?;
    output::print(
        client.json,
        || {
            format!(
                "Wrote {} ({} bytes): checks out against chain {}, {} block(s) deep\n  check it offline: assent verify {} --chain {}",
                path.display(),
                bundle.len(),
                report.chain_id,
                report.depth,
                path.display(),
                report.chain_id
            )
        },
        || json!({"file": path.display().to_string(), "bytes": bundle.len(), "chain_id": report.chain_id, "depth": report.depth}),
    );
    Ok(Outcome::Done)
}

fn is_too_early(status: &tonic::Status) -> bool {
    let reason = assent_proto::errors::reason_of(status);
    matches!(reason.as_deref(), Some("NOT_ANCHORED" | "TRANSACTION_NOT_PROVEN"))
}
