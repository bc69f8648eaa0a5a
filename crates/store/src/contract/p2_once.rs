//! Promise 2: exactly once.

use anser_proto::Code;
use anser_proto::wire::entry::Kind;

use super::{Factory, World, random_hash, send_bytes};
use crate::{Outcome, Record};

/// A repeat is recognised in the same batch, in a later one, and after a restart.
pub async fn p2_a_repeat_has_no_second_result(factory: &dyn Factory) {
    let mut world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    let (one, two) = (alice.send(1, conversation, "one"), alice.send(2, conversation, "two"));
    let committed = world.commit(vec![one.clone(), one.clone(), two.clone(), one.clone()]).await;
    let expected = [Outcome::Applied, Outcome::Repeat, Outcome::Applied, Outcome::Repeat];
    assert_eq!(committed.outcomes, expected);
    let before = (world.inbox(alice.user, 0).await, world.inbox(bob.user, 0).await);

    let committed = world.commit(vec![one.clone(), two.clone()]).await;
    assert_eq!(committed.outcomes, [Outcome::Repeat; 2]);
    assert!(committed.entries.is_empty());
    world.reopen(factory).await;
    assert_eq!(world.one(two).await, Outcome::Repeat);
    assert_eq!((world.inbox(alice.user, 0).await, world.inbox(bob.user, 0).await), before);
}

/// A rejection is a result, too.
pub async fn p2_a_rejected_command_stays_rejected(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob) = (world.person().await, world.person().await);
    let somewhere = anser_proto::ConversationId(77);
    assert_eq!(world.one(alice.send(1, somewhere, "hi")).await, Outcome::Applied);
    world.befriend(alice.user, bob.user).await;
    let head = world.head(alice.user).await;
    assert_eq!(world.one(alice.send(1, somewhere, "hi")).await, Outcome::Repeat);
    assert_eq!(world.head(alice.user).await, head, "one entry, the first time");
}

/// The same number with another payload is a conflict and changes nothing.
pub async fn p2_another_payload_is_a_conflict(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    world
        .commit(vec![alice.send(1, conversation, "one"), alice.send(2, conversation, "two")])
        .await;
    let head = world.head(bob.user).await;
    for record in [alice.send(1, conversation, "won"), alice.read(2, conversation, 1)] {
        assert_eq!(world.one(record).await, Outcome::Refused(Code::Conflict));
    }
    assert_eq!(world.head(bob.user).await, head);
    assert_eq!(world.positions(alice).await.0, 2);
}

/// The last 64 commands can be compared, the one before them can not.
pub async fn p2_what_can_not_be_compared_is_stale(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    let body = |n: u64| format!("body {n}");
    for first in [1, 31] {
        let sends = (first..first + 35).map(|n| alice.send(n, conversation, &body(n)));
        world.commit(sends.collect()).await;
    }
    let head = world.head(bob.user).await;
    let stale = Outcome::Refused(Code::DeviceStale);
    assert_eq!(world.one(alice.send(1, conversation, &body(1))).await, stale);
    assert_eq!(world.one(alice.send(2, conversation, &body(2))).await, Outcome::Repeat);
    assert_eq!(world.one(alice.send(65, conversation, &body(65))).await, Outcome::Repeat);
    assert_eq!(world.one(alice.send(0, conversation, "zero")).await, stale);
    assert_eq!(world.head(bob.user).await, head);
}

/// A number above a gap is refused and may come again in its place.
pub async fn p2_nothing_is_applied_over_a_gap(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    let head = world.head(bob.user).await;
    let gap = Outcome::Refused(Code::OutboxGap);
    let three = alice.send(3, conversation, "three");
    let records =
        vec![alice.send(1, conversation, "one"), three.clone(), bob.read(1, conversation, 1)];
    let outcomes = world.commit(records).await.outcomes;
    assert_eq!(outcomes, [Outcome::Applied, gap, Outcome::Applied], "the others go on");
    assert_eq!(world.positions(alice).await.0, 1);
    let outcomes = world.commit(vec![alice.send(2, conversation, "two"), three]).await.outcomes;
    assert_eq!(outcomes, [Outcome::Applied; 2]);
    let bodies: Vec<_> =
        world.inbox(bob.user, head).await.into_iter().map(|row| row.1.body).collect();
    assert_eq!(bodies, ["one", "", "two", "three"], "the second entry is bob's read mark");
}

/// A once key has one result, in a batch and over batches, and spends no number for a repeat.
pub async fn p2_a_once_key_has_one_result(factory: &dyn Factory) {
    let mut world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    let (first, second) = (random_hash(), random_hash());
    let once = |client_seq, key| Record::Command {
        user: alice.user,
        device: alice.device,
        client_seq,
        command: send_bytes(conversation, 1, "order shipped"),
        once: Some(Box::new(key)),
    };
    let outcomes =
        world.commit(vec![once(1, first), once(2, first), once(2, second)]).await.outcomes;
    assert_eq!(outcomes, [Outcome::Applied, Outcome::Repeat, Outcome::Applied]);
    world.reopen(factory).await;
    assert_eq!(world.one(once(3, first)).await, Outcome::Repeat);
    assert_eq!(world.one(once(3, random_hash())).await, Outcome::Applied);
    let kinds = world.kinds(bob.user, 0).await;
    assert_eq!(kinds.iter().filter(|kind| matches!(kind, Kind::Message(_))).count(), 3);
}
