//! `assent batches`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Instant,
};

use anyhow::{Context, bail, ensure};
use assent_core::{ChainId, batch::BatchHeader, codec::sha256};
use assent_verify::batches::{BatchesFile, FILE_TARGET_BYTES, MAX_FILE_BATCHES, encode_batch};
use clap::Subcommand;
use serde_json::json;

use super::{
    ClientArgs,
    source::{Source, exported, file_name},
};
use crate::{
    files,
    ledger_dir::LedgerDir,
    output::{self, Outcome},
    roles,
};

/// `assent batches …`
#[derive(Subcommand)]
pub enum BatchesCommand {
    /// Write all sealed batches to files from which everything can be executed again. Goes on where an earlier export ended
    Export {
        /// Folder to write to; made where it does not exist
        dir: PathBuf,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Take exported batches into the database of a prover or validator that is not running, executing each again
    Import {
        /// Folder of exported batches
        from: PathBuf,
        /// Folder of the ledger
        dir: PathBuf,
        /// Into the validator's database, not the prover's
        #[arg(long)]
        validator: bool,
        /// Chain id of the ledger that is meant
        #[arg(long, env = "ASSENT_CHAIN", value_name = "ID")]
        chain: Option<ChainId>,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
}

/// Runs it.
pub async fn run(command: BatchesCommand) -> anyhow::Result<Outcome> {
    match command {
        BatchesCommand::Export { dir, client } => export(&dir, &client).await,
        BatchesCommand::Import { from, dir, validator, chain, json } => {
            import(&from, &LedgerDir(dir), validator, chain, json).await
        }
    }
}

/// How quickly something goes.
pub struct Rate {
    start: Instant,
    json: bool,
}

impl Rate {
    /// From now on.
    pub fn new(json: bool) -> Self {
        Self { start: Instant::now(), json }
    }

    /// Shows it, on terminals.
    pub fn show(&self, what: &str, batches: u64, of: u64, entries: u64) {
        output::progress(
            self.json,
            &format!(
                "{what}: batch {batches} of {of}, {entries} entries, {:.0} entries a second",
                self.of(entries)
            ),
        );
    }

    /// So many a second.
    pub fn of(&self, entries: u64) -> f64 {
        #[allow(clippy::cast_precision_loss, reason = "for people")]
        let entries = entries as f64;
        entries / self.start.elapsed().as_secs_f64().max(1e-9)
    }
}

async fn export(dir: &Path, args: &ClientArgs) -> anyhow::Result<Outcome> {
    let client = args.connect().await?;
    fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    let manifest = client.manifest().encode();
    let mut next = 0;
    let mut previous = None;
    for file in exported(dir)? {
        let path = &file.path;
        ensure!(file.manifest == manifest, "{} is of another ledger; nothing was changed", path.display());
        ensure!(file.first == next, "batch {next} is missing in {}; nothing was changed", dir.display());
        next += file.count;
        previous = Some(file.last_header);
    }
    let (already, count) = (next, client.ledger().await?.sealed_batches);
    ensure!(
        already <= count,
        "{} holds {already} batches, the node has {count}: it has lost some, or is another one; nothing was changed",
        dir.display()
    );
    let rate = Rate::new(args.json);
    let (mut entries, mut written) = (0, 0);
    if next < count {
        let mut stream = client.batches(next).await?;
        while next < count {
            let mut file = BatchesFile { manifest: manifest.clone(), first: next, batches: Vec::new() };
            let mut bytes = 0;
            while next < count && bytes < FILE_TARGET_BYTES && file.batches.len() < MAX_FILE_BATCHES {
                let message = stream.message().await?.context("the stream of batches ended")?;
                let batch = message.batch.context("an empty message in the stream of batches")?;
                if let Some(previous) = previous.take() {
                    let header = BatchHeader::decode(&batch.header).context("a header in the stream")?;
                    ensure!(
                        header.previous_hash == sha256(&previous),
                        "batch {next} of the node does not follow batch {} in {}: KEEP BOTH, and run assent audit evidence on them",
                        next - 1,
                        dir.display()
                    );
                }
                entries += batch.entries.len() as u64;
                let encoded = encode_batch(&batch);
                bytes += encoded.len();
                file.batches.push(encoded);
                next += 1;
                rate.show("exporting", next, count, entries);
            }
            files::write_whole(&dir.join(file_name(file.first)), &file.encode())?;
            written += 1;
        }
    }
    output::progress_done(args.json);
    files::write_whole(&dir.join("manifest.bin"), &manifest)?;
    // With it a replay can be compared with what the prover says. A sequencer alone has none.
    let checkpoint = client.checkpoint(0).await.unwrap_or_default();
    if !checkpoint.is_empty() {
        files::write_whole(&dir.join("checkpoint"), checkpoint.as_bytes())?;
    }
    output::print(
        args.json,
        || {
            if already == count {
                return format!(
                    "Nothing new: {} holds all {count} sealed batches (0 new files)",
                    dir.display()
                );
            }
            format!(
                "Exported batches {already} to {} into {} ({written} new file(s), {entries} entries){}\n  execute them again: \
                 assent audit replay {} --chain {}",
                count.saturating_sub(1),
                dir.display(),
                if checkpoint.is_empty() {
                    ", without a checkpoint: the prover did not give one"
                } else {
                    ""
                },
                dir.display(),
                client.chain_id()
            )
        },
        || json!({"dir": dir.display().to_string(), "batches": count, "new_batches": count - already, "entries": entries}),
    );
    Ok(Outcome::Done)
}

async fn import(
    from: &Path,
    dir: &LedgerDir,
    validator: bool,
    chain: Option<ChainId>,
    json: bool,
) -> anyhow::Result<Outcome> {
    ensure!(from.is_dir(), "{} is no folder", from.display());
    let mut source =
        Source::open(&from.display().to_string(), chain, &super::CredentialArgs::default()).await?;
    if validator && !dir.manifest_path().exists() {
        ensure!(
            chain.is_some(),
            "{} has no manifest.bin; say with --chain which ledger you mean",
            dir.0.display()
        );
        files::make_private_dir(&dir.0)?;
        files::write_whole(&dir.chain_id_path(), format!("{}\n", source.chain_id()).as_bytes())?;
        files::write_whole(&dir.manifest_path(), &source.manifest().encode())?;
    }
    let mut prover = roles::open_follower(dir, validator)?;
    let expected = dir.manifest()?.chain_id();
    if source.chain_id() != expected {
        bail!("{} holds batches of chain {}, the ledger is {expected}", from.display(), source.chain_id());
    }
    let (first, sequence) = prover.next();
    let (count, rate) = (source.count(), Rate::new(json));
    let mut number = 0;
    while let Some(batch) = source.next().await? {
        if number >= first {
            prover.import(&batch)?;
            rate.show("importing", number + 1, count, prover.next().1 - sequence);
        }
        number += 1;
    }
    output::progress_done(json);
    let (next, entries) = (prover.next().0, prover.next().1 - sequence);
    let rate = rate.of(entries);
    output::print(
        json,
        || {
            format!(
                "Imported batches {first} to {}: {entries} entries executed again, {rate:.0} a second; the next batch is {next}",
                next.saturating_sub(1)
            )
        },
        || json!({"first_batch": first, "next_batch": next, "entries": entries, "entries_per_second": rate}),
    );
    Ok(Outcome::Done)
}
