//! Changes of relations. One row per pair holds their [`Ties`] and keys; an entry is left where
//! what one of them sees changed.

use anser_proto::wire::{self, RelationState, entry};
use anser_proto::{Code, ConversationId, UserId};

use super::accounts::{fresh_id, living};
use super::engine::{self, Rows};
use super::keys;
use super::rows::{self, ConversationRow, MemberRow, PeerRow, RelationRow, UserRow};
use super::tx::Tx;
use crate::apply::encode_entry;
use crate::relation::{self, Effect, Ties};
use crate::{
    NewEntry, Relation, RelationAction, RelationChange, RelationOutcome, Result, UserView,
};

/// A relation with its id, and which of the two is meant by "I".
struct Pair {
    id: ConversationId,
    row: RelationRow,
    actor_is_low: bool,
}

pub(super) fn change(tx: &mut Tx<'_>, change: &RelationChange) -> Result<RelationOutcome> {
    if change.actor == change.peer {
        return Ok(RelationOutcome::Refused(Code::InvalidRequest));
    }
    let (Some(_), Some(peer)) = (living(tx, change.actor)?, living(tx, change.peer)?) else {
        return Ok(RelationOutcome::Refused(Code::NotFound));
    };
    let Some(before) = load(tx, change.actor, change.peer, change.action)? else {
        return Ok(RelationOutcome::Refused(Code::RelationState));
    };
    let mut pair = Pair { row: before.row.clone(), ..before };
    let mut ties = pair.row.ties();
    let effect = ties.act(pair.actor_is_low, change.action);
    pair.row.set_ties(ties);
    match effect {
        Effect::Refused => return Ok(RelationOutcome::Refused(Code::RelationState)),
        Effect::Nothing => {
            let relation = pair.relation(change.peer, &peer);
            return Ok(RelationOutcome::Done { relation, entries: Vec::new() });
        }
        Effect::Changed => {}
        Effect::Befriended => pair.row.keys.push(change.wrapped_key.clone()),
    }
    let grows = before.row.view(before.actor_is_low) == RelationState::None;
    if grows && relations_of(tx, change.actor)? >= change.relations_max {
        return Ok(RelationOutcome::Refused(Code::TooMany));
    }
    let entries = store(tx, &before, &pair)?;
    Ok(RelationOutcome::Done { relation: pair.relation(change.peer, &peer), entries })
}

/// Ends all relations of a user who is removed; the peers are told, the user no more.
pub(super) fn end_all(tx: &mut Tx<'_>, user: UserId) -> Result<Vec<NewEntry>> {
    let mut entries = Vec::new();
    for (_, value) in tx.scan(&keys::one(keys::PEER, user.0))? {
        let peer: PeerRow = rows::decode("relation peer", &value)?;
        let id = ConversationId(peer.relation);
        let Some(row) = tx.row::<RelationRow>("relation", &keys::relation(id))? else { continue };
        let before = Pair { id, actor_is_low: row.low == user.0, row };
        let ended = RelationRow {
            low: before.row.low,
            high: before.row.high,
            keys: before.row.keys.clone(),
            ..RelationRow::default()
        };
        let after = Pair { id, actor_is_low: before.actor_is_low, row: ended };
        entries.extend(store(tx, &before, &after)?);
    }
    Ok(entries)
}

/// The pair's row; a new one for what can begin a relation, else `None` when there is none.
fn load(tx: &Tx<'_>, actor: UserId, peer: UserId, action: RelationAction) -> Result<Option<Pair>> {
    let actor_is_low = actor < peer;
    let known: Option<PeerRow> = tx.row("relation peer", &keys::peer(actor, peer))?;
    if let Some(known) = known {
        let id = ConversationId(known.relation);
        let row = tx.row("relation", &keys::relation(id))?;
        return Ok(row.map(|row| Pair { id, row, actor_is_low }));
    }
    if !relation::begins(action) {
        return Ok(None);
    }
    let (low, high) = if actor_is_low { (actor, peer) } else { (peer, actor) };
    let id = fresh_id(tx, None, ConversationId::random, keys::relation)?;
    let row = RelationRow { low: low.0, high: high.0, ..RelationRow::default() };
    Ok(Some(Pair { id, row, actor_is_low }))
}

/// Writes the relation and its conversation, and tells those whose view changed.
fn store(tx: &mut Tx<'_>, before: &Pair, after: &Pair) -> Result<Vec<NewEntry>> {
    let row = &after.row;
    tx.put(&keys::relation(after.id), row);
    if before.row.friends != row.friends {
        set_conversation(tx, after)?;
    }
    let mut entries = Vec::new();
    let (low, high) = (UserId(row.low), UserId(row.high));
    for (user, peer, is_low) in [(low, high, true), (high, low, false)] {
        let state = row.view(is_low);
        let relation = after.id.0;
        tx.put(&keys::peer(user, peer), &PeerRow { relation, state: state.into() });
        if state == before.row.view(is_low) || living(tx, user)?.is_none() {
            continue;
        }
        let entry = wire::Relation {
            relation,
            peer: peer.0,
            peer_name: engine::user(tx, peer)?.unwrap_or_default().name,
            state: state.into(),
            key_version: row.key_version(),
        };
        entries.push(tx.push(user, encode_entry(entry::Kind::Relation(entry)))?);
    }
    Ok(entries)
}

/// Opens or closes the conversation that belongs to the relation; friends for the first time make
/// it.
fn set_conversation(tx: &mut Tx<'_>, pair: &Pair) -> Result<()> {
    let key = keys::conversation(pair.id);
    if tx.get(&key)?.is_none() {
        for user in [UserId(pair.row.low), UserId(pair.row.high)] {
            tx.put(&keys::member(pair.id, user), &MemberRow::default());
            tx.put_bytes(&keys::membership(user, pair.id), &[]);
        }
    }
    let (open, key_version) = (pair.row.friends, pair.row.key_version());
    let members = vec![pair.row.low, pair.row.high];
    tx.put(&key, &ConversationRow { kind: KIND_PAIR, open, key_version, members });
    Ok(())
}

/// How many relations a user has in a state other than `none`.
fn relations_of(tx: &Tx<'_>, user: UserId) -> Result<usize> {
    let mut count = 0;
    for (_, value) in tx.scan(&keys::one(keys::PEER, user.0))? {
        let row: PeerRow = rows::decode("relation peer", &value)?;
        count += usize::from(row.state() != RelationState::None);
    }
    Ok(count)
}

impl PeerRow {
    fn state(&self) -> RelationState {
        RelationState::try_from(self.state).unwrap_or(RelationState::None)
    }
}

impl Pair {
    fn relation(&self, peer: UserId, peer_row: &UserRow) -> Relation {
        Relation {
            id: self.id,
            peer: user_view(peer, peer_row),
            state: self.row.view(self.actor_is_low),
            wrapped_keys: self.row.keys.clone(),
        }
    }
}

impl RelationRow {
    fn ties(&self) -> Ties {
        Ties {
            friends: self.friends,
            asks: [self.low_asks, self.high_asks],
            blocks: [self.low_blocks, self.high_blocks],
        }
    }

    fn set_ties(&mut self, ties: Ties) {
        self.friends = ties.friends;
        [self.low_asks, self.high_asks] = ties.asks;
        [self.low_blocks, self.high_blocks] = ties.blocks;
    }

    /// What one of the two sees.
    pub(super) fn view(&self, low: bool) -> RelationState {
        self.ties().seen_by(low)
    }

    fn key_version(&self) -> u32 {
        relation::key_version(self.keys.len())
    }
}

/// What others see of a user.
pub(super) fn user_view(id: UserId, row: &UserRow) -> UserView {
    UserView { id, name: row.name.clone(), display_name: row.display_name.clone() }
}

/// `ConversationRow::kind` of a relation's conversation.
const KIND_PAIR: u32 = 1;
