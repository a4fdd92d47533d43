//! The folder of a chain: its blocks, the marks of `invalidateblock`, and the lock that one process holds.
//!
//! `blocks.dat` is append-only, each record as in Core's `blk` files: network magic, length, block. A block is synced
//! before anything acts on it, so after a crash the file holds every block that was ever answered for, and perhaps the
//! beginning of one more, which opening cuts off.

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use bitcoin::consensus::{deserialize, serialize};
use bitcoin::{Block, BlockHash};

use crate::error::MockChainError;
use crate::params::MAX_BLOCK_WEIGHT;

/// What the file `format` says; another text is another format.
const FORMAT: &str = "assent-mockchain blocks 1 regtest\n";
/// First line of the file `invalid`.
const INVALID_HEADER: &str = "assent-mockchain invalid 1";
/// Regtest's magic, as it is on the wire.
const MAGIC: [u8; 4] = [0xfa, 0xbf, 0xb5, 0xda];
/// Bytes before each block.
const RECORD_HEADER: usize = 8;

/// The folder, or nothing where the chain lives in memory only.
#[derive(Debug)]
pub(crate) struct Store {
    folder: Option<Folder>,
    /// Bytes all blocks take, with their record headers.
    len: u64,
}

#[derive(Debug)]
struct Folder {
    path: PathBuf,
    blocks: File,
    /// Set when an append failed and could not be cut off again.
    broken: bool,
    /// Held as long as the chain is open; the operating system lets go of it when the process ends.
    _lock: File,
}

/// What a folder held when it was opened.
pub(crate) struct Opened {
    pub(crate) store: Store,
    /// In the order in which they were appended, which is the order in which they were first seen.
    pub(crate) blocks: Vec<Block>,
    pub(crate) invalid: HashSet<BlockHash>,
}

impl Store {
    pub(crate) fn in_memory() -> Self {
        Self { folder: None, len: 0 }
    }

    pub(crate) fn open(path: &Path) -> Result<Opened, MockChainError> {
        fs::create_dir_all(path).map_err(MockChainError::io("create", path))?;
        let lock = lock(path)?;
        check_format(path)?;
        let blocks_path = path.join("blocks.dat");
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&blocks_path)
            .map_err(MockChainError::io("open", &blocks_path))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(MockChainError::io("read", &blocks_path))?;
        let (blocks, len) = read_records(&blocks_path, &bytes)?;
        if len < bytes.len() {
            tracing::warn!(
                file = %blocks_path.display(),
                offset = len,
                bytes = bytes.len() - len,
                "cut off a block that a crash left half written"
            );
            file.set_len(to_u64(len)).map_err(MockChainError::io("truncate", &blocks_path))?;
            file.sync_all().map_err(MockChainError::io("sync", &blocks_path))?;
        }
        file.seek(SeekFrom::Start(to_u64(len))).map_err(MockChainError::io("seek in", &blocks_path))?;
        let invalid = read_invalid(path)?;
        let folder = Folder { path: path.to_owned(), blocks: file, broken: false, _lock: lock };
        Ok(Opened { store: Self { folder: Some(folder), len: to_u64(len) }, blocks, invalid })
    }

    /// Bytes all blocks take.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Appends `block`; when this returns, it survives a crash.
    pub(crate) fn append(&mut self, block: &Block) -> Result<(), MockChainError> {
        let body = serialize(block);
        // A block within the weight limit is below 4 MB.
        let size = u32::try_from(body.len()).unwrap_or(u32::MAX);
        let record = [MAGIC.as_slice(), &size.to_le_bytes(), &body].concat();
        if let Some(folder) = &mut self.folder {
            let path = folder.path.join("blocks.dat");
            if folder.broken {
                return Err(MockChainError::StoreBroken { path });
            }
            if let Err(error) = folder.blocks.write_all(&record).and_then(|()| folder.blocks.sync_data()) {
                // A half-written record in the middle would make the file unreadable from there on.
                let cut = folder.blocks.set_len(self.len).and_then(|()| folder.blocks.seek(SeekFrom::End(0)));
                folder.broken = cut.and_then(|_| folder.blocks.sync_data()).is_err();
                return Err(MockChainError::io("append to", &path)(error));
            }
        }
        self.len += to_u64(record.len());
        Ok(())
    }

    /// Replaces the set of blocks marked invalid.
    pub(crate) fn write_invalid(&self, invalid: &[BlockHash]) -> Result<(), MockChainError> {
        let Some(folder) = &self.folder else { return Ok(()) };
        let lines: String = invalid.iter().map(|hash| format!("{hash}\n")).collect();
        write_atomically(&folder.path, "invalid", &format!("{INVALID_HEADER}\n{lines}"))
    }
}

fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

fn lock(path: &Path) -> Result<File, MockChainError> {
    let file_path = path.join("lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(&file_path)
        .map_err(MockChainError::io("open", &file_path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(MockChainError::Locked { path: path.to_owned() }),
        Err(TryLockError::Error(source)) => Err(MockChainError::io("lock", &file_path)(source)),
    }
}

fn check_format(path: &Path) -> Result<(), MockChainError> {
    let format = |found: String| MockChainError::Format {
        path: path.to_owned(),
        expected: FORMAT.trim_end().to_owned(),
        found,
    };
    let file_path = path.join("format");
    match fs::read(&file_path) {
        Ok(bytes) if bytes == FORMAT.as_bytes() => Ok(()),
        Ok(bytes) => Err(format(String::from_utf8_lossy(&bytes).trim_end().chars().take(100).collect())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            for entry in fs::read_dir(path).map_err(MockChainError::io("list", path))? {
                let name = entry.map_err(MockChainError::io("list", path))?.file_name();
                // A crash while the folder was first made leaves no more than these.
                if name != "lock" && name != "format.tmp" {
                    return Err(format(format!("no file `format`, but {}", name.to_string_lossy())));
                }
            }
            write_atomically(path, "format", FORMAT)
        }
        Err(error) => Err(MockChainError::io("read", &file_path)(error)),
    }
}

/// Writes a small file so that a crash leaves either the old or the new one.
fn write_atomically(folder: &Path, name: &str, text: &str) -> Result<(), MockChainError> {
    let path = folder.join(name);
    let temporary = folder.join(format!("{name}.tmp"));
    let mut file = File::create(&temporary).map_err(MockChainError::io("create", &temporary))?;
    file.write_all(text.as_bytes()).map_err(MockChainError::io("write", &temporary))?;
    file.sync_all().map_err(MockChainError::io("sync", &temporary))?;
    fs::rename(&temporary, &path).map_err(MockChainError::io("replace", &path))?;
    File::open(folder).and_then(|dir| dir.sync_all()).map_err(MockChainError::io("sync", folder))
}

fn read_invalid(folder: &Path) -> Result<HashSet<BlockHash>, MockChainError> {
    let path = folder.join("invalid");
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(HashSet::new()),
        Err(error) => return Err(MockChainError::io("read", &path)(error)),
    };
    let corrupt = |offset: usize, reason: String| MockChainError::Corrupt {
        path: path.clone(),
        offset: to_u64(offset),
        reason,
    };
    let body = text
        .strip_prefix(INVALID_HEADER)
        .and_then(|rest| rest.strip_prefix('\n'))
        .ok_or_else(|| corrupt(0, format!("expected the line {INVALID_HEADER:?}")))?;
    let mut offset = INVALID_HEADER.len() + 1;
    let mut hashes = HashSet::new();
    for line in body.lines() {
        let hash =
            BlockHash::from_str(line).map_err(|e| corrupt(offset, format!("{line:?} is no hash: {e}")))?;
        hashes.insert(hash);
        offset += line.len() + 1;
    }
    Ok(hashes)
}

/// The blocks of the file, and how many of its bytes are whole records.
fn read_records(path: &Path, bytes: &[u8]) -> Result<(Vec<Block>, usize), MockChainError> {
    let mut blocks = Vec::new();
    let mut offset = 0;
    while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
        match read_record(rest) {
            Ok((block, size)) => {
                blocks.push(block);
                offset += size;
            }
            Err(_) if is_torn(rest) => break,
            Err(reason) => {
                return Err(MockChainError::Corrupt {
                    path: path.to_owned(),
                    offset: to_u64(offset),
                    reason,
                });
            }
        }
    }
    Ok((blocks, offset))
}

/// The first record of `bytes` and its size; the error says what is wrong with it.
fn read_record(bytes: &[u8]) -> Result<(Block, usize), String> {
    let (magic, rest) = bytes.split_first_chunk::<4>().ok_or("the record is cut short")?;
    if *magic != MAGIC {
        return Err(format!("expected the magic {}, found {}", hex::encode(MAGIC), hex::encode(magic)));
    }
    let (size, rest) = rest.split_first_chunk::<4>().ok_or("the record is cut short")?;
    let size = u32::from_le_bytes(*size);
    if u64::from(size) > MAX_BLOCK_WEIGHT {
        return Err(format!("a block of {size} bytes is longer than a block can be"));
    }
    let size = usize::try_from(size).map_err(|e| e.to_string())?;
    let body = rest.get(..size).ok_or("the record is cut short")?;
    let block = deserialize::<Block>(body).map_err(|e| format!("the block does not decode: {e}"))?;
    Ok((block, RECORD_HEADER + size))
}

/// Whether what is left of the file can be the beginning of one append that a crash ended.
///
/// It can when it is all zero (the file grew before its data arrived), or when it begins as a record does and ends
/// before the record would, with no whole record inside: otherwise a damaged length would swallow blocks that were
/// already answered for.
fn is_torn(rest: &[u8]) -> bool {
    if rest.iter().all(|byte| *byte == 0) {
        return true;
    }
    let Some((header, body)) = rest.split_first_chunk::<RECORD_HEADER>() else {
        return MAGIC.starts_with(rest.get(..4).unwrap_or(rest)) || rest.starts_with(&MAGIC);
    };
    let claimed = header.last_chunk::<4>().map(|size| u32::from_le_bytes(*size)).unwrap_or_default();
    let is_short = usize::try_from(claimed).is_ok_and(|claimed| body.len() < claimed);
    header.starts_with(&MAGIC)
        && u64::from(claimed) <= MAX_BLOCK_WEIGHT
        && is_short
        && !body
            .windows(MAGIC.len())
            .enumerate()
            .filter(|(_, window)| *window == MAGIC)
            .any(|(at, _)| body.get(at..).is_some_and(|record| read_record(record).is_ok()))
}
