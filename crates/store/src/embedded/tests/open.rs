//! Opening: the lock, the schema, rests of a creation.

use super::{Folder, options};
use crate::contract::{Factory as _, World};
use crate::embedded::{Embedded, OpenError, SCHEMA, open};
use crate::{Store as _, StoreError};

#[tokio::test]
async fn a_second_server_is_refused_with_a_sentence() {
    let folder = Folder::new();
    let first = folder.open().await;
    let second = Embedded::open(folder.options()).map(drop).unwrap_err();
    assert!(matches!(second, OpenError::Locked(_)));
    assert!(second.to_string().contains("in use by another Anser server"), "{second}");
    first.close().await.unwrap();
    Embedded::open(folder.options()).unwrap().close().await.unwrap();
}

#[test]
fn a_process_that_is_being_started_does_not_keep_the_lock() {
    let folder = Folder::new();
    let lock = open::lock(folder.path()).unwrap();
    // What `fork` gives the child, until it runs its program.
    let _copy = lock.0.try_clone().unwrap();
    drop(lock);
    open::lock(folder.path()).unwrap();
}

#[tokio::test]
async fn a_data_folder_is_made_with_those_above_it() {
    let folder = Folder::new();
    let deep = folder.0.path().join("a/b/../b/data");
    for path in [&deep, &folder.0.path().join("data/")] {
        Embedded::open(options(path)).unwrap().close().await.unwrap();
        Embedded::open(options(path)).unwrap().close().await.unwrap();
    }
    let file = folder.0.path().join("file");
    std::fs::write(&file, b"").unwrap();
    for path in [&file, &file.join("data")] {
        let refused = Embedded::open(options(path)).map(drop).unwrap_err();
        assert!(matches!(refused, OpenError::Broken { .. }), "{refused}");
    }
}

#[tokio::test]
async fn a_newer_schema_is_refused_with_a_sentence() {
    let folder = Folder::new();
    let store = Embedded::open(folder.options()).unwrap();
    let newer = SCHEMA + 1;
    store
        .write(move |tx| {
            let key = super::super::keys::bytes(super::super::keys::META, b"schema");
            tx.put_bytes(&key, &newer.to_be_bytes());
            Ok(())
        })
        .await
        .unwrap();
    store.close().await.unwrap();
    let refused = Embedded::open(folder.options()).map(drop).unwrap_err();
    assert!(matches!(refused, OpenError::NewerSchema { found, .. } if found == newer));
    assert!(refused.to_string().contains("newer program"), "{refused}");
}

#[tokio::test]
async fn a_creation_that_did_not_end_is_begun_again() {
    let folder = Folder::new();
    let rests = folder.0.path().join("db.new");
    std::fs::create_dir_all(rests.join("keyspaces")).unwrap();
    std::fs::write(rests.join("0.jnl"), b"half").unwrap();
    let world = World::open(&folder).await;
    world.friends().await;
    assert!(!rests.exists());
}

#[tokio::test]
async fn a_closed_store_answers_unavailable() {
    let folder = Folder::new();
    let world = World::open(&folder).await;
    world.store.close().await.unwrap();
    world.store.close().await.unwrap();
    let unavailable = |error| matches!(error, StoreError::Unavailable(_));
    assert!(unavailable(world.store.meta().await.unwrap_err()));
    assert!(unavailable(world.store.commit(crate::Batch::default()).await.unwrap_err()));
    assert!(unavailable(world.store.create_invite([0; 32], 1).await.unwrap_err()));
}

#[test]
fn every_handle_gone_frees_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    drop(Embedded::open(options(folder.path())).unwrap());
    // The writer notices by itself; nobody is told when.
    let mut tries = 0;
    while let Err(error) = Embedded::open(options(folder.path())) {
        assert!(matches!(error, OpenError::Locked(_)), "{error}");
        tries += 1;
        assert!(tries < 1_000_000, "still locked");
        std::thread::yield_now();
    }
}
