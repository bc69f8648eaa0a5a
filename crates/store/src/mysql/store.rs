//! The verbs of [`Store`], each handed to the file that does it.

use std::path::Path;
use std::sync::atomic::Ordering::Relaxed;

use anser_proto::{ConversationId, DeviceId, FileId, Seq, SessionId, UserId};
use async_trait::async_trait;

use super::migration::SCHEMA;
use super::open::{self, META_KEY_CHECK};
use super::tx::Mode;
use super::{
    Mysql, accounts, devices, files, greet, hot, in_transaction, lists, prune, read, relations,
};
use crate::*;

#[async_trait]
impl Store for Mysql {
    async fn meta(&self) -> Result<Meta> {
        let meta = in_transaction!(self, Mode::Single, tx => open::meta(&mut tx, META_KEY_CHECK));
        Ok(Meta { epoch: self.inner.epoch.to_string(), schema: SCHEMA, key_check: meta? })
    }

    async fn claim_key_check(&self, check: Vec<u8>) -> Result<Vec<u8>> {
        in_transaction!(self, Mode::Single, tx => open::claim(&mut tx, META_KEY_CHECK, &check))
    }

    async fn commit(&self, batch: Batch) -> Result<Committed> {
        hot::commit(self, &batch).await
    }

    async fn greet(&self, device: DeviceId, hello: Hello, now_ms: u64) -> Result<Option<Greeting>> {
        let (epoch, said) = (&self.inner.epoch, (&hello, now_ms));
        in_transaction!(self, Mode::Write, tx => greet::greet(&mut tx, epoch, device, said))
    }

    async fn leave(&self, device: DeviceId, session: SessionId) -> Result<()> {
        in_transaction!(self, Mode::Single, tx => devices::leave(&mut tx, device, session))
    }

    async fn sweep(&self, sessions: Vec<LiveSession>) -> Result<Swept> {
        if sessions.is_empty() {
            return Ok(Swept::default());
        }
        in_transaction!(self, Mode::Snapshot, tx => greet::sweep(&mut tx, &sessions))
    }

    async fn read_inbox(&self, user: UserId, after: Seq, limit: PageLimit) -> Result<InboxPage> {
        in_transaction!(self, Mode::Snapshot, tx => read::inbox(&mut tx, user, after, limit))
    }

    async fn create_user(&self, new: NewUser) -> Result<CreateUser> {
        in_transaction!(self, Mode::Write, tx => accounts::create(&mut tx, &new))
    }

    async fn user(&self, by: UserKey) -> Result<Option<User>> {
        in_transaction!(self, Mode::Single, tx => accounts::find(&mut tx, &by))
    }

    async fn users(&self, after: Option<UserId>, limit: usize) -> Result<Vec<User>> {
        in_transaction!(self, Mode::Single, tx => accounts::page(&mut tx, after, limit))
    }

    async fn update_user(&self, user: UserId, change: UserChange) -> Result<Option<Vec<DeviceId>>> {
        in_transaction!(self, Mode::Write, tx => accounts::update(&mut tx, user, &change))
    }

    async fn remove_user(&self, user: UserId, _now_ms: u64) -> Result<Option<Removed>> {
        in_transaction!(self, Mode::Write, tx => accounts::remove(&mut tx, user))
    }

    async fn create_invite(&self, code_hash: Hash, now_ms: u64) -> Result<()> {
        in_transaction!(self, Mode::Write, tx => accounts::invite(&mut tx, &code_hash, now_ms))
    }

    async fn create_device(&self, new: NewDevice) -> Result<Option<DeviceId>> {
        in_transaction!(self, Mode::Write, tx => devices::create(&mut tx, &new))
    }

    async fn devices(&self, user: UserId) -> Result<Vec<Device>> {
        in_transaction!(self, Mode::Single, tx => devices::list_of(&mut tx, user))
    }

    async fn revoke_devices(&self, user: UserId, which: Devices) -> Result<Vec<DeviceId>> {
        in_transaction!(self, Mode::Write, tx => devices::revoke(&mut tx, user, which))
    }

    async fn token(&self, token_hash: Hash) -> Result<Option<TokenOwner>> {
        in_transaction!(self, Mode::Single, tx => devices::token(&mut tx, &token_hash))
    }

    async fn change_relation(&self, change: RelationChange) -> Result<RelationOutcome> {
        in_transaction!(self, Mode::Write, tx => relations::change(&mut tx, &change))
    }

    async fn relations(&self, user: UserId) -> Result<Vec<Relation>> {
        in_transaction!(self, Mode::Snapshot, tx => lists::relations(&mut tx, user))
    }

    async fn conversations(&self, user: UserId) -> Result<Vec<Conversation>> {
        in_transaction!(self, Mode::Snapshot, tx => lists::conversations(&mut tx, user))
    }

    async fn snapshot(&self, user: UserId) -> Result<Snapshot> {
        let epoch = &self.inner.epoch;
        in_transaction!(self, Mode::Snapshot, tx => lists::snapshot(&mut tx, epoch, user))
    }

    async fn history(
        &self,
        user: UserId,
        conversation: ConversationId,
        range: HistoryRange,
        limit: usize,
    ) -> Result<Option<History>> {
        let (id, part) = (conversation, (range, limit));
        in_transaction!(self, Mode::Snapshot, tx => read::history(&mut tx, user, id, part))
    }

    async fn create_file(&self, new: NewFile) -> Result<CreateFile> {
        in_transaction!(self, Mode::Write, tx => files::create(&mut tx, new))
    }

    async fn file(&self, user: UserId, file: FileId) -> Result<Option<File>> {
        in_transaction!(self, Mode::Snapshot, tx => files::seen(&mut tx, user, file))
    }

    async fn advance_file(
        &self,
        file: FileId,
        is_whole: bool,
        now_ms: u64,
    ) -> Result<Option<File>> {
        let how = (is_whole, now_ms);
        in_transaction!(self, Mode::Write, tx => files::advance(&mut tx, file, how))
    }

    async fn end_file(&self, owner: UserId, file: FileId) -> Result<EndFile> {
        in_transaction!(self, Mode::Write, tx => files::end(&mut tx, owner, file))
    }

    async fn expire_files(&self, expiry: FileExpiry) -> Result<Vec<FileId>> {
        in_transaction!(self, Mode::Write, tx => files::expire(&mut tx, expiry))
    }

    async fn forget_files(&self, files: Vec<FileId>) -> Result<()> {
        in_transaction!(self, Mode::Write, tx => files::forget(&mut tx, &files))
    }

    async fn prune(&self, older_than_ms: u64, rows_max: usize) -> Result<u64> {
        prune::step(self, older_than_ms, rows_max).await
    }

    async fn backup(&self, _to: &Path) -> Result<BackupReport> {
        Err(StoreError::Unavailable(
            "the data is on a MySQL or MariaDB server; back it up with that server's tools \
             (mariadb-backup, or mysqldump --single-transaction)"
                .into(),
        ))
    }

    fn stats(&self) -> Stats {
        let commits = self.inner.counters.commits.load(Relaxed);
        Stats {
            commits,
            // Each waited for the server's sync. What its disk holds is not ours to know.
            syncs: commits,
            messages: self.inner.counters.messages.load(Relaxed),
            disk_free_bytes: 0,
            disk_used_bytes: 0,
        }
    }

    async fn close(&self) -> Result<()> {
        self.inner.pool.close().await;
        Ok(())
    }
}
