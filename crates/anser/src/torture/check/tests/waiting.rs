//! C10: how long sends wait while all nodes are restarted.

use std::time::Duration;

use super::story::{PHONE, Story};
use crate::torture::{
    check::{Waits, judge},
    history::{Command, Record, What},
};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// A send is queued at 2 s and acked at a time, in a history of other things.
fn history(acked: u64, others: &[(u64, What)]) -> Waits {
    let story = Story::new();
    let device = story.clients[&PHONE].device;
    let mut records: Vec<Record> =
        story.what.into_iter().map(|what| Record { at: ms(0), what }).collect();
    let command = Command::Send { conversation: 7, text: Some("1".to_owned()) };
    let queued = What::Queued { client: PHONE, device, client_seq: 1, command };
    records.push(Record { at: ms(2_000), what: queued });
    records.push(Record { at: ms(acked), what: What::Acked { conn: 1, position: 1 } });
    for (at, what) in others {
        records.push(Record { at: ms(*at), what: what.clone() });
    }
    records.sort_by_key(|record| record.at);
    judge(&records).waits
}

fn fault(kind: &'static str) -> What {
    What::Fault { fault: 1, kind }
}

const HEALED: What = What::Healed { fault: 1 };

#[test]
fn a_send_waits_from_the_outbox_to_the_ack() {
    let others = [(1_000, fault("rolling_restart")), (9_000, HEALED), (12_000, What::Settling)];
    let waits = history(10_000, &others);
    assert_eq!((waits.sends, waits.longest), (1, ms(8_000)));
}

#[test]
fn other_faults_do_not_count() {
    assert_eq!(history(10_000, &[(1_000, fault("kill")), (9_000, HEALED)]).sends, 0);
    let before = [(3_000, fault("rolling_restart")), (9_000, HEALED)];
    assert_eq!(history(10_000, &before).sends, 0);
    let then = What::Fault { fault: 2, kind: "kill" };
    let next = [(1_000, fault("rolling_restart")), (4_000, HEALED), (5_000, then)];
    assert_eq!(history(10_000, &next).longest, ms(3_000));
}

#[test]
fn a_client_that_is_switched_off_does_not_wait() {
    let others = [
        (1_000, fault("rolling_restart")),
        (3_000, What::Left { client: PHONE }),
        (6_000, What::Back { client: PHONE }),
        (9_000, HEALED),
    ];
    assert_eq!(history(10_000, &others).longest, ms(5_000));
}
