//! C8 can fail.

use super::{
    first, last, red,
    story::{ALICE, BOB, BOBS, PHONE, Story, TALK},
};
use crate::torture::history::{Kind, What};

/// The server tells Alice so of Bob, who is offline; then something happens, then he comes back.
fn told(delivered: u64, read: u64) -> Vec<What> {
    let mut story = Story::busy();
    story.disconnect(BOBS);
    story.send(PHONE, "for later");
    let receipt = Kind::Receipt { conversation: TALK, user: BOB, delivered, read };
    story.server.push(ALICE, receipt, None);
    story.flush();
    story.end()
}

#[test]
fn delivered_comes_after_a_device_has_stored_it() {
    red(told(5, 3), "C8", "delivered 5, but they had stored only 3");
}

#[test]
fn read_comes_after_somebody_said_so() {
    let mut story = Story::new();
    story.send(PHONE, "hello");
    let receipt = Kind::Receipt { conversation: TALK, user: BOB, delivered: 1, read: 1 };
    story.server.push(ALICE, receipt, None);
    story.flush();
    red(story.end(), "C8", "read 1, but they had said so only of 0");
}

#[test]
fn read_is_at_most_delivered() {
    red(told(3, 4), "C8", "read 4 is above delivered 3");
}

#[test]
fn delivered_is_at_most_the_head() {
    red(told(99, 3), "C8", "above the head 5");
}

#[test]
fn receipts_do_not_go_back() {
    red(told(2, 2), "C8", "go back");
}

#[test]
fn an_ack_is_of_what_is_stored() {
    let mut what = Story::busy().end();
    let at = last(&what, |what| matches!(what, What::Stored { client: BOBS, .. }));
    what.swap(at, at + 1);
    assert!(matches!(what[at], What::Confirmed { .. }));
    red(what, "C8", "but had stored only up to");
}

#[test]
fn a_hello_is_of_what_is_stored() {
    let mut story = Story::busy();
    story.disconnect(BOBS);
    story.connect(BOBS);
    let mut what = story.end();
    let at = last(&what, |what| matches!(what, What::Hello { client: BOBS, .. }));
    if let What::Hello { position, .. } = &mut what[at] {
        *position += 1;
    }
    red(what, "C8", "but had stored only up to");
}

#[test]
fn the_sender_knows_in_the_end_what_the_server_knows() {
    let what = Story::busy().end();
    let at = first(&what, |what| matches!(what, What::Marks { client: PHONE, .. }));
    for (number, why) in
        ["read is", "delivered to the peer is", "read by the peer is"].into_iter().enumerate()
    {
        for change in [-1_i64, 1] {
            let mut what = what.clone();
            let What::Marks { client, marks, .. } = &mut what[at] else { unreachable!() };
            let mark = match number {
                0 => &mut marks.read,
                1 => &mut marks.peer_delivered,
                _ => &mut marks.peer_read,
            };
            if let Some(changed) = mark.checked_add_signed(change) {
                *mark = changed;
                *client = PHONE;
                red(what, "C8", why);
            }
        }
    }
}

#[test]
fn the_marks_of_the_server_are_in_order() {
    let mut what = Story::busy().end();
    for what in &mut what {
        if let What::FinalState { state, .. } = what {
            state.conversations[0].head = 1;
        }
    }
    red(what, "C8", "at the server");
}

#[test]
fn what_a_friends_device_acked_is_delivered() {
    let mut what = Story::busy().end();
    for what in &mut what {
        match what {
            What::FinalState { state, .. } => {
                for (user, delivered, read) in &mut state.conversations[0].members {
                    if *user == ALICE {
                        (*delivered, *read) = (1, 0);
                    }
                }
            }
            What::Marks { client: BOBS, marks, .. } => marks.peer_delivered = 1,
            _ => {}
        }
    }
    red(what, "C8", "but only 1 is delivered");
}
