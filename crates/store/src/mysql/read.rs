//! Pages of an inbox and of a history, each from one snapshot.

use anser_proto::{ConversationId, Seq, UserId};
use bytes::Bytes;
use sqlx::FromRow as _;

use super::failure::Failure;
use super::tx::Tx;
use crate::entry::{self, mark_of};
use crate::{History, HistoryRange, InboxPage, NewEntry, PageLimit};

pub(super) async fn inbox(
    tx: &mut Tx,
    user: UserId,
    after: Seq,
    limit: PageLimit,
) -> Result<InboxPage, Failure> {
    // No entry has fewer bytes, so more rows than this would be read for nothing.
    let most = limit.entries.max(1).min(limit.bytes / ENTRY_BYTES_LEAST + 1);
    let page = format!(
        "SELECT head, floor FROM im_inbox_head WHERE user = {0}; \
         SELECT seq, entry FROM im_inbox WHERE user = {0} AND seq > {after} \
         ORDER BY seq LIMIT {most}",
        user.0
    );
    let results = tx.script(page).await?;
    let bounds = results.first().and_then(|rows| rows.first()).map(<(u64, u64)>::from_row);
    let (head, floor) = bounds.transpose()?.unwrap_or((0, 1));
    if after.saturating_add(1) < floor {
        return Ok(InboxPage::BelowFloor { floor });
    }
    let mut entries: Vec<NewEntry> = Vec::new();
    let mut bytes = 0;
    for row in results.get(1).into_iter().flatten() {
        if bytes >= limit.bytes && !entries.is_empty() {
            break;
        }
        let (seq, entry): (u64, Vec<u8>) = <_>::from_row(row)?;
        let expected = entries.last().map_or(after, |last| last.seq) + 1;
        if seq != expected {
            let hole = format!("inbox {user}: entry {expected} is missing, {seq} follows");
            return Err(Failure::corrupt(hole));
        }
        bytes += entry.len();
        let entry = Bytes::from(entry);
        let mark = mark_of(user, &entry);
        entries.push(NewEntry { user, seq, entry, mark });
    }
    // The rows up to the head may be the ones that are missing.
    let last = entries.last().map_or(after, |last| last.seq);
    if (entries.is_empty() && after < head) || last > head.max(after) {
        let wrong = format!("inbox {user}: its head is {head}, its rows end at {last}");
        return Err(Failure::corrupt(wrong));
    }
    Ok(InboxPage::Entries { entries, head })
}

pub(super) async fn history(
    tx: &mut Tx,
    user: UserId,
    conversation: ConversationId,
    (range, limit): (HistoryRange, usize),
) -> Result<Option<History>, Failure> {
    let bounds = format!(
        "SELECT m.joined_at_seq, c.head FROM im_member m \
         JOIN im_conversation c ON c.conversation = m.conversation \
         WHERE m.conversation = {} AND m.user = {}",
        conversation.0, user.0
    );
    let Some((joined_at_seq, head)) = tx.select::<(u64, u64)>(bounds).await?.pop() else {
        return Ok(None);
    };
    let first = joined_at_seq + 1;
    let (from, to) = entry::page(range, limit, (first, head));
    let mut messages: Vec<Bytes> = Vec::new();
    if from <= to {
        let rows = format!(
            "SELECT conv_seq, entry FROM im_message WHERE conversation = {} \
             AND conv_seq BETWEEN {from} AND {to} ORDER BY conv_seq",
            conversation.0
        );
        let mut expected = from;
        for (conv_seq, entry) in tx.select::<(u64, Vec<u8>)>(rows).await? {
            if conv_seq != expected {
                break;
            }
            entry::check_message(conversation, expected, &entry)?;
            messages.push(entry.into());
            expected += 1;
        }
        if expected <= to {
            let hole = format!("conversation {conversation}: message {expected} is missing");
            return Err(Failure::corrupt(hole));
        }
    }
    Ok(Some(History { messages, more_before: from > first && head > 0, more_after: to < head }))
}

/// Far below the least that an entry takes, with its kind and two ids.
const ENTRY_BYTES_LEAST: usize = 8;
