//! `assent audit`.

mod state;

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail, ensure};
use assent_client::{Client, ClientError};
use assent_core::{ChainId, TransactionId, machine::Cursor, note::Checkpoint};
use assent_verify::{
    ConsistencyFile, Pins,
    command::{Work, read_file},
    evidence::{Evidence, RecordProof, RootClaim, SignedHeader, Statements, verify_evidence},
    replay::{History, MemoryState, ReplayError, Replayer},
    verify_consistency_file,
};
use bitcoin::hashes::Hash as _;
use clap::{Args, Subcommand};
use serde_json::json;
use tokio_stream::StreamExt;

use super::{ClientArgs, CredentialArgs, batches::Rate, source::Source};
use crate::{
    files,
    output::{self, Outcome},
};

/// `assent audit …`
#[derive(Subcommand)]
pub enum AuditCommand {
    /// Write the proof bundle of a transaction to a file that anybody can check offline (assent verify FILE)
    Bundle(BundleArgs),
    /// Write a proof that a decision was right: permit or denial, with everything that it rested on (assent verify FILE)
    Decision(state::DecisionArgs),
    /// Prove whether a consent was active, revoked or absent, now or at a moment (assent verify FILE)
    Consent(state::ConsentArgs),
    /// Write a complete list of the accesses to a subject's data, or of a recipient (assent verify FILE)
    History(state::HistoryArgs),
    /// Write the prover's newest signed checkpoint to a file
    Checkpoint {
        /// File to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Write a proof that the ledger only grew between two checkpoints (assent verify FILE)
    Consistency {
        /// The older checkpoint: a file of assent audit checkpoint, or a number of batches
        #[arg(value_name = "OLD")]
        old: String,
        /// The newer one: a file, a number of batches, or newest
        #[arg(value_name = "NEW", default_value = "newest")]
        new: String,
        /// File to write
        #[arg(short, long, value_name = "FILE")]
        output: PathBuf,
        #[command(flatten)]
        client: ClientArgs,
    },
    /// Execute the whole ledger again, with all signatures, and compare everything that can be compared
    Replay(ReplayArgs),
    /// Find out from files whether the sequencer or the prover broke its word, and write evidence (assent verify FILE)
    Evidence(EvidenceArgs),
}

/// Arguments of `assent audit bundle`.
#[derive(Args)]
pub struct BundleArgs {
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
}

/// Arguments of `assent audit replay`.
#[derive(Args)]
pub struct ReplayArgs {
    /// Address of a sequencer, or folder of exported batches (assent batches export)
    #[arg(value_name = "ADDR|DIR")]
    from: String,
    /// Take the senders' signatures as checked: many times faster, and the sequencer is believed that it checked them
    #[arg(long)]
    no_signatures: bool,
    /// Files to compare with, beside the checkpoint in the folder: checkpoints, receipts, proof bundles
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
    /// Address of the prover, whose newest checkpoint is compared; by default the sequencer's address
    #[arg(long, env = "ASSENT_PROVER", value_name = "URL")]
    prover: Option<String>,
    /// Where evidence is written, if there is any
    #[arg(short, long, value_name = "FILE", default_value = "evidence.assent")]
    output: PathBuf,
    #[command(flatten)]
    pins: PinArgs,
    #[command(flatten)]
    credentials: CredentialArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Arguments of `assent audit evidence`.
#[derive(Args)]
pub struct EvidenceArgs {
    /// Receipts (files, or JSON as the commands print it), proof bundles, checkpoints, consistency proofs, exported batches, a
    /// manifest.bin; or folders of them
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// File to write; further evidence goes to FILE.2, FILE.3 and so on
    #[arg(short, long, value_name = "FILE", default_value = "evidence.assent")]
    output: PathBuf,
    #[command(flatten)]
    pins: PinArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is known from elsewhere.
#[derive(Args)]
pub struct PinArgs {
    /// Chain id of the ledger that is meant
    #[arg(long, env = "ASSENT_CHAIN", value_name = "ID")]
    chain: Option<ChainId>,
    /// Hash of a block of the real base chain, as Bitcoin Core prints it: anchors count as the prover's word only under one
    #[arg(long, value_name = "HASH")]
    base_block: Option<bitcoin::BlockHash>,
    /// Least work of the base-chain headers above an anchor, in hexadecimal, instead of a block
    #[arg(long, value_name = "HEX")]
    least_work: Option<Work>,
}

impl PinArgs {
    fn pins(&self) -> Pins {
        Pins {
            chain_id: self.chain,
            base_block: self.base_block.map(|hash| hash.to_byte_array()),
            least_work: self.least_work.map(Work::bytes),
            ..Default::default()
        }
    }
}

/// Runs it.
pub async fn run(command: AuditCommand) -> anyhow::Result<Outcome> {
    match command {
        AuditCommand::Bundle(args) => bundle(args).await,
        AuditCommand::Decision(args) => state::decision(args).await,
        AuditCommand::Consent(args) => state::consent(args).await,
        AuditCommand::History(args) => state::history(args).await,
        AuditCommand::Checkpoint { output, client } => checkpoint(&output, &client).await,
        AuditCommand::Consistency { old, new, output, client } => {
            consistency(&old, &new, &output, &client).await
        }
        AuditCommand::Replay(args) => replay(args).await,
        AuditCommand::Evidence(args) => evidence(&args),
    }
}

async fn bundle(args: BundleArgs) -> anyhow::Result<Outcome> {
    let BundleArgs { id, output: path, open_details, no_wait, client } = args;
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
        // Where it is anchored and its checkpoint is not here yet.
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    };
    output::progress_done(client.json);
    // A proof that does not hold must not be handed out.
    let pins = Pins { chain_id: Some(connected.chain_id()), ..Default::default() };
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
    matches!(reason.as_deref(), Some("NOT_ANCHORED" | "TRANSACTION_NOT_PROVEN" | "CHECKPOINT_NOT_HELD"))
}

fn open_checkpoint(client: &Client, note: &str) -> anyhow::Result<Checkpoint> {
    Ok(Checkpoint::open(note, &client.chain_id(), &client.manifest().prover_key)?)
}

async fn checkpoint(path: &Path, args: &ClientArgs) -> anyhow::Result<Outcome> {
    let client = args.connect().await?;
    let note = client.checkpoint(0).await?;
    ensure!(!note.is_empty(), "there is no checkpoint yet: no batch has been sealed and executed again");
    let checkpoint = open_checkpoint(&client, &note).context("the prover's checkpoint does not hold")?;
    files::write_whole(path, note.as_bytes())?;
    output::print(
        args.json,
        || {
            format!(
                "Wrote {}: checkpoint over {} batches, signature checked",
                path.display(),
                checkpoint.size
            )
        },
        || json!({"file": path.display().to_string(), "size": checkpoint.size, "root": hex::encode(checkpoint.root)}),
    );
    Ok(Outcome::Done)
}

/// A signed checkpoint by file, by size, or the newest.
async fn find_checkpoint(client: &Client, which: &str) -> anyhow::Result<String> {
    if which == "newest" {
        return Ok(client.checkpoint(0).await?);
    }
    if let Ok(size) = which.parse::<u64>() {
        ensure!(size > 0, "a checkpoint is over at least one batch");
        return Ok(client.checkpoint(size).await?);
    }
    files::read_text(Path::new(which))
}

async fn consistency(old: &str, new: &str, path: &Path, args: &ClientArgs) -> anyhow::Result<Outcome> {
    let client = args.connect().await?;
    let mut notes = Vec::new();
    for which in [old, new] {
        let note = find_checkpoint(&client, which).await?;
        let checkpoint = open_checkpoint(&client, &note)
            .with_context(|| format!("the checkpoint {which} does not hold"))?;
        notes.push((note, checkpoint));
    }
    notes.sort_by_key(|(_, checkpoint)| checkpoint.size);
    let [(old, first), (new, second)] = notes.as_slice() else { bail!("two checkpoints are compared") };
    let file = ConsistencyFile {
        manifest: client.manifest().encode(),
        old: old.clone(),
        new: new.clone(),
        path: client.consistency_path(first.size, second.size).await?,
    }
    .encode();
    let pins = Pins { chain_id: Some(client.chain_id()), ..Default::default() };
    verify_consistency_file(&file, &pins).context(
        "the prover's path does not lead from the one checkpoint to the other. Keep both checkpoints: with exported batches, \
         assent audit evidence may convict the prover",
    )?;
    files::write_whole(path, &file)?;
    output::print(
        args.json,
        || {
            format!(
                "Wrote {}: the ledger only grew from {} to {} batches\n  check it offline: assent verify {} --chain {}",
                path.display(),
                first.size,
                second.size,
                path.display(),
                client.chain_id()
            )
        },
        || json!({"file": path.display().to_string(), "old_size": first.size, "new_size": second.size}),
    );
    Ok(Outcome::Done)
}

/// The prover's newest checkpoint, for a replay: of the exported folder, or asked for.
async fn replay_checkpoint(args: &ReplayArgs, source: &Source) -> Option<String> {
    match source {
        Source::Files { .. } => fs::read_to_string(Path::new(&args.from).join("checkpoint")).ok(),
        Source::Stream { .. } => {
            let mut config = assent_client::ClientConfig::new(&args.from);
            config.chain = Some(source.chain_id());
            config.credentials = args.credentials.read().ok()?;
            if let Some(prover) = &args.prover {
                config.prover.clone_from(prover);
            }
            let client = Client::connect(config).await.ok()?;
            // That of the batches that are executed; where the prover is not as far, its newest.
            match client.checkpoint(source.count()).await {
                Ok(note) if source.count() > 0 => Some(note),
                _ => client.checkpoint(0).await.ok().filter(|note| !note.is_empty()),
            }
        }
    }
}

async fn replay(args: ReplayArgs) -> anyhow::Result<Outcome> {
    let mut statements = Statements::default();
    for path in &args.with {
        read_statement(&mut statements, path)?;
    }
    let mut source = Source::open(&args.from, args.pins.chain, &args.credentials).await?;
    let note = replay_checkpoint(&args, &source).await;
    let manifest = Arc::new(source.manifest().clone());
    let mut replayer = Replayer::new(manifest.clone(), Cursor::genesis(&manifest))?;
    if args.no_signatures {
        replayer = replayer.without_signatures();
    }
    let (mut state, mut history, mut root) = (MemoryState::default(), History::default(), None);
    let checkpoint = note
        .as_deref()
        .map(|note| Checkpoint::open(note, &source.chain_id(), &manifest.prover_key))
        .transpose()
        .context("the prover's checkpoint does not hold")?;
    let (count, rate) = (source.count(), Rate::new(args.json));
    while let Some(batch) = source.next().await? {
        let number = replayer.cursor().next_batch;
        match replayer.apply(&state, &batch) {
            Ok(replayed) => {
                if let Some(sealed) = replayed.sealed() {
                    state.apply(sealed);
                    statements.add_entries(&replayed.header, replayed.signature, &batch.entries);
                    history.append(sealed)?;
                    statements.add_effects(replayed.header.hash(), sealed.effects.clone());
                }
                if checkpoint.is_some_and(|checkpoint| checkpoint.size == history.size()) {
                    root = Some(history.root());
                }
            }
            Err(ReplayError::Divergence(divergence)) => {
                output::progress_done(args.json);
                return convict(&args, note, number, &divergence.to_string()).await;
            }
            Err(error) => {
                output::progress_done(args.json);
                return Err(error).context(format!(
                    "batch {number} is not what its own header commits to, so it convicts nobody; fetch it again"
                ));
            }
        }
        rate.show("executing again", number + 1, count, replayer.cursor().next_sequence);
    }
    output::progress_done(args.json);
    let entries = replayer.cursor().next_sequence;
    let checked = match (checkpoint, root) {
        (None, _) => "no checkpoint of the prover was there to compare".to_owned(),
        (Some(checkpoint), None) => {
            format!(
                "the prover's checkpoint is over {} batches, more than are here: not compared",
                checkpoint.size
            )
        }
        (Some(checkpoint), Some(root)) if root == checkpoint.root => {
            format!("the prover's checkpoint over {} batches follows from them", checkpoint.size)
        }
        (Some(checkpoint), Some(_)) => {
            format!("the prover's checkpoint over {} batches is WRONG", checkpoint.size)
        }
    };
    // Receipts, checkpoints and bundles against what was executed.
    statements.add_manifest(manifest.encode());
    if let Some(note) = note {
        statements.add_claim("the prover's checkpoint", RootClaim::Signed(note));
    }
    let found = statements.find(&args.pins.pins(), &mut |_, _| {})?;
    if !found.evidence.is_empty() {
        return write_evidence(&found.evidence, &found.ignored, &args.pins.pins(), &args.output, args.json);
    }
    if checkpoint.zip(root).is_some_and(|(checkpoint, root)| checkpoint.root != root) {
        // Only where what was found cannot be put into a file.
        bail!("{checked}; no evidence was found: {}", found.ignored.join("; "));
    }
    let rate = rate.of(entries);
    let compared = found.compared;
    output::print(
        args.json,
        || {
            let mut lines = vec![format!(
                "Executed {count} batch(es) with {entries} entries again, {rate:.0} entries a second: signatures, entries, effects, \
                 headers and their chain are right\n  {checked}"
            )];
            if !args.with.is_empty() {
                lines.push(format!(
                    "  {} receipt(s) and {} root(s) from files contradict nothing",
                    compared[0], compared[2]
                ));
            }
            lines.extend(found.ignored.iter().map(|ignored| format!("  left aside: {ignored}")));
            lines.join("\n")
        },
        || {
            json!({
                "batches": count,
                "entries": entries,
                "entries_per_second": rate,
                "checkpoint_size": checkpoint.map(|checkpoint| checkpoint.size),
                "checkpoint_compared": root.is_some(),
                "left_aside": found.ignored,
            })
        },
    );
    Ok(Outcome::Done)
}

/// The prover's record of a batch under a checkpoint over it, if it has one and shows it.
async fn vouched(args: &ReplayArgs, source: &Source, number: u64) -> Option<RecordProof> {
    let mut config = match (source, &args.prover) {
        (Source::Stream { .. }, _) => assent_client::ClientConfig::new(&args.from),
        (Source::Files { .. }, Some(prover)) => assent_client::ClientConfig::new(prover),
        (Source::Files { .. }, None) => return None,
    };
    config.chain = Some(source.chain_id());
    config.credentials = args.credentials.read().ok()?;
    if let Some(prover) = &args.prover {
        config.prover.clone_from(prover);
    }
    let client = Client::connect(config).await.ok()?;
    let note = client.checkpoint(number + 1).await.ok()?;
    let (record, path) = client.batch_record(number, number + 1).await.ok()?;
    Some(RecordProof { claim: RootClaim::Signed(note), record, path })
}

/// Evidence of a wrong batch: all batches up to it, read once more. Where the prover vouched for it, evidence against both.
async fn convict(
    args: &ReplayArgs,
    note: Option<String>,
    number: u64,
    divergence: &str,
) -> anyhow::Result<Outcome> {
    let mut source = Source::open(&args.from, args.pins.chain, &args.credentials).await?;
    let mut statements = Statements::default();
    statements.add_manifest(source.manifest().encode());
    if let Some(note) = note {
        statements.add_claim("the prover's checkpoint", RootClaim::Signed(note));
    }
    if let Some(record) = vouched(args, &source, number).await {
        statements.add_record("the prover's batch record", number, record);
    }
    let mut next = 0;
    while let Some(batch) = source.next().await? {
        if next <= number {
            statements.add_batch("batch", batch);
        } else if let (header, Ok(signature)) = (batch.header, batch.signature.as_slice().try_into()) {
            // Those after it only lead to the checkpoint.
            statements.add_header("batch", SignedHeader { header, signature });
        }
        next += 1;
    }
    if !args.json {
        output::print_text(&format!("Batch {number} DOES NOT FOLLOW from its own log: {divergence}"));
    }
    let found = statements.find(&args.pins.pins(), &mut |_, _| {})?;
    ensure!(!found.evidence.is_empty(), "the batches are not the same when they are read again");
    write_evidence(&found.evidence, &found.ignored, &args.pins.pins(), &args.output, args.json)
}

fn read_statement(statements: &mut Statements, path: &Path) -> anyhow::Result<()> {
    let named = || path.display().to_string();
    let bytes = read_file(path).with_context(named)?;
    statements.read(&named(), &bytes).with_context(named)
}

/// The files that were named, and those in the folders that were.
fn expand(paths: &[PathBuf]) -> anyhow::Result<BTreeSet<PathBuf>> {
    let mut found = BTreeSet::new();
    for path in paths {
        if path.is_dir() {
            for entry in fs::read_dir(path).with_context(|| format!("cannot read {}", path.display()))? {
                let path = entry?.path();
                if path.is_file() {
                    found.insert(path);
                }
            }
        } else {
            found.insert(path.clone());
        }
    }
    Ok(found)
}

fn evidence(args: &EvidenceArgs) -> anyhow::Result<Outcome> {
    let mut statements = Statements::default();
    let mut ignored = Vec::new();
    let named: BTreeSet<&PathBuf> = args.files.iter().collect();
    for path in expand(&args.files)? {
        match read_statement(&mut statements, &path) {
            Ok(()) => {}
            // What was named has to be readable; what only lies in a folder need not be.
            Err(error) if named.contains(&path) => return Err(error),
            Err(error) => ignored.push(format!("{error:#}")),
        }
    }
    let pins = args.pins.pins();
    let mut progress = |done, of| {
        output::progress(args.json, &format!("executing again: batch {done} of {of}"));
    };
    let found = statements.find(&pins, &mut progress)?;
    output::progress_done(args.json);
    ignored.extend(found.ignored);
    if !found.evidence.is_empty() {
        return write_evidence(&found.evidence, &ignored, &pins, &args.output, args.json)
            .map(|_| Outcome::Done);
    }
    let [receipts, headers, roots, records] = found.compared;
    output::print(
        args.json,
        || {
            let mut lines = vec![format!(
                "NOTHING FOUND: {receipts} receipt(s), {headers} batch header(s), {roots} root(s) and {records} batch record(s) \
                 contradict nothing; {} batch(es) executed again",
                found.executed
            )];
            lines.extend(ignored.iter().map(|ignored| format!("  left aside: {ignored}")));
            lines.join("\n")
        },
        || {
            json!({
                "evidence": [],
                "receipts": receipts,
                "headers": headers,
                "roots": roots,
                "records": records,
                "batches_executed": found.executed,
                "left_aside": ignored,
            })
        },
    );
    Ok(Outcome::NothingFound)
}

/// Writes evidence, each in a file, and says what it proves.
fn write_evidence(
    evidence: &[Evidence],
    ignored: &[String],
    pins: &Pins,
    output: &Path,
    as_json: bool,
) -> anyhow::Result<Outcome> {
    let mut written = Vec::new();
    let mut left = ignored.to_vec();
    for evidence in evidence {
        let file = evidence.encode();
        let chain = ChainId(assent_core::codec::sha256(&evidence.manifest));
        let pins = Pins { chain_id: Some(chain), ..pins.clone() };
        // Evidence that does not hold must not be handed out. Nor is one lost because another is too large for a file.
        let finding = match verify_evidence(&file, &pins) {
            Ok(finding) => finding,
            Err(error) => {
                left.push(format!(
                    "{} was found, and cannot be written: {error}",
                    evidence.accusation.name()
                ));
                continue;
            }
        };
        let path = match written.len() {
            0 => output.to_owned(),
            more => {
                let mut name = output.as_os_str().to_owned();
                name.push(format!(".{}", more + 1));
                PathBuf::from(name)
            }
        };
        files::write_whole(&path, &file)?;
        written.push((path, file.len(), chain, finding));
    }
    output::print(
        as_json,
        || {
            let mut lines = Vec::new();
            for (path, bytes, chain, finding) in &written {
                lines.push(format!("EVIDENCE in {} ({bytes} bytes)", path.display()));
                lines.extend(finding.proves.iter().map(|sentence| format!("  {sentence}")));
                lines.push(format!("  check it offline: assent verify {} --chain {chain}", path.display()));
            }
            lines.extend(left.iter().map(|ignored| format!("  left aside: {ignored}")));
            lines.join("\n")
        },
        || {
            let files = written.iter().map(|(path, bytes, _, finding)| {
                json!({
                    "file": path.display().to_string(),
                    "bytes": bytes,
                    "kind": finding.facts["evidence"],
                    "against": finding.facts["against"],
                    "proves": finding.proves,
                })
            });
            json!({"evidence": files.collect::<Vec<_>>(), "left_aside": left})
        },
    );
    Ok(Outcome::Contradicted)
}
