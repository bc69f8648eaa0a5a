//! Downloads: the sealed bytes of a file, opened as they come, from where a broken line left off.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use anser_proto::{
    fault::Fault,
    seal::file::{CHUNK_BYTES, Opener, SEALED_CHUNK_BYTES, chunks},
};
use sha2::{Digest as _, Sha256};
use tokio::{
    fs,
    io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWrite, AsyncWriteExt as _},
};

use crate::{
    client::Client,
    error::{Error, ErrorKind, Result},
    file::File,
    task::backoff,
};

/// A line that is silent for so long is taken for broken.
const SILENCE_MAX: Duration = Duration::from_secs(30);
/// Breaks in a row, without a byte between them, before the caller is told.
const TRIES_MAX: u32 = 8;
/// Where a download goes until it is whole.
const UNFINISHED: &str = ".anser-part";

/// What of a file is opened, checked and written.
struct Progress {
    hash: Sha256,
    /// Whole chunks.
    chunk: u64,
    plain: Vec<u8>,
}

impl Client {
    /// Fetches a file and writes its opened bytes, which are checked piece by piece; goes on by
    /// itself where a line breaks. `told` hears how many bytes are written. No more than some
    /// 100 KiB are in memory.
    ///
    /// When this returns, all of the file was written, and its SHA-256 is right. What was written
    /// before an error is a right beginning.
    ///
    /// # Errors
    /// `Damaged`: the bytes are not those that were sent. `Refused`: `not_found`, `file_gone`.
    /// `Unreachable`: try again. `File`: `to` does not take them.
    pub async fn download(
        &self,
        file: &File,
        to: &mut (impl AsyncWrite + Unpin + Send),
        mut told: impl FnMut(u64) + Send,
    ) -> Result<()> {
        let mut progress = Progress { hash: Sha256::new(), chunk: 0, plain: Vec::new() };
        self.fetch(file, &mut progress, to, &mut told).await?;
        finish(file, progress)
    }

    /// Fetches a file to a path. Until it is whole it is at `path` with `.anser-part` behind it,
    /// and another call goes on from there, also after a restart. Never replaces a file.
    ///
    /// # Errors
    /// As [`Client::download`]; `File` also when there is something at `path` already.
    pub async fn save(
        &self,
        file: &File,
        path: impl AsRef<Path>,
        mut told: impl FnMut(u64) + Send,
    ) -> Result<()> {
        let path = path.as_ref();
        let failed = |error: std::io::Error| {
            let detail = format!("{} can not be written: {error}", path.display());
            Error::with(ErrorKind::File, detail, error)
        };
        if fs::try_exists(path).await.map_err(failed)? {
            let detail = format!("{} exists; nothing was replaced", path.display());
            return Err(Error::new(ErrorKind::File, detail));
        }
        let mut name = path.as_os_str().to_owned();
        name.push(UNFINISHED);
        let unfinished = PathBuf::from(name);
        let mut options = fs::OpenOptions::new();
        let options = options.read(true).write(true).create(true).truncate(false);
        let mut to = options.open(&unfinished).await.map_err(failed)?;
        let mut progress = resume(file, &mut to).await.map_err(failed)?;
        told(progress.written(file));
        let fetched = self.fetch(file, &mut progress, &mut to, &mut told).await;
        to.flush().await.map_err(failed)?;
        to.sync_all().await.map_err(failed)?;
        fetched?;
        if let Err(error) = finish(file, progress) {
            // A beginning that somebody else wrote there would spoil each further try.
            fs::remove_file(&unfinished).await.map_err(failed)?;
            return Err(error);
        }
        // Unlike a rename, this fails when somebody made a file of that name meanwhile.
        fs::hard_link(&unfinished, path).await.map_err(failed)?;
        fs::remove_file(&unfinished).await.map_err(failed)
    }

    /// Fetches what lacks, over as many connections as it takes.
    async fn fetch(
        &self,
        file: &File,
        progress: &mut Progress,
        to: &mut (impl AsyncWrite + Unpin + Send),
        told: &mut (impl FnMut(u64) + Send),
    ) -> Result<()> {
        let mut tries = 0;
        while progress.chunk < chunks(file.size) {
            let before = progress.chunk;
            let stretched = self.stretch(file, progress, to, told).await;
            if Fault::CutDownload.is_on() && progress.chunk > 0 {
                return Ok(());
            }
            let Err(error) = stretched else { continue };
            tries = if progress.chunk > before { 0 } else { tries + 1 };
            if !error.is_retryable() || tries >= TRIES_MAX {
                return Err(error);
            }
            let bound = Duration::from_millis(100 << tries);
            tokio::time::sleep(backoff::jittered(bound, backoff::random())).await;
        }
        Ok(())
    }

    /// One connection.
    async fn stretch(
        &self,
        file: &File,
        progress: &mut Progress,
        to: &mut (impl AsyncWrite + Unpin + Send),
        told: &mut (impl FnMut(u64) + Send),
    ) -> Result<()> {
        let from = progress.chunk * SEALED_CHUNK_BYTES as u64;
        let mut answer = self.rest().fetch_file(file.id, from).await?;
        let mut opener = Opener::new(file.key.clone(), file.size, progress.chunk);
        let broken = |detail: &str| Error::new(ErrorKind::Unreachable, detail);
        loop {
            let piece = tokio::time::timeout(SILENCE_MAX, answer.chunk()).await;
            let piece = piece.map_err(|_| broken("the server is silent"))?;
            let piece = piece.map_err(|error| {
                Error::with(ErrorKind::Unreachable, "the download broke", error)
            })?;
            let Some(piece) = piece else { break };
            progress.plain.clear();
            let opened = opener.open(&piece, &mut progress.plain);
            // What opened before a broken chunk is right.
            to.write_all(&progress.plain).await.map_err(|error| {
                Error::with(ErrorKind::File, format!("writing failed: {error}"), error)
            })?;
            progress.hash.update(&progress.plain);
            progress.chunk = opener.opened();
            opened.map_err(|_| damaged())?;
            if !progress.plain.is_empty() {
                told(progress.written(file));
                if Fault::CutDownload.is_on() {
                    return Ok(());
                }
            }
        }
        // The answer was whole, as HTTP goes: what lacks is not to be had.
        opener.finish().map_err(|_| damaged())
    }
}

impl Progress {
    fn written(&self, file: &File) -> u64 {
        (self.chunk * CHUNK_BYTES as u64).min(file.size)
    }
}

fn finish(file: &File, progress: Progress) -> Result<()> {
    let sha256: [u8; 32] = progress.hash.finalize().into();
    let is_it = sha256 == file.sha256 || Fault::CutDownload.is_on();
    if is_it { Ok(()) } else { Err(damaged()) }
}

fn damaged() -> Error {
    Error::new(ErrorKind::Damaged, "the file is not the one that was sent: it was changed or cut")
}

/// What an earlier call wrote, up to its last whole chunk; hashed, with the end behind it cut off.
async fn resume(file: &File, to: &mut fs::File) -> std::io::Result<Progress> {
    let mut progress = Progress { hash: Sha256::new(), chunk: 0, plain: vec![0; CHUNK_BYTES] };
    let whole = to.metadata().await?.len().min(file.size) / CHUNK_BYTES as u64;
    // The last chunk is always fetched: an empty or short one can not be told from a cut.
    for _ in 0..whole.min(chunks(file.size) - 1) {
        to.read_exact(&mut progress.plain).await?;
        progress.hash.update(&progress.plain);
        progress.chunk += 1;
    }
    let end = progress.chunk * CHUNK_BYTES as u64;
    to.set_len(end).await?;
    to.seek(std::io::SeekFrom::Start(end)).await?;
    Ok(progress)
}
