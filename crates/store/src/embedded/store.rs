//! The verbs of [`Store`], each handed to the file that does it.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use anser_proto::{ConversationId, DeviceId, FileId, Seq, SessionId, UserId};
use async_trait::async_trait;
use tokio::sync::oneshot;

use super::engine::{Engine, Rows as _};
use super::relations;
use super::writer::{CommitJob, Job};
use super::{
    Embedded, SCHEMA, accounts, backup, closed, devices, files, greet, lists, open, prune, read,
};
use crate::*;

#[async_trait]
impl Store for Embedded {
    async fn meta(&self) -> Result<Meta> {
        let meta = |engine: &Engine| {
            let key_check = engine.view().get(&key_check_key())?.map(|check| check.to_vec());
            Ok(Meta { epoch: engine.epoch.clone(), schema: SCHEMA, key_check })
        };
        self.read(meta).await
    }

    async fn claim_key_check(&self, check: Vec<u8>) -> Result<Vec<u8>> {
        // A server must start on a full disk, too: what is stored can still be read.
        self.write_always(move |tx| {
            if let Some(known) = tx.get(&key_check_key())? {
                return Ok(known.to_vec());
            }
            tx.put_bytes(&key_check_key(), &check);
            Ok(check)
        })
        .await
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        let (answer, answered) = oneshot::channel();
        self.job(Job::Commit(CommitJob { batch, answer })).await?;
        answered.await.map_err(|_| closed())?
    }

    async fn greet(&self, device: DeviceId, hello: Hello, now_ms: u64) -> Result<Option<Greeting>> {
        // Before the snapshot is taken: what other sessions have under way is in it, or refused.
        let (arrived, answered) = oneshot::channel();
        self.job(Job::Arrive(device, hello.session, arrived)).await?;
        answered.await.map_err(|_| closed())?;
        let asked = hello.clone();
        let reply = self.read(move |engine| greet::decide(engine, device, &asked, now_ms)).await?;
        match reply {
            greet::Decision::Done(greeting) => Ok(greeting),
            greet::Decision::Seen(greeting) => {
                // May be lost: retention then looks at an older time, and at worst resets.
                let _ = self.inner.jobs.try_send(Job::Seen(device, now_ms));
                Ok(Some(greeting))
            }
            greet::Decision::Skip => {
                self.write_always(move |tx| greet::skip(tx, device, &hello, now_ms)).await
            }
        }
    }

    async fn leave(&self, device: DeviceId, session: SessionId) -> Result<()> {
        self.job(Job::Leave(device, session)).await
    }

    async fn sweep(&self, sessions: Vec<LiveSession>) -> Result<Swept> {
        self.read(move |engine| greet::sweep(engine, &sessions)).await
    }

    async fn read_inbox(&self, user: UserId, after: Seq, limit: PageLimit) -> Result<InboxPage> {
        self.read(move |engine| read::inbox(&engine.view(), user, after, limit)).await
    }

    async fn create_user(&self, new: NewUser) -> Result<CreateUser> {
        self.write(move |tx| accounts::create(tx, new)).await
    }

    async fn user(&self, by: UserKey) -> Result<Option<User>> {
        self.read(move |engine| accounts::find(&engine.view(), &by)).await
    }

    async fn users(&self, after: Option<UserId>, limit: usize) -> Result<Vec<User>> {
        self.read(move |engine| accounts::page(&engine.view(), after, limit)).await
    }

    async fn update_user(&self, user: UserId, change: UserChange) -> Result<Option<Vec<DeviceId>>> {
        // Locking somebody out must work on a full disk, too.
        self.write_always(move |tx| accounts::update(tx, user, change)).await
    }

    async fn remove_user(&self, user: UserId, _now_ms: u64) -> Result<Option<Removed>> {
        self.write_always(move |tx| accounts::remove(tx, user)).await
    }

    async fn create_invite(&self, code_hash: Hash, now_ms: u64) -> Result<()> {
        self.write(move |tx| accounts::invite(tx, code_hash, now_ms)).await
    }

    async fn create_device(&self, new: NewDevice) -> Result<Option<DeviceId>> {
        self.write(move |tx| devices::create(tx, new)).await
    }

    async fn devices(&self, user: UserId) -> Result<Vec<Device>> {
        self.read(move |engine| devices::list(&engine.view(), user)).await
    }

    async fn revoke_devices(&self, user: UserId, which: Devices) -> Result<Vec<DeviceId>> {
        self.write_always(move |tx| devices::revoke(tx, user, which)).await
    }

    async fn token(&self, token_hash: Hash) -> Result<Option<TokenOwner>> {
        self.read(move |engine| devices::token(&engine.view(), &token_hash)).await
    }

    async fn change_relation(&self, change: RelationChange) -> Result<RelationOutcome> {
        self.write(move |tx| relations::change(tx, &change)).await
    }

    async fn relations(&self, user: UserId) -> Result<Vec<Relation>> {
        self.read(move |engine| lists::relations(&engine.view(), user)).await
    }

    async fn conversations(&self, user: UserId) -> Result<Vec<Conversation>> {
        self.read(move |engine| lists::conversations(&engine.view(), user)).await
    }

    async fn snapshot(&self, user: UserId) -> Result<Snapshot> {
        self.read(move |engine| lists::snapshot(&engine.view(), user)).await
    }

    async fn history(
        &self,
        user: UserId,
        conversation: ConversationId,
        range: HistoryRange,
        limit: usize,
    ) -> Result<Option<History>> {
        let read = move |engine: &Engine| {
            read::history(&engine.view(), user, conversation, (range, limit))
        };
        self.read(read).await
    }

    async fn create_file(&self, new: NewFile) -> Result<CreateFile> {
        self.write(move |tx| files::create(tx, new)).await
    }

    async fn file(&self, user: UserId, file: FileId) -> Result<Option<File>> {
        self.read(move |engine| files::seen(&engine.view(), user, file)).await
    }

    async fn advance_file(
        &self,
        file: FileId,
        is_whole: bool,
        now_ms: u64,
    ) -> Result<Option<File>> {
        self.write(move |tx| files::advance(tx, file, is_whole, now_ms)).await
    }

    async fn end_file(&self, owner: UserId, file: FileId) -> Result<EndFile> {
        // Freeing space is what a full disk needs; so are the two below.
        self.write_always(move |tx| files::end(tx, owner, file)).await
    }

    async fn expire_files(&self, expiry: FileExpiry) -> Result<Vec<FileId>> {
        // Mostly there is nothing to end, and looking needs no transaction.
        if self.read(move |engine| files::expired(&engine.view(), expiry)).await?.is_empty() {
            return Ok(Vec::new());
        }
        self.write_always(move |tx| files::expire(tx, expiry)).await
    }

    async fn forget_files(&self, files: Vec<FileId>) -> Result<()> {
        self.write_always(move |tx| files::forget(tx, &files)).await
    }

    async fn prune(&self, older_than_ms: u64, rows_max: usize) -> Result<u64> {
        prune::step(self, older_than_ms, rows_max).await
    }

    async fn backup(&self, to: &Path) -> Result<BackupReport> {
        let to = to.to_path_buf();
        self.read(move |engine| backup::write(engine, &to)).await
    }

    fn syncs_here(&self) -> u64 {
        self.inner.shared.counters.syncs.load(Relaxed)
    }

    fn stats(&self) -> Stats {
        let counters = &self.inner.shared.counters;
        let used = self.engine().ok().and_then(|engine| engine.db.disk_space().ok());
        Stats {
            commits: counters.commits.load(Relaxed),
            syncs: counters.syncs.load(Relaxed),
            messages: counters.messages.load(Relaxed),
            disk_free_bytes: counters.disk_free_bytes.load(Relaxed),
            disk_used_bytes: used.unwrap_or(0),
        }
    }

    async fn close(&self) -> Result<()> {
        self.close_writer().await
    }
}

fn key_check_key() -> Vec<u8> {
    open::meta_key(open::META_KEY_CHECK)
}
