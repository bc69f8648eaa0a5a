//! Verbs that take N members, with 1, 2 and 3 of them; and numbers that are none of ours.

use anser_proto::id::NUMBER_MAX;
use anser_proto::wire::entry::Kind;
use anser_proto::{Code, ConversationId, Seq, SessionId};

use super::{Factory, Person, World, decode, receipt};
use crate::{Greeting, Hello, HistoryRange, Mark, Outcome};

/// People in one conversation.
async fn group(
    world: &mut World,
    factory: &dyn Factory,
    count: usize,
) -> (Vec<Person>, ConversationId) {
    let mut people = Vec::new();
    for _ in 0..count {
        people.push(world.person().await);
    }
    let users: Vec<_> = people.iter().map(|person| person.user).collect();
    world.store.close().await.expect("closes");
    let conversation = factory.group(&users).await;
    world.store = factory.open().await;
    (people, conversation)
}

/// A message is in each member's inbox, in one order for all, and in nobody else's.
pub async fn members_all_get_the_message(factory: &dyn Factory) {
    let mut world = World::open(factory).await;
    let eve = world.person().await;
    for count in 1..=3 {
        let (people, conversation) = group(&mut world, factory, count).await;
        let records: Vec<_> =
            people.iter().map(|person| person.send(1, conversation, "honk")).collect();
        let committed = world
            .commit([records, vec![eve.send(count as u64, conversation, "hi")]].concat())
            .await;
        assert_eq!(committed.outcomes, vec![Outcome::Applied; count + 1]);
        assert_eq!(committed.entries.len(), count * count + 1, "and eve's rejection");
        for person in &people {
            let own = committed.entries.iter().filter(|row| row.user == person.user);
            for (row, (conv_seq, sender)) in own.zip((1..).zip(&people)) {
                let theirs = Mark::Message { conversation, conv_seq };
                let mine = Mark::Own { device: person.device };
                assert_eq!(row.mark, if sender.user == person.user { mine } else { theirs });
                assert_eq!(row.seq, conv_seq);
                let Some(Kind::Message(message)) = decode(&row.entry).kind else { panic!() };
                assert_eq!((message.conv_seq, message.sender), (conv_seq, sender.user.0));
                let same = |other: &&crate::NewEntry| other.entry == row.entry;
                assert_eq!(committed.entries.iter().filter(same).count(), count, "for each");
            }
            assert_eq!(world.inbox(person.user, 0).await.len(), count);
            let range = HistoryRange::Latest;
            let history = world.store.history(person.user, conversation, range, 9).await;
            assert_eq!(history.expect("reads").expect("a member").messages.len(), count);
            let views = world.store.conversations(person.user).await.expect("lists");
            let [view] = &views[..] else { panic!("{views:?}") };
            assert_eq!((view.members.len(), view.unread), (count, count as u64 - 1));
        }
        assert!(world.store.conversations(eve.user).await.expect("lists").is_empty());
    }
}

/// Each reader is told to all the others: one receipt a batch for each of them, none to oneself.
pub async fn members_are_told_of_each_reader(factory: &dyn Factory) {
    let mut world = World::open(factory).await;
    for count in 1..=3 {
        let (people, conversation) = group(&mut world, factory, count).await;
        let first = people[0];
        world.commit((1..=4).map(|n| first.send(n, conversation, "honk")).collect()).await;
        let mut records = Vec::new();
        for (reader, read) in people.iter().zip(1..) {
            let number = if reader.user == first.user { 5 } else { 1 };
            let delivered = [(conversation, 3)];
            records.push(reader.ack(4, if number == 5 { &[] } else { &delivered }));
            records.push(reader.read(number, conversation, read));
        }
        let committed = world.commit(records).await;
        assert_eq!(committed.entries.len(), count + count * (count - 1), "marks and receipts");
        let marks = |at: usize| if at == 0 { (1, 1) } else { (3, at as Seq + 1) };
        for person in &people {
            let told = world.kinds(person.user, 4).await;
            assert!(matches!(told[0], Kind::ReadMark(_)), "the own mark: {told:?}");
            for (at, reader) in people.iter().enumerate() {
                let (delivered, read) = marks(at);
                let receipt = receipt(conversation, reader.user, delivered, read);
                let times = told.iter().filter(|kind| **kind == receipt).count();
                assert_eq!(times, usize::from(reader.user != person.user), "{told:?}");
                let stored = world.marks(conversation, reader.user).await;
                assert_eq!(stored, (delivered, read));
            }
        }
    }
}

/// A conversation's number from 2^53 on is answered like any that does not exist, never stored.
pub async fn numbers_that_are_none_are_not_stored(factory: &dyn Factory) {
    let mut world = World::open(factory).await;
    let (alice, _, known) = world.friends().await;
    let hostile = [NUMBER_MAX, NUMBER_MAX + 1, 1 << 63, u64::MAX];
    let mut client_seq = 0;
    for id in hostile.map(ConversationId) {
        let head = world.head(alice.user).await;
        let records = vec![
            alice.send(client_seq + 1, id, "hi"),
            alice.read(client_seq + 2, id, 1),
            alice.read(client_seq + 3, known, id.0),
            alice.ack(head, &[(id, 1), (known, id.0)]),
        ];
        client_seq += 3;
        assert_eq!(world.commit(records).await.outcomes, [Outcome::Applied; 4]);
        let told = world.kinds(alice.user, head).await;
        let rejected = told.iter().map(|kind| match kind {
            Kind::Rejected(rejected) => (rejected.code, rejected.conversation),
            other => panic!("not rejected: {other:?}"),
        });
        let not_member = (Code::NotMember.number(), 0);
        let above = (Code::ReadAboveHead.number(), known.0);
        assert!(rejected.eq([not_member, not_member, above]), "{told:?}");
        let history = world.store.history(alice.user, id, HistoryRange::Latest, 9).await;
        assert_eq!(history.expect("reads"), None);
    }
    world.reopen(factory).await;
    assert_eq!(world.positions(alice).await.0, client_seq);
}

/// Command numbers end below 2^53, however a device got there.
pub async fn numbers_end_where_a_double_does(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    let hello = Hello {
        session: SessionId(0),
        epoch: "another".into(),
        position: u64::MAX,
        outbox_head: u64::MAX,
        outbox_trimmed: u64::MAX,
    };
    let greeting = world.store.greet(alice.device, hello, world.now()).await.expect("greets");
    let Some(Greeting::Reset { outbox_position, .. }) = greeting else { panic!("{greeting:?}") };
    assert_eq!(outbox_position, NUMBER_MAX - 1);
    world.store.leave(alice.device, SessionId(0)).await.expect("leaves");
    let head = world.head(alice.user).await;
    for number in [NUMBER_MAX, NUMBER_MAX + 1, u64::MAX] {
        let outcome = world.one(alice.send(number, conversation, "one more")).await;
        assert_eq!(outcome, Outcome::Refused(Code::Malformed));
    }
    assert_eq!(world.head(alice.user).await, head);
    assert_eq!(world.positions(alice).await.0, NUMBER_MAX - 1);
    assert_eq!(world.one(bob.send(1, conversation, "others go on")).await, Outcome::Applied);
}
