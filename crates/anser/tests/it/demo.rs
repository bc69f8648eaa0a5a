//! `anser demo` as a newcomer runs it: the binary, its own server, its own folder.

use std::process::Command;

use serde_json::Value;

#[test]
fn the_day_ends_well() {
    let ran = Command::new(env!("CARGO_BIN_EXE_anser")).arg("demo").output().expect("it runs");
    let told = String::from_utf8(ran.stdout).expect("text");
    assert!(ran.status.success(), "{told}{}", String::from_utf8_lossy(&ran.stderr));
    let passed = told.lines().filter(|line| line.contains("✓ ")).count();
    let last = told.lines().last().expect("a last line");
    let counted = format!("demo: {passed} checks, {passed} passed, 0 failed in ");
    assert!(last.starts_with(&counted), "{last} after {passed} ticks");
    assert!(passed >= 40, "a day has more checks than {passed}");
}

#[test]
fn scripts_get_one_object_per_check() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_anser"));
    let ran = demo.args(["demo", "--json"]).output().expect("it runs");
    let told = String::from_utf8(ran.stdout).expect("text");
    let checks: Vec<Value> =
        told.lines().map(|line| serde_json::from_str(line).expect("an object")).collect();
    for check in &checks {
        assert_eq!(check["passed"], true, "{check}");
        assert!(check["chapter"].is_string() && check["check"].is_string(), "{check}");
    }
    let counted = String::from_utf8_lossy(&ran.stderr);
    assert!(counted.contains(&format!("demo: {} checks, ", checks.len())), "{counted}");
    assert!(ran.status.success());
}
