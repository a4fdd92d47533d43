//! Files that the commands keep: secret keys, readable by their owner alone.

use std::{
    fs::{self, OpenOptions},
    io::Write,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt},
    path::Path,
};

use anyhow::{Context, bail, ensure};
use assent_core::signature::KeyPair;
use serde::{Deserialize, Serialize};

/// Bytes of a key file or other small file that is read.
const MAX_SMALL_FILE: u64 = 64 * 1024;

/// A key file.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    /// Always `assent-key-1`.
    format: String,
    /// Always `ed25519`.
    scheme: String,
    /// For people; checked against the seed.
    account: String,
    /// 32 bytes in hexadecimal.
    seed: String,
}

/// Makes a folder for secrets.
pub fn make_private_dir(path: &Path) -> anyhow::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("cannot make {}", path.display()))
}

/// Writes a new file that only its owner can read; an existing one is never overwritten.
pub fn write_new(path: &Path, bytes: &[u8], mode: u32) -> anyhow::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("cannot write {}", path.display()))?;
    file.write_all(bytes)
        .and_then(|()| file.sync_all())
        .with_context(|| format!("cannot write {}", path.display()))
}

/// Writes a file whole or not at all: a crash leaves the old one, if there was one.
pub fn write_whole(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let mut name = path.file_name().context("not a file name")?.to_owned();
    name.push(format!(".{}.part", std::process::id()));
    let part = path.with_file_name(name);
    let write = || {
        // As private as anything here may need to be; what others may read is handed to them.
        let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)?;
        sync_folder_of(path)
    };
    write().with_context(|| format!("cannot write {}", path.display())).inspect_err(|_| {
        // Nothing half written stays; that the part is gone already is fine.
        let _ = fs::remove_file(&part);
    })
}

/// Makes the names in a file's folder durable, so that what is done next does not outlive the file.
pub fn sync_folder_of(path: &Path) -> std::io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    fs::File::open(folder)?.sync_all()
}

/// Reads a small file.
pub fn read_small(path: &Path) -> anyhow::Result<Vec<u8>> {
    let length = fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.len();
    ensure!(
        length <= MAX_SMALL_FILE,
        "{} has {length} bytes, at most {MAX_SMALL_FILE} are read",
        path.display()
    );
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// Reads a small file of text.
pub fn read_text(path: &Path) -> anyhow::Result<String> {
    String::from_utf8(read_small(path)?).with_context(|| format!("{} is not text", path.display()))
}

/// Reads a token. A file that others can read is refused.
pub fn read_token(path: &Path) -> anyhow::Result<String> {
    is_private(path)?;
    let token = read_text(path)?.trim().to_owned();
    ensure!(!token.is_empty(), "{} is empty; a token is expected", path.display());
    Ok(token)
}

/// Whether only the owner can read a file.
pub fn is_private(path: &Path) -> anyhow::Result<()> {
    let mode =
        fs::metadata(path).with_context(|| format!("cannot read {}", path.display()))?.permissions().mode();
    if mode & 0o077 != 0 {
        bail!(
            "{} can be read by others (mode {:o}); make it private first: chmod {} {}",
            path.display(),
            mode & 0o777,
            if path.is_dir() { "700" } else { "600" },
            path.display()
        );
    }
    Ok(())
}

/// Whether only the owner can get at a file: it is private itself, or lies within `root` and a folder on the way is.
pub fn check_private(path: &Path, root: &Path) -> anyhow::Result<()> {
    let is_closed =
        |path: &Path| fs::metadata(path).is_ok_and(|found| found.permissions().mode() & 0o077 == 0);
    let within = path.ancestors().skip(1).take_while(|folder| folder.starts_with(root));
    if within.into_iter().any(is_closed) { Ok(()) } else { is_private(path) }
}

/// Whether only the owner can get at what is secret in a ledger's folder: keys and tokens, databases with the seeds of all
/// salts.
pub fn check_private_dirs(root: &Path) -> anyhow::Result<()> {
    for name in ["sequencer", "prover", "validator"] {
        let path = root.join(name);
        if path.exists() {
            check_private(&path, root)?;
        }
    }
    let keys = root.join("keys");
    if keys.exists() {
        for entry in fs::read_dir(&keys).with_context(|| format!("cannot read {}", keys.display()))? {
            is_private(&entry?.path())?;
        }
    }
    Ok(())
}

/// Writes a new key file.
pub fn write_key(path: &Path, key: &KeyPair) -> anyhow::Result<()> {
    let file = KeyFile {
        format: "assent-key-1".into(),
        scheme: "ed25519".into(),
        account: key.public().account_id().to_string(),
        seed: hex::encode(key.seed()),
    };
    let mut text = serde_json::to_string_pretty(&file)?;
    text.push('\n');
    write_new(path, text.as_bytes(), 0o600)
}

/// Reads a key file. One that others can read is refused.
pub fn read_key(path: &Path) -> anyhow::Result<KeyPair> {
    is_private(path)?;
    let wrong = || format!("{} is not an Assent key file", path.display());
    let file: KeyFile = serde_json::from_str(&read_text(path)?).with_context(wrong)?;
    ensure!(
        file.format == "assent-key-1" && file.scheme == "ed25519",
        "{}: unknown format or scheme",
        wrong()
    );
    let mut seed = [0; 32];
    hex::decode_to_slice(&file.seed, &mut seed)
        .ok()
        .with_context(|| format!("{}: its seed is not 32 bytes", wrong()))?;
    let key = KeyPair::from_seed(seed);
    ensure!(
        key.public().account_id().to_string() == file.account,
        "{}: account and seed do not belong together",
        wrong()
    );
    Ok(key)
}
