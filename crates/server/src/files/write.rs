//! Appending what comes to a file.
//!
//! Three things overlap: the next bytes come, those before them are written, and those before these
//! are synced. What is told, and what is there after a crash, is what is synced.

use std::{
    fs::File,
    io::{self, ErrorKind},
    os::unix::fs::FileExt as _,
    sync::Arc,
    time::Duration,
};

use anser_proto::Code;
use axum::body::Body;
use futures_util::StreamExt as _;
use tokio::task::JoinHandle;

use super::{Files, Writing, open_or_make};

/// What comes for a file.
pub(crate) struct Append {
    /// Who writes.
    pub(crate) writing: Writing,
    /// Where the bytes begin: the file's length.
    pub(crate) offset: u64,
    /// Where the file ends.
    pub(crate) size: u64,
    /// The bytes.
    pub(crate) body: Body,
}

/// What became of it.
pub(crate) struct Appended {
    /// How many bytes the file has now, all of them synced.
    pub(crate) offset: u64,
    /// Why not all bytes that were sent are among them.
    pub(crate) cut: Option<Code>,
}

impl Files {
    /// Writes what comes until it ends, breaks, or is too much; then syncs. What came is kept,
    /// however it ended.
    ///
    /// # Errors
    /// A write or a sync failed: what is on disk is not known any more.
    pub(crate) async fn append(&self, append: Append) -> io::Result<Appended> {
        let Append { writing, offset, size, body } = append;
        let mut tail = Tail::open(self, writing, offset).await?;
        let mut pieces = body.into_data_stream();
        let mut cut = None;
        let mut room = size - offset;
        while cut.is_none() {
            match tokio::time::timeout(SILENCE_MAX, pieces.next()).await {
                Ok(Some(Ok(piece))) if piece.len() as u64 > room => {
                    cut = Some(Code::PayloadTooLarge);
                }
                Ok(Some(Ok(piece))) => {
                    room -= piece.len() as u64;
                    tail.buffer.extend_from_slice(&piece);
                    if tail.buffer.len() >= WRITE_BYTES {
                        cut = tail.write(self).await?;
                    }
                }
                Ok(None) => break,
                Ok(Some(Err(_))) => cut = Some(Code::Malformed),
                Err(_) => cut = Some(Code::TimedOut),
            }
        }
        if cut != Some(Code::DiskFull) {
            cut = tail.write(self).await?.or(cut);
        }
        let (offset, is_full) = tail.finish().await?;
        Ok(Appended { offset, cut: if is_full { Some(Code::DiskFull) } else { cut } })
    }
}

/// The end of a file that grows.
struct Tail {
    file: Arc<File>,
    /// A write that still runs when the request is given up must keep others away.
    writing: Arc<Writing>,
    /// What is not being written yet.
    buffer: Vec<u8>,
    /// The write that runs, if the last one was not waited for.
    write: Option<JoinHandle<io::Result<Written>>>,
    /// What the last write that was waited for left.
    end: u64,
    is_full: bool,
    /// The sync that runs, if the last one was not waited for.
    sync: Option<JoinHandle<io::Result<()>>>,
    /// What is synced when that sync is done.
    syncing: u64,
}

/// What a write did.
struct Written {
    /// Where the file ends now.
    end: u64,
    /// Not all of it fit on the disk.
    is_full: bool,
    /// Empty, to be used again.
    buffer: Vec<u8>,
}

impl Tail {
    async fn open(files: &Files, writing: Writing, offset: u64) -> io::Result<Self> {
        let path = files.path(writing.id);
        let file = Arc::new(super::blocking(move || open_or_make(&path)).await?);
        Ok(Self {
            file,
            writing: Arc::new(writing),
            buffer: Vec::new(),
            write: None,
            end: offset,
            is_full: false,
            sync: None,
            syncing: offset,
        })
    }

    /// Begins to write the buffer, when the write before it is done. Tells why it can not.
    async fn write(&mut self, files: &Files) -> io::Result<Option<Code>> {
        let spare = self.written().await?;
        self.sync_some().await?;
        if self.is_full || !self.buffer.is_empty() && !files.has_room(self.buffer.len() as u64) {
            return Ok(Some(Code::DiskFull));
        }
        if !self.buffer.is_empty() {
            let buffer = std::mem::replace(&mut self.buffer, spare);
            let (file, held) = (Arc::clone(&self.file), Arc::clone(&self.writing));
            let offset = self.end;
            self.write = Some(tokio::task::spawn_blocking(move || {
                let _held = held;
                write(&file, offset, buffer)
            }));
        }
        Ok(None)
    }

    /// Waits for the write that runs. Gives memory to use again.
    async fn written(&mut self) -> io::Result<Vec<u8>> {
        let Some(write) = self.write.take() else { return Ok(Vec::new()) };
        let Written { end, is_full, buffer } = write.await.map_err(io::Error::other)??;
        (self.end, self.is_full) = (end, is_full);
        Ok(buffer)
    }

    /// Begins a sync when enough is written; waits for the one before it only when that is late.
    async fn sync_some(&mut self) -> io::Result<()> {
        let unsynced = self.end - self.syncing;
        if unsynced < SYNC_BYTES {
            return Ok(());
        }
        let runs = self.sync.as_ref().is_some_and(|sync| !sync.is_finished());
        if !runs || unsynced >= UNSYNCED_BYTES_MAX {
            self.synced().await?;
            self.begin_sync();
        }
        Ok(())
    }

    fn begin_sync(&mut self) {
        let (file, held) = (Arc::clone(&self.file), Arc::clone(&self.writing));
        self.syncing = self.end;
        self.sync = Some(tokio::task::spawn_blocking(move || {
            let _held = held;
            file.sync_data()
        }));
    }

    async fn synced(&mut self) -> io::Result<()> {
        let Some(sync) = self.sync.take() else { return Ok(()) };
        sync.await.map_err(io::Error::other)?
    }

    /// Waits for all that runs, and syncs the rest. Tells where the file ends, and whether the disk
    /// was full.
    async fn finish(mut self) -> io::Result<(u64, bool)> {
        self.written().await?;
        // A sync that failed must be heard of, before another one could hide it.
        self.synced().await?;
        self.begin_sync();
        self.synced().await?;
        Ok((self.end, self.is_full))
    }
}

/// Writes a buffer at the file's end, `offset`.
fn write(file: &File, offset: u64, mut buffer: Vec<u8>) -> io::Result<Written> {
    let (end, is_full) = match file.write_all_at(&buffer, offset) {
        Ok(()) => (offset + buffer.len() as u64, false),
        // Some of it may be there: the length tells, and it is of the right bytes.
        Err(error) if is_full(&error) => (file.metadata()?.len().max(offset), true),
        Err(error) => return Err(error),
    };
    buffer.clear();
    Ok(Written { end, is_full, buffer })
}

fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge
    )
}

/// Bytes of one write: large enough that its cost does not count, small enough for thousands of
/// uploads at a time.
const WRITE_BYTES: usize = 256 * 1024;
/// Bytes of one sync, while more come: a tenth of a second of a slow disk.
const SYNC_BYTES: u64 = 8 * 1024 * 1024;
/// No more than this waits for the disk: what the next sync takes, and so do those of others.
const UNSYNCED_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// An upload that is silent for so long is over; it goes on by another request.
const SILENCE_MAX: Duration = Duration::from_secs(30);
