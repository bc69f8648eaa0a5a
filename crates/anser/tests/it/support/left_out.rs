//! Tests that need a program which is not everywhere: a plain `cargo test` leaves them out and
//! says so;
//! `make test` sets `ANSER_TEST_ALL` and wants them all.

use std::{
    io::Write as _,
    process::{Command, Stdio},
};

/// Whether a program is there. If not, says on standard error which test is left out for it, past
/// the test harness, which shows the output of failed tests only.
///
/// # Panics
/// When the program is missing and nothing may be left out.
pub(crate) fn has(program: &str, test: &str) -> bool {
    has_with(program, "-V", test)
}

/// As [`has`], for a program that tells its version at another word.
///
/// # Panics
/// As there.
pub(crate) fn has_with(program: &str, word: &str, test: &str) -> bool {
    let mut version = Command::new(program);
    version.arg(word).stdout(Stdio::null()).stderr(Stdio::null());
    if version.status().is_ok_and(|status| status.success()) {
        return true;
    }
    tell(&format!("{test} needs {program}, which is not installed"));
    false
}

/// Says on standard error that a test does without some of its parts.
///
/// # Panics
/// When nothing may be left out.
pub(crate) fn some(parts: &str, test: &str) {
    tell(&format!("{test} can not run its parts {parts} here"));
}

fn tell(why: &str) {
    assert!(!everything_is_wanted(), "{why}");
    say(why);
}

/// Says it past the test harness.
pub(crate) fn say(why: &str) {
    let _ = std::io::stderr().write_all(format!("left out: {why}\n").as_bytes());
}

fn everything_is_wanted() -> bool {
    variable("ANSER_TEST_ALL").is_some()
}

/// A switch of the test run, or what it is told of its machine.
#[expect(clippy::disallowed_methods, reason = "of the test run, not of Anser")]
pub(crate) fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
