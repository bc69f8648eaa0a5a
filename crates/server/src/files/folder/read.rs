//! Reading a part of a file, piece by piece.

use std::{
    fs::{File, OpenOptions},
    io,
    ops::Range,
    sync::Arc,
};

use anser_proto::FileId;
use axum::body::Bytes;
use futures_util::{
    Stream, StreamExt as _,
    stream::{self, BoxStream},
};

use super::{
    Folder, blocking,
    direct::{BLOCK_BYTES, Ways},
    found,
};

/// A part of a file that is open.
struct Piece {
    file: Arc<Ways>,
    range: Range<u64>,
}

impl Folder {
    /// Opens a part of a file; `None`: it is not there, or shorter.
    pub(in crate::files) async fn read(
        &self,
        id: FileId,
        range: Range<u64>,
    ) -> io::Result<Option<BoxStream<'static, io::Result<Bytes>>>> {
        let (path, is_shared) = (self.file(id), self.is_shared());
        blocking(move || {
            let Some(file) = found(File::open(&path))? else { return Ok(None) };
            let bytes = file.metadata()?.len();
            let file = Ways::new(file, (&path, is_shared), bytes, OpenOptions::new().read(true));
            let piece = Piece { file: Arc::new(file), range };
            Ok((bytes >= piece.range.end).then(|| pieces(piece).boxed()))
        })
        .await
    }
}

fn pieces(piece: Piece) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold(piece, |Piece { file, range }| async move {
        if range.is_empty() {
            return Ok(None);
        }
        let end = range.end.min(range.start + READ_BYTES - range.start % BLOCK_BYTES as u64);
        let (from, opened) = (range.start, Arc::clone(&file));
        let bytes = blocking(move || opened.read(from..end)).await?;
        Ok(Some((bytes, Piece { file, range: end..range.end })))
    })
}

/// Bytes of one read.
const READ_BYTES: u64 = 256 * 1024;
