//! The truth on disk: the [`Store`] trait and the engines behind it.
//!
//! A verb is a transaction. Nothing that a verb answers or that a later read shows can be lost by a
//! crash: verbs that write return after their sync. No row, engine or transaction type appears in a
//! signature, so one engine can replace another one unseen: [`embedded`] in a folder, [`mysql`]
//! on a server. [`dump`] moves all of it between them.

mod apply;
#[cfg(any(test, feature = "testing"))]
pub mod contract;
pub mod dump;
pub mod embedded;
mod entry;
#[cfg(any(test, feature = "testing"))]
pub mod memory;
pub mod mysql;
mod relation;
mod types;

use async_trait::async_trait;

pub use types::*;

use anser_proto::{ConversationId, DeviceId, FileId, Seq, SessionId, UserId};

/// What went wrong in a store.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Not now (shutting down, overloaded, no connection): try again.
    #[error("the store is not available: {0}")]
    Unavailable(String),
    /// The free space is below the floor: commands are refused until there is room.
    #[error("the disk is below its floor of free space")]
    DiskFull,
    /// The data contradicts itself or a write failed: stop the process, never retry.
    #[error("the store is damaged: {0}")]
    Corrupt(String),
}

/// Result of a verb.
pub type Result<T, E = StoreError> = std::result::Result<T, E>;

/// The store. Verbs may be called from any task; writes are applied one transaction after another.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Epoch, schema version and the check value of the master key.
    async fn meta(&self) -> Result<Meta>;

    /// Sets the check value of the master key if none is set; gives the one that is set now.
    async fn claim_key_check(&self, check: Vec<u8>) -> Result<Vec<u8>>;

    // ---- the hot path ----

    /// Applies the records in order, all in one transaction with one sync, and says what became of
    /// each. The apply rule is DESIGN section 4; a record that is refused ([`Outcome::Refused`])
    /// changes nothing and does not hinder the others.
    ///
    /// Idempotence key of a command: (device, client_seq). Acks are monotonic watermarks.
    /// All entries of the batch are in `Committed::entries`, ascending by seq within each user.
    ///
    /// # Errors
    /// `DiskFull`: nothing of the batch was applied. `Unavailable`: nothing, or all of it, when the
    /// answer of a store on another machine was lost; the same batch again tells by its repeats.
    async fn commit(&self, batch: Batch) -> Result<Committed>;

    /// Decides how a device that says Hello goes on; see [`Hello`] and [`Greeting`]. On an epoch
    /// mismatch it durably sets `outbox_position = max(own, outbox_trimmed)` first. Moves
    /// `seen_at`.
    ///
    /// `outbox_digest` is that of command `outbox_position` (`wire::command_digest`), in any epoch;
    /// `None` when there is no such command, or it was skipped and never seen here.
    ///
    /// From then on until [`Store::leave`] (or the end of the store's process, where no session
    /// outlives that), commands of other sessions of the device are refused
    /// with `replaced`, those that are under way included: what Greeting says of the outbox can
    /// be moved by this session alone. A session that something was refused to is over as well.
    ///
    /// `Ok(None)`: there is no such device (any more).
    async fn greet(&self, device: DeviceId, hello: Hello, now_ms: u64) -> Result<Option<Greeting>>;

    /// A session of a device ended. It says nothing of what its commands under way become.
    async fn leave(&self, device: DeviceId, session: SessionId) -> Result<()>;

    /// What sessions would know if no doorbell had been lost: one look for many of them.
    async fn sweep(&self, sessions: Vec<LiveSession>) -> Result<Swept>;

    /// Entries `after+1 ..` of an inbox, contiguous, from one snapshot; at most `limit` of them and
    /// about `bytes_max` bytes, but at least one when there is one.
    async fn read_inbox(&self, user: UserId, after: Seq, limit: PageLimit) -> Result<InboxPage>;

    // ---- accounts, devices, tokens ----

    /// Creates a user; the name is unique. Consumes `invite` in the same transaction.
    async fn create_user(&self, new: NewUser) -> Result<CreateUser>;
    /// Looks a user up.
    async fn user(&self, by: UserKey) -> Result<Option<User>>;
    /// A page of all users by id, ascending, above `after`.
    async fn users(&self, after: Option<UserId>, limit: usize) -> Result<Vec<User>>;
    /// Changes profile, password or state; sessions end as `end_sessions` says, in the same
    /// transaction. Gives the devices whose tokens ended. `Ok(None)`: no such user.
    async fn update_user(&self, user: UserId, change: UserChange) -> Result<Option<Vec<DeviceId>>>;
    /// Removes a user: sessions end, relations become `none`, the name stays reserved, messages
    /// stay.
    async fn remove_user(&self, user: UserId, now_ms: u64) -> Result<Option<Removed>>;
    /// Makes an invitation; `code_hash` can be consumed once.
    async fn create_invite(&self, code_hash: Hash, now_ms: u64) -> Result<()>;

    /// Makes a device with its token. `inbox_position` starts at the user's head (its first Hello
    /// says epoch and position 0 and gets `Reset`, unless the inbox is empty).
    /// `Ok(None)`: no such active user, or the user has `devices_max` already.
    async fn create_device(&self, new: NewDevice) -> Result<Option<DeviceId>>;
    /// The devices of a user whose tokens are valid, oldest first.
    async fn devices(&self, user: UserId) -> Result<Vec<Device>>;
    /// Ends devices: their tokens are void when this returns. Gives those that ended now.
    async fn revoke_devices(&self, user: UserId, which: Devices) -> Result<Vec<DeviceId>>;
    /// Whose token this is. Disabled and removed users have none.
    async fn token(&self, token_hash: Hash) -> Result<Option<TokenOwner>>;

    // ---- relations and conversations ----

    /// Does what `change.action` says; both users' entries are in the same transaction.
    async fn change_relation(&self, change: RelationChange) -> Result<RelationOutcome>;
    /// The relations of a user, by id.
    async fn relations(&self, user: UserId) -> Result<Vec<Relation>>;
    /// The conversations of a user, by id, with watermarks, unread and last message.
    async fn conversations(&self, user: UserId) -> Result<Vec<Conversation>>;
    /// Relations and conversations at or after the inbox head that it tells, in one snapshot.
    async fn snapshot(&self, user: UserId) -> Result<Snapshot>;
    /// A page of history, rising by `conv_seq`. `Ok(None)`: not a member, now or ever.
    async fn history(
        &self,
        user: UserId,
        conversation: ConversationId,
        range: HistoryRange,
        limit: usize,
    ) -> Result<Option<History>>;

    // ---- files: their bytes are kept elsewhere ----

    /// Makes a file, incomplete. The owner must be a member of the open conversation, and all files
    /// of theirs together, with this one, must fit `user_bytes_max`.
    async fn create_file(&self, new: NewFile) -> Result<CreateFile>;
    /// A file, if the user may see it: its owner does, and once a message names it every member of
    /// its conversation. `Ok(None)`: none of both, or it does not exist or has ended.
    async fn file(&self, user: UserId, file: FileId) -> Result<Option<File>>;
    /// Bytes of an incomplete file came, all of them if `is_whole`: it is complete then. They must
    /// be on disk. Changes nothing about a file in another state. `Ok(None)`: there is no such
    /// file, or it has ended.
    async fn advance_file(&self, file: FileId, is_whole: bool, now_ms: u64)
    -> Result<Option<File>>;
    /// Ends a file of the user that no message names.
    async fn end_file(&self, owner: UserId, file: FileId) -> Result<EndFile>;
    /// Ends files that nobody waits for, and gives all that have ended and are not forgotten: their
    /// bytes are to be removed. At most `files_max`; an empty answer means done.
    async fn expire_files(&self, expiry: FileExpiry) -> Result<Vec<FileId>>;
    /// The bytes of these files are removed: their rows go, and what they took of the owner's room
    /// is free. Files that have not ended stay.
    async fn forget_files(&self, files: Vec<FileId>) -> Result<()>;

    // ---- operation ----

    /// One bounded step of retention: prunes inbox rows created before `older_than_ms` that every
    /// device seen since `older_than_ms` has passed. Floor and rows in one transaction.
    /// Gives the number of rows pruned; 0 means done.
    async fn prune(&self, older_than_ms: u64, rows_max: usize) -> Result<u64>;

    /// How often a disk of this machine was synced for it; 0 where the data is on a server. Takes
    /// no lock.
    fn syncs_here(&self) -> u64 {
        0
    }
    /// Writes a consistent copy while serving. See the engine for its form.
    async fn backup(&self, to: &std::path::Path) -> Result<BackupReport>;
    /// Counters since start.
    fn stats(&self) -> Stats;
    /// Syncs what is left and stops; later verbs answer `Unavailable`.
    async fn close(&self) -> Result<()>;
}
