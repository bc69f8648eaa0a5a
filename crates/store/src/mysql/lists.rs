//! A user's relations and conversations, and both in one snapshot.
//!
//! Rows are joined from the left, so that one that is missing shows as an error: a list without
//! what is missing would look whole.

use std::collections::BTreeMap;

use anser_proto::wire::RelationState;
use anser_proto::{ConversationId, UserId};

use super::failure::Failure;
use super::tx::Tx;
use crate::relation::Ties;
use crate::{Conversation, Member, Relation, Snapshot, UserView};

type RelationRow =
    (u64, u64, Option<u64>, Option<u8>, Option<u8>, Option<u8>, Option<u8>, Option<u8>);

/// Relations that the user sees or saw as more than nothing. A row where somebody blocked a user
/// who was never their friend must not show in that user's list.
pub(super) async fn relations(tx: &mut Tx, user: UserId) -> Result<Vec<Relation>, Failure> {
    let rows = sqlx::query(
        "SELECT p.relation, p.peer, r.low, r.friends, r.low_asks, r.high_asks, r.low_blocks, \
         r.high_blocks, u.name, u.display_name FROM im_relation_peer p \
         LEFT JOIN im_relation r ON r.relation = p.relation \
         LEFT JOIN im_user u ON u.user = p.peer WHERE p.user = ? ORDER BY p.relation",
    );
    let rows: Vec<Joined> = tx.all(rows.bind(user.0)).await?;
    let mut keys = keys(tx, user).await?;
    let mut relations = Vec::with_capacity(rows.len());
    for Joined(row, names) in rows {
        let id = ConversationId(row.0);
        let (low, ties) = ties(&row).ok_or_else(|| missing(user, "relation", id))?;
        let (name, display_name) = names.ok_or_else(|| missing(user, "peer of", id))?;
        let state = ties.seen_by(low == user.0);
        let wrapped_keys = keys.remove(&id).unwrap_or_default();
        if state == RelationState::None && wrapped_keys.is_empty() {
            continue;
        }
        let peer = UserView { id: UserId(row.1), name, display_name };
        relations.push(Relation { id, peer, state, wrapped_keys });
    }
    Ok(relations)
}

/// A row of a list, and the names of the user who belongs to it.
struct Joined(RelationRow, Option<(String, String)>);

impl sqlx::FromRow<'_, sqlx::mysql::MySqlRow> for Joined {
    fn from_row(row: &sqlx::mysql::MySqlRow) -> sqlx::Result<Self> {
        use sqlx::Row as _;
        let number = |at: usize| row.try_get::<Option<u8>, _>(at);
        let relation = (
            row.try_get(0)?,
            row.try_get(1)?,
            row.try_get(2)?,
            number(3)?,
            number(4)?,
            number(5)?,
            number(6)?,
            number(7)?,
        );
        let name: Option<String> = row.try_get(8)?;
        let display_name: Option<String> = row.try_get(9)?;
        Ok(Self(relation, name.zip(display_name)))
    }
}

fn ties(row: &RelationRow) -> Option<(u64, Ties)> {
    let (_, _, low, friends, low_asks, high_asks, low_blocks, high_blocks) = *row;
    let ties = Ties {
        friends: friends? != 0,
        asks: [low_asks? != 0, high_asks? != 0],
        blocks: [low_blocks? != 0, high_blocks? != 0],
    };
    Some((low?, ties))
}

/// The wrapped keys of a user's relations, by version.
async fn keys(
    tx: &mut Tx,
    user: UserId,
) -> Result<BTreeMap<ConversationId, Vec<Vec<u8>>>, Failure> {
    let rows = sqlx::query(
        "SELECT k.relation, k.version, k.wrapped_key FROM im_relation_peer p \
         JOIN im_relation_key k ON k.relation = p.relation WHERE p.user = ? \
         ORDER BY k.relation, k.version",
    );
    let rows: Vec<(u64, u32, Vec<u8>)> = tx.all(rows.bind(user.0)).await?;
    let mut keys: BTreeMap<ConversationId, Vec<Vec<u8>>> = BTreeMap::new();
    for (relation, version, key) in rows {
        let of = keys.entry(ConversationId(relation)).or_default();
        of.push(key);
        if usize::try_from(version) != Ok(of.len()) {
            let text = format!("relation {relation}: key {} is missing", of.len());
            return Err(Failure::corrupt(text));
        }
    }
    Ok(keys)
}

pub(super) async fn conversations(tx: &mut Tx, user: UserId) -> Result<Vec<Conversation>, Failure> {
    let rows = sqlx::query(
        "SELECT o.conversation, c.is_open, c.head, x.entry, m.read_seq, m.joined_at_seq \
         FROM im_member_user o \
         LEFT JOIN im_conversation c ON c.conversation = o.conversation \
         LEFT JOIN im_message x ON x.conversation = c.conversation AND x.conv_seq = c.head \
         LEFT JOIN im_member m ON m.conversation = o.conversation AND m.user = o.user \
         WHERE o.user = ? ORDER BY o.conversation",
    );
    type Row = (u64, Option<u8>, Option<u64>, Option<Vec<u8>>, Option<u64>, Option<u64>);
    let rows: Vec<Row> = tx.all(rows.bind(user.0)).await?;
    let mut members = members(tx, user).await?;
    let mut conversations = Vec::with_capacity(rows.len());
    for (id, is_open, head, last, read, joined_at_seq) in rows {
        let id = ConversationId(id);
        let (Some(is_open), Some(head), Some(read)) = (is_open, head, read) else {
            return Err(missing(user, "conversation", id));
        };
        if last.is_none() && head > 0 {
            return Err(missing(user, "the last message of", id));
        }
        let from = read.max(joined_at_seq.unwrap_or(0));
        let unread = if from < head { unread(tx, user, (id, from)).await? } else { 0 };
        conversations.push(Conversation {
            id,
            open: is_open != 0,
            head,
            unread,
            members: members.remove(&id).unwrap_or_default(),
            last_message: last.map(Into::into),
        });
    }
    Ok(conversations)
}

/// The members of a user's conversations.
async fn members(
    tx: &mut Tx,
    user: UserId,
) -> Result<BTreeMap<ConversationId, Vec<Member>>, Failure> {
    let rows = sqlx::query(
        "SELECT m.conversation, m.user, m.delivered_seq, m.read_seq, u.name, u.display_name \
         FROM im_member_user o JOIN im_member m ON m.conversation = o.conversation \
         LEFT JOIN im_user u ON u.user = m.user WHERE o.user = ? ORDER BY m.conversation, m.user",
    );
    type Row = (u64, u64, u64, u64, Option<String>, Option<String>);
    let rows: Vec<Row> = tx.all(rows.bind(user.0)).await?;
    let mut members: BTreeMap<ConversationId, Vec<Member>> = BTreeMap::new();
    for (conversation, id, delivered, read, name, display_name) in rows {
        let conversation = ConversationId(conversation);
        let (Some(name), Some(display_name)) = (name, display_name) else {
            return Err(missing(user, "a member of", conversation));
        };
        let user = UserView { id: UserId(id), name, display_name };
        members.entry(conversation).or_default().push(Member { user, delivered, read });
    }
    Ok(members)
}

/// Messages of others above a number, among the first so many.
async fn unread(
    tx: &mut Tx,
    user: UserId,
    (id, from): (ConversationId, u64),
) -> Result<u64, Failure> {
    let count = format!(
        "SELECT COUNT(*) FROM im_message WHERE conversation = {} AND conv_seq > {from} \
         AND conv_seq <= {} AND sender <> {}",
        id.0,
        from.saturating_add(UNREAD_SCAN_MAX),
        user.0
    );
    let count = tx.select::<(i64,)>(count).await?.pop().map_or(0, |(count,)| count);
    Ok(u64::try_from(count).unwrap_or_default().min(UNREAD_MAX))
}

pub(super) async fn snapshot(tx: &mut Tx, epoch: &str, user: UserId) -> Result<Snapshot, Failure> {
    let head = format!("SELECT head FROM im_inbox_head WHERE user = {}", user.0);
    let head = tx.select::<(u64,)>(head).await?.pop().map_or(0, |(head,)| head);
    Ok(Snapshot {
        epoch: epoch.to_owned(),
        head,
        relations: relations(tx, user).await?,
        conversations: conversations(tx, user).await?,
    })
}

fn missing(user: UserId, what: &str, id: ConversationId) -> Failure {
    Failure::corrupt(format!("user {user}: {what} {id} is listed, but its row is missing"))
}

/// Counting ends here: "999+" is as far as a client shows.
const UNREAD_MAX: u64 = 1000;
/// A user who sends much and never reads would make every list slow; their count may be too low.
const UNREAD_SCAN_MAX: u64 = 20_000;
