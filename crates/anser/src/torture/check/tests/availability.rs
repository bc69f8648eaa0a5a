//! C10: what is measured.

use std::time::Duration;

use super::story::{PHONE, Story};
use crate::torture::{
    check::{Availability, judge},
    history::{Command, Record, What},
};

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Sends are acked every 100 ms, but for a time from the fault on.
fn history(silent: std::ops::Range<u64>, faults: &[(u64, What)]) -> Availability {
    let story = Story::new();
    let device = story.clients[&PHONE].device;
    let mut records: Vec<Record> =
        story.what.into_iter().map(|what| Record { at: ms(0), what }).collect();
    let acks = (1_u64..=200).map(|number| 100 * number).filter(|at| !silent.contains(at));
    for (client_seq, at) in (1..).zip(acks) {
        let text = Some(client_seq.to_string());
        let command = Command::Send { conversation: 7, text };
        let queued = What::Queued { client: PHONE, device, client_seq, command };
        let acked = What::Acked { conn: 1, position: client_seq };
        records.extend([queued, acked].map(|what| Record { at: ms(at), what }));
    }
    for (at, what) in faults {
        records.push(Record { at: ms(*at), what: what.clone() });
    }
    // Stable: what happened before stays before.
    records.sort_by_key(|record| record.at);
    judge(&records).availability
}

fn fault(fault: u64) -> What {
    What::Fault { fault, kind: "kill" }
}

fn healed(fault: u64) -> What {
    What::Healed { fault }
}

#[test]
fn the_way_back_is_measured_from_the_healing() {
    let faults = [(5_001, fault(1)), (6_001, healed(1)), (15_001, What::Settling)];
    let availability = history(5_001..7_000, &faults);
    let measured = &availability.faults[0];
    assert_eq!((measured.kind, measured.healed_at), ("kill", ms(6_001)));
    assert!((measured.rate_before - 10.0).abs() < 0.1);
    // Acks at 7000, 7100, …: the ninth is at 7800.
    assert_eq!(measured.to_first_ok, Some(ms(999)));
    assert_eq!(measured.to_rate, Some(ms(1_799)));
    assert!(!measured.cut_short);
    let worst = &availability.worst["kill"];
    assert_eq!((worst.measured, worst.never, worst.to_rate), (1, 0, Some(ms(1_799))));
}

#[test]
fn a_service_that_never_stopped_is_back_after_one_window() {
    let faults = [(5_001, fault(1)), (6_001, healed(1))];
    let measured = &history(0..1, &faults).faults[0];
    assert_eq!((measured.to_first_ok, measured.to_rate), (Some(ms(99)), Some(ms(1_000))));
}

#[test]
fn a_service_that_does_not_come_back_is_told() {
    let faults = [(5_001, fault(1)), (6_001, healed(1)), (15_001, What::Settling)];
    let availability = history(5_001..30_000, &faults);
    let measured = &availability.faults[0];
    assert_eq!((measured.to_first_ok, measured.to_rate, measured.cut_short), (None, None, false));
    assert_eq!(availability.worst["kill"].never, 1);
}

#[test]
fn the_next_fault_cuts_a_measurement_short() {
    let faults = [
        (5_001, fault(1)),
        (6_001, healed(1)),
        (7_201, fault(2)),
        (7_301, healed(2)),
        (15_001, What::Settling),
    ];
    let availability = history(5_001..7_000, &faults);
    let measured = &availability.faults[0];
    assert_eq!((measured.to_first_ok, measured.to_rate), (Some(ms(999)), None));
    assert!(measured.cut_short);
    assert_eq!((availability.worst["kill"].never, availability.worst["kill"].cut_short), (0, 1));
    assert!(availability.faults[1].to_rate.is_some());
}

#[test]
fn behind_a_fault_that_is_still_on_nothing_is_measured() {
    let faults = [
        (5_001, fault(1)),
        (5_101, fault(2)),
        (6_001, healed(1)),
        (7_001, healed(2)),
        (15_001, What::Settling),
    ];
    let availability = history(5_001..7_100, &faults);
    let measured: Vec<_> = availability.faults.iter().map(|one| one.to_first_ok).collect();
    assert_eq!(measured, [None, Some(ms(99))]);
    let cut_short: Vec<_> = availability.faults.iter().map(|one| one.cut_short).collect();
    assert_eq!(cut_short, [true, false]);
}

#[test]
fn what_happens_while_all_settles_does_not_count() {
    let faults = [(5_001, fault(1)), (6_001, healed(1)), (6_501, What::Settling)];
    let measured = &history(5_001..7_000, &faults).faults[0];
    assert_eq!((measured.to_first_ok, measured.to_rate), (None, None));
}

#[test]
fn a_failure_is_shown_with_a_line_for_each_record() {
    let records = super::records(Story::busy().end());
    let every = crate::torture::check::Failure {
        why: String::new(),
        history: (0..records.len()).collect(),
    };
    let shown = crate::torture::check::show(&records, &every);
    assert_eq!(shown.lines().count(), records.len());
    assert!(shown.starts_with("    0.000 Snapshot client 0 user 1"), "{shown}");
    assert!(shown.contains("0.100 "), "{shown}");
    assert!(shown.lines().all(|line| line.len() < 600));
}
