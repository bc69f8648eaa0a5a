//! C5 and C6 can fail.

use super::{
    first, last, red,
    story::{ALICE, BOB, BOBS, LAPTOP, PHONE, Story, TALK},
};
use crate::torture::history::{Kind, What};

/// Changes one sight of a row.
fn change(what: &mut What) {
    if let What::Pushed { row, .. } = what {
        row.digest += 1;
    }
}

#[test]
fn two_devices_see_the_same_row() {
    let mut what = Story::busy().end();
    let hello = first(&what, |what| matches!(what, What::Hello { client: LAPTOP, .. }));
    let What::Hello { conn, .. } = what[hello] else { unreachable!() };
    let at = last(&what, |what| matches!(what, What::Pushed { conn: of, .. } if *of == conn));
    change(&mut what[at]);
    red(what, "C5", "was seen in two ways");
}

#[test]
fn a_body_is_the_same_for_all_who_get_one() {
    let mut what = Story::busy().end();
    let with_body = |what: &What| matches!(what, What::Pushed { row, .. } if row.body.is_some());
    let at = first(&what, with_body);
    if let What::Pushed { row, .. } = &mut what[at] {
        row.body = Some(99);
    }
    red(what, "C6", "was seen in two ways");
}

#[test]
fn a_row_does_not_change_for_a_device_that_saw_it() {
    let mut what = Story::busy().end();
    let at = last(&what, |what| matches!(what, What::Pushed { conn: 2, .. }));
    let mut again = what[at].clone();
    change(&mut again);
    what.insert(at + 1, again);
    red(what, "C6", "was seen in two ways");
}

#[test]
fn the_database_has_the_row_that_was_pushed() {
    let mut what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Audit { user: BOB, .. }));
    if let What::Audit { rows, .. } = &mut what[at] {
        rows[1].1.digest += 1;
    }
    red(what, "C6", "was seen in two ways");
}

#[test]
fn a_row_that_was_pushed_is_in_the_database() {
    let mut what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Audit { user: BOB, .. }));
    if let What::Audit { rows, head, .. } = &mut what[at] {
        rows.pop();
        *head -= 1;
    }
    red(what, "C6", "is not in the database");
}

#[test]
fn a_message_that_was_seen_is_there_in_the_end() {
    let mut what = Story::busy().end();
    super::edit_views(&mut what, |messages| _ = messages.pop());
    red(what, "C6", "in the end there are 3");
}

#[test]
fn two_users_see_the_same_message() {
    let mut what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Final { user: BOB, .. }));
    if let What::Final { messages, .. } = &mut what[at] {
        let (one, other) = (messages[0].conv_seq, messages[1].conv_seq);
        messages.swap(0, 1);
        (messages[0].conv_seq, messages[1].conv_seq) = (one, other);
    }
    red(what, "C5", "is seen as two");
}

#[test]
fn a_message_does_not_change_for_a_user() {
    let mut story = Story::busy();
    let mut messages = story.server.messages.clone();
    messages.truncate(2);
    let user = ALICE;
    let page = What::Page { client: PHONE, user, conversation: TALK, messages: messages.clone() };
    messages[1].client_seq = 9;
    let other = What::Page { client: PHONE, user, conversation: TALK, messages };
    // Bob's own view is not asked for here, so Alice's comes first.
    story.what.insert(0, page);
    story.what.insert(1, other);
    red(story.end(), "C6", "is seen as two");
}

#[test]
fn the_results_of_a_device_keep_their_order() {
    let mut story = Story::busy();
    let (one, two) = (story.queue(PHONE, "first"), story.queue(PHONE, "second"));
    story.apply(PHONE, two);
    story.apply(PHONE, one);
    story.ack(PHONE, two);
    story.flush();
    let what = story.end();
    red(what.clone(), "C5", "follows 3");
    red(what, "C5", "in conversation 7 command 2");
}

#[test]
fn no_result_of_a_device_is_left_out() {
    let mut story = Story::busy();
    story.queue(PHONE, "left out");
    let number = story.queue(PHONE, "applied");
    story.apply(PHONE, number);
    story.flush();
    red(story.end(), "C5", "command 3 of device 11 follows 1");
}

#[test]
fn a_history_has_no_holes() {
    let mut what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Final { user: BOB, .. }));
    if let What::Final { messages, .. } = &mut what[at] {
        messages.remove(1);
    }
    red(what, "C5", "with holes");
}

#[test]
fn both_members_see_the_same_end() {
    let mut what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Final { user: BOB, .. }));
    if let What::Final { messages, .. } = &mut what[at] {
        messages.pop();
    }
    red(what, "C5", "ends at 3 for user 2");
}

#[test]
fn a_view_in_the_middle_counts_too() {
    let mut what = Story::busy().end();
    let is_it = |what: &What| {
        matches!(what, What::Pushed { conn: 2, row, .. }
            if matches!(row.kind, Kind::Message { .. }))
    };
    let at = first(&what, is_it);
    if let What::Pushed { row, .. } = &mut what[at]
        && let Kind::Message { conv_seq, .. } = &mut row.kind
    {
        *conv_seq = 2;
    }
    assert!(what.iter().any(|what| matches!(what, What::Hello { client: BOBS, .. })));
    red(what, "C5", "is seen as two");
}
