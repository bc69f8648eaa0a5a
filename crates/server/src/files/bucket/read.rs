//! Reading a part of a file across its objects.

use std::{io, ops::Range};

use anser_proto::FileId;
use axum::body::Bytes;
use futures_util::{
    StreamExt as _,
    stream::{self, BoxStream},
};
use object_store::{Error, ObjectStoreExt as _};

use super::{Bucket, Part};
use crate::files::Failure;

impl Bucket {
    pub(in crate::files) async fn read(
        &self,
        id: FileId,
        range: Range<u64>,
    ) -> Result<Option<BoxStream<'static, io::Result<Bytes>>>, Failure> {
        let parts = self.parts(id).await?;
        if parts.last().is_none_or(|last| last.end() < range.end) {
            return Ok(None);
        }
        let wanted = move |part: Part| {
            let (from, to) = (range.start.max(part.start), range.end.min(part.end()));
            let starts = (from..to).step_by(READ_BYTES);
            starts.map(move |at| {
                let end = (at + READ_BYTES as u64).min(to);
                (part.path.clone(), at - part.start..end - part.start)
            })
        };
        let mut wanted = parts.into_iter().flat_map(wanted);
        let Some((path, first)) = wanted.next() else { return Ok(Some(stream::empty().boxed())) };
        // Now, because an answer that has begun can not say any more that something is missing.
        let first = match self.objects.get_range(&path, first).await {
            Ok(bytes) => bytes,
            Err(Error::NotFound { .. }) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let objects = self.objects.clone();
        let rest = stream::iter(wanted).map(move |(path, range)| {
            let objects = objects.clone();
            async move { objects.get_range(&path, range).await.map_err(io::Error::other) }
        });
        Ok(Some(stream::once(async { Ok(first) }).chain(rest.buffered(READ_AHEAD)).boxed()))
    }
}

/// Bytes of one request to the store: short enough not to be cut by its time limit because the
/// reader is slow.
const READ_BYTES: usize = 1024 * 1024;
/// Requests at a time. What they bring is in memory for a download.
const READ_AHEAD: usize = 4;
