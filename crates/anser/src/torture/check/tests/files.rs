//! The rules of files can fail: C1 where one is missing, C2 where it has other bytes, C9 where a
//! stranger gets it.

use super::{
    clean, first, red,
    story::{ALICE, BOB, BOBS, EVE, PHONE, Story, TALK},
};
use crate::torture::history::{ClientId, FileBytes, Got, User, What};

const SAID: &str = "file 9.bin, 3 bytes, SHA-256 abc";
const EVES: ClientId = 9;

fn bytes() -> FileBytes {
    FileBytes { len: 3, sha256: "abc".to_owned() }
}

/// Alice has sent Bob a file, as message 5.
fn sent() -> Story {
    let mut story = Story::busy();
    let number = story.queue_with(PHONE, SAID, Some(bytes()));
    story.apply(PHONE, number);
    story.ack(PHONE, number);
    story.flush();
    story
}

fn fetch(what: &mut Vec<What>, (client, user): (ClientId, User), got: Got) {
    let is_it = |what: &What| match what {
        What::Holds { message, .. } => message.text.as_deref() == Some(SAID),
        _ => false,
    };
    let What::Holds { message, .. } = what[first(what, is_it)].clone() else { unreachable!() };
    what.push(What::Fetched { client, user, message, got });
}

/// Both fetch it in the end.
fn ended(story: Story, got: Got) -> Vec<What> {
    let mut what = story.end();
    fetch(&mut what, (PHONE, ALICE), Got::Whole(bytes()));
    fetch(&mut what, (BOBS, BOB), got);
    what
}

#[test]
fn a_file_that_both_can_fetch_is_well() {
    let mut story = sent();
    fetch(&mut story.what, (BOBS, BOB), Got::Broken);
    fetch(&mut story.what, (BOBS, BOB), Got::Whole(bytes()));
    clean(ended(story, Got::Whole(bytes())));
}

#[test]
fn a_message_has_its_file_in_the_end() {
    let not_there = "the file of message 5 of conversation 7 is not there for user 2";
    for got in [Got::Refused(67), Got::Broken] {
        red(ended(sent(), got), "C1", not_there);
    }
    let mut what = sent().end();
    fetch(&mut what, (PHONE, ALICE), Got::Whole(bytes()));
    red(what, "C1", not_there);
}

#[test]
fn a_member_is_not_refused_while_clients_act() {
    let mut story = sent();
    fetch(&mut story.what, (BOBS, BOB), Got::Refused(41));
    red(ended(story, Got::Whole(bytes())), "C1", "was refused (41) to a member");
}

#[test]
fn only_a_restore_without_files_excuses_a_missing_one() {
    let restored = |keeps_files| {
        let mut story = sent();
        story.keeps_files = keeps_files;
        story.back_up();
        story.restore();
        story
    };
    clean(ended(restored(false), Got::Refused(67)));
    red(ended(restored(true), Got::Refused(67)), "C1", "is not there for user 2");
    clean(ended(restored(true), Got::Whole(bytes())));
    // One that was sent after the restore is not excused by it.
    let mut story = Story::busy();
    story.back_up();
    story.restore();
    story.connect(PHONE);
    story.connect(BOBS);
    let number = story.queue_with(PHONE, SAID, Some(bytes()));
    story.apply(PHONE, number);
    story.ack(PHONE, number);
    story.flush();
    red(ended(story, Got::Refused(67)), "C1", "is not there for user 2");
}

#[test]
fn a_file_is_what_was_sent() {
    let cut = FileBytes { len: 2, ..bytes() };
    let other = FileBytes { sha256: "abd".to_owned(), ..bytes() };
    for wrong in [cut, other] {
        red(ended(sent(), Got::Whole(wrong.clone())), "C2", "is not what was sent");
        let mut story = sent();
        fetch(&mut story.what, (BOBS, BOB), Got::Whole(wrong));
        red(ended(story, Got::Whole(bytes())), "C2", "is not what was sent");
    }
    red(ended(sent(), Got::Damaged), "C2", "came with bytes that were not sent");
}

#[test]
fn no_file_goes_to_a_stranger() {
    for got in [Got::Whole(bytes()), Got::Damaged] {
        let mut story = sent();
        story.join(EVES, EVE);
        fetch(&mut story.what, (EVES, EVE), got);
        let what = ended(story, Got::Whole(bytes()));
        red(what, "C9", "user 3 got a file of conversation 7 of others");
    }
    let mut story = sent();
    story.join(EVES, EVE);
    fetch(&mut story.what, (EVES, EVE), Got::Refused(41));
    clean(ended(story, Got::Whole(bytes())));
}

/// A file that never became a message.
fn given_up(mut story: Story, code: Option<u32>) -> Vec<What> {
    let (op, client, text) = (99, PHONE, SAID.to_owned());
    let (conversation, file) = (TALK, Some(bytes()));
    story.what.extend([
        What::Send { op, client, conversation, text, file },
        What::Done { op },
        What::GaveUp { op, code },
    ]);
    story.end()
}

#[test]
fn a_file_is_given_up_for_a_reason() {
    for code in [Some(60), Some(67), None] {
        red(given_up(Story::busy(), code), "C1", "was given up for no reason");
    }
    let mut story = Story::busy();
    story.remove();
    let judgement = clean(given_up(story, Some(60)));
    assert_eq!(judgement.operations.failed, 1);
    let mut forgotten = given_up(Story::busy(), None);
    forgotten.retain(|what| !matches!(what, What::GaveUp { .. }));
    red(forgotten, "C1", "nobody ever learnt what became of a send");
}
