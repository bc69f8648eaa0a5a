//! What a run tells: lines for people, the same as JSON, and the exit status.

use std::{collections::BTreeMap, path::Path, time::Duration};

use anyhow::Context as _;
use serde_json::{Map, Value, json};

use super::{
    Settings,
    check::{self, Judgement},
    history::Record,
    run::Played,
};
use crate::failure::{Failure, Result};

/// Failures of one check that are shown with their history; the count tells of the others.
const SHOWN: usize = 1;

/// During a rolling restart no send waits longer for its ack.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// The report of one run.
pub(super) struct Report {
    json: Map<String, Value>,
    /// Why the run does not count as clean.
    wrong: Vec<String>,
}

impl Report {
    pub(super) fn new(
        settings: &Settings,
        skipped: BTreeMap<String, String>,
        played: &Played,
        judgement: &Judgement,
    ) -> Self {
        let mut wrong = Vec::new();
        let mut checks = Map::new();
        for check in &judgement.checks {
            let failures = check.failed;
            if failures > 0 {
                wrong.push(format!("{} fails", check.name));
            }
            let value = json!({
                "holds": failures == 0, "examined": check.examined, "failures": failures,
            });
            checks.insert(check.name.to_owned(), value);
        }
        checks.insert("C10".to_owned(), availability(judgement));
        let acked_min = settings.layout.acked_per_second_min() * settings.seconds;
        if (judgement.acked as u64) < acked_min.max(1) {
            let acked = judgement.acked;
            wrong.push(format!("only {acked} commands were acked, so little is proved"));
        }
        if judgement.waits.longest > WAIT_MAX {
            let longest = judgement.waits.longest.as_secs_f64();
            wrong.push(format!("a send waited {longest:.1} s for its ack in a rolling restart"));
        }
        for end in &played.unexpected {
            wrong.push(format!("the server ended by itself: {end}"));
        }
        if !skipped.is_empty() {
            let names: Vec<_> = skipped.keys().map(String::as_str).collect();
            wrong.push(format!("skipped: {}", names.join(", ")));
        }
        let operations = &judgement.operations;
        let json = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "seed": settings.seed,
            "seconds": settings.seconds,
            "users": settings.users,
            "devices": settings.devices,
            "layout": settings.layout.name(),
            "hosts": if settings.machine.own_hosts.is_ok() { "own network each" } else { "one" },
            "disk": if settings.machine.own_disk.is_ok() { "own ext4" } else { "folder" },
            "took_seconds": played.took.as_secs(),
            "records": played.records.len(),
            "operations": {
                "ok": operations.ok,
                "failed": operations.failed,
                "indeterminate": operations.indeterminate,
            },
            "acked_commands": judgement.acked,
            "faults": played.faults,
            "skipped": skipped,
            "unexpected_ends": played.unexpected,
            "rolled_back": judgement.rolled_back,
            "checks": checks,
        });
        let Value::Object(json) = json else { unreachable!("an object was written above") };
        Self { json, wrong }
    }

    /// Prints the report for people; a failed check with the shortest history that shows it.
    pub(super) fn tell(&self, records: &[Record], judgement: &Judgement) {
        for (key, value) in &self.json {
            match value {
                Value::Object(inner) => {
                    for (name, value) in inner {
                        println!("{:<28} {value}", format!("{key}.{name}"));
                    }
                }
                value => println!("{key:<28} {value}"),
            }
        }
        if judgement.holds() {
            return;
        }
        for check in &judgement.checks {
            for failure in check.failures.iter().take(SHOWN) {
                println!("\n{}: {}", check.name, failure.why);
                println!("{}", check::show(records, failure));
            }
        }
    }

    /// Writes the report.
    ///
    /// # Errors
    /// The file can not be written.
    pub(super) fn write(&self, file: &Path) -> anyhow::Result<()> {
        let text = serde_json::to_string_pretty(&self.json)? + "\n";
        std::fs::write(file, text).with_context(|| format!("writing {}", file.display()))
    }

    /// Whether the run was clean.
    ///
    /// # Errors
    /// Exit status 1: it was not.
    pub(super) fn verdict(&self) -> Result {
        match self.wrong.as_slice() {
            [] => Ok(()),
            wrong => Err(Failure::check(wrong.join("; "))),
        }
    }
}

/// Writes all records, a line each: seconds since the run began, and what happened.
///
/// # Errors
/// The file can not be written.
pub(super) fn write_history(file: &Path, records: &[Record]) -> anyhow::Result<()> {
    use std::io::Write as _;
    let write = || {
        let mut out = std::io::BufWriter::new(std::fs::File::create(file)?);
        for record in records {
            writeln!(out, "{:.6} {:?}", record.at.as_secs_f64(), record.what)?;
        }
        out.flush()
    };
    write().with_context(|| format!("writing {}", file.display()))
}

/// C10: how fast service came back, at worst, by kind of fault. Told, not judged: the bar depends
/// on the machine. How long sends waited in a rolling restart is judged.
fn availability(judgement: &Judgement) -> Value {
    let seconds =
        |time: Option<Duration>| time.map(|time| (time.as_secs_f64() * 1e3).round() / 1e3);
    let worst = judgement.availability.worst.iter().map(|(kind, worst)| {
        let times = json!({
            "to_first_ok_s": seconds(worst.to_first_ok),
            "to_rate_s": seconds(worst.to_rate),
            "measured": worst.measured,
            "cut_short": worst.cut_short,
            "never": worst.never,
        });
        ((*kind).to_owned(), times)
    });
    let waits = &judgement.waits;
    json!({
        "kinds": worst.collect::<Map<_, _>>(),
        "rolling_restart": {
            "sends": waits.sends,
            "longest_wait_s": seconds(Some(waits.longest)),
        },
    })
}
