//! The rule of relations: what two users do to each other, and what each of them sees of it. No
//! engine, no I/O.
//!
//! A block is never seen by the blocked one: their view is that of not being friends.

use anser_proto::wire::RelationState;

use crate::RelationAction;

/// What two users do to each other; index 0 is the one with the smaller id.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Ties {
    pub(crate) friends: bool,
    pub(crate) asks: [bool; 2],
    pub(crate) blocks: [bool; 2],
}

/// What an action does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    /// It is so already.
    Nothing,
    /// Another state, the keys stay.
    Changed,
    /// They are friends from now on, under a new key.
    Befriended,
    /// Not possible in this state.
    Refused,
}

/// Whether an action can begin a relation of two who have none.
pub(crate) fn begins(action: RelationAction) -> bool {
    use RelationAction as Action;
    matches!(action, Action::Request | Action::Block | Action::Befriend)
}

/// The newest version of so many keys.
pub(crate) fn key_version(keys: usize) -> u32 {
    u32::try_from(keys).expect("nobody is befriended four billion times")
}

impl Ties {
    /// Lets one of the two act.
    pub(crate) fn act(&mut self, actor_is_low: bool, action: RelationAction) -> Effect {
        use RelationAction as Action;
        let (me, peer) = if actor_is_low { (0, 1) } else { (1, 0) };
        match (action, self.seen_by(actor_is_low)) {
            (Action::Request, RelationState::None) => self.asks[me] = true,
            (Action::Request, RelationState::Incoming)
            | (Action::Accept, RelationState::Incoming) => return self.befriend(),
            (Action::Befriend, RelationState::Friends) => return Effect::Nothing,
            (Action::Befriend, _) if self.blocks == [false; 2] => return self.befriend(),
            (Action::Decline, RelationState::Incoming) => self.asks[peer] = false,
            (Action::Decline, RelationState::Requested) => self.asks[me] = false,
            (Action::Remove, RelationState::Friends) => self.friends = false,
            (Action::Unblock, RelationState::Blocked) => self.blocks[me] = false,
            (Action::Block, RelationState::Blocked)
            | (Action::Request, RelationState::Requested | RelationState::Friends)
            | (Action::Accept, RelationState::Friends)
            | (Action::Decline | Action::Remove, RelationState::None) => return Effect::Nothing,
            (Action::Block, _) => {
                // What the peer asks is kept: for them nothing changes but an end of being friends.
                (self.blocks[me], self.asks[me]) = (true, false);
                self.friends = false;
            }
            (Action::Unblock, _) => return Effect::Nothing,
            (Action::Request | Action::Accept | Action::Decline | Action::Remove, _)
            | (Action::Befriend, _) => return Effect::Refused,
        }
        Effect::Changed
    }

    fn befriend(&mut self) -> Effect {
        (self.friends, self.asks) = (true, [false; 2]);
        Effect::Befriended
    }

    /// What one of the two sees.
    pub(crate) fn seen_by(&self, low: bool) -> RelationState {
        let (me, peer) = if low { (0, 1) } else { (1, 0) };
        match () {
            () if self.blocks[me] => RelationState::Blocked,
            () if self.friends => RelationState::Friends,
            () if self.asks[me] => RelationState::Requested,
            () if self.asks[peer] => RelationState::Incoming,
            () => RelationState::None,
        }
    }
}
