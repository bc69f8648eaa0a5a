//! The local side of an upload: reads a file, and seals it piece by piece.
//! Work on a disk and with a cipher, so it is done where it blocks nobody, and a little ahead of
//! who takes the pieces.

#[cfg(test)]
mod tests;

use std::{
    collections::VecDeque,
    fs::File as LocalFile,
    io::{self, Read as _, Seek as _, SeekFrom},
    sync::{Arc, mpsc as std_mpsc},
    task::{Context, Poll},
};

use anser_proto::seal::{
    Key,
    file::{CHUNK_BYTES, SEALED_CHUNK_BYTES, Sealer, chunks},
};
use bytes::Bytes;
use parking_lot::Mutex;
use tokio::{sync::mpsc, task::JoinHandle};

use crate::{
    error::{Error, ErrorKind, Result},
    storage::SavedUpload,
    upload::identity,
};

/// A file that is being sealed, from its start to its end.
pub(crate) struct Reader {
    file: LocalFile,
    sealer: Sealer,
    /// Where it was, a while ago: what was on its way when a line broke is sealed again from there,
    /// and what is before it is not hashed again.
    marks: VecDeque<Sealer>,
    plain: Vec<u8>,
}

/// A file that is being sealed while its pieces are taken.
pub(crate) struct Sealing {
    pieces: Pieces,
    reader: JoinHandle<Result<Reader>>,
}

/// The sealed pieces, in order; a cheap clone, which takes from the same ones.
#[derive(Clone)]
pub(crate) struct Pieces(Arc<Mutex<mpsc::Receiver<Bytes>>>);

impl Pieces {
    /// The next piece; `None` at the file's end, and when it can not be read.
    pub(crate) fn poll(&self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.0.lock().poll_recv(cx)
    }
}

impl Sealing {
    /// The pieces.
    pub(crate) fn pieces(&self) -> Pieces {
        self.pieces.clone()
    }

    /// Ends it, wherever it is.
    pub(crate) async fn end(self) -> Result<Reader> {
        self.pieces.0.lock().close();
        self.reader.await.map_err(given_up)?
    }
}

/// The memory of a piece, which goes back to be used again: what is freed by one thread is not soon
/// used by another.
struct Lent {
    bytes: Vec<u8>,
    skip: usize,
    back: std_mpsc::SyncSender<Vec<u8>>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        self.bytes.get(self.skip..).unwrap_or_default()
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        // Nobody may want it any more.
        let _ = self.back.try_send(std::mem::take(&mut self.bytes));
    }
}

/// Chunks of a piece: 256 KiB, a write whose cost does not count.
const PIECE_CHUNKS: usize = 4;
/// Pieces that are sealed and not taken: enough for the sealing to go on while a request ends and
/// the next one begins.
const PIECES_MAX: usize = 16;
/// Chunks from mark to mark: 4 MiB.
const MARK_CHUNKS: u64 = 64;
/// Marks that are kept: 128 MiB, more than a server holds without having synced it. Each is some
/// hundred bytes.
const MARKS_MAX: usize = 32;

impl Reader {
    /// Opens the file, if it is still the one that was to be sent.
    pub(crate) async fn open(saved: &SavedUpload) -> Result<Self> {
        let (saved, key) = (saved.clone(), Key::new(saved.key));
        blocking(move || {
            let file = LocalFile::open(&saved.path).map_err(failed)?;
            same(&file, &saved)?;
            let sealer = Sealer::new(key, saved.size);
            let marks = VecDeque::from([sealer.clone()]);
            Ok(Self { file, sealer, marks, plain: Vec::new() })
        })
        .await
    }

    /// Seals the file from an offset of the sealed file on; what is before it is only hashed.
    pub(crate) fn seal(mut self, offset: u64) -> Sealing {
        let (sender, receiver) = mpsc::channel(PIECES_MAX);
        let pieces = Pieces(Arc::new(Mutex::new(receiver)));
        let reader = tokio::task::spawn_blocking(move || {
            self.pieces(offset, &sender)?;
            Ok(self)
        });
        Sealing { pieces, reader }
    }

    fn pieces(&mut self, offset: u64, to: &mpsc::Sender<Bytes>) -> Result<()> {
        self.go_to(offset / SEALED_CHUNK_BYTES as u64)?;
        let mut skip = usize::try_from(offset % SEALED_CHUNK_BYTES as u64).unwrap_or(0);
        // One more than can be held elsewhere: in the channel, by who takes, and here.
        let (back, spare) = std_mpsc::sync_channel::<Vec<u8>>(PIECES_MAX + 2);
        while self.sealer.wanted().is_some() {
            let mut bytes = spare.try_recv().unwrap_or_default();
            bytes.clear();
            bytes.reserve_exact(PIECE_CHUNKS * SEALED_CHUNK_BYTES);
            for _ in 0..PIECE_CHUNKS {
                if !self.read()? {
                    break;
                }
                self.sealer.seal(&self.plain, &mut bytes);
            }
            let piece = Lent { bytes, skip: std::mem::take(&mut skip), back: back.clone() };
            if to.blocking_send(Bytes::from_owner(piece)).is_err() {
                return Ok(());
            }
        }
        Ok(())
    }

    /// The SHA-256 of the whole file, if it did not change meanwhile.
    pub(crate) async fn finish(mut self, saved: &SavedUpload) -> Result<[u8; 32]> {
        let saved = saved.clone();
        blocking(move || {
            // All of it may be on the server since an earlier try: it is only hashed then.
            self.go_to(chunks(saved.size))?;
            same(&self.file, &saved)?;
            Ok(self.sealer.sha256())
        })
        .await
    }

    /// Goes to the beginning of a chunk, back or forth; hashes what it was not at yet.
    fn go_to(&mut self, chunk: u64) -> Result<()> {
        if self.sealer.done() > chunk {
            self.marks.truncate(self.marks.partition_point(|mark| mark.done() <= chunk));
            // The first mark is the file's start.
            if let Some(mark) = self.marks.back() {
                self.sealer = mark.clone();
            }
        }
        self.file.seek(SeekFrom::Start(self.sealer.done() * CHUNK_BYTES as u64)).map_err(failed)?;
        while self.sealer.done() < chunk && self.read()? {
            self.sealer.pass(&self.plain);
        }
        Ok(())
    }

    /// Reads the next chunk; `false` behind the last one.
    fn read(&mut self) -> Result<bool> {
        let Some(wanted) = self.sealer.wanted() else { return Ok(false) };
        if self.sealer.done().is_multiple_of(MARK_CHUNKS) {
            self.mark();
        }
        self.plain.resize(wanted, 0);
        self.file.read_exact(&mut self.plain).map_err(failed)?;
        Ok(true)
    }

    /// Remembers where it is, and forgets the oldest mark but the file's start.
    fn mark(&mut self) {
        if self.marks.back().is_none_or(|last| last.done() < self.sealer.done()) {
            self.marks.push_back(self.sealer.clone());
        }
        if self.marks.len() > MARKS_MAX {
            self.marks.remove(1);
        }
    }
}

fn same(file: &LocalFile, saved: &SavedUpload) -> Result<()> {
    if identity(file).map_err(failed)? == (saved.size, saved.modified_ns) {
        return Ok(());
    }
    let detail = format!("{} has changed since it was to be sent; send it again", saved.path);
    Err(Error::new(ErrorKind::File, detail))
}

fn failed(error: io::Error) -> Error {
    Error::with(ErrorKind::File, format!("the file can not be read: {error}"), error)
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T> + Send + 'static,
) -> Result<T> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(given_up)?
}

fn given_up(error: tokio::task::JoinError) -> Error {
    Error::with(ErrorKind::File, "reading the file was given up", error)
}
