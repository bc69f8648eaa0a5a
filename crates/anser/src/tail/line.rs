//! What one event looks like as a line, for people and for scripts.

use anser_client::{Content, Event, Message, RelationState, Unreadable};
use serde_json::{Value, json};

use crate::files;

/// A message for people: one line, whatever is in it.
pub(super) fn text(from: &str, message: &Message) -> String {
    match &message.content {
        Content::Text(text) => format!("{from}: {}", sanitised(text)),
        Content::File(file) => format!("{from}: [file {}]", sanitised(&files::told(file))),
        other => {
            let why = unreadable(other).unwrap_or_default();
            format!("{from}: [message {} can not be shown: {why}]", message.conv_seq)
        }
    }
}

/// A message for scripts.
pub(super) fn message(from: &str, message: &Message) -> Value {
    let text = match &message.content {
        Content::Text(text) => Some(text),
        _ => None,
    };
    json!({
        "event": "message",
        "conversation": message.conversation,
        "conv_seq": message.conv_seq,
        "sender": message.sender,
        "from": from,
        "created_at_ms": message.created_at_ms,
        "text": text,
        "file": file(&message.content),
        "unreadable": unreadable(&message.content),
    })
}

fn file(content: &Content) -> Option<Value> {
    let Content::File(file) = content else { return None };
    Some(json!({
        "id": file.id,
        "name": file.name,
        "media_type": file.media_type,
        "size": file.size,
        "sha256": file.sha256.iter().map(|byte| format!("{byte:02x}")).collect::<String>(),
        "width": file.pixels.map(|(width, _)| width),
        "height": file.pixels.map(|(_, height)| height),
    }))
}

/// What else happened, for scripts; `None` for what is no business of theirs.
pub(super) fn other(event: &Event) -> Option<Value> {
    Some(match event {
        Event::Receipt { conversation, user, delivered, read } => json!({
            "event": "receipt",
            "conversation": conversation,
            "user": user,
            "delivered": delivered,
            "read": read,
        }),
        Event::ReadMark { conversation, read } => {
            json!({ "event": "read_mark", "conversation": conversation, "read": read })
        }
        Event::Relation(relation) => json!({
            "event": "relation",
            "conversation": relation.id,
            "peer": relation.peer,
            "name": relation.peer_name,
            "state": state(relation.state),
        }),
        Event::Rejected { client_seq, code } => {
            let code = code.map(|code| code.name());
            json!({ "event": "rejected", "client_seq": client_seq, "code": code })
        }
        Event::FileFailed { conversation, name, code, reason } => json!({
            "event": "file_failed",
            "conversation": conversation,
            "name": name,
            "code": code.map(|code| code.name()),
            "reason": reason,
        }),
        Event::CaughtUp => json!({ "event": "caught_up" }),
        Event::Reset => json!({ "event": "reset" }),
        Event::NewDevice(device) => json!({ "event": "new_device", "device": device }),
        Event::Lagged { missed } => json!({ "event": "lagged", "missed": missed }),
        _ => return None,
    })
}

fn state(state: RelationState) -> &'static str {
    match state {
        RelationState::Requested => "requested",
        RelationState::Incoming => "incoming",
        RelationState::Friends => "friends",
        RelationState::None => "none",
        RelationState::Blocked => "blocked",
        RelationState::Unspecified => "unknown",
    }
}

fn unreadable(content: &Content) -> Option<&'static str> {
    match content {
        Content::Text(_) | Content::File(_) => None,
        Content::Unreadable(Unreadable::NoKey) => Some("no_key"),
        Content::Unreadable(Unreadable::WrongKeyOrChanged) => Some("wrong_key_or_changed"),
        Content::Unreadable(Unreadable::Malformed) => Some("malformed"),
        _ => Some("unknown_kind"),
    }
}

/// Text of others can not move the cursor, hide itself, begin a line or turn the reading direction.
fn sanitised(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{2028}' | '\u{2029}' => {
                clean.extend(c.escape_unicode());
            }
            c if c.is_control() => clean.extend(c.escape_default()),
            c => clean.push(c),
        }
    }
    clean
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_stays_on_its_line() {
        assert_eq!(sanitised("one\ntwo\r\u{1b}[2J\u{9b}K"), "one\\ntwo\\r\\u{1b}[2J\\u{9b}K");
        assert_eq!(sanitised("a\u{202e}b\u{2028}c"), "a\\u{202e}b\\u{2028}c");
        assert_eq!(sanitised("你好, Grüße 🪿"), "你好, Grüße 🪿");
    }
}
