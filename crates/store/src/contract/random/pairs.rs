//! Relations in the model.

use anser_proto::wire::{self, RelationState as State, entry::Kind};
use anser_proto::{Code, ConversationId, UserId};
use bytes::Bytes;

use super::model::{Conversation, Model};
use crate::RelationAction as Action;

/// What two users do to each other; index 0 is the one with the smaller id.
#[derive(Clone, Default)]
pub(super) struct Pair {
    pub(super) id: ConversationId,
    pub(super) friends: bool,
    pub(super) asks: [bool; 2],
    pub(super) blocks: [bool; 2],
    pub(super) keys: Vec<Vec<u8>>,
}

/// What a change must answer.
#[derive(Debug, PartialEq)]
pub(super) enum Answer {
    /// With the actor's view after it, and whether something changed.
    Done(State, bool),
    Refused(Code),
}

/// The pair's key, and the index of `user` in it.
pub(super) fn pair_of(user: UserId, peer: UserId) -> ((UserId, UserId), usize) {
    if user < peer { ((user, peer), 0) } else { ((peer, user), 1) }
}

impl Pair {
    /// What one of the two sees: never a block of the other.
    pub(super) fn seen_by(&self, me: usize) -> State {
        if self.blocks[me] {
            State::Blocked
        } else if self.friends {
            State::Friends
        } else if self.asks[me] {
            State::Requested
        } else if self.asks[1 - me] {
            State::Incoming
        } else {
            State::None
        }
    }

    /// The pair after an action; `None` when it is not possible.
    fn after(&self, me: usize, action: Action, key: &[u8]) -> Option<Self> {
        let mut after = self.clone();
        let befriend = match (action, self.seen_by(me)) {
            (Action::Request, State::None) => {
                after.asks[me] = true;
                false
            }
            (Action::Request | Action::Accept, State::Incoming) => true,
            (Action::Request, State::Requested | State::Friends)
            | (Action::Accept | Action::Befriend, State::Friends)
            | (Action::Decline | Action::Remove, State::None) => false,
            (Action::Decline, State::Incoming | State::Requested) => {
                // One of the two asks, and that ends, whoever declines.
                let asker = if self.asks[me] { me } else { 1 - me };
                after.asks[asker] = false;
                false
            }
            (Action::Remove, State::Friends) => {
                after.friends = false;
                false
            }
            (Action::Block, _) => {
                (after.blocks[me], after.asks[me], after.friends) = (true, false, false);
                false
            }
            (Action::Unblock, _) => {
                after.blocks[me] = false;
                false
            }
            (Action::Befriend, _) if self.blocks == [false, false] => true,
            _ => return None,
        };
        if befriend {
            (after.friends, after.asks) = (true, [false, false]);
            after.keys.push(key.to_vec());
        }
        Some(after)
    }

    fn same(&self, other: &Self) -> bool {
        (self.friends, self.asks, self.blocks) == (other.friends, other.asks, other.blocks)
    }
}

impl Model {
    /// Changes a relation; `made` is the id that the store gave it, if it is new.
    pub(super) fn relate(
        &mut self,
        (actor, peer): (UserId, UserId),
        action: Action,
        (key, relations_max): (&[u8], usize),
        made: Option<ConversationId>,
    ) -> Answer {
        if actor == peer {
            return Answer::Refused(Code::InvalidRequest);
        }
        if self.users[&actor].removed || self.users[&peer].removed {
            return Answer::Refused(Code::NotFound);
        }
        let (users, me) = pair_of(actor, peer);
        let known = self.pairs.get(&users).cloned();
        let begins = matches!(action, Action::Request | Action::Block | Action::Befriend);
        if known.is_none() && !begins {
            return Answer::Refused(Code::RelationState);
        }
        let is_new = known.is_none();
        let before = known.unwrap_or_default();
        let Some(mut after) = before.after(me, action, key) else {
            return Answer::Refused(Code::RelationState);
        };
        if after.same(&before) {
            return Answer::Done(after.seen_by(me), false);
        }
        if before.seen_by(me) == State::None && self.relations_of(actor) >= relations_max {
            return Answer::Refused(Code::TooMany);
        }
        if is_new {
            after.id = made.expect("a change that is done tells the relation's id");
        }
        let state = after.seen_by(me);
        self.set_pair(users, &before, after);
        Answer::Done(state, true)
    }

    /// Ends everything between a user who is removed and the others.
    pub(super) fn end_pairs(&mut self, user: UserId) {
        let mine = |users: &(UserId, UserId)| users.0 == user || users.1 == user;
        let all: Vec<_> = self.pairs.keys().copied().filter(mine).collect();
        for users in all {
            let before = self.pairs[&users].clone();
            let (id, keys) = (before.id, before.keys.clone());
            self.set_pair(users, &before, Pair { id, keys, ..Pair::default() });
        }
    }

    fn relations_of(&self, user: UserId) -> usize {
        let mine = self.pairs.iter().filter_map(|(users, pair)| match user {
            _ if users.0 == user => Some(pair.seen_by(0)),
            _ if users.1 == user => Some(pair.seen_by(1)),
            _ => None,
        });
        mine.filter(|state| *state != State::None).count()
    }

    /// Stores a pair, makes its conversation, and tells those whose view changed.
    fn set_pair(&mut self, users: (UserId, UserId), before: &Pair, after: Pair) {
        if after.friends && !self.conversations.contains_key(&after.id) {
            let marks = [(users.0, (0, 0)), (users.1, (0, 0))].into();
            let conversation = Conversation { pair: users, messages: Vec::new(), marks };
            self.conversations.insert(after.id, conversation);
        }
        for (me, user, peer) in [(0, users.0, users.1), (1, users.1, users.0)] {
            let state = after.seen_by(me);
            if state == before.seen_by(me) || self.users[&user].removed {
                continue;
            }
            let relation = wire::Relation {
                relation: after.id.0,
                peer: peer.0,
                peer_name: self.users[&peer].name.clone(),
                state: state.into(),
                key_version: u32::try_from(after.keys.len()).expect("few keys"),
            };
            self.push(user, Kind::Relation(relation), Bytes::new());
        }
        self.pairs.insert(users, after);
    }
}
