//! Reading a part of a file, piece by piece.

use std::{fs::File, io, ops::Range, os::unix::fs::FileExt as _, sync::Arc};

use anser_proto::FileId;
use axum::body::Bytes;
use futures_util::{
    Stream, StreamExt as _,
    stream::{self, BoxStream},
};

use super::{Folder, blocking, found};

/// A part of a file that is open.
struct Piece {
    file: Arc<File>,
    range: Range<u64>,
}

impl Folder {
    /// Opens a part of a file; `None`: it is not there, or shorter.
    pub(in crate::files) async fn read(
        &self,
        id: FileId,
        range: Range<u64>,
    ) -> io::Result<Option<BoxStream<'static, io::Result<Bytes>>>> {
        let path = self.file(id);
        blocking(move || {
            let Some(file) = found(File::open(path))? else { return Ok(None) };
            let is_whole = file.metadata()?.len() >= range.end;
            let piece = Piece { file: Arc::new(file), range };
            Ok(is_whole.then(|| pieces(piece).boxed()))
        })
        .await
    }
}

fn pieces(piece: Piece) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold(piece, |Piece { file, range }| async move {
        if range.is_empty() {
            return Ok(None);
        }
        let wanted = (range.end - range.start).min(READ_BYTES);
        let (from, opened) = (range.start, Arc::clone(&file));
        let read = move || {
            let mut bytes = vec![0; usize::try_from(wanted).unwrap_or(0)];
            opened.read_exact_at(&mut bytes, from)?;
            Ok(Bytes::from(bytes))
        };
        let bytes = blocking(read).await?;
        Ok(Some((bytes, Piece { file, range: from + wanted..range.end })))
    })
}

/// Bytes of one read.
const READ_BYTES: u64 = 256 * 1024;
