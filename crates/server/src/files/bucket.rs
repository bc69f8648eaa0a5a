//! Files in an S3-compatible store: a file is a row of objects, each named by the offset at which
//! its bytes begin.
//!
//! ```text
//! PREFIX/FILE/0000000000000000   8 MiB
//! PREFIX/FILE/00000000008388608  8 MiB
//! PREFIX/FILE/0000000016777216   the rest
//! ```
//!
//! A listing tells how far a file is, to every server and after every crash: where the row from 0
//! on has its first gap. S3's own multipart uploads would need their id and the tags of their
//! parts kept elsewhere. An object is made once and never written over (`If-None-Match`), so two
//! servers that take the same upload can not undo each other's: the later one stops.

mod read;
#[cfg(test)]
mod tests;
mod write;

use std::{sync::Arc, time::Duration};

use anser_proto::FileId;
use futures_util::{StreamExt as _, TryStreamExt as _};
use object_store::{ClientOptions, ObjectStore, RetryConfig, aws::AmazonS3Builder, path::Path};

use super::{Failure, Writing};
use crate::config;

/// A store of objects, or what of it is below a prefix.
#[derive(Clone)]
pub(super) struct Bucket {
    objects: Arc<dyn ObjectStore>,
    prefix: Path,
}

/// An object of a file.
struct Part {
    start: u64,
    bytes: u64,
    path: Path,
}

impl Part {
    fn end(&self) -> u64 {
        self.start + self.bytes
    }
}

impl Bucket {
    pub(super) fn new(objects: Arc<dyn ObjectStore>, prefix: Path) -> Self {
        Self { objects, prefix }
    }

    /// The store that a configuration names.
    pub(super) fn open(config: &config::Files, address: &config::Bucket) -> Result<Self, Failure> {
        let retry = RetryConfig {
            max_retries: RETRIES_MAX,
            retry_timeout: RETRY_TIME_MAX,
            ..RetryConfig::default()
        };
        let options = ClientOptions::new().with_timeout(REQUEST_TIME_MAX).with_allow_http(true);
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(&address.bucket)
            .with_region(&config.s3_region)
            .with_access_key_id(&config.s3_access_key_id)
            .with_secret_access_key(config.s3_secret_access_key.reveal())
            .with_client_options(options)
            .with_retry(retry);
        if let Some(endpoint) = &config.s3_endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        Ok(Self::new(Arc::new(builder.build()?), Path::from(&*address.prefix)))
    }

    /// Whether it answers, and takes this server for one that may read it.
    pub(super) async fn check(&self) -> Result<(), Failure> {
        self.objects.list(Some(&self.prefix)).next().await.transpose()?;
        Ok(())
    }

    pub(super) async fn stored_bytes(&self, id: FileId) -> Result<Option<u64>, Failure> {
        Ok(self.parts(id).await?.last().map(Part::end))
    }

    pub(super) async fn remove(&self, writing: &Writing) -> Result<(), Failure> {
        // All of them, also those behind a gap.
        let listed = self.objects.list(Some(&self.folder(writing.id())));
        let paths = listed.map_ok(|object| object.location).boxed();
        let removed = self.objects.delete_stream(paths);
        let gone = |result: &Result<Path, object_store::Error>| {
            let is_gone = matches!(result, Err(object_store::Error::NotFound { .. }));
            std::future::ready(!is_gone)
        };
        removed.filter(gone).try_for_each(|_| std::future::ready(Ok(()))).await?;
        Ok(())
    }

    /// The row of a file's objects, from 0 on, without a gap.
    async fn parts(&self, id: FileId) -> Result<Vec<Part>, Failure> {
        let listed = self.objects.list(Some(&self.folder(id)));
        let part = |object: object_store::ObjectMeta| {
            let start = object.location.filename()?.parse().ok()?;
            Some(Part { start, bytes: object.size, path: object.location })
        };
        let parts = listed.try_filter_map(|object| std::future::ready(Ok(part(object))));
        let mut parts: Vec<_> = parts.try_collect().await?;
        parts.sort_by_key(|part| part.start);
        let mut end = 0;
        let follow = parts.iter().take_while(|part| {
            let follows = part.start == end;
            end = part.end();
            follows
        });
        let count = follow.count();
        parts.truncate(count);
        Ok(parts)
    }

    fn folder(&self, id: FileId) -> Path {
        self.prefix.clone().join(id.to_string())
    }

    fn part(&self, id: FileId, start: u64) -> Path {
        self.folder(id).join(format!("{start:016}"))
    }
}

/// Tries of one request, and their time: longer, and the client would not wait for the answer.
const RETRIES_MAX: usize = 3;
const RETRY_TIME_MAX: Duration = Duration::from_secs(15);
/// One request: 8 MiB at a third of a MiB a second.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(25);
