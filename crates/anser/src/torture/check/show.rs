//! Prints the records that show a failure.

use std::fmt::Write as _;

use super::Failure;
use crate::torture::history::{Kind, Message, Record, What};

/// Messages of a list that are printed; the others are counted.
const SHOWN_MAX: usize = 4;

/// A line for each record of a failure's history.
pub(super) fn lines(records: &[Record], failure: &Failure) -> String {
    let mut text = String::new();
    for record in failure.history.iter().filter_map(|index| records.get(*index)) {
        let line = line(&record.what);
        // Writing to a String does not fail.
        let _ = writeln!(text, "{:>9.3} {line}", record.at.as_secs_f64());
    }
    text
}

/// What happened, in short: as it is written in the code, but for long lists.
fn line(what: &What) -> String {
    match what {
        What::Pushed { conn, seq, row } => {
            format!("Pushed conn {conn} row {seq}: {}", kind(&row.kind))
        }
        What::Holds { client, device, message } => {
            format!("Holds client {client} device {device}: {}", one(message))
        }
        What::Page { client, user, conversation, messages } => format!(
            "Page client {client} user {user} conversation {conversation}: {}",
            list(messages)
        ),
        What::Local { client, conversation, messages } => {
            format!("Local client {client} conversation {conversation}: {}", list(messages))
        }
        What::Final { user, conversation, messages } => {
            format!("Final user {user} conversation {conversation}: {}", list(messages))
        }
        What::Snapshot { client, user, epoch, head, state } => format!(
            "Snapshot client {client} user {user} epoch {epoch} head {head}: {} relations, {} \
             conversations",
            state.relations.len(),
            state.conversations.len()
        ),
        What::FinalState { user, epoch, head, state } => {
            format!("FinalState user {user} epoch {epoch} head {head}: {:?}", state.conversations)
        }
        What::Audit { user, floor, head, rows } => {
            format!("Audit user {user}: rows {floor} to {head}, {} found", rows.len())
        }
        other => format!("{other:?}"),
    }
}

fn kind(kind: &Kind) -> String {
    format!("{kind:?}")
}

fn one(message: &Message) -> String {
    let Message { conversation, conv_seq, sender, device, client_seq, text } = message;
    let text = text.as_deref().unwrap_or("(not opened)");
    format!("{conversation}#{conv_seq} from {sender}, {device}:{client_seq}, {text:?}")
}

fn list(messages: &[Message]) -> String {
    let shown = messages.iter().rev().take(SHOWN_MAX).rev().map(one);
    let before = messages.len().saturating_sub(SHOWN_MAX);
    let mut parts: Vec<String> = shown.collect();
    if before > 0 {
        parts.insert(0, format!("{before} more"));
    }
    format!("[{}]", parts.join("; "))
}
