//! Pages of an inbox and of a history.

use anser_proto::{ConversationId, Seq, UserId};
use bytes::Bytes;
use fjall::Slice;

use super::engine::{Rows as _, View, broken};
use super::keys;
use super::rows::MemberRow;
use crate::entry::{self, mark_of};
use crate::{History, HistoryRange, InboxPage, NewEntry, PageLimit, Result, StoreError};

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
    let (from, to) = entry::page(range, limit, (first, head));
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
    if seq != expected {
        let hole = format!("message {expected} is missing, {seq} follows");
        return Err(StoreError::Corrupt(format!("conversation {conversation}: {hole}")));
    }
    entry::check_message(conversation, expected, value)?;
    Ok(to_bytes(value))
}

/// Bytes of a row, for whoever keeps them.
pub(super) fn to_bytes(value: &Slice) -> Bytes {
    Bytes::copy_from_slice(value)
}
