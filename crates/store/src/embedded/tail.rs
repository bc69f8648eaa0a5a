//! The tail of the journal: cuts off a last batch that a power cut left half on disk.
//!
//! What is in the page cache and not synced reaches the disk page by page, in any order. After a
//! power cut the newest journal may therefore end in a batch of which some pages are zeros. fjall
//! cuts such a batch off when an entry of it can not be parsed, but when only its checksum is wrong
//! it takes that for damage and does not open; and it drops all that follows an entry that it can
//! not parse, even whole batches. So this looks at the journals before fjall does:
//!
//! | journal | what follows its last intact batch | then |
//! |---|---|---|
//! | any | nothing, or zeros | it is not touched |
//! | newest | one batch that is not whole | that is cut off |
//! | newest | a batch that is not whole, then more | refused |
//! | older | anything | refused, it was synced before the next journal was begun |
//!
//! An acked batch is never in what is cut off. A batch is acked after its fdatasync returned, and
//! the one writer begins the next batch after that. So a broken batch with anything behind it was
//! acked, and one with nothing behind it was not synced, unless the disk lied about the sync or
//! lost what it had: in the very last batch nobody can tell that from a power cut.
//!
//! The format, as of fjall 3.1.13 (`src/journal/entry.rs`); numbers are little-endian. A batch is a
//! start, as many items or clears as it says, and an end.
//!
//! | entry | bytes |
//! |---|---|
//! | start | `1`, `u32` items and clears, `u64` number of the batch, rising |
//! | item | `2`, `u8` kind, `u8` compression, `u64` keyspace, `u16` length of the key, `u32` length of the value, `u32` length of the value as it is here, key, value |
//! | clear | `4`, `u64` keyspace |
//! | end | `3`, `u64` XXH3 of the items and clears, `FJL`, `3` |
//!
//! A new journal is 64 MiB of zeros. A journal that is opened again is cut where it ends and
//! appended to, which is why a cut by this is one that fjall goes on from.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::xxh3_64;

/// Cuts the torn tail off the newest journal of a database that is not open.
///
/// # Errors
/// A sentence that names the journal, when one is damaged where it was synced. Nothing was changed.
pub(super) fn cut(folder: &Path) -> Result<(), String> {
    let text = |error: io::Error| error.to_string();
    // Of another format nothing here is true. fjall refuses that, and a folder without it.
    if !fs::read(folder.join(VERSION)).is_ok_and(|version| version.starts_with(&TRAILER)) {
        return Ok(());
    }
    let journals = journals(folder).map_err(text)?;
    let mut next_number = 0;
    for (index, path) in journals.iter().enumerate() {
        let bytes = read(path).map_err(text)?;
        let Ends { at, tail } = ends(&bytes, &mut next_number);
        let name = path.file_name().unwrap_or_default().display();
        match tail {
            Tail::Empty => {}
            Tail::Torn if index + 1 == journals.len() => {
                let cut_bytes = bytes.len() - at;
                truncate(folder, path, at as u64).map_err(text)?;
                tracing::warn!(
                    journal = %name, cut_bytes,
                    "the last batch in the journal was not whole and is cut off; it was not acked"
                );
            }
            Tail::Torn | Tail::Damaged => {
                return Err(format!(
                    "the journal {name} is damaged at byte {at}, where it was whole on disk \
                     before; nothing was changed, check the disk and restore a backup"
                ));
            }
        }
    }
    Ok(())
}

/// Where the intact batches of a journal end.
struct Ends {
    at: usize,
    tail: Tail,
}

/// What follows the last intact batch.
#[derive(Debug, PartialEq, Eq)]
enum Tail {
    Empty,
    /// One batch that is not whole.
    Torn,
    /// A batch that is not whole, and what was written after it.
    Damaged,
}

/// Reads the batches of a journal without the zeros at its end.
///
/// `next_number` is above the numbers of all batches that came before, and is moved on.
fn ends(bytes: &[u8], next_number: &mut u64) -> Ends {
    let mut at = 0;
    loop {
        let tail = &bytes[at..];
        let tail = match Batch::read(tail) {
            Some(batch) if batch.intact => {
                *next_number = batch.number.saturating_add(1);
                at += batch.len;
                continue;
            }
            _ if tail.is_empty() => Tail::Empty,
            // Its frame is whole, so this is where it ends.
            Some(batch) if batch.len == tail.len() => Tail::Torn,
            Some(_) => Tail::Damaged,
            None if batch_begins_in(&tail[1..], *next_number) => Tail::Damaged,
            None => Tail::Torn,
        };
        return Ends { at, tail };
    }
}

/// Whether an intact batch begins anywhere. One with a lower number does not count: a file system
/// that shows old blocks may show those of a journal that is gone. A body can be made to look like
/// a batch; where the frame around it is torn, that refuses what could be cut, and loses nothing.
fn batch_begins_in(bytes: &[u8], lowest_number: u64) -> bool {
    let mut starts = bytes.iter().enumerate().filter(|(_, byte)| **byte == START);
    starts.any(|(at, _)| {
        let batch = Batch::read(&bytes[at..]);
        batch.is_some_and(|batch| batch.intact && batch.number >= lowest_number)
    })
}

/// A batch with a whole frame, from its start to its end.
struct Batch {
    len: usize,
    number: u64,
    /// Its checksum is right.
    intact: bool,
}

impl Batch {
    /// Reads the batch that `bytes` begin with.
    fn read(bytes: &[u8]) -> Option<Self> {
        let mut rest = bytes;
        let ([START], count) = (take(&mut rest)?, u32::from_le_bytes(take(&mut rest)?)) else {
            return None;
        };
        let number = u64::from_le_bytes(take(&mut rest)?);
        let items = rest;
        for _ in 0..count {
            rest = behind_item(rest)?;
        }
        let items = &items[..items.len() - rest.len()];
        let ([END], checksum) = (take(&mut rest)?, u64::from_le_bytes(take(&mut rest)?)) else {
            return None;
        };
        let trailer: [u8; 4] = take(&mut rest)?;
        let intact = checksum == xxh3_64(items);
        (trailer == TRAILER).then_some(Self { len: bytes.len() - rest.len(), number, intact })
    }
}

/// What follows the item or clear that `bytes` begin with.
fn behind_item(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = bytes;
    match take(&mut rest)? {
        [ITEM] => {
            let [_kind, compression] = take(&mut rest)?;
            let _keyspace: [u8; 8] = take(&mut rest)?;
            let key_len = u16::from_le_bytes(take(&mut rest)?);
            let value_len = u32::from_le_bytes(take(&mut rest)?);
            let here_len = u32::from_le_bytes(take(&mut rest)?);
            if compression == UNCOMPRESSED && value_len != here_len {
                return None;
            }
            rest.get(usize::from(key_len) + here_len as usize..)
        }
        [CLEAR] => {
            let _keyspace: [u8; 8] = take(&mut rest)?;
            Some(rest)
        }
        _ => None,
    }
}

fn take<const N: usize>(bytes: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(*taken)
}

/// The journals of a database, the newest last. A name that fjall would not give is left to it.
fn journals(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut journals = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        let number = path.file_stem().and_then(OsStr::to_str).and_then(|stem| stem.parse().ok());
        if let (Some(number), true) = (number, path.extension() == Some(OsStr::new("jnl"))) {
            let number: u64 = number;
            journals.push((number, path));
        }
    }
    journals.sort();
    Ok(journals.into_iter().map(|(_, path)| path).collect())
}

/// Reads a journal without the zeros at its end. An intact batch never ends in a zero.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let mut end = file.metadata()?.len();
    let mut block = vec![0; BLOCK_BYTES];
    let zeros = block.clone();
    while end > 0 {
        let length = (end - 1) as usize % BLOCK_BYTES + 1;
        let block = &mut block[..length];
        file.read_exact_at(block, end - length as u64)?;
        // As a whole first: a new journal is 64 MiB of zeros.
        if *block != zeros[..length] {
            let zeros = block.iter().rev().take_while(|byte| **byte == 0).count();
            end -= zeros as u64;
            break;
        }
        end -= length as u64;
    }
    let mut bytes = vec![0; end as usize];
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn truncate(folder: &Path, journal: &Path, length: u64) -> io::Result<()> {
    let file = File::options().write(true).open(journal)?;
    file.set_len(length)?;
    file.sync_all()?;
    File::open(folder)?.sync_all()
}

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const UNCOMPRESSED: u8 = 0;
/// Ends each batch, and is the content of the file `version`.
const TRAILER: [u8; 4] = *b"FJL\x03";
const VERSION: &str = "version";
/// Enough to make the number of reads small.
const BLOCK_BYTES: usize = 1 << 20;
