//! `anser torture` as an operator runs it, for a short time and with one seed. That its checks can
//! fail is proved by `make faults` (`ci/torture.tsv`).

use std::{collections::BTreeSet, process::Command};

use serde_json::Value;

use crate::support::{left_out, repository};

/// Decides the plan of the run; any other would do.
const SEED: &str = "20";

fn torture(arguments: &[&str]) -> (Option<i32>, Value, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("report.json");
    let mut command = Command::new(env!("CARGO_BIN_EXE_anser"));
    command.arg("torture").args(["--seed", SEED]).args(arguments);
    let ran = command.arg("--report").arg(&file).output().expect("it runs");
    let told = [ran.stdout, ran.stderr].map(|text| String::from_utf8(text).expect("text")).concat();
    let report = std::fs::read(&file)
        .map_or(Value::Null, |report| serde_json::from_slice(&report).expect("a report"));
    (ran.status.code(), report, told)
}

#[test]
fn nothing_is_lost_whatever_breaks() {
    let short = ["--seconds", "25", "--users", "3", "--devices", "2"];
    let (mut status, mut report, mut told) = torture(&short);
    let skipped: Vec<_> = report["skipped"].as_object().expect(&told).keys().cloned().collect();
    if !skipped.is_empty() {
        left_out::some(&skipped.join(", "), "nothing_is_lost_whatever_breaks");
        assert_eq!(status, Some(1), "what can not run is a failure unless it is left out");
        let faults = report["faults"].as_object().expect("a table").keys().cloned();
        let faults = faults.collect::<Vec<_>>().join(",");
        (status, report, told) = torture(&[&short[..], &["--faults", &faults]].concat());
    }
    assert_eq!(status, Some(0), "{told}");
    for check in 1..=9 {
        let check = &report["checks"][format!("C{check}")];
        assert_eq!(check["holds"], true, "{told}");
        assert!(check["examined"].as_u64().expect("a number") > 0, "{told}");
    }
    assert!(report["operations"]["ok"].as_u64().expect("a number") > 200, "{told}");
    assert!(report["faults"].as_object().expect("a table").len() > 8, "{told}");
}

/// A few faults of each lane: all of them need minutes.
const OF_A_CLUSTER: &str = "kill,restart,mariadb_kill,rabbitmq_kill,redis_flush,partition_drop,\
                            partition_one_way,reset,storm";

#[test]
fn nothing_is_lost_whatever_breaks_in_a_cluster() {
    let test = "nothing_is_lost_whatever_breaks_in_a_cluster";
    let control = "/usr/lib/rabbitmq/bin/rabbitmqctl";
    for (program, word) in [("mariadbd", "-V"), ("redis-server", "-v"), (control, "version")] {
        if !left_out::has_with(program, word, test) {
            return;
        }
    }
    let short = ["--cluster", "--seconds", "20", "--users", "3", "--devices", "2", "--faults"];
    let (mut status, mut report, mut told) = torture(&[&short[..], &[OF_A_CLUSTER]].concat());
    let skipped: Vec<_> = report["skipped"].as_object().expect(&told).keys().cloned().collect();
    if !skipped.is_empty() {
        left_out::some(&skipped.join(", "), test);
        assert_eq!(status, Some(1), "what can not run is a failure unless it is left out");
        let rest = OF_A_CLUSTER.split(',').filter(|fault| !skipped.iter().any(|one| one == fault));
        let rest = rest.collect::<Vec<_>>().join(",");
        (status, report, told) = torture(&[&short[..], &[&rest]].concat());
    }
    assert_eq!(status, Some(0), "{told}");
    for check in 1..=9 {
        assert_eq!(report["checks"][format!("C{check}")]["holds"], true, "{told}");
    }
    assert!(report["faults"].as_object().expect("a table").len() > 4, "{told}");
}

#[test]
fn wrong_input_is_told() {
    for (arguments, sentence) in [
        (&["--faults", "kil"][..], "no fault is called kil; there are kill, "),
        (&["--cluster", "--faults", "restore"], "no fault is called restore; there are kill, "),
        (&["--faults", "redis_flush"], "no fault is called redis_flush; there are kill, "),
        (&["--seconds", "0"], "0 is not in 1.."),
        (&["--users", "1"], "1 is not in 2..=50"),
    ] {
        let (status, _, told) = torture(arguments);
        assert_eq!(status, Some(2), "{told}");
        assert!(told.contains(sentence), "{told}");
    }
}

#[test]
fn every_check_has_a_planted_fault_that_turns_it_red() {
    let table = repository::text("ci/torture.tsv");
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    let checks: BTreeSet<_> = lines.filter_map(|line| line.split('\t').nth(1)).collect();
    let wanted = (1..=9).map(|number| format!("C{number}"));
    assert!(wanted.eq(checks.iter().map(|check| (*check).to_owned())), "{checks:?}");
}
