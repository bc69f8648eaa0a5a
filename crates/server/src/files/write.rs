//! Appending what comes to a file.

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

use super::{Files, Writing, blocking, open_or_make};

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
    /// A write or the sync failed: what is on disk is not known any more.
    pub(crate) async fn append(&self, append: Append) -> io::Result<Appended> {
        let Append { writing, mut offset, size, body } = append;
        let path = self.path(writing.id);
        let file = Arc::new(blocking(move || open_or_make(&path)).await?);
        // A write that still runs when the request is given up must keep others away.
        let writing = Arc::new(writing);
        let mut pieces = body.into_data_stream();
        let (mut buffer, mut cut, mut ended) = (Vec::new(), None, false);
        while !ended {
            match tokio::time::timeout(SILENCE_MAX, pieces.next()).await {
                Ok(Some(Ok(piece))) => {
                    let room = size - offset - buffer.len() as u64;
                    if piece.len() as u64 > room {
                        (cut, ended) = (Some(Code::PayloadTooLarge), true);
                    } else {
                        buffer.extend_from_slice(&piece);
                    }
                }
                Ok(None) => ended = true,
                Ok(Some(Err(_))) => (cut, ended) = (Some(Code::Malformed), true),
                Err(_) => (cut, ended) = (Some(Code::TimedOut), true),
            }
            if buffer.len() < WRITE_BYTES && !ended || buffer.is_empty() {
                continue;
            }
            if !self.has_room(buffer.len() as u64) {
                (cut, ended) = (Some(Code::DiskFull), true);
                continue;
            }
            let written = write(&file, &writing, offset, buffer).await?;
            (offset, buffer) = (written.end, written.buffer);
            if written.is_full {
                (cut, ended) = (Some(Code::DiskFull), true);
            }
        }
        let held = Arc::clone(&writing);
        blocking(move || {
            let _held = held;
            file.sync_data()
        })
        .await?;
        Ok(Appended { offset, cut })
    }
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

/// Writes a buffer at the file's end, `offset`.
async fn write(
    file: &Arc<File>,
    writing: &Arc<Writing>,
    offset: u64,
    mut buffer: Vec<u8>,
) -> io::Result<Written> {
    let (file, held) = (Arc::clone(file), Arc::clone(writing));
    blocking(move || {
        let _held = held;
        let (end, is_full) = match file.write_all_at(&buffer, offset) {
            Ok(()) => (offset + buffer.len() as u64, false),
            // Some of it may be there: the length tells, and it is of the right bytes.
            Err(error) if is_full(&error) => (file.metadata()?.len().max(offset), true),
            Err(error) => return Err(error),
        };
        buffer.clear();
        Ok(Written { end, is_full, buffer })
    })
    .await
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
/// An upload that is silent for so long is over; it goes on by another request.
const SILENCE_MAX: Duration = Duration::from_secs(30);
