//! Appending what comes to a file.
//!
//! Three things overlap: the next bytes come, those before them are written, and those before these
//! are synced. What is told, and what is there after a crash, is what is synced.

use std::{
    fs::OpenOptions,
    io::{self, ErrorKind},
    sync::Arc,
};

use anser_proto::Code;
use axum::body::Bytes;
use tokio::task::JoinHandle;

use super::{
    Folder, blocking,
    direct::{BLOCK_BYTES, Buffer, Ways},
    open_or_make,
};
use crate::files::{Append, Appended, Writing, incoming::Incoming};

impl Folder {
    /// Writes what comes until it ends, breaks, or is too much; then syncs. What came is kept,
    /// however it ended.
    pub(in crate::files) async fn append(&self, append: Append) -> io::Result<Appended> {
        let Append { writing, offset, size, body } = append;
        let mut tail = Tail::open(self, writing, (offset, size)).await?;
        let mut incoming = Incoming::new(body, size - offset);
        let mut is_full = false;
        while !is_full && let Some(mut piece) = incoming.next().await {
            while !is_full && tail.fill(&mut piece) {
                is_full = !tail.write(self).await?;
            }
        }
        is_full = is_full || !tail.write(self).await?;
        let offset = tail.finish(&mut is_full).await?;
        Ok(Appended { offset, cut: if is_full { Some(Code::DiskFull) } else { incoming.cut } })
    }
}

/// The end of a file that grows.
struct Tail {
    file: Arc<Ways>,
    /// A write that still runs when the request is given up must keep others away.
    writing: Arc<Writing>,
    /// What is not being written yet.
    buffer: Buffer,
    /// At so many bytes it is written: then the next write begins at a block.
    buffer_max: usize,
    /// How often the disk was synced for the store when the last write began.
    syncs: u64,
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
    buffer: Buffer,
}

impl Tail {
    async fn open(
        folder: &Folder,
        writing: Writing,
        (offset, size): (u64, u64),
    ) -> io::Result<Self> {
        let (path, is_shared) = (folder.file(writing.id()), folder.is_shared());
        let open = move || {
            let cached = open_or_make(&path)?;
            Ok(Ways::new(cached, (&path, is_shared), size, OpenOptions::new().write(true)))
        };
        let file = Arc::new(blocking(open).await?);
        Ok(Self {
            file,
            writing: Arc::new(writing),
            buffer: Buffer::new(WRITE_BYTES),
            buffer_max: WRITE_BYTES - (offset % BLOCK_BYTES as u64) as usize,
            syncs: folder.syncs(),
            write: None,
            end: offset,
            is_full: false,
            sync: None,
            syncing: offset,
        })
    }

    /// Takes of a piece what the buffer has room for. Tells whether it is to be written now.
    fn fill(&mut self, piece: &mut Bytes) -> bool {
        self.buffer.fill(piece, self.buffer_max);
        self.buffer.bytes().len() == self.buffer_max
    }

    /// Begins to write the buffer, when the write before it is done. Tells whether there is room.
    async fn write(&mut self, folder: &Folder) -> io::Result<bool> {
        let spare = self.written().await?;
        self.sync_some().await?;
        if self.is_full {
            return Ok(false);
        }
        if !self.buffer.bytes().is_empty() {
            if !folder.has_room(self.buffer.bytes().len() as u64) {
                return Ok(false);
            }
            let spare = spare.unwrap_or_else(|| Buffer::new(WRITE_BYTES));
            let buffer = std::mem::replace(&mut self.buffer, spare);
            let syncs = folder.syncs();
            let is_alone = std::mem::replace(&mut self.syncs, syncs) == syncs;
            self.buffer_max = if is_alone { WRITE_BYTES } else { WRITE_BYTES_BESIDE };
            let (file, held) = (Arc::clone(&self.file), Arc::clone(&self.writing));
            let offset = self.end;
            self.write = Some(tokio::task::spawn_blocking(move || {
                let _held = held;
                write(&file, offset, buffer)
            }));
        }
        Ok(true)
    }

    /// Waits for the write that runs. Gives memory to use again.
    async fn written(&mut self) -> io::Result<Option<Buffer>> {
        let Some(write) = self.write.take() else { return Ok(None) };
        let Written { end, is_full, buffer } = write.await.map_err(io::Error::other)??;
        (self.end, self.is_full) = (end, is_full);
        Ok(Some(buffer))
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
            file.cached.sync_data()
        }));
    }

    async fn synced(&mut self) -> io::Result<()> {
        let Some(sync) = self.sync.take() else { return Ok(()) };
        sync.await.map_err(io::Error::other)?
    }

    /// Waits for all that runs, and syncs the rest. Tells where the file ends, and if the disk was
    /// full.
    async fn finish(mut self, is_full: &mut bool) -> io::Result<u64> {
        self.written().await?;
        // A sync that failed must be heard of, before another one could hide it.
        self.synced().await?;
        self.begin_sync();
        self.synced().await?;
        *is_full |= self.is_full;
        Ok(self.end)
    }
}

/// Writes a buffer at the file's end, `offset`.
fn write(file: &Ways, offset: u64, mut buffer: Buffer) -> io::Result<Written> {
    let (end, is_full) = match file.write(buffer.bytes(), offset) {
        Ok(()) => (offset + buffer.bytes().len() as u64, false),
        // Some of it may be there: the length tells, and it is of the right bytes.
        Err(error) if is_full(&error) => (file.cached.metadata()?.len().max(offset), true),
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
/// The same while the store commits: its next sync waits for the write that runs. On a disk of
/// 300 MB/s a sync beside writes of 256 KiB took 2.5 ms, of 64 KiB 1.5 ms, and alone 0.25 ms.
const WRITE_BYTES_BESIDE: usize = 64 * 1024;
/// Bytes of one sync, while more come: a tenth of a second of a slow disk.
const SYNC_BYTES: u64 = 8 * 1024 * 1024;
/// No more than this waits for the disk: what the next sync takes, and so do those of others.
const UNSYNCED_BYTES_MAX: u64 = 32 * 1024 * 1024;
