//! The contract, kept by the embedded engine, and what only this engine promises.

mod backup;
mod disk;
mod dump;
mod fixture;
mod folder;
mod groups;
mod hand;
mod jobs;
mod kill;
mod open;
mod panic;
mod sessions;
mod tail;
mod verbs;

use std::sync::Arc;

use anser_proto::{ConversationId, UserId};
use async_trait::async_trait;

use super::rows::{ConversationRow, MemberRow};
use super::{Embedded, Options, keys};
use crate::Store;
use crate::contract::Factory;

/// A folder that stores are opened in.
pub(crate) struct Folder(tempfile::TempDir);

impl Folder {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        self.0.path()
    }

    fn options(&self) -> Options {
        options(self.0.path())
    }
}

/// Little memory, so that tests reach the disk, and no floor.
fn options(path: &std::path::Path) -> Options {
    Options { disk_floor_bytes: 0, memory_bytes: 0, ..Options::new(path) }
}

#[async_trait]
impl Factory for Folder {
    async fn open(&self) -> Arc<dyn Store> {
        Arc::new(Embedded::open(self.options()).unwrap())
    }

    /// What the files hold at this moment is what a killed process leaves.
    async fn crash(&self, store: Arc<dyn Store>) -> Arc<dyn Store> {
        let (db, image) = (self.0.path().join("db"), self.0.path().join("image"));
        folder::copy(&db, &image);
        store.close().await.unwrap();
        std::fs::remove_dir_all(&db).unwrap();
        std::fs::rename(&image, &db).unwrap();
        self.open().await
    }

    async fn group(&self, members: &[UserId]) -> ConversationId {
        let store = Embedded::open(self.options()).unwrap();
        let id = ConversationId::random();
        let users = members.to_vec();
        let row = ConversationRow {
            kind: 2,
            open: true,
            key_version: 1,
            members: users.iter().map(|user| user.0).collect(),
        };
        let write = store.write(move |tx| {
            tx.put(&keys::conversation(id), &row);
            for user in users {
                tx.put(&keys::member(id, user), &MemberRow::default());
                tx.put_bytes(&keys::membership(user, id), &[]);
            }
            Ok(())
        });
        write.await.unwrap();
        store.close().await.unwrap();
        id
    }
}

crate::contract!(Some(Folder::new()));
