//! A file as a row of objects: what is told, when objects are missing, made by others, or refused.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    },
};

use anser_proto::{Code, FileId};
use async_trait::async_trait;
use axum::body::{Body, Bytes};
use futures_util::{StreamExt as _, TryStreamExt as _, stream, stream::BoxStream};
use object_store::{
    CopyOptions, Error, GetOptions, GetResult, ListResult, MultipartUpload, ObjectMeta,
    ObjectStore, ObjectStoreExt as _, PutMultipartOptions, PutOptions, PutPayload, PutResult,
    Result, memory::InMemory, path::Path,
};

use crate::{
    config,
    files::{Append, Appended, Files},
};

const ID: FileId = FileId(7);
const MIB: usize = 1024 * 1024;
const SIZE: usize = 20 * MIB + 17;

fn bytes(size: usize) -> Bytes {
    (0..size).map(|at| (at * 31 % 251) as u8 ^ (at >> 16) as u8).collect()
}

/// A store of objects in memory that can be away.
#[derive(Debug, Default)]
struct Objects {
    inner: InMemory,
    /// Requests to make an object that go well; those after them fail.
    puts_left: Option<AtomicUsize>,
    /// Every answer to making an object is lost, once made.
    forgets: AtomicBool,
}

impl fmt::Display for Objects {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("objects")
    }
}

fn away() -> Error {
    Error::Generic { store: "objects", source: "it is away".into() }
}

#[async_trait]
impl ObjectStore for Objects {
    async fn put_opts(&self, at: &Path, what: PutPayload, how: PutOptions) -> Result<PutResult> {
        if let Some(left) = &self.puts_left
            && left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(1)).is_err()
        {
            return Err(away());
        }
        if self.forgets.load(Relaxed) {
            // As the library does it: the same once more.
            self.inner.put_opts(at, what.clone(), how.clone()).await?;
        }
        self.inner.put_opts(at, what, how).await
    }

    async fn put_multipart_opts(
        &self,
        at: &Path,
        how: PutMultipartOptions,
    ) -> Result<Box<dyn MultipartUpload>> {
        self.inner.put_multipart_opts(at, how).await
    }

    async fn get_opts(&self, at: &Path, how: GetOptions) -> Result<GetResult> {
        self.inner.get_opts(at, how).await
    }

    fn delete_stream(
        &self,
        paths: BoxStream<'static, Result<Path>>,
    ) -> BoxStream<'static, Result<Path>> {
        self.inner.delete_stream(paths)
    }

    fn list(&self, prefix: Option<&Path>) -> BoxStream<'static, Result<ObjectMeta>> {
        self.inner.list(prefix)
    }

    async fn list_with_delimiter(&self, prefix: Option<&Path>) -> Result<ListResult> {
        self.inner.list_with_delimiter(prefix).await
    }

    async fn copy_opts(&self, from: &Path, to: &Path, how: CopyOptions) -> Result<()> {
        self.inner.copy_opts(from, to, how).await
    }
}

/// A server of those that share a store.
fn server(objects: &Arc<Objects>) -> Files {
    Files::in_objects(objects.clone(), config::Files::default())
}

async fn append(files: &Files, offset: u64, size: usize, body: Body) -> Appended {
    let writing = files.writing(ID).await.unwrap().expect("nobody writes");
    files.append(Append { writing, offset, size: size as u64, body }).await.unwrap()
}

async fn names(objects: &Objects) -> Vec<(String, u64)> {
    let all: Vec<_> = objects.inner.list(None).try_collect().await.unwrap();
    all.into_iter().map(|object| (object.location.to_string(), object.size)).collect()
}

async fn read(files: &Files, range: std::ops::Range<u64>) -> Option<Vec<u8>> {
    let pieces: Vec<Bytes> = files.read(ID, range).await.unwrap()?.try_collect().await.unwrap();
    Some(pieces.concat())
}

/// Pieces as a connection gives them.
fn pieces(bytes: &Bytes) -> Vec<std::io::Result<Bytes>> {
    bytes.chunks(100_000).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect()
}

fn body(bytes: &Bytes) -> Body {
    Body::from_stream(stream::iter(pieces(bytes)))
}

/// The connection breaks behind the bytes.
fn broken(bytes: &Bytes) -> Body {
    let cut = Err(std::io::Error::other("cut"));
    Body::from_stream(stream::iter(pieces(bytes).into_iter().chain([cut])))
}

#[tokio::test]
async fn a_file_is_a_row_of_objects_and_any_range_of_it_is_had() {
    let objects = Arc::new(Objects::default());
    let (files, all) = (server(&objects), bytes(SIZE));
    assert_eq!(files.synced_bytes(ID).await.unwrap(), None);
    assert_eq!(read(&files, 0..1).await, None);
    let done = append(&files, 0, SIZE, body(&all)).await;
    assert_eq!((done.offset, done.cut), (SIZE as u64, None));
    let stored = names(&objects).await;
    let sizes: Vec<_> = stored.iter().map(|(_, size)| *size).collect();
    assert_eq!(sizes.len(), 3, "8 MiB and a little, twice, and the rest: {stored:?}");
    assert_eq!(sizes.iter().sum::<u64>(), SIZE as u64);
    assert_eq!(stored[0].0, "files/7/0000000000000000");
    let first = sizes[0];
    for range in [
        0..1,
        0..SIZE as u64,
        first - 1..first + 1,
        first..first + 1,
        MIB as u64 - 1..SIZE as u64,
        SIZE as u64 - 1..SIZE as u64,
        5..5,
    ] {
        let wanted = &all[usize::try_from(range.start).unwrap()..][..range.clone().count()];
        assert!(read(&files, range.clone()).await.as_deref() == Some(wanted), "{range:?}");
    }
    assert_eq!(read(&files, 0..SIZE as u64 + 1).await, None, "it is not so long");
}

#[tokio::test]
async fn an_empty_file_is_there() {
    let objects = Arc::new(Objects::default());
    let files = server(&objects);
    let done = append(&files, 0, 0, Body::empty()).await;
    assert_eq!((done.offset, done.cut), (0, None));
    assert_eq!(files.synced_bytes(ID).await.unwrap(), Some(0));
    assert_eq!(read(&files, 0..0).await, Some(Vec::new()));
}

/// Wherever it breaks, another server goes on there.
#[tokio::test]
async fn an_upload_goes_on_at_another_server_where_it_broke() {
    let all = bytes(SIZE);
    for cut in [0, 1, 8 * MIB - 1, 8 * MIB, 9 * MIB, 17 * MIB, SIZE - 1] {
        let objects = Arc::new(Objects::default());
        let done = append(&server(&objects), 0, SIZE, broken(&all.slice(..cut))).await;
        assert_eq!((done.offset, done.cut), (cut as u64, Some(Code::Malformed)));
        let other = server(&objects);
        assert_eq!(other.synced_bytes(ID).await.unwrap().unwrap_or(0), cut as u64);
        let done = append(&other, cut as u64, SIZE, body(&all.slice(cut..))).await;
        assert_eq!((done.offset, done.cut), (SIZE as u64, None));
        assert!(read(&other, 0..SIZE as u64).await.unwrap() == all, "{cut}");
    }
}

#[tokio::test]
async fn a_store_that_goes_away_keeps_the_row_up_to_its_last_object() {
    let puts_left = Some(AtomicUsize::new(1));
    let objects = Arc::new(Objects { puts_left, ..Objects::default() });
    let (files, all) = (server(&objects), bytes(SIZE));
    let done = append(&files, 0, SIZE, body(&all)).await;
    assert_eq!(done.cut, Some(Code::Unavailable));
    assert_eq!(files.synced_bytes(ID).await.unwrap(), Some(done.offset));
    assert!(done.offset >= 8 * MIB as u64 && done.offset < 9 * MIB as u64, "{}", done.offset);
    objects.puts_left.as_ref().unwrap().store(usize::MAX, Relaxed);
    let rest = all.slice(usize::try_from(done.offset).unwrap()..);
    let done = append(&files, done.offset, SIZE, body(&rest)).await;
    assert_eq!((done.offset, done.cut), (SIZE as u64, None));
    assert!(read(&files, 0..SIZE as u64).await.unwrap() == all);
}

/// The answer to making an object got lost: the second try finds it there.
#[tokio::test]
async fn an_object_that_was_made_by_a_try_before_is_taken_for_made() {
    let objects = Arc::new(Objects::default());
    objects.forgets.store(true, Relaxed);
    let (files, all) = (server(&objects), bytes(SIZE));
    let done = append(&files, 0, SIZE, body(&all)).await;
    assert_eq!((done.offset, done.cut), (SIZE as u64, None));
    assert!(read(&files, 0..SIZE as u64).await.unwrap() == all);
}

/// Two servers take the same upload at once: the later one stops, and nothing is written over.
#[tokio::test]
async fn what_one_server_stored_is_not_written_over_by_another() {
    let objects = Arc::new(Objects::default());
    let (one, other) = (server(&objects), server(&objects));
    let (all, lie) = (bytes(SIZE), Bytes::from(vec![7; SIZE]));
    let late = {
        let (one, objects, all) = (one.clone(), objects.clone(), all.clone());
        // Its first piece comes when the other one is done, its offset was looked at before.
        stream::once(async move {
            append(&one, 0, SIZE, broken(&all.slice(..9 * MIB))).await;
            assert_eq!(names(&objects).await.len(), 2);
            Ok(Bytes::new())
        })
    };
    let late = late.chain(stream::iter(pieces(&lie)));
    let done = append(&other, 0, SIZE, Body::from_stream(late)).await;
    assert_eq!((done.offset, done.cut), (0, Some(Code::OffsetConflict)));
    assert_eq!(one.synced_bytes(ID).await.unwrap(), Some(9 * MIB as u64));
    assert!(read(&one, 0..9 * MIB as u64).await.unwrap() == all[..9 * MIB]);
    let done = append(&other, 5, SIZE, body(&all)).await;
    assert_eq!((done.offset, done.cut), (9 * MIB as u64, Some(Code::OffsetConflict)));
}

#[tokio::test]
async fn objects_behind_a_gap_do_not_count_and_are_removed_with_the_rest() {
    let objects = Arc::new(Objects::default());
    let files = server(&objects);
    append(&files, 0, SIZE, body(&bytes(SIZE))).await;
    let all = names(&objects).await;
    objects.inner.delete(&Path::from(&*all[1].0)).await.unwrap();
    assert_eq!(files.synced_bytes(ID).await.unwrap(), Some(all[0].1));
    assert_eq!(read(&files, 0..SIZE as u64).await, None, "told before the first byte");
    let other = FileId(70);
    objects.inner.put(&Path::from("files/70/0000000000000000"), "x".into()).await.unwrap();
    let writing = files.writing(ID).await.unwrap().expect("nobody writes");
    files.remove(writing).await.unwrap();
    assert_eq!(names(&objects).await.len(), 1, "another file's");
    assert_eq!(files.synced_bytes(other).await.unwrap(), Some(1));
    let writing = files.writing(ID).await.unwrap().expect("nobody writes");
    files.remove(writing).await.expect("again is no error");
}
