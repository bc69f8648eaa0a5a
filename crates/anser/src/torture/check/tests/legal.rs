//! What a correct server and correct clients may do, though it looks odd.

use super::{
    clean, first, last,
    story::{ALICE, BOB, BOBS, EVE, LAPTOP, PHONE, Story, TALK},
};
use crate::torture::{
    check::Operations,
    history::{Kind, What},
};

#[test]
fn a_busy_day_is_clean_and_every_check_judged_something() {
    let judgement = clean(Story::busy().end());
    for check in &judgement.checks {
        // Nothing stayed undecided.
        assert_eq!(check.examined > 0, check.name != "C7", "{check:?}");
    }
    assert_eq!((judgement.acked, judgement.rolled_back), (5, 0));
    assert_eq!(judgement.operations, Operations { ok: 7, failed: 0, indeterminate: 0 });
}

#[test]
fn nothing_at_all_is_clean() {
    assert_eq!(clean(Vec::new()).acked, 0);
}

#[test]
fn the_oldest_row_may_be_pushed_again() {
    let mut what = Story::busy().end();
    let at = last(&what, |what| matches!(what, What::Pushed { .. }));
    what.insert(at + 1, what[at].clone());
    clean(what);
}

#[test]
fn an_own_message_may_come_with_its_body_later() {
    let mut story = Story::new();
    story.disconnect(PHONE);
    let number = story.queue(PHONE, "seen by the laptop first");
    story.join(LAPTOP, ALICE);
    story.apply(PHONE, number);
    story.flush();
    clean(story.end());
}

#[test]
fn a_send_that_moved_to_a_new_device_is_the_same_send() {
    let mut story = Story::busy();
    story.disconnect(PHONE);
    story.queue(PHONE, "written offline");
    story.join(PHONE, ALICE);
    let judgement = clean(story.end());
    assert_eq!(judgement.operations.indeterminate, 0);
}

#[test]
fn an_ack_that_never_came_is_told_at_the_next_hello() {
    let mut story = Story::busy();
    let number = story.queue(BOBS, "acked by nobody");
    story.apply(BOBS, number);
    story.disconnect(BOBS);
    story.connect(BOBS);
    let judgement = clean(story.end());
    assert_eq!(judgement.acked, 6);
}

#[test]
fn a_device_that_starts_from_a_snapshot_need_not_hold_what_others_have() {
    let mut story = Story::busy();
    story.join(9, ALICE);
    let what = story.end();
    let empty = first(
        &what,
        |what| matches!(what, What::Local { client: 9, messages, .. } if messages.is_empty()),
    );
    let mut without = what.clone();
    without.remove(empty);
    clean(what);
    clean(without);
}

#[test]
fn a_stranger_without_friends_is_clean() {
    let mut story = Story::busy();
    story.join(9, EVE);
    clean(story.end());
}

#[test]
fn a_send_after_the_end_of_a_friendship_is_rejected_with_reason() {
    let mut story = Story::busy();
    story.remove();
    story.send(BOBS, "too late");
    let judgement = clean(story.end());
    assert_eq!(judgement.operations.failed, 1);
}

#[test]
fn a_send_that_waited_while_they_were_no_friends_may_be_rejected() {
    let mut story = Story::busy();
    let number = story.queue(BOBS, "on the way");
    story.remove();
    story.apply(BOBS, number);
    story.ack(BOBS, number);
    story.befriend();
    story.send(BOBS, "friends again");
    clean(story.end());
}

#[test]
fn friends_again_talk_on() {
    let mut story = Story::busy();
    story.remove();
    story.befriend();
    story.send(BOBS, "friends again");
    let judgement = clean(story.end());
    assert_eq!(judgement.operations.failed, 0);
}

#[test]
fn one_receipt_may_stand_for_many_messages() {
    let mut story = Story::busy();
    story.disconnect(BOBS);
    for text in ["one", "two", "three"] {
        story.send(PHONE, text);
    }
    story.disconnect(PHONE);
    story.disconnect(LAPTOP);
    story.connect(BOBS);
    let mut what = story.end();
    // As if the batch had moved the mark once.
    let receipts = what.iter().filter_map(|what| match what {
        What::Pushed { row, .. } => Some(row.kind),
        _ => None,
    });
    let all = receipts.filter(|kind| matches!(kind, Kind::Receipt { user: BOB, .. })).count();
    assert!(all >= 3);
    let end = what.len();
    clean(what.drain(..end).collect());
}

#[test]
fn what_a_wiped_client_had_not_sent_may_stay_unknown() {
    let mut story = Story::busy();
    story.disconnect(PHONE);
    story.queue(PHONE, "lost with the phone");
    story.what.push(What::Wiped { client: PHONE });
    story.clients.remove(&PHONE);
    story.join(PHONE, ALICE);
    let judgement = clean(story.end());
    assert_eq!(judgement.operations.indeterminate, 1);
    assert_eq!(judgement.checks[6].examined, 1);
}

#[test]
fn an_old_copy_gives_a_number_out_again() {
    let mut story = Story::busy();
    let copy = story.clients[&PHONE].clone();
    story.disconnect(PHONE);
    story.queue(PHONE, "only the newer storage knows");
    story.what.push(What::OldCopy { client: PHONE });
    story.clients.insert(PHONE, copy);
    story.disconnect(PHONE);
    story.queue(PHONE, "under the same number");
    let judgement = clean(story.end());
    assert_eq!(judgement.operations.indeterminate, 1);
}

#[test]
fn a_page_may_come_at_any_time() {
    let mut story = Story::busy();
    let messages = story.server.messages[1..3].to_vec();
    story.what.push(What::Page { client: BOBS, user: BOB, conversation: TALK, messages });
    clean(story.end());
}
