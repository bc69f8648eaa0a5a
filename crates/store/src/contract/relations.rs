//! Relations, conversations, snapshots and histories.

use anser_proto::wire::{self, RelationState as State, entry::Kind};
use anser_proto::{Code, UserId};

use super::{Factory, World, decode, done};
use crate::{
    HistoryRange, NewEntry, Outcome, RelationAction as Action, RelationChange, RelationOutcome,
};

/// Who was told what.
fn told(entries: &[NewEntry]) -> Vec<(UserId, State, u32)> {
    let one = |row: &NewEntry| match decode(&row.entry).kind {
        Some(Kind::Relation(relation)) => (row.user, relation.state(), relation.key_version),
        other => panic!("no relation: {other:?}"),
    };
    let mut told: Vec<_> = entries.iter().map(one).collect();
    told.sort_by_key(|(user, ..)| *user);
    told
}

impl World {
    async fn view(&self, user: UserId, peer: UserId) -> Option<State> {
        let all = self.store.relations(user).await.expect("lists");
        all.into_iter().find(|one| one.peer.id == peer).map(|one| one.state)
    }

    /// Acts, checks the actor's view after it, and gives what each was told: (actor, peer).
    async fn act(
        &self,
        actor: UserId,
        action: Action,
        peer: UserId,
    ) -> (State, Option<State>, Option<State>) {
        let (relation, entries) = done(self.relate(actor, action, peer).await);
        let told = told(&entries);
        let of = |user| told.iter().find(|(one, ..)| *one == user).map(|(_, state, _)| *state);
        (relation.state, of(actor), of(peer))
    }

    async fn refused(&self, actor: UserId, action: Action, peer: UserId) -> Code {
        match self.relate(actor, action, peer).await {
            RelationOutcome::Refused(code) => code,
            done => panic!("not refused: {done:?}"),
        }
    }
}

/// Request, accept, remove, and again: the same conversation with a new key version.
pub async fn relations_friends_again_are_in_the_same_conversation(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob) = (world.person().await, world.person().await);
    let (a, b) = (alice.user, bob.user);
    let requested = (State::Requested, Some(State::Requested), Some(State::Incoming));
    assert_eq!(world.act(a, Action::Request, b).await, requested);
    assert_eq!(world.act(a, Action::Request, b).await, (State::Requested, None, None));
    assert!(world.store.conversations(a).await.expect("lists").is_empty(), "not yet");
    assert_eq!(world.refused(a, Action::Accept, b).await, Code::RelationState, "her own");

    let (first, entries) = done(world.relate(b, Action::Accept, a).await);
    assert_eq!((first.state, first.wrapped_keys.len()), (State::Friends, 1));
    let mut both = [(a, State::Friends, 1), (b, State::Friends, 1)];
    both.sort_by_key(|(user, ..)| *user);
    assert_eq!(told(&entries), both);
    assert_eq!(world.one(alice.send(1, first.id, "honk")).await, Outcome::Applied);

    let ended = (State::None, Some(State::None), Some(State::None));
    assert_eq!(world.act(a, Action::Remove, b).await, ended);
    assert!(!world.store.conversations(a).await.expect("lists")[0].open);
    assert_eq!(world.act(a, Action::Remove, b).await, (State::None, None, None));

    world.act(b, Action::Request, a).await;
    let (again, _) = done(world.relate(a, Action::Request, b).await);
    assert_eq!((again.id, again.state), (first.id, State::Friends), "crossing requests accept");
    assert_eq!(again.wrapped_keys.len(), 2, "a new version, and the old one stays");
    let conversation = &world.store.conversations(b).await.expect("lists")[0];
    assert_eq!((conversation.open, conversation.head), (true, 1));
    let old = alice.command(2, super::send_bytes(first.id, 1, "with the old key"));
    let new = alice.command(3, super::send_bytes(first.id, 2, "with the new key"));
    let committed = world.commit(vec![old, new]).await;
    assert_eq!(committed.entries.len(), 4, "both versions are good");
}

/// Declining and withdrawing end a request for both.
pub async fn relations_a_request_can_be_declined_or_withdrawn(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (a, b) = (world.user().await, world.user().await);
    let ended = (State::None, Some(State::None), Some(State::None));
    for decliner in [a, b] {
        world.act(a, Action::Request, b).await;
        let other = if decliner == a { b } else { a };
        assert_eq!(world.act(decliner, Action::Decline, other).await, ended);
    }
    assert_eq!(world.view(a, b).await, None, "nothing is left to list");
    assert_eq!(world.refused(a, Action::Request, a).await, Code::InvalidRequest);
    assert_eq!(world.refused(a, Action::Request, UserId(1)).await, Code::NotFound);
    assert_eq!(world.refused(a, Action::Remove, world.user().await).await, Code::RelationState);
}

/// A block ends being friends; the blocked one learns of the end, not of the block.
pub async fn relations_a_block_is_not_seen(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, _) = world.friends().await;
    let (a, b) = (alice.user, bob.user);
    let blocked = (State::Blocked, Some(State::Blocked), Some(State::None));
    assert_eq!(world.act(a, Action::Block, b).await, blocked);
    assert_eq!(world.act(a, Action::Block, b).await, (State::Blocked, None, None));
    assert_eq!(world.view(b, a).await, Some(State::None));

    let unnoticed = (State::Requested, Some(State::Requested), None);
    assert_eq!(world.act(b, Action::Request, a).await, unnoticed);
    assert_eq!(world.refused(a, Action::Request, b).await, Code::RelationState);
    for (one, other) in [(a, b), (b, a)] {
        assert_eq!(world.refused(one, Action::Befriend, other).await, Code::RelationState);
    }
    let unblocked = (State::Incoming, Some(State::Incoming), None);
    assert_eq!(world.act(a, Action::Unblock, b).await, unblocked, "bob asked meanwhile");
    assert_eq!(world.act(a, Action::Accept, b).await.0, State::Friends);

    // Each blocks the other: each sees their own block only.
    assert_eq!(world.act(a, Action::Block, b).await.0, State::Blocked);
    assert_eq!(world.act(b, Action::Block, a).await, (State::Blocked, Some(State::Blocked), None));
    assert_eq!(world.act(a, Action::Unblock, b).await, (State::None, Some(State::None), None));
    assert_eq!(world.view(b, a).await, Some(State::Blocked));
    let waiting = world.act(a, Action::Request, b).await;
    assert_eq!(waiting, (State::Requested, Some(State::Requested), None));
    let unblocked = world.act(b, Action::Unblock, a).await;
    assert_eq!(unblocked, (State::Incoming, Some(State::Incoming), None));
}

/// A stranger who is blocked sees nothing at all.
pub async fn relations_a_blocked_stranger_sees_nothing(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (a, b) = (world.user().await, world.user().await);
    let blocked = (State::Blocked, Some(State::Blocked), None);
    assert_eq!(world.act(a, Action::Block, b).await, blocked);
    assert_eq!((world.view(a, b).await, world.view(b, a).await), (Some(State::Blocked), None));
    assert_eq!(world.act(b, Action::Request, a).await.0, State::Requested);
    assert_eq!(world.view(a, b).await, Some(State::Blocked));
}

/// The bound counts what is not over, and only what adds to it.
pub async fn relations_are_bounded(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (a, b, c) = (world.user().await, world.user().await, world.user().await);
    let request = |peer| RelationChange {
        actor: a,
        peer,
        action: Action::Request,
        wrapped_key: Vec::new(),
        relations_max: 1,
        now_ms: 1,
    };
    world.store.change_relation(request(b)).await.expect("changes");
    let more = world.store.change_relation(request(c)).await.expect("answers");
    assert!(matches!(more, RelationOutcome::Refused(Code::TooMany)), "{more:?}");
    let same = world.store.change_relation(request(b)).await.expect("answers");
    assert!(matches!(same, RelationOutcome::Done { .. }), "{same:?}");
    world.act(a, Action::Decline, b).await;
    let room = world.store.change_relation(request(c)).await.expect("changes");
    assert!(matches!(room, RelationOutcome::Done { .. }), "{room:?}");
}

/// A snapshot tells everything at its head; unread counts the messages of others.
pub async fn snapshot_is_everything_at_its_head(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    let carol = world.user().await;
    world.befriend(bob.user, carol).await;
    world.commit((1..=6).map(|n| alice.send(n, conversation, &format!("{n}"))).collect()).await;
    world.commit(vec![bob.read(1, conversation, 2), bob.send(2, conversation, "mine")]).await;

    let snapshot = world.store.snapshot(bob.user).await.expect("snapshot");
    assert_eq!(snapshot.epoch, world.store.meta().await.expect("meta").epoch);
    let entries = world.inbox(bob.user, 0).await.len() as u64;
    assert_eq!((snapshot.head, entries), (10, 10), "2 relations, 6 messages, a mark, his own");
    assert_eq!(snapshot.relations, world.store.relations(bob.user).await.expect("lists"));
    assert_eq!(snapshot.conversations, world.store.conversations(bob.user).await.expect("lists"));
    assert_eq!(snapshot.conversations.len(), 2);
    let one = snapshot.conversations.iter().find(|one| one.id == conversation).expect("is there");
    assert_eq!((one.open, one.head, one.unread), (true, 7, 4));
    let last = one.last_message.as_ref().map(decode).expect("a message");
    assert_eq!(&last.body[..], b"mine");
    let mut members: Vec<_> =
        one.members.iter().map(|one| (one.user.id, one.delivered, one.read)).collect();
    members.sort_unstable();
    let mut expected = [(alice.user, 0, 0), (bob.user, 2, 2)];
    expected.sort_unstable();
    assert_eq!(members, expected);
    let other = snapshot.conversations.iter().find(|one| one.id != conversation).expect("is there");
    assert_eq!((other.head, other.unread, other.last_message.as_ref()), (0, 0, None));
}

/// A page of history is the part that was asked for, rising, and says what is beside it.
pub async fn history_pages_say_what_is_beside_them(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    let page = async |range, limit| {
        let page = world.store.history(bob.user, conversation, range, limit).await;
        let page = page.expect("reads").expect("a member");
        let number = |entry| match decode(entry).kind {
            Some(Kind::Message(wire::Message { conv_seq, .. })) => conv_seq,
            other => panic!("no message: {other:?}"),
        };
        let numbers: Vec<u64> = page.messages.iter().map(number).collect();
        (numbers, page.more_before, page.more_after)
    };
    assert_eq!(page(HistoryRange::Latest, 5).await, (vec![], false, false));
    world.commit((1..=10).map(|n| alice.send(n, conversation, "honk")).collect()).await;
    assert_eq!(page(HistoryRange::Latest, 3).await, (vec![8, 9, 10], true, false));
    assert_eq!(page(HistoryRange::Latest, 30).await, ((1..=10).collect(), false, false));
    assert_eq!(page(HistoryRange::Before(8), 3).await, (vec![5, 6, 7], true, true));
    assert_eq!(page(HistoryRange::Before(3), 5).await, (vec![1, 2], false, true));
    assert_eq!(page(HistoryRange::Before(1), 5).await, (vec![], false, true));
    assert_eq!(page(HistoryRange::After(2), 3).await, (vec![3, 4, 5], true, true));
    assert_eq!(page(HistoryRange::After(8), 5).await, (vec![9, 10], true, false));
    assert_eq!(page(HistoryRange::After(10), 5).await, (vec![], true, false));
    assert_eq!(page(HistoryRange::Around(5), 4).await, (vec![3, 4, 5, 6], true, true));
    assert_eq!(page(HistoryRange::Around(1), 4).await, (vec![1, 2, 3, 4], false, true));
}
