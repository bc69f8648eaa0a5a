//! C9 can fail.

use super::{
    first, red,
    story::{ALICE, BOB, BOBS, EVE, Story, TALK},
};
use crate::torture::history::{ConversationState, Kind, State, What};

const EVES: usize = 9;

fn with_eve() -> Story {
    let mut story = Story::busy();
    story.join(EVES, EVE);
    story
}

#[test]
fn no_row_goes_to_a_stranger() {
    let mut story = with_eve();
    let row = story.server.inboxes[&ALICE][1];
    assert!(matches!(row.kind, Kind::Message { .. }));
    story.server.push(EVE, row.kind, None);
    story.flush();
    red(story.end(), "C9", "user 3 was told of conversation 7 of others");
    for kind in [
        Kind::Receipt { conversation: TALK, user: BOB, delivered: 1, read: 0 },
        Kind::ReadMark { conversation: TALK, read: 1, device: 1, client_seq: 1 },
        Kind::Relation { relation: TALK, peer: BOB, friends: true },
    ] {
        let mut story = with_eve();
        story.server.push(EVE, kind, None);
        story.flush();
        red(story.end(), "C9", "user 3 was told of conversation 7 of others");
    }
}

#[test]
fn no_page_goes_to_a_stranger_not_even_an_empty_one() {
    let mut story = with_eve();
    let (client, user, conversation) = (EVES, EVE, TALK);
    story.what.push(What::Page { client, user, conversation, messages: Vec::new() });
    red(story.end(), "C9", "user 3 was told of conversation 7 of others");
}

#[test]
fn no_snapshot_tells_of_strangers() {
    let members = vec![(ALICE, 0, 0), (BOB, 0, 0)];
    let conversation = ConversationState { conversation: TALK, head: 0, members };
    let state = State { relations: Vec::new(), conversations: vec![conversation] };
    let mut story = with_eve();
    let (epoch, user) = ("first".to_owned(), EVE);
    story.what.push(What::FinalState { user, epoch, head: 0, state });
    red(story.end(), "C9", "user 3 was told of conversation 7 of others");
}

#[test]
fn no_storage_and_no_database_has_a_strangers_message() {
    let mut story = with_eve();
    let message = story.server.messages[0].clone();
    let device = story.clients[&EVES].device;
    let mut what = story.what.clone();
    what.push(What::Holds { client: EVES, device, message });
    red(what, "C9", "user 3 was told of conversation 7 of others");
    let messages = story.server.messages.clone();
    story.what.push(What::Local { client: EVES, conversation: TALK, messages });
    red(story.end(), "C9", "user 3 was told of conversation 7 of others");

    let row = Story::busy().server.inboxes[&ALICE][1];
    let mut what = with_eve().end();
    what.push(What::Audit { user: EVE, floor: 1, head: 1, rows: vec![(1, row)] });
    red(what, "C9", "user 3 was told of conversation 7 of others");
}

#[test]
fn nobody_writes_to_a_conversation_of_others() {
    let story = with_eve();
    let device = story.clients[&EVES].device;
    let (conversation, conv_seq, sender, client_seq) = (TALK, 5, EVE, 1);
    let kind = Kind::Message { conversation, conv_seq, sender, device, client_seq };
    let row = crate::torture::history::Row { digest: 1, body: None, kind };
    let mut what = story.what.clone();
    what.push(What::Pushed { conn: 1, seq: 20, row });
    red(what, "C9", "user 3 wrote to conversation 7");
}

#[test]
fn nobody_is_told_of_a_conversation_that_nobody_has() {
    let mut story = Story::busy();
    let read = Kind::Receipt { conversation: 8, user: BOB, delivered: 1, read: 0 };
    story.server.push(ALICE, read, None);
    story.flush();
    red(story.end(), "C9", "which nobody has");
}

#[test]
fn a_relation_is_one_that_somebody_asked_for() {
    let mut story = with_eve();
    let relation = Kind::Relation { relation: 8, peer: BOB, friends: true };
    story.server.push(EVE, relation, None);
    story.flush();
    red(story.end(), "C9", "neither asked for");
}

#[test]
fn a_relation_has_one_peer() {
    let mut story = with_eve();
    let relation = Kind::Relation { relation: TALK, peer: EVE, friends: true };
    story.server.push(ALICE, relation, None);
    story.flush();
    red(story.end(), "C9", "is with two peers");
}

#[test]
fn nobody_gets_receipts_of_their_own() {
    let mut story = Story::busy();
    let receipt = Kind::Receipt { conversation: TALK, user: BOB, delivered: 4, read: 3 };
    story.server.push(BOB, receipt, None);
    story.flush();
    red(story.end(), "C9", "a receipt of their own");
}

#[test]
fn a_history_is_of_one_conversation() {
    let mut what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Local { client: BOBS, .. }));
    if let What::Local { messages, .. } = &mut what[at] {
        messages[0].conversation = 8;
    }
    red(what, "C9", "has a message of another one");
}
