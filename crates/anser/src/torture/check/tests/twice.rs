//! C3 and C7 can fail.

use super::{
    first, red,
    story::{ALICE, PHONE, Story, TALK},
};
use crate::torture::history::{Command, What};

/// A command of Alice's phone is applied a second time, under a number of its own or the same one.
fn again(story: &mut Story, client_seq: u64, text: &str) {
    let device = story.clients[&PHONE].device;
    let command = Command::Send { conversation: TALK, text: Some(text.to_owned()) };
    story.what.push(What::Queued { client: PHONE, device, client_seq, command: command.clone() });
    story.server.apply((ALICE, device, client_seq), &command);
    story.flush();
}

#[test]
fn a_command_has_one_row_in_an_inbox() {
    let mut story = Story::busy();
    again(&mut story, 1, "hello");
    red(story.end(), "C3", "has rows");
}

#[test]
fn a_command_becomes_one_message() {
    let mut story = Story::busy();
    again(&mut story, 1, "hello");
    red(story.end(), "C3", "became two messages");
}

#[test]
fn a_send_becomes_one_message_under_whatever_names() {
    let mut story = Story::busy();
    again(&mut story, 2, "hello");
    red(story.end(), "C3", "one send became two messages");
}

#[test]
fn a_send_that_was_never_acked_appears_at_most_once() {
    let mut story = Story::busy();
    let number = story.queue(PHONE, "unclear");
    story.apply(PHONE, number);
    story.flush();
    again(&mut story, number, "unclear");
    red(story.end(), "C7", "became two messages");

    let mut story = Story::busy();
    let number = story.queue(PHONE, "unclear");
    story.apply(PHONE, number);
    story.flush();
    again(&mut story, number + 1, "unclear");
    red(story.end(), "C7", "one send became two messages");
}

#[test]
fn a_send_whose_ack_was_lost_appears_at_most_once() {
    let mut story = Story::busy();
    let number = story.queue(PHONE, "unclear");
    story.apply(PHONE, number);
    story.disconnect(PHONE);
    story.connect(PHONE);
    again(&mut story, number, "unclear");
    red(story.end(), "C7", "became two messages");
}

#[test]
fn a_send_that_moved_after_its_storage_was_copied_may_come_from_the_copy_too() {
    let mut story = Story::busy();
    story.what.push(What::Copied { client: PHONE });
    story.send(PHONE, "moved");
    story.what.push(What::OldCopy { client: PHONE });
    again(&mut story, 9, "moved");
    let is_twice = |what: Vec<What>| {
        let judgement = super::judge(&super::records(what));
        judgement.checks.iter().any(|check| check.name == "C3" && check.failed > 0)
    };
    let mut what = story.end();
    assert!(!is_twice(what.clone()));
    what.retain(|what| !matches!(what, What::OldCopy { .. }));
    assert!(is_twice(what), "without the copy it is a double");
}

#[test]
fn a_client_stores_a_message_again_only_as_it_was() {
    let mut what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Holds { .. }));
    let mut again = what[at].clone();
    if let What::Holds { message, .. } = &mut again {
        message.text = Some("otherwise".to_owned());
    }
    what.insert(at + 1, again);
    red(what, "C3", "twice, differently");
}
