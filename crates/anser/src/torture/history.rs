//! What clients saw and did: the one input of the checker.
//!
//! A record is made where a client would notice the thing: at the call of the application, in the
//! device's storage once it is durable, or on the wire between the client and the server. Only
//! [`What::Audit`] comes from elsewhere: from the database of the stopped server, at the very end.
//!
//! A *client* is an installed app, one slot of the plan. It is one *device* after another: a new
//! one after it was wiped, revoked, or found itself to be an old copy.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::time::Instant;

/// A slot of the plan, from 0.
pub(super) type ClientId = usize;
/// Numbers the operations of one run.
pub(super) type OpId = u64;
/// Numbers the connections of one run; a connection is one socket of one client.
pub(super) type ConnId = u64;
/// A user's id at the server.
pub(super) type User = u64;
/// A device's id at the server.
pub(super) type Device = u64;
/// A conversation's id at the server; also its relation's.
pub(super) type Conversation = u64;

/// One thing that happened. Records are in the order in which they happened, as far as their makers
/// can tell: a record of an effect stands after the record of its cause.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Record {
    /// Monotonic time since the run began.
    pub(super) at: Duration,
    pub(super) what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum What {
    // ---- calls of the application ----
    /// A client is about to send. `text` is unique in the run: for a file, it is what the message
    /// will say of it, and `file` are its bytes.
    Send {
        op: OpId,
        client: ClientId,
        conversation: Conversation,
        text: String,
        file: Option<FileBytes>,
    },
    /// A client is about to mark as read.
    Read { op: OpId, client: ClientId, conversation: Conversation, conv_seq: u64 },
    /// A client is about to change the relation of its user with another.
    Relate { op: OpId, client: ClientId, user: User, peer: User, action: Action },
    /// The call has succeeded: for a send or read, it is in the device's outbox now; for others,
    /// the server has answered.
    Done { op: OpId },
    /// The call was refused and has no effect now or ever. `code` is the server's, or the SDK's
    /// kind.
    Refused { op: OpId, code: String },
    /// Nobody can tell whether the call had or will have an effect.
    Unclear { op: OpId },
    /// The client tells that a file which it had taken will not be sent after all. `code` is the
    /// server's; `None` when the device can not by itself.
    GaveUp { op: OpId, code: Option<u32> },
    /// A client has tried to fetch the file of a message.
    Fetched { client: ClientId, user: User, message: Message, got: Got },

    // ---- the device's storage; each record is made after it is durable ----
    /// The client is this device from now on.
    Became { client: ClientId, user: User, device: Device },
    /// A command waits in the outbox under a number: a new one, or one moved to a new device.
    Queued { client: ClientId, device: Device, client_seq: u64, command: Command },
    /// A message is stored.
    Holds { client: ClientId, device: Device, message: Message },
    /// The inbox is stored up to here.
    Stored { client: ClientId, device: Device, epoch: String, position: u64 },
    /// The client is switched off by its person.
    Left { client: ClientId },
    /// It is switched on again.
    Back { client: ClientId },
    /// All that the client had is gone: it was wiped.
    Wiped { client: ClientId },
    /// A copy of the client's storage was made.
    Copied { client: ClientId },
    /// The client's storage was replaced by the last copy of it.
    OldCopy { client: ClientId },

    // ---- on the wire, as its sender said it, whether or not it arrived ----
    /// A device says Hello.
    Hello { conn: ConnId, client: ClientId, device: Device, epoch: String, position: u64 },
    /// The server goes on with the device.
    Welcome { conn: ConnId, epoch: String, head: u64, floor: u64, outbox_position: u64 },
    /// The server can not go on with the device.
    Reset { conn: ConnId, epoch: String, head: u64, outbox_position: u64 },
    /// The server pushed an entry, perhaps not for the first time.
    Pushed { conn: ConnId, seq: u64, row: Row },
    /// The server says that everything that waited was pushed.
    CaughtUp { conn: ConnId },
    /// The server acked the device's commands up to here: "sent".
    Acked { conn: ConnId, position: u64 },
    /// The device acked entries up to here.
    Confirmed { conn: ConnId, position: u64 },
    /// The server closed, and said why.
    Closed { conn: ConnId, code: u32 },

    // ---- answers of REST to a client ----
    /// A page of a conversation's history, rising.
    Page { client: ClientId, user: User, conversation: Conversation, messages: Vec<Message> },
    /// A snapshot.
    Snapshot { client: ClientId, user: User, epoch: String, head: u64, state: State },
    /// An answer that tells that a session is not valid.
    Unauthenticated { client: ClientId },

    // ---- the run itself ----
    /// A fault begins.
    Fault { fault: u64, kind: &'static str },
    /// It is over: everything works again, as far as this fault is concerned.
    Healed { fault: u64 },
    /// A session was ended on purpose: the device is not to return as itself.
    Revoked { device: Device },
    /// A backup begins; what is acked from here on is perhaps not in it.
    BackupBegun { backup: u64 },
    /// It is complete; what was acked before `BackupBegun` is in it.
    BackupDone { backup: u64 },
    /// A backup was restored, and the server serves again, as `epoch`. A backup has no bytes of
    /// files; `with_files`: they were put back beside it.
    Restored { backup: u64, epoch: String, with_files: bool },
    /// All faults are over, and no client will do anything more but come back and drain.
    Settling,

    // ---- at the end, after every client has drained ----
    /// The client is online, has caught up, and its outbox is empty.
    Drained { client: ClientId, device: Device, user: User },
    /// How far the client knows a conversation to be.
    Marks { client: ClientId, conversation: Conversation, marks: Marks },
    /// All messages of a conversation that the client holds in its storage, rising.
    Local { client: ClientId, conversation: Conversation, messages: Vec<Message> },
    /// All messages of a conversation as REST tells them to a user, rising: the final view.
    Final { user: User, conversation: Conversation, messages: Vec<Message> },
    /// A user's snapshot.
    FinalState { user: User, epoch: String, head: u64, state: State },
    /// All rows of a user's inbox in the database of the stopped server, as they are there.
    Audit { user: User, floor: u64, head: u64, rows: Vec<(u64, Row)> },
}

/// What a user does to a relation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Asks, or accepts when the other has asked.
    Befriend,
    Remove,
    Block,
    Unblock,
}

/// What a queued command asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Command {
    /// `text` is `None` when the storage has no key that opens it.
    Send {
        conversation: Conversation,
        text: Option<String>,
    },
    Read {
        conversation: Conversation,
        conv_seq: u64,
    },
}

/// A message with what names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Message {
    pub(super) conversation: Conversation,
    pub(super) conv_seq: u64,
    pub(super) sender: User,
    pub(super) device: Device,
    pub(super) client_seq: u64,
    /// `None` when it does not open, or was not opened.
    pub(super) text: Option<String>,
}

/// The bytes of a file, in short.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileBytes {
    pub(super) len: u64,
    /// In hexadecimal.
    pub(super) sha256: String,
}

/// What came of fetching a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Got {
    /// All of it, as far as the client can tell.
    Whole(FileBytes),
    /// Bytes of which the client says that they are not those that were sent.
    Damaged,
    /// The server's code, for good.
    Refused(u32),
    /// Nothing that says anything of the file: the server was away, or the session over.
    Broken,
}

/// A row of an inbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Row {
    /// Of all its bytes but the body.
    pub(super) digest: u64,
    /// Of the sealed body; `None` when there is none. The server leaves it out when it pushes a
    /// message to the device that sent it.
    pub(super) body: Option<u64>,
    pub(super) kind: Kind,
}

/// What a row says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Message {
        conversation: Conversation,
        conv_seq: u64,
        sender: User,
        device: Device,
        client_seq: u64,
    },
    Receipt {
        conversation: Conversation,
        user: User,
        delivered: u64,
        read: u64,
    },
    ReadMark {
        conversation: Conversation,
        read: u64,
        device: Device,
        client_seq: u64,
    },
    Rejected {
        conversation: Conversation,
        device: Device,
        client_seq: u64,
        code: u32,
    },
    Relation {
        relation: Conversation,
        peer: User,
        friends: bool,
    },
    Unknown,
}

/// Relations and conversations as a snapshot tells them to a user.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// (relation, peer, are they friends)
    pub(super) relations: Vec<(Conversation, User, bool)>,
    pub(super) conversations: Vec<ConversationState>,
}

/// A conversation in a snapshot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConversationState {
    pub(super) conversation: Conversation,
    pub(super) head: u64,
    /// (user, delivered, read)
    pub(super) members: Vec<(User, u64, u64)>,
}

/// A conversation's watermarks as one client knows them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) head: u64,
    pub(super) read: u64,
    pub(super) peer_delivered: u64,
    pub(super) peer_read: u64,
}

/// Takes records; a cheap clone.
#[derive(Clone)]
pub(super) struct Recorder {
    began: Instant,
    records: Arc<Mutex<Vec<Record>>>,
}

impl Recorder {
    /// Begins at time 0, now.
    pub(super) fn new() -> Self {
        Self { began: Instant::now(), records: Arc::default() }
    }

    /// Something happened just now.
    pub(super) fn note(&self, what: What) {
        let mut records = self.records.lock();
        // Read under the lock: times rise with the order.
        records.push(Record { at: self.began.elapsed(), what });
    }

    /// Several things happened at once, in this order.
    pub(super) fn note_all(&self, what: impl IntoIterator<Item = What>) {
        let mut records = self.records.lock();
        let at = self.began.elapsed();
        records.extend(what.into_iter().map(|what| Record { at, what }));
    }

    /// Everything so far; what is noted later is in no history.
    pub(super) fn take(&self) -> Vec<Record> {
        std::mem::take(&mut *self.records.lock())
    }
}
