//! Promise 2: exactly once.

use anser_proto::wire::{command_digest, entry::Kind};
use anser_proto::{Code, ConversationId, Seq, SessionId};

use super::{Factory, Person, World, random_hash, send_bytes};
use crate::{Greeting, Hello, Outcome, Record};

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

/// A device learns what its last number was used for, however it is greeted: one that was started
/// from an old copy of its storage can not go on as if its new command were the old one.
pub async fn p2_the_last_command_is_told_with_its_digest(factory: &dyn Factory) {
    let mut world = World::open(factory).await;
    let (alice, _, conversation) = world.friends().await;
    let body = |n: Seq| format!("body {n}");
    let sent = |n| Some(command_digest(&send_bytes(conversation, 1, &body(n))));
    assert_eq!(told(&world, alice, 0).await, (0, [None; 3]), "no command yet");
    let commands = |numbers: std::ops::RangeInclusive<Seq>| {
        numbers.map(|n| alice.send(n, conversation, &body(n))).collect()
    };
    world.commit(commands(1..=2)).await;
    assert_eq!(told(&world, alice, 0).await, (2, [sent(2); 3]));
    world.commit(commands(1..=1)).await;
    assert_eq!(told(&world, alice, 0).await, (2, [sent(2); 3]), "a repeat changes nothing");
    world.commit(commands(3..=70)).await;
    world.reopen(factory).await;
    assert_eq!(told(&world, alice, 0).await, (70, [sent(70); 3]), "more than are comparable");
    let other = send_bytes(anser_proto::ConversationId(77), 1, "to strangers");
    world.one(alice.command(71, other.clone())).await;
    assert_eq!(told(&world, alice, 0).await, (71, [Some(command_digest(&other)); 3]), "rejected");

    assert_eq!(told(&world, alice, 80).await, (80, [None; 3]), "skipped, so never seen");
    world.one(alice.send(81, conversation, &body(81))).await;
    assert_eq!(told(&world, alice, 80).await, (81, [sent(81); 3]));
}

/// The outbox position, and its digest in a Reset of another epoch, a Welcome and another Reset.
async fn told(world: &World, device: Person, outbox_trimmed: Seq) -> (Seq, [Option<u64>; 3]) {
    let epoch = world.store.meta().await.expect("meta").epoch;
    let head = world.head(device.user).await;
    let mut all = Vec::new();
    for (epoch, position) in [("another", head), (&epoch, head), (&epoch, head + 1)] {
        let hello = Hello {
            session: SessionId(0),
            epoch: epoch.into(),
            position,
            outbox_head: 99,
            outbox_trimmed,
        };
        let greeting = world.store.greet(device.device, hello, world.now()).await;
        let (reset, at, digest) = match greeting.expect("greets").expect("a device") {
            Greeting::Welcome { outbox_position, outbox_digest, .. } => {
                (false, outbox_position, outbox_digest)
            }
            Greeting::Reset { outbox_position, outbox_digest, .. } => {
                (true, outbox_position, outbox_digest)
            }
            Greeting::DeviceStale => panic!("99 is above all"),
        };
        all.push((reset, at, digest));
    }
    assert_eq!([all[0].0, all[1].0, all[2].0], [true, false, true]);
    assert!(all[1].1 == all[0].1 && all[2].1 == all[0].1, "{all:?}");
    (all[0].1, [all[0].2, all[1].2, all[2].2])
}

/// What a Hello was told of the outbox stays true, whatever an older session had under way.
pub async fn p2_an_older_session_moves_nothing(factory: &dyn Factory) {
    let mut world = World::open(factory).await;
    let (alice, _, conversation) = world.friends().await;
    let send = |client_seq, session, text| by(session, alice.send(client_seq, conversation, text));
    greet(&world, alice, FIRST).await;
    assert_eq!(world.one(send(1, FIRST, "by the first")).await, Outcome::Applied);

    greet(&world, alice, SECOND).await;
    let late = vec![send(2, FIRST, "late"), send(1, FIRST, "by the first")];
    let replaced = Outcome::Refused(Code::Replaced);
    assert_eq!(world.commit(late).await.outcomes, [replaced; 2]);
    assert_eq!(world.one(send(2, SECOND, "by the second")).await, Outcome::Applied);
    assert_eq!(world.inbox(alice.user, 0).await.len(), 3, "a relation, two messages");

    world.store.leave(alice.device, FIRST).await.expect("leaves");
    assert_eq!(world.one(send(3, FIRST, "late")).await, replaced, "another one left");
    world.store.leave(alice.device, SECOND).await.expect("leaves");
    assert_eq!(world.one(send(3, SECOND, "on the way")).await, Outcome::Applied);

    // A session may outlive the store's process or end with it; the next Hello decides anyhow.
    greet(&world, alice, FIRST).await;
    world.reopen(factory).await;
    let early = world.one(send(4, SECOND, "after a restart")).await;
    assert!(matches!(early, Outcome::Applied) || early == replaced, "{early:?}");
    greet(&world, alice, SECOND).await;
    let again = world.one(send(4, SECOND, "after a restart")).await;
    let expected = if early == replaced { Outcome::Applied } else { Outcome::Repeat };
    assert_eq!(again, expected);
    assert_eq!(world.one(send(5, FIRST, "late")).await, replaced);
}

/// An ack stands for all numbers below it, so what was refused must stay the last of its session.
pub async fn p2_nothing_of_a_session_follows_a_refusal(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    greet(&world, alice, FIRST).await;
    let first = |record| by(FIRST, record);
    let outcomes = world
        .commit(vec![
            first(alice.send(1, conversation, "one")),
            first(alice.send(1, conversation, "another one")),
            first(alice.send(2, conversation, "two")),
            bob.send(1, conversation, "of somebody else"),
        ])
        .await
        .outcomes;
    let replaced = Outcome::Refused(Code::Replaced);
    let conflict = Outcome::Refused(Code::Conflict);
    assert_eq!(outcomes, [Outcome::Applied, conflict, replaced, Outcome::Applied]);
    assert_eq!(world.one(first(alice.send(2, conversation, "two"))).await, replaced);
    greet(&world, alice, SECOND).await;
    let two = by(SECOND, alice.send(2, conversation, "two"));
    assert_eq!(world.one(two).await, Outcome::Applied);
}

const FIRST: SessionId = SessionId(1);
const SECOND: SessionId = SessionId(2);

pub(crate) fn by(by: SessionId, mut record: Record) -> Record {
    if let Record::Command { session, .. } = &mut record {
        *session = by;
    }
    record
}

pub(crate) async fn greet(world: &World, person: Person, session: SessionId) {
    let epoch = world.store.meta().await.expect("meta").epoch;
    let (outbox_head, outbox_trimmed) = (9, 0);
    let hello = Hello { session, epoch, position: 0, outbox_head, outbox_trimmed };
    let greeting = world.store.greet(person.device, hello, world.now()).await;
    assert!(greeting.expect("greets").is_some(), "there is this device");
}

/// A once key has one result, in a batch and over batches, and spends no number for a repeat.
pub async fn p2_a_once_key_has_one_result(factory: &dyn Factory) {
    let mut world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    let (first, second) = (random_hash(), random_hash());
    let once = |client_seq, key| Record::Command {
        user: alice.user,
        device: alice.device,
        session: SessionId(0),
        client_seq,
        command: send_bytes(conversation, 1, "order shipped"),
        once: Some(Box::new(key)),
        trace: None,
    };
    let outcomes =
        world.commit(vec![once(1, first), once(2, first), once(2, second)]).await.outcomes;
    assert_eq!(outcomes, [Outcome::Applied, Outcome::Repeat, Outcome::Applied]);
    world.reopen(factory).await;
    assert_eq!(world.one(once(3, first)).await, Outcome::Repeat);
    assert_eq!(world.one(once(3, random_hash())).await, Outcome::Applied);
    let kinds = world.kinds(bob.user, 0).await;
    assert_eq!(kinds.iter().filter(|kind| matches!(kind, Kind::Message(_))).count(), 3);

    // What was rejected did not happen: the same key asks again.
    let key = random_hash();
    let mut nowhere = once(4, key);
    if let Record::Command { command, .. } = &mut nowhere {
        *command = send_bytes(ConversationId(77), 1, "order shipped");
    }
    assert_eq!(world.one(nowhere).await, Outcome::Applied, "rejected in place");
    assert_eq!(world.one(once(5, key)).await, Outcome::Applied);
    assert_eq!(world.one(once(6, key)).await, Outcome::Repeat);
    let kinds = world.kinds(bob.user, 0).await;
    assert_eq!(kinds.iter().filter(|kind| matches!(kind, Kind::Message(_))).count(), 4);
}
