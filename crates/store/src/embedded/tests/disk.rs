//! Promise 9: a full disk refuses, and loses nothing.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use super::Folder;
use crate::contract::World;
use crate::embedded::{Embedded, Options};
use crate::{Batch, Devices, Outcome, StoreError};

#[tokio::test]
async fn p9_below_the_floor_commands_are_refused_until_there_is_room() {
    let folder = Folder::new();
    let free = Arc::new(AtomicU64::new(1000));
    let probe = Arc::clone(&free);
    let options = Options {
        disk_floor_bytes: 500,
        free_space: Some(Arc::new(move || probe.load(Relaxed))),
        ..folder.options()
    };
    let mut world = World::open(&folder).await;
    world.store.close().await.unwrap();
    world.store = Arc::new(Embedded::open(options).unwrap());
    let (alice, bob, conversation) = world.friends().await;
    world.commit(vec![alice.send(1, conversation, "fits")]).await;
    let before = world.inbox(bob.user, 0).await;

    free.store(499, Relaxed);
    for record in [alice.send(2, conversation, "too much"), bob.ack(2, &[(conversation, 1)])] {
        let batch = Batch { records: vec![record], now_ms: 1 };
        assert!(matches!(world.store.commit(batch).await, Err(StoreError::DiskFull)));
    }
    let invite = world.store.create_invite([1; 32], 1).await;
    assert!(matches!(invite, Err(StoreError::DiskFull)));
    assert_eq!(world.inbox(bob.user, 0).await, before, "reading goes on, nothing was lost");
    assert_eq!(world.positions(alice).await.0, 1, "nothing was consumed");
    let ended = world.store.revoke_devices(bob.user, Devices::All).await.unwrap();
    assert_eq!(ended, [bob.device], "a revocation can not wait");
    assert_eq!(world.store.stats().disk_free_bytes, 499);

    free.store(500, Relaxed);
    assert_eq!(world.one(alice.send(2, conversation, "too much")).await, Outcome::Applied);
    assert_eq!(world.inbox(bob.user, 0).await.len(), before.len() + 1);
}
