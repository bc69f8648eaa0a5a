//! House rules that a program can check.

use std::collections::BTreeSet;

use crate::support::repository::{files, root, text};

const LINES_MAX: usize = 600;
const COLUMNS_MAX: usize = 100;
/// Lines that were longer when this rule came. May be lowered, never raised.
const LONG_LINES_MAX: usize = 116;

#[test]
fn files_and_lines_are_short() {
    let mut long_lines = Vec::new();
    for (path, text) in files("rs") {
        let lines = text.lines().count();
        assert!(lines <= LINES_MAX, "{path} has {lines} lines; split it");
        let long = |(_, line): &(usize, &str)| line.chars().count() > COLUMNS_MAX;
        for (number, _) in (1..).zip(text.lines()).filter(long) {
            long_lines.push(format!("{path}:{number}"));
        }
    }
    let count = long_lines.len();
    assert!(count <= LONG_LINES_MAX, "{count} lines are too long:\n{}", long_lines.join("\n"));
}

#[test]
fn modules_are_files_beside_their_folder() {
    for (path, _) in files("rs") {
        assert!(!path.ends_with("/mod.rs"), "{path}: name the file after the module");
    }
}

#[test]
fn tests_wait_for_events_and_are_never_left_out() {
    // Written in two pieces, so that this file is not found by its own search.
    let forbidden = [
        concat!("thread::", "sleep"),
        concat!("time::", "sleep("),
        concat!("#[", "ignore"),
        concat!("should_", "panic"),
    ];
    for (path, text) in files("rs") {
        let is_test = path.contains("/tests") || path.contains("contract");
        for word in forbidden {
            // The connector waits before it accepts again; that is not a test.
            let attribute = word.starts_with('#') || word.starts_with("should");
            let found = (is_test || attribute) && text.contains(word);
            assert!(!found, "{path} has {word}: wait for an event, not for time");
        }
    }
}

/// `proto <- store <- server`, `proto <- client`; only `anser` sees both sides.
#[test]
fn imports_point_one_way() {
    let allowed = [
        ("proto", &[][..]),
        ("store", &["proto"]),
        ("client", &["proto"]),
        ("server", &["proto", "store"]),
        ("anser", &["proto", "store", "server", "client"]),
    ];
    let mut crates = BTreeSet::new();
    for entry in std::fs::read_dir(root().join("crates")).expect("a folder") {
        crates.insert(entry.expect("an entry").file_name().into_string().expect("a text"));
    }
    let known: BTreeSet<String> = allowed.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(crates, known, "a sixth crate needs a written reason");
    for (name, may_see) in allowed {
        for line in text(&format!("crates/{name}/Cargo.toml")).lines() {
            let Some((dependency, _)) = line.split_once(['.', ' ', '=']) else { continue };
            let Some(other) = dependency.strip_prefix("anser-") else { continue };
            assert!(may_see.contains(&other), "{name} must not see {other}: {line}");
        }
    }
}

#[test]
fn links_in_documents_lead_somewhere() {
    for (path, text) in files("md") {
        let folder = root().join(&path);
        let folder = folder.parent().expect("a file is in a folder");
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let target = link.split(['#', ' ']).next().unwrap_or_default();
            let elsewhere =
                target.is_empty() || target.contains("://") || target.starts_with("mailto:");
            assert!(elsewhere || folder.join(target).exists(), "{path}: {link} leads nowhere");
        }
    }
}

#[test]
fn every_promise_has_tests_that_carry_its_number() {
    for number in 1..=10 {
        let path = format!("crates/anser/tests/it/promises/p{number}.rs");
        let text = text(&path);
        let tests: Vec<&str> = text.lines().filter(|line| line.starts_with("async fn ")).collect();
        let named = tests.iter().filter(|line| line.starts_with(&format!("async fn p{number}_")));
        assert!(named.count() > 0, "{path} has no test");
        assert_eq!(
            text.matches("#[tokio::test]").count(),
            text.matches(&format!("#[tokio::test]\nasync fn p{number}_")).count(),
            "{path}: the names of its tests begin with p{number}_"
        );
    }
}
