//! What the store in memory promises to a simulation: begun is not seen, and a crash decides.

use anser_proto::wire;
use prost::Message as _;

use super::*;
use crate::{Outcome, Record};

const ALICE: UserId = UserId(1);
const BOB: UserId = UserId(2);
const PHONE: DeviceId = DeviceId(3);
const CHAT: ConversationId = ConversationId(4);
const ALL: PageLimit = PageLimit { entries: usize::MAX, bytes: usize::MAX };

fn two_friends() -> Memory {
    let mut memory = Memory::new("one", 100);
    for user in [ALICE, BOB] {
        memory.add_user(user);
    }
    memory.add_device(ALICE, PHONE, 0);
    memory.add_conversation(CHAT, &[ALICE, BOB]);
    memory
}

fn message(client_seq: Seq) -> Batch {
    let send = wire::Send { conversation: CHAT.0, key_version: 1, ..<_>::default() };
    let kind = Some(wire::command::Kind::Send(send));
    let command = wire::Command { kind, body: Bytes::from_static(b"sealed") };
    let command = command.encode_to_vec().into();
    let record = Record::Command {
        user: ALICE,
        device: PHONE,
        session: SessionId(0),
        client_seq,
        command,
        once: None,
        trace: None,
    };
    Batch { records: vec![record], now_ms: client_seq }
}

fn rows(memory: &Memory, user: UserId) -> Vec<Seq> {
    match memory.read_inbox(user, memory.floor(user) - 1, ALL) {
        InboxPage::Entries { entries, .. } => entries.iter().map(|row| row.seq).collect(),
        InboxPage::BelowFloor { .. } => Vec::new(),
    }
}

#[test]
fn what_was_begun_is_seen_after_its_sync() {
    let mut memory = two_friends();
    memory.begin(message(1));
    memory.begin(message(2));
    assert_eq!((rows(&memory, BOB), memory.head(BOB)), (vec![], 0));
    assert_eq!(memory.sync().unwrap().outcomes, [Outcome::Applied]);
    assert_eq!((rows(&memory, BOB), memory.begun()), (vec![1], 1));
    assert!(memory.refuse().is_some() && memory.sync().is_none());
    assert_eq!((rows(&memory, ALICE), memory.outbox_position(PHONE)), (vec![1], 1));
}

#[test]
fn a_crash_keeps_what_had_reached_the_disk() {
    let mut memory = two_friends();
    (1..=3).for_each(|number| memory.begin(message(number)));
    memory.crash(2);
    assert_eq!((rows(&memory, BOB), memory.begun()), (vec![1, 2], 0));
    memory.begin(message(2));
    assert_eq!(memory.sync().unwrap().outcomes, [Outcome::Repeat]);
}

#[test]
fn a_restored_copy_is_another_history() {
    let mut memory = two_friends();
    let saved = memory.save();
    memory.begin(message(1));
    memory.sync();
    memory.restore(saved, "two");
    assert_eq!((memory.epoch(), rows(&memory, BOB)), ("two", vec![]));
    let said = |epoch: &str| Hello {
        session: SessionId(0),
        epoch: epoch.to_owned(),
        position: 0,
        outbox_head: 1,
        outbox_trimmed: 1,
    };
    let reset = memory.greet(PHONE, &said("one"), 0);
    assert!(matches!(reset, Some(Greeting::Reset { outbox_position: 1, .. })), "{reset:?}");
    let welcome = memory.greet(PHONE, &said("two"), 0);
    assert!(matches!(welcome, Some(Greeting::Welcome { outbox_position: 1, .. })));
}

#[test]
fn the_last_row_and_what_a_device_lacks_stay() {
    let mut memory = two_friends();
    for number in 1..=3 {
        memory.begin(message(number));
        memory.sync();
    }
    // Alice's phone was seen, and has passed nothing; Bob has no device.
    assert_eq!(memory.prune(3), 2);
    assert_eq!((rows(&memory, ALICE), rows(&memory, BOB)), (vec![1, 2, 3], vec![3]));
    assert!(matches!(memory.read_inbox(BOB, 1, ALL), InboxPage::BelowFloor { floor: 3 }));
    assert_eq!(memory.set_open(CHAT, false).len(), 2);
    assert_eq!((memory.set_open(CHAT, false).len(), rows(&memory, BOB)), (0, vec![3, 4]));
}
