//! Relations: which conversation is whose, and when it may have been closed.

use std::collections::HashMap;

use super::{commands::Ended, epochs::Restore, world::World};
use crate::torture::history::{Action, Conversation, Kind, OpId, State, User, What};

/// Two users, the lower id first.
pub(super) type Pair = (User, User);

/// All relations of a run.
pub(super) struct Relations {
    /// By conversation: whose it is, as the first sight of it tells, and the record of that.
    known: HashMap<Conversation, (Pair, usize)>,
    changes: HashMap<Pair, Vec<Change>>,
    restores: Vec<Restore>,
}

/// A user asked for a change of a relation.
#[derive(Clone, Copy)]
struct Change {
    user: User,
    action: Action,
    asked: usize,
    /// `None` when it may take effect at any later time.
    done: Option<usize>,
}

impl Relations {
    pub(super) fn new(world: &World<'_>) -> Self {
        let mut relations = Self {
            known: HashMap::new(),
            changes: HashMap::new(),
            restores: world.epochs.restores.clone(),
        };
        relations.read_changes(world);
        for (index, what) in world.iter() {
            match what {
                What::Pushed { conn, row, .. } => {
                    let Some(conn) = world.conns.get(conn) else { continue };
                    relations.row(index, conn.user, &row.kind);
                }
                What::Audit { user, rows, .. } => {
                    rows.iter().for_each(|(_, row)| relations.row(index, *user, &row.kind));
                }
                What::Snapshot { user, state, .. } | What::FinalState { user, state, .. } => {
                    relations.state(index, *user, state);
                }
                _ => {}
            }
        }
        relations
    }

    /// Whose a conversation is, and the record that first told so.
    pub(super) fn of(&self, conversation: Conversation) -> Option<(Pair, usize)> {
        self.known.get(&conversation).copied()
    }

    /// Whether anybody ever asked for a relation of these two.
    pub(super) fn is_wanted(&self, pair: Pair) -> bool {
        self.changes.contains_key(&pair)
    }

    /// Whether one of the two ever asked to end it.
    pub(super) fn was_ended(&self, pair: Pair) -> bool {
        self.changes.get(&pair).is_some_and(|all| all.iter().any(Change::closes))
    }

    /// Whether a conversation may have been closed at some moment from one record to another.
    pub(super) fn may_be_closed(&self, conversation: Conversation, from: usize, to: usize) -> bool {
        let Some((pair, _)) = self.of(conversation) else { return true };
        let changes = self.changes.get(&pair).map_or(&[][..], Vec::as_slice);
        let restored = self.restores.iter().filter(|restore| restore.doubt <= to);
        closed(changes, from, to)
            || restored.into_iter().any(|restore| {
                // The backup may have been made before they were friends, or while they were not.
                let Restore { begun, done, .. } = *restore;
                !opened(changes, 0, begun) || closed(changes, begun, done)
            })
    }

    /// Whether a restore may have lost a key of a conversation: they became friends (again) after
    /// the backup.
    pub(super) fn may_lack_key(&self, conversation: Conversation) -> bool {
        let Some((pair, _)) = self.of(conversation) else { return true };
        let changes = self.changes.get(&pair).map_or(&[][..], Vec::as_slice);
        self.restores.iter().any(|restore| {
            let lost = |change: &Change| {
                let late = change.done.is_none_or(|done| done > restore.begun);
                change.action == Action::Befriend && late && change.asked < restore.at
            };
            changes.iter().any(lost)
        })
    }

    fn read_changes(&mut self, world: &World<'_>) {
        let mut open: HashMap<OpId, (Pair, usize)> = HashMap::new();
        for (index, what) in world.iter() {
            let (op, ended) = match what {
                What::Relate { op, user, peer, action, .. } => {
                    let pair = pair(*user, *peer);
                    let changes = self.changes.entry(pair).or_default();
                    open.insert(*op, (pair, changes.len()));
                    let (user, action) = (*user, *action);
                    changes.push(Change { user, action, asked: index, done: None });
                    continue;
                }
                What::Done { op } => (op, Ended::Done),
                What::Refused { op, .. } => (op, Ended::Refused),
                _ => continue,
            };
            let Some((pair, number)) = open.remove(op) else { continue };
            let changes = self.changes.entry(pair).or_default();
            match ended {
                Ended::Refused => changes[number].action = Action::Unblock,
                _ => changes[number].done = Some(index),
            }
        }
    }

    fn row(&mut self, index: usize, user: User, kind: &Kind) {
        if let Kind::Relation { relation, peer, .. } = kind {
            self.known.entry(*relation).or_insert((pair(user, *peer), index));
        }
    }

    fn state(&mut self, index: usize, user: User, state: &State) {
        for (relation, peer, _) in &state.relations {
            self.known.entry(*relation).or_insert((pair(user, *peer), index));
        }
    }
}

/// Two users as a pair.
pub(super) fn pair(one: User, other: User) -> Pair {
    (one.min(other), one.max(other))
}

impl Change {
    fn closes(&self) -> bool {
        matches!(self.action, Action::Remove | Action::Block)
    }
}

/// Whether they may have been no friends at some moment from one record to another, if they were
/// friends in the beginning.
fn closed(changes: &[Change], from: usize, to: usize) -> bool {
    let closing = || changes.iter().filter(|change| change.closes() && change.asked <= to);
    if closing().any(|change| change.asked >= from) {
        return true;
    }
    let Some(last) = closing().map(|change| change.done.unwrap_or(usize::MAX)).max() else {
        return false;
    };
    !opened(changes, last, from)
}

/// Whether they certainly became friends between two records: both have asked for it, one after the
/// other or at once, and were answered. (Who is blocked by the other does not learn of it, but the
/// other is refused.)
fn opened(changes: &[Change], from: usize, to: usize) -> bool {
    let asked = |change: &&Change| {
        let answered = change.done.is_some_and(|done| done < to);
        change.action == Action::Befriend && change.asked >= from && answered
    };
    let mut users = changes.iter().filter(asked).map(|change| change.user);
    let Some(first) = users.next() else { return false };
    users.any(|user| user != first)
}
