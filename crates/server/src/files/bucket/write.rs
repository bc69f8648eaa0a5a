//! Adding to a file: one object is stored while the bytes of the next one come.

use std::sync::Arc;

use anser_proto::{Code, FileId};
use axum::body::Bytes;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, path::Path};
use tokio::task::JoinHandle;

use super::{Bucket, Part};
use crate::files::{Append, Appended, Failure, Writing, incoming::Incoming};

/// The end of a file that grows.
struct Tail<'a> {
    bucket: &'a Bucket,
    id: FileId,
    /// An object that is still being stored when the request is given up must keep others away.
    writing: Arc<Writing>,
    /// What is not being stored yet, and where it begins.
    buffer: Vec<u8>,
    begin: u64,
    /// Where the file ends for good.
    stored: u64,
    /// The object that is being stored, and where it ends.
    put: Option<(JoinHandle<Result<(), Error>>, u64)>,
    cut: Option<Code>,
}

impl Bucket {
    pub(in crate::files) async fn append(&self, append: Append) -> Result<Appended, Failure> {
        let Append { writing, offset, size, body } = append;
        let id = writing.id();
        let parts = self.parts(id).await?;
        let known = parts.last().map_or(0, Part::end);
        if known != offset {
            // Another server was faster.
            return Ok(Appended { offset: known, cut: Some(Code::OffsetConflict) });
        }
        let mut tail = Tail {
            bucket: self,
            id,
            writing: Arc::new(writing),
            buffer: Vec::new(),
            begin: offset,
            stored: offset,
            put: None,
            cut: None,
        };
        let mut incoming = Incoming::new(body, size - offset);
        while tail.cut.is_none()
            && let Some(piece) = incoming.next().await
        {
            tail.buffer.extend_from_slice(&piece);
            if tail.buffer.len() >= PART_BYTES {
                tail.store().await;
            }
        }
        let is_end = tail.begin + tail.buffer.len() as u64 == size;
        if is_end || parts.len() < SHORT_PARTS_MAX && !tail.buffer.is_empty() {
            tail.store().await;
        }
        tail.stored().await;
        Ok(Appended { offset: tail.stored, cut: tail.cut.or(incoming.cut) })
    }
}

impl Tail<'_> {
    /// Begins to store the buffer, when the object before it is stored.
    async fn store(&mut self) {
        self.stored().await;
        if self.cut.is_some() || self.begin > 0 && self.buffer.is_empty() {
            return;
        }
        let bytes = Bytes::from(std::mem::take(&mut self.buffer));
        let path = self.bucket.part(self.id, self.begin);
        self.begin += bytes.len() as u64;
        let (objects, held) = (self.bucket.objects.clone(), Arc::clone(&self.writing));
        let put = tokio::spawn(async move {
            let _held = held;
            put(&*objects, &path, bytes).await
        });
        self.put = Some((put, self.begin));
    }

    /// Waits for the object that is being stored.
    async fn stored(&mut self) {
        let Some((put, end)) = self.put.take() else { return };
        match put.await {
            Ok(Ok(())) => self.stored = end,
            Ok(Err(Error::AlreadyExists { .. })) => self.cut = Some(Code::OffsetConflict),
            Ok(Err(error)) => self.fail(&error),
            Err(error) => self.fail(&error),
        }
    }

    fn fail(&mut self, error: &dyn std::error::Error) {
        tracing::warn!(file = %self.id, %error, "a part of a file is not stored");
        self.cut = Some(Code::Unavailable);
    }
}

/// Makes an object, once. One of the same bytes is this one: a try before this may have made it,
/// and its answer got lost.
async fn put(objects: &dyn ObjectStore, path: &Path, bytes: Bytes) -> Result<(), Error> {
    match objects.put_opts(path, bytes.clone().into(), PutMode::Create.into()).await {
        Err(Error::AlreadyExists { path: told, source }) => {
            let is_this = objects.get(path).await?.bytes().await? == bytes;
            if is_this { Ok(()) } else { Err(Error::AlreadyExists { path: told, source }) }
        }
        other => other.map(drop),
    }
}

/// Bytes of an object, or a little more. Two of them are in memory for an upload.
const PART_BYTES: usize = 8 * 1024 * 1024;
/// Shorter objects, which each end of a request makes, are stored until a file has so many: as S3
/// has it for the parts of an upload. Then what does not fill one waits for the next request.
const SHORT_PARTS_MAX: usize = 10_000;
