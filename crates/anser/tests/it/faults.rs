//! Planted faults: each has a test that must turn red (`ci/faults.tsv`, `make faults`), and no
//! build has them that did not ask for them.

use std::collections::BTreeSet;

use crate::support::repository;

/// Each line of the table: fault, package, test, sentence.
fn table() -> Vec<[String; 4]> {
    let text = repository::text("ci/faults.tsv");
    let lines = text.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let split = |line: &str| {
        let fields: Vec<String> = line.split('\t').map(str::to_owned).collect();
        fields.try_into().unwrap_or_else(|fields| panic!("four fields, not {fields:?}"))
    };
    lines.map(split).collect()
}

/// The names in the table `Fault::ALL` of the source.
fn names() -> BTreeSet<String> {
    let source = repository::text("crates/proto/src/fault.rs");
    let all = source.split("pub const ALL").nth(1).expect("the table");
    let all = all.split("];").next().expect("its end");
    let names = all.lines().filter_map(|line| line.trim().strip_prefix("(Self::"));
    names.map(|line| line.split('"').nth(1).expect("a name").to_owned()).collect()
}

/// The variants of `enum Fault`.
fn variants() -> usize {
    let source = repository::text("crates/proto/src/fault.rs");
    let body = source.split("pub enum Fault {").nth(1).expect("the enum");
    let body = body.split("\n}").next().expect("its end");
    body.lines().filter(|line| !line.trim().starts_with("///") && line.contains(',')).count()
}

#[test]
fn every_fault_has_a_test_that_must_turn_red() {
    let table = table();
    let planned: BTreeSet<String> = table.iter().map(|line| line[0].clone()).collect();
    assert_eq!(planned, names());
    assert_eq!(planned.len(), variants(), "every variant is in Fault::ALL");
    assert_eq!(planned.len(), table.len(), "each fault once");
    let rust = repository::files("rs");
    for [fault, package, filter, sentence] in table {
        assert!(sentence.ends_with('.'), "{fault}: a sentence, not {sentence:?}");
        assert!(["anser", "anser-store", "anser-proto"].contains(&package.as_str()), "{package}");
        let test = format!("fn {}(", filter.rsplit("::").next().expect("a name"));
        let exists = rust.iter().any(|(_, text)| text.contains(&test));
        assert!(exists, "{fault}: there is no test {filter}");
    }
}

#[test]
fn every_fault_is_planted_somewhere() {
    let rust = repository::files("rs");
    let source = repository::text("crates/proto/src/fault.rs");
    for name in names() {
        let line = source.lines().find(|line| line.contains(&format!("\"{name}\"")));
        let variant = line.and_then(|line| line.trim().strip_prefix("(Self::")?.split(',').next());
        let asked = format!("Fault::{}.is_on()", variant.expect("a variant"));
        let planted = rust.iter().any(|(path, text)| {
            !path.contains("/tests/")
                && path != "crates/proto/src/fault.rs"
                && text.contains(&asked)
        });
        assert!(planted, "nobody asks {asked}");
    }
}

#[test]
fn no_build_has_faults_that_did_not_ask_for_them() {
    for (path, text) in repository::files("toml") {
        let mut section = "";
        for line in text.lines().filter(|line| line.contains("faults") || line.starts_with('[')) {
            if line.starts_with('[') {
                section = line;
                continue;
            }
            let is_comment = line.trim_start().starts_with('#');
            let is_feature = section == "[features]" && line.starts_with("faults = [");
            assert!(is_comment || is_feature, "{path}: {line}");
        }
    }
}

/// The binary of an ordinary build does not even hold their names.
#[cfg(not(feature = "faults"))]
#[test]
fn the_binary_has_no_faults() {
    let binary = std::fs::read(env!("CARGO_BIN_EXE_anser")).expect("the binary");
    let holds = |text: &str| binary.windows(text.len()).any(|bytes| bytes == text.as_bytes());
    assert!(holds("connector.listen"), "texts of the binary can be found");
    for name in names().iter().map(String::as_str).chain(["ANSER_FAULT"]) {
        assert!(!holds(name), "the binary knows {name}");
    }
}
