//! The apply rule: what a record does, given the rows it needs. No engine, no I/O, no clock.
//!
//! In: a [`WorkingSet`] that an engine loaded under its locks, and the records. Out: the outcomes,
//! the new rows in [`Applied`], and the changed rows of the set itself, marked `dirty`. An engine
//! writes all of it in one transaction, or throws all of it away.

mod command;
mod file;
mod greet;
mod receipt;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};
use std::hash::{BuildHasherDefault, Hasher};

use anser_proto::id::NUMBER_MAX;
use anser_proto::{Code, ConversationId, DeviceId, FileId, Seq, SessionId, UserId, wire};
use bytes::Bytes;
use prost::Message as _;

pub(crate) use file::listed as listed_files;
pub(crate) use greet::{Bounds, greet};

use crate::{Batch, File, Hash, Mark, NewEntry, Outcome, Record};

/// How many of a device's last commands can be compared with a repeat.
pub(crate) const DIGESTS_MAX: usize = 64;

/// A map keyed by our ids.
pub(crate) type IdMap<K, V> = HashMap<K, V, BuildHasherDefault<IdHasher>>;

/// Rows that a batch needs, loaded and locked by the engine. A missing row is not in the map.
#[derive(Default)]
pub(crate) struct WorkingSet {
    pub(crate) devices: IdMap<DeviceId, Device>,
    pub(crate) conversations: IdMap<ConversationId, Conversation>,
    /// The files that the batch's messages list.
    pub(crate) files: IdMap<FileId, File>,
    /// Inbox heads of all members of the conversations and of all users of the records.
    pub(crate) heads: IdMap<UserId, Seq>,
    /// Those of the batch's `once` keys that were used before.
    pub(crate) once: HashSet<Hash>,
    /// The live session of each device that has one; see [`Session`].
    pub(crate) sessions: IdMap<DeviceId, Session>,
    /// Somebody outside of everything, for the fault `DeliverAcross` only.
    pub(crate) stranger: Option<UserId>,
}

/// Who alone may use a device's numbers: since its Hello, what it was told of them must hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) id: SessionId,
    /// Something of it was refused. What follows that must not be applied: it would be acked, and
    /// an ack stands for all numbers below it.
    pub(crate) over: bool,
}

impl Session {
    /// The session of a Hello.
    pub(crate) fn new(id: SessionId) -> Self {
        Self { id, over: false }
    }
}

/// The part of a device that records change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Device {
    pub(crate) user: UserId,
    pub(crate) outbox_position: Seq,
    pub(crate) inbox_position: Seq,
    pub(crate) seen_at_ms: u64,
    /// Digests of the last commands, oldest first; the last one is that of `outbox_position`.
    pub(crate) digests: Vec<u64>,
    pub(crate) dirty: bool,
}

/// A conversation with its members.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Conversation {
    pub(crate) open: bool,
    pub(crate) head: Seq,
    /// Versions 1 ..= this were minted.
    pub(crate) key_version: u32,
    pub(crate) members: Vec<Member>,
}

/// A member's watermarks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Member {
    pub(crate) user: UserId,
    pub(crate) delivered: Seq,
    pub(crate) read: Seq,
    pub(crate) joined_at_seq: Seq,
    pub(crate) dirty: bool,
    /// The others are to be told at the end of the batch.
    pub(crate) receipt_due: bool,
}

/// What a batch adds; the changed rows are in the working set.
#[derive(Default)]
pub(crate) struct Applied {
    pub(crate) outcomes: Vec<Outcome>,
    pub(crate) entries: Vec<NewEntry>,
    pub(crate) messages: Vec<(ConversationId, Seq, Bytes)>,
    pub(crate) once: Vec<Hash>,
    /// Files that a message names now, for the first time.
    pub(crate) files: Vec<File>,
}

/// Limits of the rule.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    pub(crate) body_bytes_max: usize,
}

/// Decodes the batch's commands, parallel to its records; `None` is an ack or does not decode.
pub(crate) fn decode(batch: &Batch) -> Vec<Option<wire::Command>> {
    let decode_one = |record: &Record| match record {
        Record::Command { command, .. } => wire::Command::decode(command.clone()).ok(),
        Record::Ack { .. } => None,
    };
    batch.records.iter().map(decode_one).collect()
}

/// The conversations that a record names.
pub(crate) fn conversations(
    record: &Record,
    command: Option<&wire::Command>,
    mut name: impl FnMut(ConversationId),
) {
    match record {
        Record::Command { .. } => match command.and_then(|command| command.kind.as_ref()) {
            Some(wire::command::Kind::Send(send)) => name(ConversationId(send.conversation)),
            Some(wire::command::Kind::Read(read)) => name(ConversationId(read.conversation)),
            None => {}
        },
        Record::Ack { delivered, .. } => delivered.iter().for_each(|(id, _)| name(*id)),
    }
}

/// Applies the records in order. `commands` are those of [`decode`].
pub(crate) fn apply(
    set: &mut WorkingSet,
    batch: &Batch,
    commands: Vec<Option<wire::Command>>,
    limits: Limits,
) -> Applied {
    let mut run = Run {
        set,
        limits,
        now_ms: batch.now_ms,
        applied: Applied::default(),
        receipts_due: Vec::new(),
    };
    run.applied.outcomes.reserve(batch.records.len());
    for (record, command) in batch.records.iter().zip(commands) {
        let outcome = match record {
            Record::Command { .. } => run.command(record, command),
            Record::Ack { .. } => run.ack(record),
        };
        run.applied.outcomes.push(outcome.unwrap_or_else(Outcome::Refused));
    }
    run.tell_receipts();
    run.applied
}

/// The state of one `apply`.
struct Run<'a> {
    set: &'a mut WorkingSet,
    limits: Limits,
    now_ms: u64,
    applied: Applied,
    receipts_due: Vec<(ConversationId, UserId)>,
}

/// What becomes of a record, or why it changes nothing.
type Ruling = Result<Outcome, Code>;

impl Run<'_> {
    /// Appends an entry to an inbox, under the number that follows its head.
    fn push(&mut self, user: UserId, entry: Bytes, mark: Mark) {
        push_entry(&mut self.set.heads, &mut self.applied.entries, NewRow { user, entry, mark });
    }
}

/// An entry that has no number yet.
pub(crate) struct NewRow {
    pub(crate) user: UserId,
    pub(crate) entry: Bytes,
    pub(crate) mark: Mark,
}

/// Gives `row` the number after its inbox's head.
///
/// # Panics
/// When the head was not loaded, or numbers ran out at 2^53.
pub(crate) fn push_entry(heads: &mut IdMap<UserId, Seq>, entries: &mut Vec<NewEntry>, row: NewRow) {
    let head = heads.get_mut(&row.user).expect("the engine loads the head of every member");
    let seq = *head + 1;
    assert!(seq < NUMBER_MAX, "inbox numbers stay below 2^53");
    *head = seq;
    entries.push(NewEntry { user: row.user, seq, entry: row.entry, mark: row.mark });
}

/// An encoded entry without a body.
pub(crate) fn encode_entry(kind: wire::entry::Kind) -> Bytes {
    wire::Entry { kind: Some(kind), body: Bytes::new() }.encode_to_vec().into()
}

/// Spreads our random 53-bit ids over all 64 bits; not for keys that a stranger chooses freely
/// in number, which a batch's bound rules out.
#[derive(Default)]
pub(crate) struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, id: u64) {
        // Multiply and fold, as wyhash does; the constant is its secret's first word.
        let product = u128::from(self.0 ^ id) * u128::from(0xa076_1d64_78bd_642f_u64);
        self.0 = (product as u64) ^ ((product >> 64) as u64);
    }
}
