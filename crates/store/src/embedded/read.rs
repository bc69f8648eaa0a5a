//! Pages of an inbox and of a history.

use anser_proto::wire;
use anser_proto::{ConversationId, DeviceId, Seq, UserId};
use bytes::Bytes;
use fjall::Slice;
use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint};

use super::engine::{Rows as _, View, broken};
use super::keys;
use super::rows::MemberRow;
use crate::{History, HistoryRange, InboxPage, Mark, NewEntry, PageLimit, Result, StoreError};

pub(super) fn inbox(
    view: &View<'_>,
    user: UserId,
    after: Seq,
    limit: PageLimit,
) -> Result<InboxPage> {
    let floor = view.floor(user)?;
    if after.saturating_add(1) < floor {
        return Ok(InboxPage::BelowFloor { floor });
    }
    let head = view.inbox_head(user)?;
    let mut page: Vec<NewEntry> = Vec::new();
    let mut bytes = 0;
    for row in view.rows(&view.engine.inbox, user.0, after.saturating_add(1), head) {
        if page.len() >= limit.entries.max(1) || (bytes >= limit.bytes && !page.is_empty()) {
            break;
        }
        let (key, value) = row.into_inner().map_err(broken)?;
        let seq = keys::last_number(&key).unwrap_or_default();
        let expected = page.last().map_or(after, |last| last.seq) + 1;
        if seq != expected {
            let hole = format!("inbox {user}: entry {expected} is missing, {seq} follows");
            return Err(StoreError::Corrupt(hole));
        }
        bytes += value.len();
        let entry = to_bytes(&value);
        let mark = mark_of(user, &entry);
        page.push(NewEntry { user, seq, entry, mark });
    }
    Ok(InboxPage::Entries { entries: page, head })
}

pub(super) fn history(
    view: &View<'_>,
    user: UserId,
    conversation: ConversationId,
    (range, limit): (HistoryRange, usize),
) -> Result<Option<History>> {
    let member: Option<MemberRow> = view.row("member", &keys::member(conversation, user))?;
    let Some(member) = member else { return Ok(None) };
    let head = view.message_head(conversation)?;
    let first = member.joined_at_seq + 1;
    let limit = limit.max(1) as u64;
    let (from, to) = match range {
        HistoryRange::Latest => (head.saturating_sub(limit - 1), head),
        HistoryRange::Before(n) => {
            let to = n.saturating_sub(1).min(head);
            (to.saturating_sub(limit - 1), to)
        }
        HistoryRange::After(n) => (n.saturating_add(1), n.saturating_add(limit).min(head)),
        HistoryRange::Around(n) => {
            let from = n.saturating_sub(limit / 2).max(first);
            (from, from.saturating_add(limit - 1).min(head))
        }
    };
    let from = from.max(first);
    let mut messages = Vec::new();
    if from <= to {
        for (row, expected) in view.rows(&view.engine.message, conversation.0, from, to).zip(from..)
        {
            let (key, value) = row.into_inner().map_err(broken)?;
            messages.push(checked(conversation, expected, (&key, &value))?);
        }
        // The rows below `to` may be the ones that are missing.
        let next = from + messages.len() as u64;
        if next <= to {
            let hole = format!("conversation {conversation}: message {next} is missing");
            return Err(StoreError::Corrupt(hole));
        }
    }
    Ok(Some(History { messages, more_before: from > first && head > 0, more_after: to < head }))
}

/// The row of message `expected`. A page that leaves out what it can not show would look whole, so
/// a row that is missing or is no message is an error that names it.
pub(super) fn checked(
    conversation: ConversationId,
    expected: Seq,
    (key, value): (&[u8], &Slice),
) -> Result<Bytes> {
    let seq = keys::last_number(key).unwrap_or_default();
    let wrong = |what: &str| {
        StoreError::Corrupt(format!("conversation {conversation}: message {expected} {what}"))
    };
    if seq != expected {
        return Err(wrong(&format!("is missing, {seq} follows")));
    }
    let message = message_of(value).ok_or_else(|| wrong("does not decode"))?;
    if (message.conversation, message.conv_seq) != (conversation.0, expected) {
        return Err(wrong("is the row of another message"));
    }
    Ok(to_bytes(value))
}

/// What an ack of an entry means, from the head of its bytes.
pub(super) fn mark_of(user: UserId, entry: &[u8]) -> Mark {
    let Some(message) = message_of(entry) else { return Mark::Other };
    match message.sender == user.0 {
        true => Mark::Own { device: DeviceId(message.device) },
        false => Mark::Message {
            conversation: ConversationId(message.conversation),
            conv_seq: message.conv_seq,
        },
    }
}

/// The message that an entry is, without touching its body.
pub(super) fn message_of(entry: &[u8]) -> Option<wire::Message> {
    let mut rest = entry;
    let (tag, wire_type) = decode_key(&mut rest).ok()?;
    if tag != MESSAGE_TAG || wire_type != WireType::LengthDelimited {
        return None;
    }
    let len = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
    wire::Message::decode(rest.get(..len)?).ok()
}

/// Bytes of a row, for whoever keeps them.
pub(super) fn to_bytes(value: &Slice) -> Bytes {
    Bytes::copy_from_slice(value)
}

/// Field number of `Entry.message`.
const MESSAGE_TAG: u32 = 1;

#[cfg(test)]
mod tests {
    use anser_proto::wire::entry;

    use super::*;

    #[test]
    fn a_message_is_recognised_by_its_head() {
        let message = wire::Message {
            conversation: 5,
            conv_seq: 6,
            sender: 7,
            device: 8,
            ..Default::default()
        };
        let kind = Some(entry::Kind::Message(message));
        let entry = wire::Entry { kind, body: Bytes::from_static(b"sealed") }.encode_to_vec();
        assert_eq!(mark_of(UserId(7), &entry), Mark::Own { device: DeviceId(8) });
        let theirs = Mark::Message { conversation: ConversationId(5), conv_seq: 6 };
        assert_eq!(mark_of(UserId(9), &entry), theirs);
        let other = Some(entry::Kind::Receipt(wire::Receipt::default()));
        let other = wire::Entry { kind: other, body: Bytes::new() }.encode_to_vec();
        assert_eq!(mark_of(UserId(7), &other), Mark::Other);
    }
}
