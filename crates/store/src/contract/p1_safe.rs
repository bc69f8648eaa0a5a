//! Promise 1: sent means safe.

use anser_proto::wire::entry::Kind;

use super::{Factory, World};
use crate::{Mark, Outcome};

/// A message is in every member's inbox and in the history, as the same bytes.
pub async fn p1_sent_means_safe_in_every_inbox(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    let (a, b) = (world.head(alice.user).await, world.head(bob.user).await);

    let committed = world.commit(vec![alice.send(1, conversation, "honk")]).await;
    assert_eq!(committed.outcomes, [Outcome::Applied]);
    assert!(committed.sync.is_some(), "it was synced");
    let of = |user| committed.entries.iter().find(|entry| entry.user == user).expect("an entry");
    assert_eq!(of(alice.user).mark, Mark::Own { device: alice.device });
    assert_eq!(of(bob.user).mark, Mark::Message { conversation, conv_seq: 1 });
    assert_eq!((of(alice.user).seq, of(bob.user).seq), (a + 1, b + 1));
    assert_eq!(of(alice.user).entry, of(bob.user).entry);

    for (person, after) in [(alice, a), (bob, b)] {
        let [(_, entry)] = &world.inbox(person.user, after).await[..] else { panic!("one entry") };
        assert_eq!(&entry.body[..], b"honk");
        let Some(Kind::Message(message)) = &entry.kind else { panic!("a message") };
        assert_eq!((message.conversation, message.conv_seq), (conversation.0, 1));
        assert_eq!((message.sender, message.device), (alice.user.0, alice.device.0));
        assert_eq!((message.client_seq, message.key_version), (1, 1));
        assert_eq!(message.created_at_ms, world.now());
    }
    let (outbox_position, _) = world.positions(alice).await;
    assert_eq!(outbox_position, 1);
}

/// Rows, positions and marks survive a restart, and numbers go on where they were.
pub async fn p1_what_was_acked_is_there_after_a_restart(factory: &dyn Factory) {
    let mut world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    world.commit((1..=20).map(|n| alice.send(n, conversation, "honk")).collect()).await;
    let head = world.head(bob.user).await;
    world.commit(vec![bob.ack(head, &[(conversation, 20)]), bob.read(1, conversation, 11)]).await;
    let before = (world.inbox(alice.user, 0).await, world.inbox(bob.user, 0).await);
    let meta = world.store.meta().await.expect("meta");

    world.reopen(factory).await;
    assert_eq!(world.store.meta().await.expect("meta"), meta, "the epoch stays");
    assert_eq!((world.inbox(alice.user, 0).await, world.inbox(bob.user, 0).await), before);
    assert_eq!(world.marks(conversation, bob.user).await, (20, 11));
    assert_eq!(world.positions(bob).await, (1, head));
    assert_eq!(world.one(alice.send(20, conversation, "honk")).await, Outcome::Repeat);
    assert_eq!(world.one(alice.send(21, conversation, "honk")).await, Outcome::Applied);
    assert_eq!(world.inbox(bob.user, 0).await.len(), before.1.len() + 1);
}
