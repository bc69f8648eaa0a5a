//! Changes of relations. One row per pair holds their [`Ties`]; an entry is left where what one of
//! them sees changed. Both users are locked first, so a pair is made once.

use std::collections::{BTreeMap, BTreeSet};

use anser_proto::wire::{self, RelationState, entry};
use anser_proto::{Code, ConversationId, UserId};

use super::accounts::{self, Locked};
use super::failure::Failure;
use super::hot::inboxes_into;
use super::load::heads;
use super::script::{Script, list, numbers};
use super::tx::Tx;
use crate::apply::{NewRow, WorkingSet, encode_entry, push_entry};
use crate::relation::{self, Effect, Ties};
use crate::{Mark, NewEntry, Relation, RelationChange, RelationOutcome};

/// Two users, the one with the smaller id first.
#[derive(Clone)]
struct Pair {
    id: ConversationId,
    users: [UserId; 2],
    ties: Ties,
    /// How many keys there are, which is the newest version.
    keys: u32,
}

/// A pair before and after an action.
struct Change {
    before: Pair,
    after: Pair,
}

/// Columns of a pair as [`PairRow`] reads them.
const COLUMNS: &str = "r.relation, r.low, r.high, r.friends, r.low_asks, r.high_asks, \
     r.low_blocks, r.high_blocks, \
     (SELECT CAST(COUNT(*) AS UNSIGNED) FROM im_relation_key k WHERE k.relation = r.relation)";
type PairRow = (u64, u64, u64, u8, u8, u8, u8, u8, u32);

pub(super) async fn change(
    tx: &mut Tx,
    change: &RelationChange,
) -> Result<RelationOutcome, Failure> {
    let (actor, peer) = (change.actor, change.peer);
    if actor == peer {
        return Ok(RelationOutcome::Refused(Code::InvalidRequest));
    }
    let users = accounts::lock(tx, &[actor, peer]).await?;
    if [actor, peer].iter().any(|one| !users.get(one).is_some_and(Locked::lives)) {
        return Ok(RelationOutcome::Refused(Code::NotFound));
    }
    let low = actor < peer;
    let before = match find(tx, actor, peer).await? {
        Some(pair) => pair,
        None if relation::begins(change.action) => {
            let users = if low { [actor, peer] } else { [peer, actor] };
            Pair { id: fresh_id(tx).await?, users, ties: Ties::default(), keys: 0 }
        }
        None => return Ok(RelationOutcome::Refused(Code::RelationState)),
    };
    let mut after = before.clone();
    match after.ties.act(low, change.action) {
        Effect::Refused => return Ok(RelationOutcome::Refused(Code::RelationState)),
        Effect::Nothing => {
            let relation = after.relation(tx, low, &users[&peer]).await?;
            return Ok(RelationOutcome::Done { relation, entries: Vec::new() });
        }
        Effect::Changed => {}
        Effect::Befriended => after.keys += 1,
    }
    let grows = before.ties.seen_by(low) == RelationState::None;
    if grows && relations_of(tx, actor).await? >= change.relations_max {
        return Ok(RelationOutcome::Refused(Code::TooMany));
    }
    if after.keys > before.keys {
        let key = sqlx::query(
            "INSERT INTO im_relation_key (relation, version, wrapped_key) VALUES (?, ?, ?)",
        );
        tx.change(key.bind(after.id.0).bind(after.keys).bind(&change.wrapped_key)).await?;
    }
    let changes = [Change { before, after: after.clone() }];
    let entries = store(tx, &changes, &users).await?;
    let relation = after.relation(tx, low, &users[&peer]).await?;
    Ok(RelationOutcome::Done { relation, entries })
}

/// Ends all relations of a user who is removed; the peers are told, the user no more.
pub(super) async fn end_all(tx: &mut Tx, user: UserId) -> Result<Vec<NewEntry>, Failure> {
    let pairs = format!(
        "SELECT {COLUMNS} FROM im_relation_peer p JOIN im_relation r ON r.relation = p.relation \
         WHERE p.user = {} ORDER BY r.relation FOR UPDATE",
        user.0
    );
    let pairs = tx.select::<PairRow>(pairs).await?.into_iter().map(pair_of);
    let end =
        |before: Pair| Change { after: Pair { ties: Ties::default(), ..before.clone() }, before };
    let changes: Vec<Change> = pairs.map(end).collect();
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let users: Vec<UserId> = changes.iter().flat_map(|change| change.after.users).collect();
    let users = accounts::look(tx, &users, "").await?;
    store(tx, &changes, &users).await
}

async fn find(tx: &mut Tx, actor: UserId, peer: UserId) -> Result<Option<Pair>, Failure> {
    let pair = format!(
        "SELECT {COLUMNS} FROM im_relation_peer p JOIN im_relation r ON r.relation = p.relation \
         WHERE p.user = {} AND p.peer = {} FOR UPDATE",
        actor.0, peer.0
    );
    Ok(tx.select::<PairRow>(pair).await?.pop().map(pair_of))
}

async fn fresh_id(tx: &mut Tx) -> Result<ConversationId, Failure> {
    loop {
        let id = ConversationId::random();
        let taken = format!(
            "SELECT relation FROM im_relation WHERE relation = {0} UNION ALL \
             SELECT conversation FROM im_conversation WHERE conversation = {0}",
            id.0
        );
        if tx.select::<(u64,)>(taken).await?.is_empty() {
            return Ok(id);
        }
    }
}

/// How many relations a user has in a state other than `none`.
async fn relations_of(tx: &mut Tx, user: UserId) -> Result<usize, Failure> {
    let none = i32::from(RelationState::None);
    let count =
        format!("SELECT COUNT(*) FROM im_relation_peer WHERE user = {} AND seen <> {none}", user.0);
    let count = tx.select::<(i64,)>(count).await?.pop().map_or(0, |(count,)| count);
    Ok(usize::try_from(count).unwrap_or_default())
}

/// Writes pairs and their conversations, in the order of their ids, and tells those whose view
/// changed.
async fn store(
    tx: &mut Tx,
    changes: &[Change],
    users: &BTreeMap<UserId, Locked>,
) -> Result<Vec<NewEntry>, Failure> {
    let mut script = Script::default();
    script.insert(RELATION, changes, |text, change| {
        let Pair { id, users, ties, .. } = &change.after;
        let Ties { friends, asks, blocks } = ties;
        let flags = [*friends, asks[0], asks[1], blocks[0], blocks[1]].map(u64::from);
        let [friends, low_asks, high_asks, low_blocks, high_blocks] = flags;
        let row = [id.0, users[0].0, users[1].0, friends];
        numbers(text, row);
        text.push(',');
        numbers(text, [low_asks, high_asks, low_blocks, high_blocks]);
    });
    let ends = changes.iter().flat_map(|change| change.after.ends());
    script.insert(PEER, ends, |text, end| {
        let seen = u64::try_from(i32::from(end.seen)).expect("its numbers are positive");
        numbers(text, [end.user.0, end.peer.0, end.relation.0, seen]);
    });
    conversations_into(&mut script, changes);
    tx.write(script).await?;

    let told: Vec<(End, End, u32)> = changes
        .iter()
        .flat_map(|one| {
            let ends = one.before.ends().into_iter().zip(one.after.ends());
            ends.map(|(before, after)| (before, after, one.after.keys))
        })
        .filter(|(before, after, _)| before.seen != after.seen)
        .filter(|(_, after, _)| users.get(&after.user).is_some_and(Locked::lives))
        .collect();
    tell(tx, &told, users).await
}

/// Leaves an entry for each view that changed.
async fn tell(
    tx: &mut Tx,
    told: &[(End, End, u32)],
    users: &BTreeMap<UserId, Locked>,
) -> Result<Vec<NewEntry>, Failure> {
    let mut entries = Vec::new();
    let mut set = WorkingSet::default();
    let who: BTreeSet<UserId> = told.iter().map(|(_, after, _)| after.user).collect();
    if who.is_empty() {
        return Ok(entries);
    }
    heads(tx, &mut set, &who).await?;
    for (_, end, key_version) in told {
        let peer_name = users.get(&end.peer).map(|peer| peer.view.name.clone());
        let relation = wire::Relation {
            relation: end.relation.0,
            peer: end.peer.0,
            peer_name: peer_name.unwrap_or_default(),
            state: end.seen.into(),
            key_version: *key_version,
        };
        let entry = encode_entry(entry::Kind::Relation(relation));
        if !set.heads.contains_key(&end.user) {
            return Err(Failure::corrupt(format!("user {} has no inbox", end.user)));
        }
        let row = NewRow { user: end.user, entry, mark: Mark::Other };
        push_entry(&mut set.heads, &mut entries, row);
    }
    let mut script = Script::default();
    inboxes_into(&mut script, &entries);
    tx.write(script).await?;
    Ok(entries)
}

/// Opens and closes the conversations that belong to relations; friends for the first time make
/// one. Each is locked by what changes it.
fn conversations_into(script: &mut Script, changes: &[Change]) {
    let moved = changes.iter().filter(|one| one.before.ties.friends != one.after.ties.friends);
    let moved: Vec<&Pair> = moved.map(|one| &one.after).collect();
    script.insert(CONVERSATION, &moved, |text, pair| {
        let is_open = u64::from(pair.ties.friends);
        numbers(text, [pair.id.0, KIND_PAIR, is_open, u64::from(pair.keys), 0]);
    });
    let members = moved.iter().flat_map(|pair| pair.users.map(|user| (pair.id, user)));
    script.insert(MEMBER, members.clone(), |text, (id, user)| {
        numbers(text, [id.0, user.0, 0, 0, 0]);
    });
    script.insert(MEMBER_USER, members, |text, (id, user)| numbers(text, [user.0, id.0]));
}

/// A relation from one of its ends.
struct End {
    relation: ConversationId,
    user: UserId,
    peer: UserId,
    seen: RelationState,
}

impl Pair {
    fn ends(&self) -> [End; 2] {
        let end = |low: bool| {
            let (user, peer) = (self.users[usize::from(!low)], self.users[usize::from(low)]);
            End { relation: self.id, user, peer, seen: self.ties.seen_by(low) }
        };
        [end(true), end(false)]
    }

    async fn relation(&self, tx: &mut Tx, low: bool, peer: &Locked) -> Result<Relation, Failure> {
        let keys = format!(
            "SELECT wrapped_key FROM im_relation_key WHERE relation = {} ORDER BY version",
            list([self.id.0])
        );
        let keys: Vec<(Vec<u8>,)> = tx.select(keys).await?;
        Ok(Relation {
            id: self.id,
            peer: peer.view.clone(),
            state: self.ties.seen_by(low),
            wrapped_keys: keys.into_iter().map(|(key,)| key).collect(),
        })
    }
}

fn pair_of(row: PairRow) -> Pair {
    let [friends, low_asks, high_asks, low_blocks, high_blocks] =
        [row.3, row.4, row.5, row.6, row.7].map(|flag| flag != 0);
    let ties = Ties { friends, asks: [low_asks, high_asks], blocks: [low_blocks, high_blocks] };
    Pair { id: ConversationId(row.0), users: [UserId(row.1), UserId(row.2)], ties, keys: row.8 }
}

/// `im_conversation.kind` of a relation's conversation.
const KIND_PAIR: u64 = 1;
const RELATION: (&str, &str) = (
    "INSERT INTO im_relation (relation, low, high, friends, low_asks, high_asks, low_blocks, \
     high_blocks) VALUES ",
    " ON DUPLICATE KEY UPDATE friends = VALUES(friends), low_asks = VALUES(low_asks), \
     high_asks = VALUES(high_asks), low_blocks = VALUES(low_blocks), \
     high_blocks = VALUES(high_blocks)",
);
const PEER: (&str, &str) = (
    "INSERT INTO im_relation_peer (user, peer, relation, seen) VALUES ",
    " ON DUPLICATE KEY UPDATE seen = VALUES(seen)",
);
const CONVERSATION: (&str, &str) = (
    "INSERT INTO im_conversation (conversation, kind, is_open, key_version, head) VALUES ",
    " ON DUPLICATE KEY UPDATE is_open = VALUES(is_open), key_version = VALUES(key_version)",
);
/// Who is a member already stays as they are.
const MEMBER: (&str, &str) = (
    "INSERT INTO im_member (conversation, user, delivered_seq, read_seq, joined_at_seq) VALUES ",
    " ON DUPLICATE KEY UPDATE user = VALUES(user)",
);
const MEMBER_USER: (&str, &str) = (
    "INSERT INTO im_member_user (user, conversation) VALUES ",
    " ON DUPLICATE KEY UPDATE user = VALUES(user)",
);
