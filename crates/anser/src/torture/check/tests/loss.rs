//! C1 can fail.

use super::{
    edit_views, first, last, red,
    story::{ALICE, BOB, BOBS, PHONE, Story, TALK},
};
use crate::torture::history::{Command, Kind, Message, What};

#[test]
fn an_acked_send_is_in_a_final_view() {
    let mut what = Story::busy().end();
    edit_views(&mut what, |messages| _ = messages.pop());
    red(what, "C1", "in no final view");
}

#[test]
fn an_acked_send_is_in_the_final_view_of_every_member() {
    let mut what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Final { user: BOB, .. }));
    if let What::Final { messages, .. } = &mut what[at] {
        messages.pop();
    }
    red(what, "C1", "final view of user 2");
}

#[test]
fn a_message_of_the_history_is_in_every_inbox() {
    let mut what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Audit { user: BOB, .. }));
    let pushes = |what: &What| {
        matches!(what, What::Pushed { row, .. }
        if matches!(row.kind, Kind::Message { conv_seq: 3, .. }))
    };
    if let What::Audit { rows, .. } = &mut what[at] {
        rows.retain(|(_, row)| !matches!(row.kind, Kind::Message { conv_seq: 3, .. }));
    }
    what.retain(|what| !pushes(what));
    red(what, "C1", "not in the inbox of user 2");
}

#[test]
fn an_acked_read_mark_has_a_row() {
    let mut what = Story::busy().end();
    let is_mark = |kind: &Kind| matches!(kind, Kind::ReadMark { .. });
    what.retain(|what| !matches!(what, What::Pushed { row, .. } if is_mark(&row.kind)));
    for what in &mut what {
        if let What::Audit { rows, .. } = what {
            rows.retain(|(_, row)| !is_mark(&row.kind));
        }
    }
    red(what, "C1", "an acked read mark");
}

#[test]
fn an_acked_number_that_an_old_copy_gave_twice_has_a_row() {
    let mut story = Story::busy();
    for text in ["one", "another"] {
        let command = Command::Send { conversation: TALK, text: Some(text.to_owned()) };
        let device = story.clients[&PHONE].device;
        story.what.push(What::Queued { client: PHONE, device, client_seq: 2, command });
        story.what.push(What::OldCopy { client: PHONE });
    }
    story.ack(PHONE, 2);
    red(story.end(), "C1", "an acked command");
}

#[test]
fn a_send_does_not_stay_undecided() {
    let mut story = Story::busy();
    story.queue(PHONE, "nobody knows");
    red(story.end(), "C1", "nobody ever learnt");
}

#[test]
fn a_send_that_a_copy_has_does_not_stay_undecided() {
    let mut story = Story::busy();
    story.disconnect(PHONE);
    story.queue(PHONE, "in the copy");
    story.what.push(What::Copied { client: PHONE });
    story.what.push(What::OldCopy { client: PHONE });
    let mut lost = story.what.clone();
    super::clean(story.end());
    lost.push(What::Settling);
    red(lost, "C1", "nobody ever learnt");
}

#[test]
fn a_send_that_was_called_done_and_stood_in_no_outbox_is_lost() {
    let mut story = Story::busy();
    let text = "never queued".to_owned();
    story.what.push(What::Send { op: 99, client: PHONE, conversation: TALK, text, file: None });
    story.what.push(What::Done { op: 99 });
    red(story.end(), "C1", "nobody ever learnt");
}

#[test]
fn every_client_drains() {
    let mut what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Drained { client: BOBS, .. }));
    what.remove(at);
    red(what, "C1", "did not drain");
}

#[test]
fn a_client_holds_each_conversation_to_its_end() {
    let mut what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Local { client: BOBS, .. }));
    if let What::Local { messages, .. } = &mut what[at] {
        messages.pop();
    }
    red(what, "C1", "client 1 holds up to 3");
}

#[test]
fn a_client_that_was_there_holds_something() {
    let mut what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Local { client: BOBS, .. }));
    what.remove(at);
    red(what, "C1", "client 1 holds up to 0");
}

#[test]
fn a_client_still_holds_what_it_stored() {
    let mut what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Local { client: BOBS, .. }));
    if let What::Local { messages, .. } = &mut what[at] {
        messages.remove(0);
    }
    red(what, "C1", "no longer holds message 1");
}

/// A send of Bob that is rejected with a code, while all are friends.
fn rejected(code: u32) -> Vec<What> {
    let mut story = Story::busy();
    let number = story.queue(BOBS, "rejected");
    let device = story.clients[&BOBS].device;
    let kind = Kind::Rejected { conversation: TALK, device, client_seq: number, code };
    story.server.push(BOB, kind, None);
    story.ack(BOBS, number);
    story.flush();
    story.end()
}

#[test]
fn nobody_is_told_not_to_be_a_member_who_is() {
    red(rejected(60), "C1", "rejected (60) for no reason");
}

#[test]
fn other_codes_have_no_reason_without_a_restore() {
    red(rejected(64), "C1", "rejected (64) for no reason");
    red(rejected(20), "C1", "rejected (20) for no reason");
}

#[test]
fn a_friendship_that_ended_and_began_again_is_no_reason() {
    let mut story = Story::busy();
    story.remove();
    story.befriend();
    let number = story.queue(BOBS, "rejected");
    let device = story.clients[&BOBS].device;
    let kind = Kind::Rejected { conversation: TALK, device, client_seq: number, code: 60 };
    story.server.push(BOB, kind, None);
    story.ack(BOBS, number);
    story.flush();
    red(story.end(), "C1", "rejected (60) for no reason");
}

#[test]
fn a_read_mark_below_the_head_is_not_above_it() {
    let mut story = Story::busy();
    let (client, conversation, conv_seq) = (BOBS, TALK, 2);
    let device = story.clients[&BOBS].device;
    let command = Command::Read { conversation, conv_seq };
    let client_seq = 90;
    story.what.push(What::Queued { client, device, client_seq, command });
    let kind = Kind::Rejected { conversation, device, client_seq, code: 65 };
    story.server.push(BOB, kind, None);
    story.flush();
    red(story.end(), "C1", "rejected (65) for no reason");
}

#[test]
fn an_ack_counts_though_only_a_hello_told_it() {
    let mut story = Story::busy();
    let number = story.queue(BOBS, "applied, they say");
    story.apply(BOBS, number);
    story.disconnect(BOBS);
    story.connect(BOBS);
    let mut what = story.end();
    edit_views(&mut what, |messages: &mut Vec<Message>| {
        messages.retain(|one| one.conv_seq < 5);
    });
    let at = last(&what, |what| matches!(what, What::Final { user: ALICE, .. }));
    assert!(matches!(&what[at], What::Final { messages, .. } if messages.len() == 4));
    red(what, "C1", "in no final view");
}

#[test]
fn what_was_acked_is_not_missing_later() {
    let mut story = Story::busy();
    story.disconnect(PHONE);
    story.connect(PHONE);
    let mut what = story.end();
    let conn = last(&what, |what| matches!(what, What::Hello { client: PHONE, .. }));
    let What::Hello { conn, .. } = what[conn] else { unreachable!("it was just found") };
    for what in &mut what {
        if let What::Welcome { conn: welcomed, outbox_position, .. } = what
            && *welcomed == conn
        {
            *outbox_position -= 1;
        }
    }
    red(what, "C1", "were acked, and then only");
}
