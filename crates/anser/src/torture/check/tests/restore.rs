//! What a restore may and may not do.

use super::{
    clean, first, last, red,
    story::{ALICE, BOBS, PHONE, Story},
};
use crate::torture::history::{Command, What};

/// One message after the backup, which the restore takes back.
fn restored() -> Story {
    let mut story = Story::busy();
    story.back_up();
    story.send(PHONE, "gone with the restore");
    story.restore();
    story
}

#[test]
fn what_was_acked_since_the_backup_is_counted() {
    let mut story = restored();
    story.connect(PHONE);
    story.connect(BOBS);
    story.send(BOBS, "a new one under an old number");
    let judgement = clean(story.end());
    assert_eq!(judgement.rolled_back, 1);
}

#[test]
fn what_was_not_acked_is_sent_again_in_the_new_epoch() {
    let mut story = Story::busy();
    story.back_up();
    let number = story.queue(PHONE, "acked, and its row never came");
    story.apply(PHONE, number);
    story.ack(PHONE, number);
    story.disconnect(PHONE);
    story.flush();
    story.restore();
    let judgement = clean(story.end());
    assert_eq!(judgement.rolled_back, 0);
}

#[test]
fn a_device_that_is_newer_than_the_backup_moves_what_waits() {
    let mut story = Story::busy();
    story.back_up();
    story.join(PHONE, ALICE);
    story.disconnect(PHONE);
    story.queue(PHONE, "waits");
    story.restore();
    story.what.push(What::Unauthenticated { client: PHONE });
    story.join(PHONE, ALICE);
    clean(story.end());
}

#[test]
fn a_client_may_meet_the_restored_server_before_the_run_notes_it() {
    let mut story = restored();
    let noted = story.what.split_off(story.what.len() - 2);
    story.connect(PHONE);
    story.what.extend(noted);
    clean(story.end());
}

#[test]
fn a_friendship_that_the_backup_does_not_have_may_end_in_rejections() {
    let mut story = Story::busy();
    story.remove();
    story.back_up();
    story.befriend();
    let number = story.queue(BOBS, "they were friends");
    story.restore();
    story.connect(BOBS);
    assert!(number > 0);
    let judgement = clean(story.end());
    assert_eq!(judgement.operations.failed, 1);
}

#[test]
fn what_was_acked_between_two_restores_of_one_backup_is_counted() {
    let mut story = restored();
    story.connect(PHONE);
    story.connect(BOBS);
    story.send(BOBS, "gone with the second restore");
    story.restore_as("third");
    story.connect(PHONE);
    let judgement = clean(story.end());
    assert_eq!(judgement.rolled_back, 2);
}

#[test]
fn a_backup_of_a_restored_server_keeps_what_came_before_it() {
    let mut story = restored();
    story.connect(PHONE);
    story.connect(BOBS);
    story.send(BOBS, "kept by the second backup");
    // As if the backup were made within the fault.
    let from = story.what.len();
    story.back_up();
    story.restore_as("third");
    let fault = from + first(&story.what[from..], |what| matches!(what, What::Fault { .. }));
    let fault = story.what.remove(fault);
    story.what.insert(from, fault);
    story.connect(PHONE);
    let mut what = story.end();
    let judgement = clean(what.clone());
    assert_eq!(judgement.rolled_back, 1);
    super::edit_views(&mut what, |messages| _ = messages.pop());
    red(what, "C1", "in no final view");
}

#[test]
fn a_message_from_before_the_backup_must_survive() {
    let mut story = restored();
    story.connect(BOBS);
    let mut what = story.end();
    super::edit_views(&mut what, |messages| _ = messages.pop());
    red(what, "C1", "in no final view");
}

#[test]
fn a_device_that_names_the_old_epoch_is_not_welcomed() {
    let mut story = restored();
    story.connect(PHONE);
    let mut what = story.end();
    let at = last(&what, |what| matches!(what, What::Hello { client: PHONE, .. }));
    if let What::Hello { epoch, .. } = &mut what[at] {
        "first".clone_into(epoch);
    }
    red(what, "C1", "named another epoch");
}

#[test]
fn an_epoch_that_is_over_welcomes_nobody() {
    let mut story = restored();
    story.connect(PHONE);
    let mut what = story.end();
    let at = last(&what, |what| matches!(what, What::Hello { client: PHONE, .. }));
    for what in &mut what[at..] {
        match what {
            What::Hello { client: PHONE, epoch, .. } | What::Welcome { epoch, .. } => {
                "first".clone_into(epoch);
                if matches!(what, What::Welcome { .. }) {
                    break;
                }
            }
            _ => {}
        }
    }
    red(what, "C1", "an epoch that is over");
}

#[test]
fn every_device_is_told_of_a_restore() {
    let mut story = restored();
    story.connect(PHONE);
    let mut what = story.end();
    let at = first(&what, |what| matches!(what, What::Reset { .. }));
    what.remove(at);
    red(what, "C1", "without a reset");
}

#[test]
fn only_a_restore_makes_an_epoch() {
    let mut story = restored();
    story.connect(PHONE);
    let mut what = story.end();
    let at = first(&what, |what| matches!(what, What::Restored { .. }));
    what.remove(at);
    red(what, "C1", "without a restore");
}

#[test]
fn a_send_that_was_applied_before_and_after_is_twice_in_one_epoch() {
    let mut story = restored();
    story.connect(PHONE);
    let device = story.clients[&PHONE].device;
    let text = Some("hello".to_owned());
    let command = Command::Send { conversation: super::story::TALK, text };
    let client_seq = 7;
    story.what.push(What::Queued { client: PHONE, device, client_seq, command: command.clone() });
    story.server.apply((ALICE, device, client_seq), &command);
    story.flush();
    red(story.end(), "C3", "one send became two");
}
