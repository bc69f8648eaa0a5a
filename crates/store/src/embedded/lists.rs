//! A user's relations and conversations, and both in one snapshot.

use anser_proto::wire::RelationState;
use anser_proto::{ConversationId, Seq, UserId};
use bytes::Bytes;

use super::engine::{self, Rows as _, View, broken};
use super::keys;
use super::read::checked;
use super::relations::user_view;
use super::rows::{self, PeerRow, RelationRow};
use crate::entry::message_of;
use crate::{Conversation, Member, Relation, Result, Snapshot, StoreError, UserView, apply};

/// Relations that the user sees or saw as more than nothing. A row where somebody blocked a user
/// who was never their friend must not show in that user's list.
pub(super) fn relations(view: &View<'_>, user: UserId) -> Result<Vec<Relation>> {
    let mut relations = Vec::new();
    for (key, value) in view.scan(&keys::one(keys::PEER, user.0))? {
        let peer: PeerRow = rows::decode("relation peer", &value)?;
        let id = ConversationId(peer.relation);
        let row = view.row::<RelationRow>("relation", &keys::relation(id))?;
        let row = row.ok_or_else(|| missing(user, "relation", id))?;
        let state = row.view(row.low == user.0);
        if state == RelationState::None && row.keys.is_empty() {
            continue;
        }
        let peer = UserId(keys::last_number(&key).unwrap_or_default());
        relations.push(Relation { id, peer: seen(view, peer)?, state, wrapped_keys: row.keys });
    }
    relations.sort_by_key(|relation| relation.id);
    Ok(relations)
}

pub(super) fn conversations(view: &View<'_>, user: UserId) -> Result<Vec<Conversation>> {
    let memberships = view.scan(&keys::one(keys::MEMBERSHIP, user.0))?;
    let mut conversations = Vec::with_capacity(memberships.len());
    for (key, _) in memberships {
        let id = ConversationId(keys::last_number(&key).unwrap_or_default());
        let row = view.conversation(id)?.ok_or_else(|| missing(user, "conversation", id))?;
        let mut members = Vec::with_capacity(row.members.len());
        for member in &row.members {
            let (delivered, read) = (member.delivered, member.read);
            members.push(Member { user: seen(view, member.user)?, delivered, read });
        }
        conversations.push(Conversation {
            id,
            open: row.open,
            head: row.head,
            unread: unread(view, user, id, &row)?,
            members,
            last_message: message(view, id, row.head)?,
        });
    }
    Ok(conversations)
}

pub(super) fn snapshot(view: &View<'_>, user: UserId) -> Result<Snapshot> {
    Ok(Snapshot {
        epoch: view.engine.epoch.clone(),
        head: view.inbox_head(user)?,
        relations: relations(view, user)?,
        conversations: conversations(view, user)?,
    })
}

fn unread(
    view: &View<'_>,
    user: UserId,
    id: ConversationId,
    row: &apply::Conversation,
) -> Result<u64> {
    let Some(own) = row.members.iter().find(|member| member.user == user) else { return Ok(0) };
    let from = own.read.max(own.joined_at_seq) + 1;
    let mut count = 0;
    if from <= row.head {
        for row in view.rows(&view.engine.message, id.0, from, row.head).take(UNREAD_SCAN_MAX) {
            let entry = row.value().map_err(broken)?;
            count += u64::from(message_of(&entry).is_some_and(|one| one.sender != user.0));
            if count == UNREAD_MAX {
                break;
            }
        }
    }
    Ok(count)
}

fn message(view: &View<'_>, id: ConversationId, conv_seq: Seq) -> Result<Option<Bytes>> {
    let Some(row) = view.rows(&view.engine.message, id.0, conv_seq, conv_seq).next() else {
        return Ok(None);
    };
    let (key, value) = row.into_inner().map_err(broken)?;
    checked(id, conv_seq, (&key, &value)).map(Some)
}

/// A list without what is missing would look whole.
fn missing(user: UserId, what: &str, id: ConversationId) -> StoreError {
    StoreError::Corrupt(format!("user {user}: {what} {id} is listed, but its row is missing"))
}

fn seen(view: &View<'_>, user: UserId) -> Result<UserView> {
    Ok(user_view(user, &engine::user(view, user)?.unwrap_or_default()))
}

/// Counting ends here: "999+" is as far as a client shows.
const UNREAD_MAX: u64 = 1000;
/// A user who sends much and never reads would make every list slow; their count may be too low.
const UNREAD_SCAN_MAX: usize = 20_000;
