//! Entries as rows: what can be told from the first bytes of one, and which rows a page of a
//! history is. Every engine stores the same bytes.

use anser_proto::wire;
use anser_proto::{ConversationId, DeviceId, Seq, UserId};
use prost::Message as _;
use prost::encoding::{WireType, decode_key, decode_varint};

use crate::{HistoryRange, Mark, Result, StoreError};

/// What an ack of an entry means, from the head of its bytes.
pub(crate) fn mark_of(user: UserId, entry: &[u8]) -> Mark {
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
pub(crate) fn message_of(entry: &[u8]) -> Option<wire::Message> {
    let mut rest = entry;
    let (tag, wire_type) = decode_key(&mut rest).ok()?;
    if tag != MESSAGE_TAG || wire_type != WireType::LengthDelimited {
        return None;
    }
    let len = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
    wire::Message::decode(rest.get(..len)?).ok()
}

/// Whether a row of a history is the message that it should be.
///
/// # Errors
/// `Corrupt`: a page that leaves out what it can not show would look whole.
pub(crate) fn check_message(
    conversation: ConversationId,
    expected: Seq,
    entry: &[u8],
) -> Result<()> {
    let wrong = |what: &str| {
        let text = format!("conversation {conversation}: message {expected} {what}");
        Err(StoreError::Corrupt(text))
    };
    match message_of(entry) {
        None => wrong("does not decode"),
        Some(one) if (one.conversation, one.conv_seq) != (conversation.0, expected) => {
            wrong("is the row of another message")
        }
        Some(_) => Ok(()),
    }
}

/// The numbers `from ..= to` of a page of a history of messages `first ..= head`; none when
/// `from > to`.
pub(crate) fn page(range: HistoryRange, limit: usize, (first, head): (Seq, Seq)) -> (Seq, Seq) {
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
    (from.max(first), to)
}

/// Field number of `Entry.message`.
const MESSAGE_TAG: u32 = 1;

#[cfg(test)]
mod tests {
    use anser_proto::wire::entry;
    use bytes::Bytes;

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
