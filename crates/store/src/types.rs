//! What goes into the store's verbs and what comes out of them.

mod file;

pub use file::*;

use anser_proto::{Code, ConversationId, DeviceId, Seq, SessionId, UserId, wire::RelationState};
use bytes::Bytes;

/// A SHA-256 hash of a secret.
pub type Hash = [u8; 32];

/// What names a store and its history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Names this history; a restore mints a new one. 32 lower-case hex digits.
    pub epoch: String,
    /// Version of the tables.
    pub schema: u32,
    /// See [`crate::Store::claim_key_check`].
    pub key_check: Option<Vec<u8>>,
}

// ---- the hot path ----

/// Records to apply in order, in one transaction.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    /// What to apply.
    pub records: Vec<Record>,
    /// Wall-clock time for `created_at`.
    pub now_ms: u64,
}

/// A span of a trace, as others name it that are a part of it (W3C Trace Context).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceParent {
    /// Which trace it is.
    pub trace: [u8; 16],
    /// Which span of it.
    pub span: [u8; 8],
}

/// One thing that a connector hands over.
#[derive(Clone, Debug)]
pub enum Record {
    /// A device's command.
    Command {
        /// The sender, stamped from the session.
        user: UserId,
        /// The sender's device.
        device: DeviceId,
        /// The session that it came by.
        session: SessionId,
        /// The command's number.
        client_seq: Seq,
        /// An encoded `wire::Command`.
        command: Bytes,
        /// Server API: applied only if no command with this key was applied; else `Repeat`, and the
        /// number is not consumed. A rejected command does not use its key up.
        once: Option<Box<Hash>>,
        /// Where it is in its trace, if it is followed. Passes by the store.
        trace: Option<Box<TraceParent>>,
    },
    /// A device stored its inbox up to `position`.
    Ack {
        /// The device's user.
        user: UserId,
        /// The device.
        device: DeviceId,
        /// Its inbox position.
        position: Seq,
        /// For each conversation with messages of others among what was newly acked, the highest
        /// `conv_seq` of them. Moves `member.delivered` and leaves receipt entries.
        delivered: Vec<(ConversationId, Seq)>,
        /// Whether to store `position` now (it may be late by at most 5 s or 64 acks, never early).
        store_position: bool,
    },
}

/// What became of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Applied (or, for a command, rejected in place: see its entry). For an ack: taken.
    Applied,
    /// A repeat of an applied command: ack it again.
    Repeat,
    /// The number was used with another payload, or one too old to compare, or the bytes are no
    /// command at all, or a number is missing before it, or the device is gone, or its session is
    /// over: the device said Hello again, or something of it was refused before.
    Refused(Code),
}

/// The result of [`crate::Store::commit`].
#[derive(Clone, Debug, Default)]
pub struct Committed {
    /// Parallel to the batch's records.
    pub outcomes: Vec<Outcome>,
    /// All new inbox rows.
    pub entries: Vec<NewEntry>,
    /// How long the sync took, if there was one.
    pub sync: Option<std::time::Duration>,
}

/// A new inbox row.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// Whose inbox.
    pub user: UserId,
    /// Its number there.
    pub seq: Seq,
    /// The encoded `wire::Entry`, as stored.
    pub entry: Bytes,
    /// What an ack of it means.
    pub mark: Mark,
}

/// What an entry is to the delivered receipts, known without decoding it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mark {
    /// A message of somebody else: an ack of it moves `delivered`.
    Message {
        /// Its conversation.
        conversation: ConversationId,
        /// Its number there.
        conv_seq: Seq,
    },
    /// The user's own message, from this device.
    Own {
        /// The device, which needs no body.
        device: DeviceId,
    },
    /// Anything else.
    Other,
}

/// How much to read at once.
#[derive(Clone, Copy, Debug)]
pub struct PageLimit {
    /// Most entries.
    pub entries: usize,
    /// About the most bytes.
    pub bytes: usize,
}

/// A page of an inbox.
#[derive(Clone, Debug)]
pub enum InboxPage {
    /// Contiguous from `after + 1`; empty when there is nothing (yet).
    Entries {
        /// By seq, rising.
        entries: Vec<NewEntry>,
        /// The inbox's head in the same snapshot.
        head: Seq,
    },
    /// `after + 1` was pruned.
    BelowFloor {
        /// The lowest row that exists.
        floor: Seq,
    },
}

/// What a device says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Names this Hello from now on.
    pub session: SessionId,
    /// The history its position belongs to.
    pub epoch: String,
    /// Its inbox position.
    pub position: Seq,
    /// The highest command number it gave out.
    pub outbox_head: Seq,
    /// The highest command number it has forgotten.
    pub outbox_trimmed: Seq,
}

/// A session that a connector holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LiveSession {
    /// Its user.
    pub user: UserId,
    /// Its device.
    pub device: DeviceId,
    /// Its Hello.
    pub session: SessionId,
}

/// What became of sessions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Swept {
    /// The inbox heads of their users, each once.
    pub heads: Vec<(UserId, Seq)>,
    /// The last applied commands of their devices.
    pub applied: Vec<(DeviceId, Seq)>,
    /// Those that must end: `unauthenticated`, their device is gone; `replaced`, it said Hello
    /// elsewhere.
    pub over: Vec<(LiveSession, Code)>,
}

/// How a device goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Greeting {
    /// Entries after `position` follow.
    Welcome {
        /// The inbox's head.
        head: Seq,
        /// Its floor.
        floor: Seq,
        /// The last applied command.
        outbox_position: Seq,
        /// Its digest, if it is known: tells a device that was started from an old copy of its
        /// storage, and has given out as many numbers again as it lost, that they are taken.
        outbox_digest: Option<u64>,
        /// The stored inbox position (at most the Hello's): entries between the two were acked but
        /// perhaps never counted as delivered.
        inbox_position: Seq,
    },
    /// Epoch differs, position above head, position below the floor, or a new device.
    Reset {
        /// The epoch now.
        epoch: String,
        /// The head now.
        head: Seq,
        /// The last applied command.
        outbox_position: Seq,
        /// As in `Welcome`.
        outbox_digest: Option<u64>,
    },
    /// `outbox_head < outbox_position`: the device's storage is older than what it already sent.
    DeviceStale,
}

// ---- accounts ----

/// State of an account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UserState {
    /// Can log in.
    Active,
    /// Can not log in; data stays.
    Disabled,
    /// Gone; the name stays reserved.
    Removed,
}

/// A user account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    /// The id.
    pub id: UserId,
    /// The unique name, as validated by the api.
    pub name: String,
    /// The name to show.
    pub display_name: String,
    /// argon2id in PHC form; `None`: can not log in by password.
    pub password_hash: Option<String>,
    /// Its state.
    pub state: UserState,
    /// A product's own sender.
    pub system: bool,
    /// When it was created.
    pub created_at_ms: u64,
}

/// A user to create.
#[derive(Clone, Debug)]
pub struct NewUser {
    /// A free id, or one to try; the store takes another when it is taken.
    pub id: UserId,
    /// The name.
    pub name: String,
    /// The name to show.
    pub display_name: String,
    /// As in [`User`].
    pub password_hash: Option<String>,
    /// As in [`User`].
    pub system: bool,
    /// Hash of an invitation code to consume.
    pub invite: Option<Hash>,
    /// Now.
    pub now_ms: u64,
}

/// Result of creating a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CreateUser {
    /// Done.
    Created(User),
    /// The name exists.
    NameTaken,
    /// The invitation does not exist or was consumed.
    InviteInvalid,
}

/// How to look a user up.
#[derive(Clone, Debug)]
pub enum UserKey {
    /// By id.
    Id(UserId),
    /// By exact name.
    Name(String),
}

/// A change of an account; `None` leaves a field as it is.
#[derive(Clone, Debug, Default)]
pub struct UserChange {
    /// New display name.
    pub display_name: Option<String>,
    /// New password hash.
    pub password_hash: Option<String>,
    /// New state (`Active` or `Disabled`).
    pub state: Option<UserState>,
    /// Which sessions end.
    pub end_sessions: Option<Devices>,
}

/// Which devices of a user.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Devices {
    /// All of them.
    All,
    /// All but one.
    AllBut(DeviceId),
    /// One.
    One(DeviceId),
}

/// What removing a user did.
#[derive(Clone, Debug)]
pub struct Removed {
    /// Devices whose tokens ended.
    pub devices: Vec<DeviceId>,
    /// Entries to the friends.
    pub entries: Vec<NewEntry>,
}

/// A device to create.
#[derive(Clone, Debug)]
pub struct NewDevice {
    /// Whose.
    pub user: UserId,
    /// Shown in the list of sessions.
    pub name: String,
    /// SHA-256 of its token.
    pub token_hash: Hash,
    /// Refuse when the user has so many.
    pub devices_max: usize,
    /// Now.
    pub now_ms: u64,
}

/// A device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// The id.
    pub id: DeviceId,
    /// Shown in the list of sessions.
    pub name: String,
    /// The last applied command.
    pub outbox_position: Seq,
    /// The stored inbox position.
    pub inbox_position: Seq,
    /// When it was made.
    pub created_at_ms: u64,
    /// When it last said Hello or stored a position.
    pub seen_at_ms: u64,
}

/// Whose token it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenOwner {
    /// The user.
    pub user: UserId,
    /// The device.
    pub device: DeviceId,
}

// ---- relations ----

/// What to do with a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RelationAction {
    /// Ask; a crossing request accepts. Asking again while waiting changes nothing. Asking one who
    /// blocks the asker looks like waiting, and tells the blocker nothing.
    Request,
    /// Accept an incoming request.
    Accept,
    /// Decline an incoming request, or take an own one back.
    Decline,
    /// End being friends.
    Remove,
    /// Block the peer: ends being friends; their requests are not told.
    Block,
    /// Undo the own block; the state becomes `none` (or `incoming` when the peer asked meanwhile).
    Unblock,
    /// Server API: make friends without a request (blocks are respected: refused with
    /// `relation_state`).
    Befriend,
}

/// A change of a relation.
#[derive(Clone, Debug)]
pub struct RelationChange {
    /// Who acts.
    pub actor: UserId,
    /// The other one.
    pub peer: UserId,
    /// What.
    pub action: RelationAction,
    /// The wrapped key to store as the next version when the two become friends by this.
    pub wrapped_key: Vec<u8>,
    /// Most relations that `actor` may have in a state other than `none`.
    pub relations_max: usize,
    /// Now.
    pub now_ms: u64,
}

/// Result of a change.
#[derive(Clone, Debug)]
pub enum RelationOutcome {
    /// Done, or nothing to do (then without entries).
    Done {
        /// The actor's view after it.
        relation: Relation,
        /// Entries to both.
        entries: Vec<NewEntry>,
    },
    /// `not_found` (no such user), `relation_state`, `too_many`, `invalid_request` (oneself).
    Refused(Code),
}

/// A relation as one of its users sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Relation {
    /// Also the id of its conversation.
    pub id: ConversationId,
    /// The other user.
    pub peer: UserView,
    /// The state for this user.
    pub state: RelationState,
    /// Wrapped keys by version, rising; version n is at index n-1.
    pub wrapped_keys: Vec<Vec<u8>>,
}

/// What others may see of a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserView {
    /// The id.
    pub id: UserId,
    /// The name.
    pub name: String,
    /// The name to show.
    pub display_name: String,
}

/// A conversation as one member sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conversation {
    /// The id.
    pub id: ConversationId,
    /// Whether messages can be sent.
    pub open: bool,
    /// The highest message number.
    pub head: Seq,
    /// Messages of others above the own read mark, counted up to 1000.
    pub unread: u64,
    /// All members.
    pub members: Vec<Member>,
    /// The encoded `wire::Entry` of message `head`.
    pub last_message: Option<Bytes>,
}

/// A member's watermarks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Who.
    pub user: UserView,
    /// Delivered up to here.
    pub delivered: Seq,
    /// Read up to here.
    pub read: Seq,
}

/// All state of a user but the messages.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The epoch.
    pub epoch: String,
    /// The inbox head in the same snapshot.
    pub head: Seq,
    /// All relations.
    pub relations: Vec<Relation>,
    /// All conversations.
    pub conversations: Vec<Conversation>,
}

/// Which part of a history.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HistoryRange {
    /// The newest.
    Latest,
    /// Those right below this number.
    Before(Seq),
    /// Those right above this number.
    After(Seq),
    /// Half below, this one, half above.
    Around(Seq),
}

/// A page of history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct History {
    /// Encoded `wire::Entry` messages, rising.
    pub messages: Vec<Bytes>,
    /// Whether older ones exist.
    pub more_before: bool,
    /// Whether newer ones exist.
    pub more_after: bool,
}

// ---- operation ----

/// What a backup contains.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BackupReport {
    /// Rows written.
    pub rows: u64,
    /// Bytes written.
    pub bytes: u64,
}

/// Counters since start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Transactions committed by `commit`.
    pub commits: u64,
    /// Syncs of the journal.
    pub syncs: u64,
    /// Messages inserted.
    pub messages: u64,
    /// Bytes free below the floor check's last reading.
    pub disk_free_bytes: u64,
    /// Bytes of the database on disk.
    pub disk_used_bytes: u64,
}
