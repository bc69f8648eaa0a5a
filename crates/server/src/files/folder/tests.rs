//! A folder that servers share, and a file that grows while it is looked at.

use std::{path::Path, sync::Arc};

use anser_proto::{Code, FileId};
use axum::body::{Body, Bytes};
use futures_util::{StreamExt as _, stream};
use tokio::sync::mpsc;

use crate::{
    config,
    files::{Append, Disk, Files},
};

const ID: FileId = FileId(0x107);

/// One of the servers that share a folder.
fn server(folder: &Path) -> Files {
    open(folder, true)
}

fn open(folder: &Path, shared: bool) -> Files {
    let config = config::Files { shared, ..config::Files::default() };
    let (free_space, syncs) = (Arc::new(|| u64::MAX), Arc::new(|| 0));
    Files::in_folder(folder, config, Disk { free_space, floor_bytes: 0, syncs }).unwrap()
}

#[tokio::test]
async fn one_server_writes_to_a_file_at_a_time() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (server(folder.path()), server(folder.path()));
    let writing = one.writing(ID).await.unwrap().expect("nobody writes");
    assert!(other.writing(ID).await.unwrap().is_none());
    assert!(one.writing(ID).await.unwrap().is_none());
    assert!(other.writing(FileId(0x207)).await.unwrap().is_some(), "another file");
    let body = Body::from("some bytes");
    let done = one.append(Append { writing, offset: 0, size: 10, body }).await.unwrap();
    assert_eq!((done.offset, done.cut), (10, None));
    let writing = other.writing(ID).await.unwrap().expect("the other is done");
    assert!(one.writing(ID).await.unwrap().is_none());
    other.remove(writing).await.unwrap();
    assert_eq!(one.synced_bytes(ID).await.unwrap(), None);
    assert!(one.writing(ID).await.unwrap().is_some());
    let locks = std::fs::read_dir(folder.path().join("locks")).unwrap();
    assert_eq!(locks.count(), 0, "none is left");
}

/// What a server that was killed left is taken over.
#[tokio::test]
async fn a_lock_ends_with_its_holder() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("locks")).unwrap();
    std::fs::write(folder.path().join("locks").join(ID.to_string()), "").unwrap();
    assert!(server(folder.path()).writing(ID).await.unwrap().is_some());
}

/// Blocks of a disk, and the bytes before and behind them, are written in different ways.
#[tokio::test]
async fn a_file_that_goes_on_anywhere_is_whole() {
    const BLOCK: usize = 4096;
    // One as long is kept out of the page cache.
    const SIZE: u64 = 16 << 20;
    let all: Vec<u8> = (0..2_000_003_u32).map(|at| (at % 251) as u8).collect();
    let cuts = [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 64 * BLOCK, 64 * BLOCK + 1, 200 * BLOCK];
    for (shared, piece) in [(false, 16 * BLOCK), (false, 70_001), (false, 1_000_003), (true, 7_001)]
    {
        let folder = tempfile::tempdir().unwrap();
        let files = open(folder.path(), shared);
        for (from, to) in cuts.into_iter().zip(cuts.into_iter().skip(1).chain([all.len()])) {
            let pieces: Vec<_> = all[from..to].chunks(piece).map(Bytes::copy_from_slice).collect();
            let pieces = pieces.into_iter().map(Ok::<_, std::io::Error>);
            let body = Body::from_stream(stream::iter(pieces));
            let writing = files.writing(ID).await.unwrap().expect("nobody writes");
            let append = Append { writing, offset: from as u64, size: SIZE, body };
            let done = files.append(append).await.unwrap();
            assert_eq!((done.offset, done.cut), (to as u64, None));
        }
        let stored = std::fs::read(folder.path().join("07").join(ID.to_string())).unwrap();
        assert!(stored == all, "in pieces of {piece}");
    }
}

/// Of a range, the blocks are read whole, and what is around it is left out.
#[tokio::test]
async fn any_range_of_a_long_file_is_read() {
    const LENGTH: u32 = 9_000_003;
    let all: Vec<u8> = (0..LENGTH).map(|at| (at % 251) as u8).collect();
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("07")).unwrap();
    std::fs::write(folder.path().join("07").join(ID.to_string()), &all).unwrap();
    for shared in [false, true] {
        let files = open(folder.path(), shared);
        for from in [0, 1, 4095, 4096, 262_143, 262_145, 8_999_000, LENGTH - 1, LENGTH] {
            for length in [0, 1, 5000, 600_000, LENGTH] {
                let to = LENGTH.min(from + length);
                let read = files.read(ID, from.into()..to.into()).await.unwrap();
                let Some(pieces) = read else { panic!("{from}..{to} of {LENGTH} is not there") };
                let read: Vec<Bytes> = pieces.map(Result::unwrap).collect().await;
                assert!(read.concat() == all[from as usize..to as usize], "{from}..{to}");
            }
        }
        assert!(files.read(ID, 5..u64::from(LENGTH) + 1).await.unwrap().is_none());
    }
}

/// Long enough for several syncs while more comes.
#[tokio::test]
async fn what_is_told_while_more_comes_is_a_right_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let files = server(folder.path());
    let all: Vec<u8> = (0..50_000_017_u32).map(|at| (at % 251) as u8).collect();
    let (give, taken) = mpsc::channel::<std::io::Result<Bytes>>(1);
    let body = stream::unfold(taken, async |mut taken| Some((taken.recv().await?, taken)));
    let writing = files.writing(ID).await.unwrap().expect("nobody writes");
    let size = all.len() as u64 + 1;
    let append = Append { writing, offset: 0, size, body: Body::from_stream(body) };
    let appending = tokio::spawn({
        let files = files.clone();
        async move { files.append(append).await.unwrap() }
    });
    let mut told = 0;
    for piece in all.chunks(1_000_003) {
        give.send(Ok(Bytes::copy_from_slice(piece))).await.unwrap();
        let now = files.synced_bytes(ID).await.unwrap().unwrap_or(0);
        assert!(now >= told, "it does not shrink");
        told = now;
    }
    assert!(told > 0);
    give.send(Err(std::io::Error::other("cut"))).await.unwrap();
    let done = appending.await.unwrap();
    assert_eq!((done.offset, done.cut), (all.len() as u64, Some(Code::Malformed)));
    let stored = std::fs::read(folder.path().join("07").join(ID.to_string())).unwrap();
    assert!(stored == all);
}
