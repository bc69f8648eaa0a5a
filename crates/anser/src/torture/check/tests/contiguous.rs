//! C4 can fail.

use super::{
    first, last, red,
    story::{BOB, BOBS, PHONE, Story},
};
use crate::torture::history::What;

#[test]
fn a_push_follows_the_one_before() {
    let mut what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Pushed { conn: 2, seq: 2, .. }));
    what.remove(at);
    red(what, "C4", "was pushed row 3 after row 1");
}

#[test]
fn the_first_push_follows_the_position_of_the_hello() {
    let mut story = Story::busy();
    story.disconnect(BOBS);
    story.send(PHONE, "missed");
    story.disconnect(PHONE);
    story.connect(BOBS);
    let mut what = story.end();
    let hello = last(&what, |what| matches!(what, What::Hello { client: BOBS, .. }));
    let pushed = hello + first(&what[hello..], |what| matches!(what, What::Pushed { .. }));
    let What::Hello { conn, .. } = what[hello] else { unreachable!() };
    let mut early = what.clone();
    if let What::Pushed { conn: of, seq, .. } = &mut early[pushed] {
        assert_eq!(*of, conn);
        *seq += 1;
    }
    red(early, "C4", "was pushed row");
    if let What::Pushed { seq, .. } = &mut what[pushed] {
        *seq = 1;
    }
    red(what, "C4", "was pushed row 1 that it had");
}

#[test]
fn nothing_is_pushed_before_a_welcome() {
    let mut what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Welcome { conn: 2, .. }));
    what.remove(at);
    red(what, "C4", "before a Welcome");
}

#[test]
fn nobody_catches_up_before_a_welcome() {
    let mut what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Welcome { conn: 2, .. }));
    what.remove(at);
    red(what, "C4", "caught up without a Welcome");
}

#[test]
fn caught_up_comes_once() {
    let mut what = Story::busy().end();
    what.push(What::CaughtUp { conn: 1 });
    red(what, "C4", "caught up twice");
}

#[test]
fn caught_up_comes_after_the_head() {
    let mut what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Welcome { conn: 1, .. }));
    if let What::Welcome { head, .. } = &mut what[at] {
        *head += 1;
    }
    red(what, "C4", "but the head was");
}

#[test]
fn a_welcome_hides_no_hole() {
    let mut what = Story::busy().end();
    let at = last(&what, |what| matches!(what, What::Welcome { .. }));
    let mut pruned = what.clone();
    if let What::Welcome { floor, head, .. } = &mut pruned[at] {
        *floor = *head + 2;
    }
    red(pruned, "C4", "welcomed over a hole");
    if let What::Welcome { head, .. } = &mut what[at] {
        *head -= 1;
    }
    red(what, "C4", "welcomed over a hole");
}

#[test]
fn a_device_does_not_go_back() {
    let mut what = Story::busy().end();
    let at = last(&what, |what| matches!(what, What::Stored { client: BOBS, .. }));
    let mut back = what[at].clone();
    if let What::Stored { position, .. } = &mut back {
        *position -= 1;
    }
    what.insert(at + 1, back);
    red(what, "C4", "went back from");
}

#[test]
fn a_device_stores_only_what_it_was_told() {
    let mut what = Story::busy().end();
    let at = last(&what, |what| matches!(what, What::Stored { client: BOBS, .. }));
    if let What::Stored { position, .. } = &mut what[at] {
        *position += 1;
    }
    red(what, "C4", "but was told up to");
}

#[test]
fn an_inbox_has_all_rows_from_floor_to_head() {
    let mut what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Audit { user: BOB, .. }));
    let mut short = what.clone();
    if let What::Audit { rows, .. } = &mut short[at] {
        rows.pop();
    }
    red(short, "C4", "look at row");
    if let What::Audit { rows, .. } = &mut what[at] {
        rows.remove(2);
    }
    red(what, "C4", "look at row 3");
}

#[test]
fn a_client_holds_a_conversation_without_holes() {
    let mut what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Local { client: BOBS, .. }));
    if let What::Local { messages, .. } = &mut what[at] {
        messages.remove(1);
    }
    red(what, "C4", "client 1 holds 1 and then 3");
}
