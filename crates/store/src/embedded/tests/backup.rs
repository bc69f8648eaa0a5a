//! Backup and restore.

use std::os::unix::fs::PermissionsExt as _;
use std::sync::Arc;

use anser_proto::{ConversationId, SessionId, UserId};

use super::{Folder, options};
use crate::contract::World;
use crate::embedded::{Embedded, OpenError, restore};
use crate::{Greeting, Hello, HistoryRange, Outcome};

#[tokio::test]
async fn a_backup_restores_everything_under_a_new_epoch() {
    let folder = Folder::new();
    let world = World::open(&folder).await;
    let (alice, bob, conversation) = world.friends().await;
    world.store.claim_key_check(vec![0xab; 9]).await.unwrap();
    world.commit((1..=30).map(|n| alice.send(n, conversation, "honk")).collect()).await;
    world.commit(vec![bob.ack(20, &[(conversation, 19)]), bob.read(1, conversation, 7)]).await;
    let epoch = world.store.meta().await.unwrap().epoch;

    let to = folder.0.path().join("backup");
    // Written while serving: what comes during and after it is not in it.
    let (report, _) = tokio::join!(
        world.store.backup(&to),
        world.commit(vec![bob.send(2, conversation, "in it or not")])
    );
    let report = report.unwrap();
    world.commit(vec![alice.send(31, conversation, "after")]).await;
    assert!(report.rows > 90 && report.bytes > 1000, "{report:?}");
    let sizes = std::fs::read_dir(&to).unwrap().map(|file| file.unwrap().metadata().unwrap().len());
    assert!(sizes.sum::<u64>() > report.bytes);
    assert!(world.store.backup(&to).await.is_err(), "not over another backup");

    let mode = |path: &std::path::Path| path.metadata().unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&to), 0o700, "password hashes and wrapped keys are in there");
    for file in std::fs::read_dir(&to).unwrap() {
        assert_eq!(mode(&file.unwrap().path()), 0o600);
    }
    let restored = tempfile::tempdir().unwrap();
    let other_key = restore(&to, restored.path(), &[0xcd; 9]).unwrap_err();
    assert!(matches!(other_key, OpenError::OtherKey(_)), "{other_key}");
    restore(&to, restored.path(), &[0xab; 9]).unwrap();
    let mut other = World::open(&folder_of(&restored)).await;
    let meta = other.store.meta().await.unwrap();
    assert_ne!(meta.epoch, epoch);
    assert_eq!(meta.key_check, Some(vec![0xab; 9]));
    for user in [alice.user, bob.user] {
        let (old, new) = (world.inbox(user, 0).await, other.inbox(user, 0).await);
        assert_eq!(old[..new.len()], new[..]);
        assert!(new.len() >= 31);
        assert_eq!(
            other.store.relations(user).await.unwrap(),
            world.store.relations(user).await.unwrap()
        );
    }
    assert_eq!(other.marks(conversation, bob.user).await, (19, 7));
    assert_eq!(other.positions(bob).await.1, 20);
    let history = other.store.history(bob.user, conversation, HistoryRange::Latest, 99).await;
    assert!(history.unwrap().unwrap().messages.len() >= 30);

    // The device sent 31 of which it forgot all; the restored store knows 30.
    let hello =
        Hello { session: SessionId(0), epoch, position: 33, outbox_head: 31, outbox_trimmed: 31 };
    let greeting = other.store.greet(alice.device, hello, 1).await.unwrap().unwrap();
    assert!(matches!(greeting, Greeting::Reset { outbox_position: 31, .. }), "{greeting:?}");
    assert_eq!(other.one(alice.send(32, conversation, "on")).await, Outcome::Applied);
    other.reopen(&folder_of(&restored)).await;
    assert_eq!(other.positions(alice).await.0, 32);
}

#[tokio::test]
async fn a_damaged_or_unfinished_backup_is_refused() {
    let folder = Folder::new();
    let world = World::open(&folder).await;
    let (alice, _, conversation) = world.friends().await;
    world.commit((1..=9).map(|n| alice.send(n, conversation, "honk")).collect()).await;
    let to = folder.0.path().join("backup");
    world.store.backup(&to).await.unwrap();
    let target = || tempfile::tempdir().unwrap();

    let manifest = std::fs::read_to_string(to.join("manifest")).unwrap();
    let refused = |text: &str| {
        std::fs::write(to.join("manifest"), text).unwrap();
        restore(&to, target().path(), &[]).unwrap_err()
    };
    assert!(refused(manifest.trim_end_matches("end\n")).to_string().contains("did not finish"));
    let newer = refused(&manifest.replace("schema 1\n", "schema 99\n"));
    assert!(matches!(newer, OpenError::NewerSchema { found: 99, .. }));
    let strange = refused(&manifest.replace("table im_message ", "table ../im_message "));
    assert!(strange.to_string().contains("not known"), "{strange}");
    for key_check in ["abc", "+a", "a", "zz"] {
        let line = format!("key_check {key_check}\n");
        let strange = refused(&manifest.replace("key_check -\n", &line));
        assert!(strange.to_string().contains("makes no sense"), "{strange}");
    }
    std::fs::write(to.join("manifest"), &manifest).unwrap();

    let rows = to.join("im_message.rows");
    let whole = std::fs::read(&rows).unwrap();
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    for damaged in [&flipped[..], &whole[..whole.len() - 1], &[&whole[..], &[0]].concat()] {
        std::fs::write(&rows, damaged).unwrap();
        let refused = restore(&to, target().path(), &[]).unwrap_err();
        assert!(refused.to_string().contains("im_message.rows"), "{refused}");
    }
    std::fs::write(&rows, &whole).unwrap();
    let full = target();
    std::fs::write(full.path().join("something"), b"").unwrap();
    assert!(matches!(restore(&to, full.path(), &[]), Err(OpenError::NotEmpty(_))));
    let data = target();
    restore(&to, data.path(), &[]).unwrap();
    assert!(matches!(restore(&to, data.path(), &[]), Err(OpenError::NotEmpty(_))), "not twice");
}

/// Opens stores in somebody else's folder.
struct Borrowed(std::path::PathBuf);

fn folder_of(folder: &tempfile::TempDir) -> Borrowed {
    Borrowed(folder.path().into())
}

#[async_trait::async_trait]
impl crate::contract::Factory for Borrowed {
    async fn open(&self) -> Arc<dyn crate::Store> {
        Arc::new(Embedded::open(options(&self.0)).unwrap())
    }

    async fn group(&self, _: &[UserId]) -> ConversationId {
        unreachable!("not of use here")
    }
}
