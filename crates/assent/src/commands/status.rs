//! `assent status`: how the processes of a ledger do.

use std::{
    io::{IsTerminal, Write},
    time::Duration,
};

use assent_client::{ClientConfig, prover_status, sequencer_status};
use assent_proto::v1::{BatchSummary, GetProverStatusResponse, GetSequencerStatusResponse};
use clap::Args;
use serde_json::{Value, json};

use super::ClientArgs;
use crate::output::{self, Outcome};

/// Arguments of `assent status`.
#[derive(Args)]
pub struct StatusArgs {
    /// Show it again and again until stopped
    #[arg(long)]
    watch: bool,
    /// With --watch: seconds between two looks
    #[arg(long, default_value_t = 2, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// Address of a validator to show too (may be given more than once)
    #[arg(long = "validator", value_name = "URL")]
    validators: Vec<String>,
    #[command(flatten)]
    client: ClientArgs,
}

/// What was found at one address.
struct Found<T> {
    role: &'static str,
    address: String,
    status: Result<T, String>,
}

struct Stack {
    sequencer: Found<GetSequencerStatusResponse>,
    provers: Vec<Found<GetProverStatusResponse>>,
}

/// Runs it. Exit code 1 where something does not answer or has halted.
pub async fn run(args: StatusArgs) -> anyhow::Result<Outcome> {
    let redraws = args.watch && !args.client.json && std::io::stdout().is_terminal();
    loop {
        let stack = look(&args).await;
        let healthy = stack.is_healthy();
        if redraws {
            // Home, and clear what is below.
            print!("\x1b[H\x1b[J");
        }
        let (text, machine) = (|| stack.text(), || stack.json());
        output::print(args.client.json, text, machine);
        std::io::stdout().flush()?;
        if !args.watch {
            return if healthy {
                Ok(Outcome::Done)
            } else {
                Err(anyhow::anyhow!("not everything is as it should be, see above"))
            };
        }
        if !redraws {
            println!();
        }
        tokio::time::sleep(Duration::from_secs(args.every)).await;
    }
}

async fn look(args: &StatusArgs) -> Stack {
    let configured = args.client.config();
    let addresses = configured
        .as_ref()
        .map_or_else(|_| Default::default(), |config| (config.sequencer.clone(), config.prover.clone()));
    let problem = configured.as_ref().err().map(|error| format!("{error:#}"));
    let sequencer = match &configured {
        Ok(config) => sequencer_status(config).await.map_err(|error| error.to_string()),
        Err(_) => Err(problem.clone().unwrap_or_default()),
    };
    let mut provers = Vec::new();
    let wanted = std::iter::once(("prover", addresses.1))
        .chain(args.validators.iter().map(|url| ("validator", url.clone())));
    for (role, address) in wanted {
        let status = match &configured {
            Ok(config) => {
                let config = ClientConfig { prover: address.clone(), ..config.clone() };
                prover_status(&config).await.map_err(|error| error.to_string())
            }
            Err(_) => Err(problem.clone().unwrap_or_default()),
        };
        provers.push(Found { role, address, status });
    }
    Stack { sequencer: Found { role: "sequencer", address: addresses.0, status: sequencer }, provers }
}

fn now_ms() -> u64 {
    (assent_sequencer::system_clock())()
}

fn number(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

fn duration(ms: u64) -> String {
    match ms {
        0..10_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        10_000..120_000 => format!("{} s", ms / 1000),
        120_000..7_200_000 => format!("{} min", ms / 60_000),
        7_200_000..172_800_000 => format!("{} h", ms / 3_600_000),
        _ => format!("{} days", ms / 86_400_000),
    }
}

fn ago(time_ms: u64) -> String {
    format!("{} ago", duration(now_ms().saturating_sub(time_ms)))
}

/// Entries a second over a span, or since the start where that is shorter ago.
fn rate(entries: u64, span_ms: u64, uptime_ms: u64) -> u64 {
    entries.saturating_mul(1000) / span_ms.min(uptime_ms).max(1)
}

fn rates(in_10s: u64, in_60s: u64, uptime_ms: u64) -> String {
    format!(
        "{}/s over 10 s, {}/s over 60 s",
        number(rate(in_10s, 10_000, uptime_ms)),
        number(rate(in_60s, 60_000, uptime_ms))
    )
}

impl<T> Found<T> {
    fn head(&self, about: impl FnOnce(&T) -> String) -> String {
        let role = self.role;
        match &self.status {
            Ok(status) => format!("{role:<10} {}  {}", self.address, about(status)),
            Err(problem) => format!("{role:<10} {}  NO ANSWER: {problem}", self.address),
        }
    }
}

impl Stack {
    fn is_healthy(&self) -> bool {
        let halted = |found: &Found<GetProverStatusResponse>| {
            found.status.as_ref().map_or(true, |status| !status.halted.is_empty())
        };
        self.sequencer.status.is_ok() && !self.provers.iter().any(halted)
    }

    fn text(&self) -> String {
        let up = |version: &str, uptime_ms: u64| format!("{version}, up {}", duration(uptime_ms));
        let mut lines = vec![self.sequencer.head(|status| up(&status.version, status.uptime_ms))];
        if let Ok(status) = &self.sequencer.status {
            lines.extend(sequencer_lines(status));
        }
        let sealed = self.sequencer.status.as_ref().ok().map(|status| status.sealed_batches);
        for found in &self.provers {
            lines.push(String::new());
            lines.push(found.head(|status| {
                let mut text = up(&status.version, status.uptime_ms);
                if !status.halted.is_empty() {
                    text.push_str(&format!("  HALTED: {}", status.halted));
                } else if !status.following {
                    text.push_str("  NOT FOLLOWING the sequencer");
                }
                text
            }));
            if let Ok(status) = &found.status {
                lines.extend(prover_lines(status, sealed));
            }
        }
        lines.join("\n")
    }

    fn json(&self) -> Value {
        let sequencer = match &self.sequencer.status {
            Ok(status) => json!({
                "address": self.sequencer.address,
                "version": status.version,
                "uptime_ms": status.uptime_ms,
                "epoch": status.epoch,
                "entries": status.entries,
                "entries_per_second_10s": rate(status.entries_10s, 10_000, status.uptime_ms),
                "entries_per_second_60s": rate(status.entries_60s, 60_000, status.uptime_ms),
                "open_entries": status.open_entries,
                "sealed_batches": status.sealed_batches,
                "proven_batches": status.proven_batches,
                "unproven_since_ms": status.unproven_since_ms,
                "queue_depth": status.queue_depth,
                "queue_capacity": status.queue_capacity,
                "followers": status.followers,
                "base_height": status.base_height,
                "recent_batches": status.recent_batches.iter().map(|batch| json!({
                    "number": batch.number,
                    "first_sequence": batch.first_sequence,
                    "entries": batch.entries,
                    "time_ms": batch.time_ms,
                })).collect::<Vec<_>>(),
            }),
            Err(problem) => json!({"address": self.sequencer.address, "problem": problem}),
        };
        let prover = |found: &Found<GetProverStatusResponse>| match &found.status {
            Ok(status) => json!({
                "address": found.address,
                "role": found.role,
                "version": status.version,
                "uptime_ms": status.uptime_ms,
                "halted": status.halted,
                "following": status.following,
                "entries": status.entries,
                "entries_per_second_10s": rate(status.entries_10s, 10_000, status.uptime_ms),
                "entries_per_second_60s": rate(status.entries_60s, 60_000, status.uptime_ms),
                "executed_batches": status.batches,
                "checkpointed_batches": status.checkpoint_size,
                "anchored_batches": status.anchored_batches,
                "confirmed_batches": status.confirmed_batches,
                "newest_batch_time_ms": status.newest_batch_time_ms,
                "unanchored_since_ms": status.unanchored_since_ms,
                "network": status.network,
                "base_height": status.base_height,
                "base_problem": status.base_problem,
                "required_depth": status.required_depth,
                "wallet_balance_sat": status.wallet_balance_sat,
                "anchors": status.anchors,
                "recent_anchors": status.recent_anchors.iter().map(|anchor| json!({
                    "size": anchor.size,
                    "txid": hex::encode(&anchor.txid),
                    "height": anchor.height,
                    "depth": anchor.depth,
                })).collect::<Vec<_>>(),
            }),
            Err(problem) => json!({"address": found.address, "role": found.role, "problem": problem}),
        };
        json!({
            "healthy": self.is_healthy(),
            "sequencer": sequencer,
            "provers": self.provers.iter().map(prover).collect::<Vec<_>>(),
        })
    }
}

fn sequencer_lines(status: &GetSequencerStatusResponse) -> Vec<String> {
    let unproven = match status.unproven_since_ms {
        0 => String::new(),
        since => format!(", the oldest of the rest {}", ago(since)),
    };
    let mut lines = vec![
        format!(
            "  entries      {}, {}",
            number(status.entries),
            rates(status.entries_10s, status.entries_60s, status.uptime_ms)
        ),
        format!(
            "  under way    {} of {} submissions, {} entries in the open batch",
            number(status.queue_depth.into()),
            number(status.queue_capacity.into()),
            number(status.open_entries.into())
        ),
        format!(
            "  batches      {} sealed, {} proven{unproven}; {} follower(s)",
            number(status.sealed_batches),
            number(status.proven_batches),
            status.followers
        ),
        format!("  base block   height {} cited", status.base_height),
    ];
    let last = |batch: &BatchSummary| {
        format!(
            "  batch        {}: {} entries, {}",
            batch.number,
            number(batch.entries.into()),
            ago(batch.time_ms)
        )
    };
    lines.extend(status.recent_batches.iter().take(3).map(last));
    lines
}

fn prover_lines(status: &GetProverStatusResponse, sealed: Option<u64>) -> Vec<String> {
    let behind = match sealed.map(|sealed| sealed.saturating_sub(status.batches)) {
        None => String::new(),
        Some(0) => ", up to date".to_owned(),
        Some(batches) => format!(", {} behind the sequencer", number(batches)),
    };
    let unanchored = match status.unanchored_since_ms {
        0 => String::new(),
        since => format!(", the oldest of the rest {}", ago(since)),
    };
    let mut lines = vec![
        format!(
            "  entries      {} executed again, {}",
            number(status.entries),
            rates(status.entries_10s, status.entries_60s, status.uptime_ms)
        ),
        format!(
            "  batches      {} executed{behind}; {} checkpointed, {} anchored, {} confirmed{unanchored}",
            number(status.batches),
            number(status.checkpoint_size),
            number(status.anchored_batches),
            number(status.confirmed_batches)
        ),
        format!(
            "  base chain   {}, height {}, {} anchor(s), confirmed at depth {}{}",
            status.network,
            number(status.base_height.into()),
            number(status.anchors),
            status.required_depth,
            if status.validator {
                String::new()
            } else {
                format!(", {} satoshi to spend", number(status.wallet_balance_sat))
            }
        ),
    ];
    if !status.base_problem.is_empty() {
        lines.push(format!("  PROBLEM      {}", status.base_problem));
    }
    for anchor in status.recent_anchors.iter().take(3) {
        lines.push(format!(
            "  anchor       over {} batches, {} deep at height {}, {}",
            number(anchor.size),
            anchor.depth,
            anchor.height,
            hex::encode(&anchor.txid)
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_durations_and_rates_are_written_for_people() {
        assert_eq!(
            [number(0), number(999), number(1_000), number(1_234_567)],
            ["0", "999", "1,000", "1,234,567"]
        );
        assert_eq!([duration(450), duration(61_000), duration(7_300_000)], ["0.4 s", "61 s", "2 h"]);
        // Half a minute after the start, sixty seconds are thirty.
        assert_eq!((rate(300, 60_000, 30_000), rate(0, 10_000, 0)), (10, 0));
    }
}
