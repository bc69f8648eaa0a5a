//! The local side of an upload: reads a file, seals it part by part, and hashes what it read. Work
//! on a disk and with a cipher, so it is done where it blocks nobody.

use std::{
    fs::File as LocalFile,
    io::{self, Read as _},
};

use anser_proto::seal::{
    Key,
    file::{CHUNK_BYTES, SEALED_CHUNK_BYTES, Sealer},
};
use bytes::Bytes;
use sha2::{Digest as _, Sha256};

use crate::{
    error::{Error, ErrorKind, Result},
    storage::SavedUpload,
    upload::identity,
};

/// A file that is being sealed, from its start to its end.
pub(crate) struct Reader {
    file: LocalFile,
    sealer: Sealer,
    hash: Sha256,
    key: Key,
    size: u64,
    /// The chunk that is read next.
    chunk: u64,
    plain: Vec<u8>,
}

/// Sealed bytes, and where in the sealed file they begin.
pub(crate) struct Part {
    start: u64,
    bytes: Bytes,
}

impl Part {
    pub(crate) fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    /// Its memory, for another part; empty when somebody still holds it.
    pub(crate) fn recycle(self) -> Vec<u8> {
        self.bytes.try_into_mut().map_or_else(|_| Vec::new(), Vec::from)
    }

    /// The bytes from an offset on; `None`: they are not in here, or none are left.
    pub(crate) fn from(&self, offset: u64) -> Option<Bytes> {
        let skip = usize::try_from(offset.checked_sub(self.start)?).ok()?;
        (skip < self.bytes.len()).then(|| self.bytes.slice(skip..))
    }
}

impl Reader {
    /// Opens the file, if it is still the one that was to be sent.
    pub(crate) async fn open(saved: &SavedUpload) -> Result<Self> {
        let (saved, key) = (saved.clone(), Key::new(saved.key));
        blocking(move || {
            let file = LocalFile::open(&saved.path).map_err(failed)?;
            same(&file, &saved)?;
            let sealer = Sealer::new(key.clone(), saved.size, 0);
            let (size, hash) = (saved.size, Sha256::new());
            Ok(Self { file, sealer, hash, key, size, chunk: 0, plain: Vec::new() })
        })
        .await
    }

    /// Seals about `wanted` bytes from an offset of the sealed file on; what is before it is only
    /// hashed. Offsets never go back. The part is empty at the file's end. Its memory is that of an
    /// earlier one: what is freed by one thread is not soon used by another.
    pub(crate) async fn part(
        mut self,
        offset: u64,
        wanted: usize,
        mut sealed: Vec<u8>,
    ) -> Result<(Self, Part)> {
        blocking(move || {
            let first = offset / SEALED_CHUNK_BYTES as u64;
            while self.chunk < first {
                self.sealer = Sealer::new(self.key.clone(), self.size, self.chunk + 1);
                self.read(CHUNK_BYTES)?;
            }
            sealed.clear();
            sealed.reserve_exact(wanted + SEALED_CHUNK_BYTES);
            while sealed.len() < wanted
                && let Some(bytes) = self.sealer.wanted()
            {
                self.read(bytes)?;
                self.sealer.seal(&self.plain, &mut sealed);
            }
            let skip = usize::try_from(offset - first * SEALED_CHUNK_BYTES as u64).unwrap_or(0);
            let bytes = Bytes::from(sealed);
            let part = Part { start: offset, bytes: bytes.slice(skip.min(bytes.len())..) };
            Ok((self, part))
        })
        .await
    }

    /// The SHA-256 of the whole file, if it did not change meanwhile.
    pub(crate) async fn finish(mut self, saved: &SavedUpload) -> Result<[u8; 32]> {
        let saved = saved.clone();
        blocking(move || {
            // All of it is on the server since an earlier try: it is only hashed then.
            while let Some(bytes) = self.sealer.wanted() {
                self.read(bytes)?;
                self.sealer = Sealer::new(self.key.clone(), self.size, self.chunk);
            }
            same(&self.file, &saved)?;
            Ok(self.hash.finalize().into())
        })
        .await
    }

    /// Reads and hashes the next chunk.
    fn read(&mut self, bytes: usize) -> Result<()> {
        self.plain.resize(bytes, 0);
        self.file.read_exact(&mut self.plain).map_err(failed)?;
        self.hash.update(&self.plain);
        self.chunk += 1;
        Ok(())
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
    done.map_err(|error| Error::with(ErrorKind::File, "reading the file was given up", error))?
}
