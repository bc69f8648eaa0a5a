//! The hot path: one batch, one transaction, three packets: lock what is known, lock the inboxes
//! that follow from it, write and commit.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

use anser_proto::failpoint::Failpoint;
use anser_proto::{DeviceId, Seq};

use super::failure::Failure;
use super::files::files_into;
use super::load::load;
use super::script::{Script, bytes, list, numbers};
use super::tx::{Mode, Tx};
use super::{Mysql, in_transaction};
use crate::apply::{self, Applied, Device, IdMap, Member, Session, WorkingSet};
use crate::entry::message_of;
use crate::{Batch, Committed, NewEntry, Result};

pub(super) async fn commit(store: &Mysql, batch: &Batch) -> Result<Committed> {
    if batch.records.is_empty() {
        return Ok(Committed::default());
    }
    in_transaction!(store, Mode::Write, tx => attempt(store, &mut tx, batch))
}

async fn attempt(store: &Mysql, tx: &mut Tx, batch: &Batch) -> Result<Committed, Failure> {
    let commands = apply::decode(batch);
    let mut set = load(tx, batch, &commands).await?;
    let before = Before::of(&set);
    let applied = apply::apply(&mut set, batch, commands, store.inner.limits);
    Failpoint::AfterNumber.reached();

    let script = before.changes(&set, &applied, batch.now_ms);
    let messages = applied.messages.len() as u64;
    let Applied { outcomes, entries, .. } = applied;
    if script.is_empty() {
        return Ok(Committed { outcomes, entries, sync: None });
    }
    Failpoint::BeforeCommit.reached();
    let started = Instant::now();
    tx.write_and_commit(script).await?;
    Failpoint::BeforeAck.reached();
    store.inner.counters.commits.fetch_add(1, Relaxed);
    store.inner.counters.messages.fetch_add(messages, Relaxed);
    Ok(Committed { outcomes, entries, sync: Some(started.elapsed()) })
}

/// What the rule changes without marking it, or adds to.
struct Before {
    sessions: IdMap<DeviceId, Session>,
    outbox_positions: IdMap<DeviceId, Seq>,
}

impl Before {
    fn of(set: &WorkingSet) -> Self {
        let positions = set.devices.iter().map(|(id, device)| (*id, device.outbox_position));
        Self { sessions: set.sessions.clone(), outbox_positions: positions.collect() }
    }

    /// The digests that a device got: one for each number it used, as far as they are kept.
    fn new_digests<'d>(&self, id: &DeviceId, device: &'d Device) -> &'d [u64] {
        let before = self.outbox_positions.get(id).copied().unwrap_or(0);
        let new = usize::try_from(device.outbox_position - before).unwrap_or(usize::MAX);
        &device.digests[device.digests.len().saturating_sub(new)..]
    }

    /// One statement for each table that changed. The rows that change are there, and locked: the
    /// inserts of rows with new values are how many rows are changed at once.
    fn changes(&self, set: &WorkingSet, applied: &Applied, now_ms: u64) -> Script {
        let mut script = Script::default();
        let devices = set
            .devices
            .iter()
            .filter(|(id, device)| device.dirty || self.sessions.get(id) != set.sessions.get(id));
        script.insert(DEVICE_GROWS, devices, |text, (id, device)| {
            device_row(text, (*id, device), self.new_digests(id, device), set);
        });
        raise(&mut script, CONVERSATION_HEAD, applied.messages.iter().map(|(id, ..)| id.0));
        let members = set.conversations.iter().flat_map(|(id, one)| {
            one.members.iter().filter(|member| member.dirty).map(|member| (*id, member))
        });
        script.insert(MEMBER, members, |text, (id, member): (_, &Member)| {
            let marks = [member.delivered, member.read, member.joined_at_seq];
            numbers(text, [id.0, member.user.0, marks[0], marks[1], marks[2]]);
        });
        script.insert(MESSAGE, &applied.messages, |text, (id, conv_seq, entry)| {
            let sender = message_of(entry).map_or(0, |message| message.sender);
            numbers(text, [id.0, *conv_seq, sender, now_ms]);
            text.push(',');
            bytes(text, entry);
        });
        inboxes_into(&mut script, &applied.entries);
        files_into(&mut script, &applied.files);
        script.insert(ONCE, &applied.once, |text, key| {
            bytes(text, key);
            text.push(',');
            numbers(text, [now_ms]);
        });
        script
    }
}

/// Stores a device, with all its digests, and what became of its session.
pub(super) fn device_into(
    script: &mut Script,
    (id, device): (DeviceId, &Device),
    set: &WorkingSet,
) {
    script.insert(DEVICE, [device], |text, device| {
        device_row(text, (id, device), &device.digests, set);
    });
}

fn device_row(
    text: &mut String,
    (id, device): (DeviceId, &Device),
    digests: &[u64],
    set: &WorkingSet,
) {
    let (outbox, inbox) = (device.outbox_position, device.inbox_position);
    numbers(text, [device.user.0, id.0, outbox, inbox, device.seen_at_ms]);
    text.push(',');
    let digests: Vec<[u8; 8]> = digests.iter().map(|digest| digest.to_be_bytes()).collect();
    bytes(text, digests.as_flattened());
    text.push(',');
    match set.sessions.get(&id) {
        Some(session) => numbers(text, [session.id.0, u64::from(session.over)]),
        None => text.push_str("NULL,0"),
    }
}

/// Stores entries, and moves the heads of their inboxes, which are locked.
pub(super) fn inboxes_into(script: &mut Script, entries: &[NewEntry]) {
    raise(script, INBOX_HEAD, entries.iter().map(|row| row.user.0));
    script.insert(INBOX, entries, |text, row| {
        numbers(text, [row.user.0, row.seq]);
        text.push(',');
        bytes(text, &row.entry);
    });
}

/// Raises the head of each row by as often as it is named. The rows are there, and locked, so
/// those that rise by as much do so in one statement: an insert that finds each of its rows there
/// costs the server about twice as much.
fn raise(script: &mut Script, head: Head, rows: impl IntoIterator<Item = u64>) {
    let mut rises: BTreeMap<u64, u64> = BTreeMap::new();
    for row in rows {
        *rises.entry(row).or_default() += 1;
    }
    let mut alike: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for (row, by) in rises {
        alike.entry(by).or_default().push(row);
    }
    let Head { table, key } = head;
    for (by, rows) in alike {
        let rows = list(rows);
        script.statement(&format!(
            "UPDATE {table} FORCE INDEX (PRIMARY) SET head = head + {by} WHERE {key} IN ({rows})"
        ));
    }
}

/// Rows with a head.
struct Head {
    table: &'static str,
    key: &'static str,
}

const CONVERSATION_HEAD: Head = Head { table: "im_conversation", key: "conversation" };
const INBOX_HEAD: Head = Head { table: "im_inbox_head", key: "user" };
const DEVICE: (&str, &str) = (
    "INSERT INTO im_device (user, device, outbox_position, inbox_position, seen_at_ms, digests, \
     session, session_over) VALUES ",
    " ON DUPLICATE KEY UPDATE outbox_position = VALUES(outbox_position), \
     inbox_position = VALUES(inbox_position), seen_at_ms = VALUES(seen_at_ms), \
     digests = VALUES(digests), session = VALUES(session), session_over = VALUES(session_over)",
);
/// As [`DEVICE`], but the digests are added to those that are there, of which the last 64 stay:
/// they are the longest part of the row, and few of them are new.
const DEVICE_GROWS: (&str, &str) = (
    DEVICE.0,
    " ON DUPLICATE KEY UPDATE outbox_position = VALUES(outbox_position), \
     inbox_position = VALUES(inbox_position), seen_at_ms = VALUES(seen_at_ms), \
     digests = RIGHT(CONCAT(digests, VALUES(digests)), 512), \
     session = VALUES(session), session_over = VALUES(session_over)",
);
const MEMBER: (&str, &str) = (
    "INSERT INTO im_member (conversation, user, delivered_seq, read_seq, joined_at_seq) VALUES ",
    " ON DUPLICATE KEY UPDATE delivered_seq = VALUES(delivered_seq), read_seq = VALUES(read_seq)",
);
const MESSAGE: (&str, &str) =
    ("INSERT INTO im_message (conversation, conv_seq, sender, created_at_ms, entry) VALUES ", "");
const INBOX: (&str, &str) = ("INSERT INTO im_inbox (user, seq, entry) VALUES ", "");
const ONCE: (&str, &str) = ("INSERT INTO im_once (once_key, used_at_ms) VALUES ", "");
