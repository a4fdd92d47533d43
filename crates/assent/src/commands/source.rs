//! Where batches come from: a sequencer, or files that were exported from one.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use assent_client::{Client, ClientConfig};
use assent_core::{ChainId, codec::sha256, manifest::GenesisManifest};
use assent_proto::v1::{SealedBatch, StreamBatchesResponse};
use assent_verify::{
    Kind,
    batches::{BatchesFile, decode_batch},
    command::read_file,
};

use super::{CredentialArgs, with_hint};

/// How export names a file of batches: by the number of the first.
pub fn file_name(first: u64) -> String {
    format!("batches-{first:012}.assent")
}

/// Batches from the first one on, as many as there were when it was opened.
#[allow(clippy::large_enum_variant, reason = "there is one in a process")]
pub enum Source {
    /// A sequencer.
    Stream {
        /// Its client.
        client: Client,
        /// The stream.
        stream: Box<tonic::Streaming<StreamBatchesResponse>>,
        /// Number of the next batch.
        next: u64,
        /// Batches that were sealed.
        count: u64,
    },
    /// Exported files.
    Files {
        /// The manifest in them.
        manifest: Box<GenesisManifest>,
        /// In order, each with the number of its first batch.
        files: Vec<PathBuf>,
        /// Decoded batches of the file that was read last, to be taken from the end.
        read: Vec<SealedBatch>,
        /// Number of the next batch.
        next: u64,
        /// All batches.
        count: u64,
        /// Of the manifest.
        chain: ChainId,
    },
}

/// A file of exported batches, without the batches.
pub struct ExportedFile {
    /// Where.
    pub path: PathBuf,
    /// The manifest in it.
    pub manifest: Vec<u8>,
    /// Number of its first batch.
    pub first: u64,
    /// Batches.
    pub count: u64,
    /// The encoded header of the last one.
    pub last_header: Vec<u8>,
}

/// The files of batches in a folder, in order. Each is read and checked, one at a time.
pub fn exported(dir: &Path) -> anyhow::Result<Vec<ExportedFile>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))? {
        let path = entry?.path();
        let named = path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("batches-"));
        if named && path.extension().is_some_and(|extension| extension == "assent") {
            let file = read_batches(&path)?;
            let last = file.batches.last().with_context(|| format!("{} holds no batch", path.display()))?;
            let last_header = decode_batch(last).with_context(|| path.display().to_string())?.header;
            let (first, count) = (file.first, file.batches.len() as u64);
            found.push(ExportedFile { path, manifest: file.manifest, first, count, last_header });
        }
    }
    found.sort_by_key(|file: &ExportedFile| file.first);
    Ok(found)
}

/// Reads a file of batches, digest included.
pub fn read_batches(path: &Path) -> anyhow::Result<BatchesFile> {
    let bytes = read_file(path).with_context(|| path.display().to_string())?;
    ensure!(
        Kind::of(&bytes) == Some(Kind::Batches),
        "{} is no file of exported batches (assent batches export makes them)",
        path.display()
    );
    let (file, digest) = BatchesFile::decode(&bytes).with_context(|| path.display().to_string())?;
    ensure!(
        sha256(&bytes[..bytes.len() - 32]) == digest,
        "{} is damaged: its digest does not match",
        path.display()
    );
    Ok(file)
}

impl Source {
    /// A folder of exported batches, or the address of a sequencer.
    pub async fn open(
        from: &str,
        chain: Option<ChainId>,
        credentials: &CredentialArgs,
    ) -> anyhow::Result<Self> {
        let dir = Path::new(from);
        if dir.is_dir() {
            return Self::open_dir(dir, chain);
        }
        ensure!(
            from.starts_with("http://") || from.starts_with("https://"),
            "{from} is neither a folder nor an address such as http://127.0.0.1:7420"
        );
        let mut config = ClientConfig::new(from);
        config.chain = chain;
        config.credentials = credentials.read()?;
        let client = Client::connect(config).await.map_err(with_hint)?;
        let count = client.ledger().await?.sealed_batches;
        let stream = Box::new(client.batches(0).await?);
        Ok(Self::Stream { client, stream, next: 0, count })
    }

    fn open_dir(dir: &Path, chain: Option<ChainId>) -> anyhow::Result<Self> {
        let found = exported(dir)?;
        let Some(first) = found.first() else {
            bail!("{} holds no exported batches (assent batches export DIR makes them)", dir.display());
        };
        let manifest = first.manifest.clone();
        let mut next = 0;
        for file in &found {
            let path = &file.path;
            ensure!(
                file.manifest == manifest,
                "{} is of another ledger than the files before it",
                path.display()
            );
            ensure!(
                file.first == next,
                "{} begins with batch {}, but batch {next} follows: a file is missing or there twice",
                path.display(),
                file.first
            );
            next += file.count;
        }
        let chain_found = ChainId(sha256(&manifest));
        if let Some(pinned) = chain.filter(|pinned| *pinned != chain_found) {
            bail!("{} holds batches of chain {chain_found}, not {pinned}", dir.display());
        }
        let decoded =
            GenesisManifest::decode(&manifest).context("the manifest in the files cannot be read")?;
        let mut files: Vec<PathBuf> = found.into_iter().map(|file| file.path).collect();
        files.reverse();
        Ok(Self::Files {
            manifest: Box::new(decoded),
            files,
            read: Vec::new(),
            next: 0,
            count: next,
            chain: chain_found,
        })
    }

    /// The manifest.
    pub fn manifest(&self) -> &GenesisManifest {
        match self {
            Self::Stream { client, .. } => client.manifest(),
            Self::Files { manifest, .. } => manifest,
        }
    }

    /// The ledger.
    pub fn chain_id(&self) -> ChainId {
        match self {
            Self::Stream { client, .. } => client.chain_id(),
            Self::Files { chain, .. } => *chain,
        }
    }

    /// How many batches there are.
    pub fn count(&self) -> u64 {
        match self {
            Self::Stream { count, .. } | Self::Files { count, .. } => *count,
        }
    }

    /// The next batch, over broken connections.
    pub async fn next(&mut self) -> anyhow::Result<Option<SealedBatch>> {
        match self {
            Self::Stream { client, stream, next, count } => {
                if *next >= *count {
                    return Ok(None);
                }
                let mut last = None;
                // A new stream each time; opening one tries for as long as the client's deadline.
                for _ in 0..5 {
                    match stream.message().await {
                        Ok(Some(StreamBatchesResponse { batch: Some(batch) })) => {
                            *next += 1;
                            return Ok(Some(batch));
                        }
                        Ok(_) => {}
                        Err(status) => last = Some(status),
                    }
                    **stream = client.batches(*next).await?;
                }
                bail!("the stream of batches breaks at batch {next}: {last:?}")
            }
            Self::Files { files, read, next, .. } => {
                if read.is_empty() {
                    let Some(path) = files.pop() else { return Ok(None) };
                    let file = read_batches(&path)?;
                    for bytes in file.batches.iter().rev() {
                        read.push(decode_batch(bytes).with_context(|| path.display().to_string())?);
                    }
                }
                *next += 1;
                Ok(read.pop())
            }
        }
    }
}
