//! C2 can fail.

use super::{
    edit_views, first, red,
    story::{BOBS, PHONE, Story},
};
use crate::torture::history::{Command, Kind, What};

#[test]
fn a_message_was_given_by_somebody() {
    let mut what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Queued { .. }));
    what.remove(at);
    red(what, "C2", "was never given");
}

#[test]
fn a_message_says_what_was_given() {
    let mut what = Story::busy().end();
    edit_views(&mut what, |messages| messages[0].text = Some("something else".to_owned()));
    red(what, "C2", "is not what was given");
}

#[test]
fn a_message_is_where_it_was_sent_to() {
    let mut what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Queued { .. }));
    if let What::Queued { command: Command::Send { conversation, .. }, .. } = &mut what[at] {
        *conversation = 8;
    }
    red(what, "C2", "is not what was given");
}

#[test]
fn a_message_is_its_senders() {
    let mut what = Story::busy().end();
    edit_views(&mut what, |messages| messages[0].sender = 2);
    red(what, "C2", "whose device it is not");
}

#[test]
fn a_refused_send_is_not_there() {
    let mut what = Story::busy().end();
    let send = |what: &What| matches!(what, What::Send { client: BOBS, .. });
    let at = first(&what, send);
    let What::Send { op, .. } = what[at] else { unreachable!() };
    let done = first(&what, |what| *what == What::Done { op });
    what[done] = What::Refused { op, code: "closed".to_owned() };
    red(what, "C2", "was refused");
}

#[test]
fn a_read_mark_was_given_by_somebody() {
    let mut what = Story::busy().end();
    let is_read = |what: &What| matches!(what, What::Queued { command: Command::Read { .. }, .. });
    let at = first(&what, is_read);
    if let What::Queued { command: Command::Read { conv_seq, .. }, .. } = &mut what[at] {
        // What is told is lower than what was asked.
        *conv_seq = 4;
    }
    red(what.clone(), "C2", "a read mark names command");
    what.remove(at);
    red(what, "C2", "a read mark names command");
}

#[test]
fn a_rejection_is_of_a_command() {
    let mut story = Story::busy();
    let device = story.clients[&PHONE].device;
    let rejected = Kind::Rejected { conversation: 7, device, client_seq: 77, code: 60 };
    story.server.push(1, rejected, None);
    story.flush();
    red(story.end(), "C2", "a rejection names command 77");
}

#[test]
fn a_result_is_of_a_device_of_its_inbox() {
    let mut story = Story::busy();
    story.read(PHONE, 2);
    let device = story.clients[&PHONE].device;
    let mark = Kind::ReadMark { conversation: 7, read: 2, device, client_seq: 2 };
    story.server.push(2, mark, None);
    story.flush();
    red(story.end(), "C2", "is of another's device");
}

#[test]
fn nobody_holds_more_than_there_is() {
    let mut what = Story::busy().end();
    for what in &mut what {
        if let What::Final { messages, .. } = what {
            messages.pop();
        }
    }
    red(what, "C2", "which ends at 3");
}
