//! docs/protocol.md is in step with the code.

use std::fs;

use anser_proto::{frame, session};
use sha2::{Digest, Sha256};

use super::{vectors::hex, walkthrough};

fn root(path: &str) -> String {
    format!("{}/../../{path}", env!("CARGO_MANIFEST_DIR"))
}

fn protocol_md() -> String {
    fs::read_to_string(root("docs/protocol.md")).expect("docs/protocol.md")
}

#[test]
fn protocol_md_was_read_again_after_the_last_change_of_the_contract() {
    let text = protocol_md();
    for path in ["crates/proto/proto/anser/v1/anser.proto", "crates/proto/src/frame.rs"] {
        let file = fs::read(root(path)).expect(path);
        let line = format!("| `{path}` | `{}` |", hex(&Sha256::digest(&file)));
        assert!(
            text.contains(&line),
            "{path} changed. Read docs/protocol.md with the change in mind, correct what is not true \
             any more, then put this line into its last section:\n{line}"
        );
    }
}

#[test]
fn protocol_md_has_the_table_of_codes() {
    let table = walkthrough::codes();
    assert!(
        protocol_md().contains(&table),
        "The table of codes in docs/protocol.md differs from code.rs; this is the right one \
         (cargo run -p anser-proto --example golden codes):\n{table}"
    );
}

#[test]
fn protocol_md_has_the_bytes_of_its_worked_example() {
    let example = walkthrough::walkthrough();
    assert!(
        protocol_md().contains(&example),
        "The worked example in docs/protocol.md has other bytes; these are the right ones \
         (cargo run -p anser-proto --example golden walkthrough):\n{example}"
    );
}

#[test]
fn protocol_md_tells_the_default_limits() {
    let text = protocol_md();
    let config = session::Config::default();
    let lines = [
        format!("| frame, without its prefix | {} bytes |", frame::FRAME_BYTES_MAX),
        format!("| commands in flight | {} |", config.commands_max),
        format!(
            "| entries in flight | {} or {} bytes |",
            config.entries_max, config.entry_bytes_max
        ),
        format!("| Hello, and its answer | {} s |", config.hello_timeout.as_secs()),
        format!("| heartbeat | {} s |", config.heartbeat.as_secs()),
        format!("| delay of an ack | {} ms |", config.ack_delay.as_millis()),
        format!(
            "| ack timer | {} s, {} resends |",
            config.ack_timeout.as_secs(),
            config.resends_max
        ),
    ];
    for line in lines {
        assert!(text.contains(&line), "docs/protocol.md should have the line: {line}");
    }
}
