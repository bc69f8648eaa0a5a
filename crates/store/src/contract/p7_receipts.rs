//! Promise 7: honest receipts.

use anser_proto::wire::entry::Kind;
use anser_proto::{Code, ConversationId, UserId};

use super::{Factory, World};
use crate::{Outcome, RelationAction};

/// A receipt as the others get it.
pub(super) fn receipt(
    conversation: ConversationId,
    user: UserId,
    delivered: u64,
    read: u64,
) -> Kind {
    let (conversation, user) = (conversation.0, user.0);
    Kind::Receipt(anser_proto::wire::Receipt { conversation, user, delivered, read })
}

/// An ack of a device moves `delivered` and tells the sender; a repeat tells nothing.
pub async fn p7_an_ack_is_a_receipt(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    world.commit((1..=5).map(|n| alice.send(n, conversation, "honk")).collect()).await;
    let (a, b) = (world.head(alice.user).await, world.head(bob.user).await);
    assert_eq!(world.marks(conversation, bob.user).await, (0, 0), "stored is not delivered");

    let ack = bob.ack(4, &[(conversation, 3)]);
    assert_eq!(world.one(ack.clone()).await, Outcome::Applied);
    assert_eq!(world.kinds(alice.user, a).await, [receipt(conversation, bob.user, 3, 0)]);
    assert_eq!(world.marks(conversation, bob.user).await, (3, 0));
    for again in [ack, bob.ack(3, &[(conversation, 2)])] {
        let committed = world.commit(vec![again]).await;
        assert_eq!(committed.outcomes, [Outcome::Applied]);
        assert!(committed.entries.is_empty(), "nothing moved");
    }
    assert_eq!(world.marks(conversation, bob.user).await, (3, 0), "never backwards");
    assert_eq!(world.positions(bob).await.1, 4, "nor the position");
    assert_eq!(world.head(bob.user).await, b, "bob needs no entry for it");
}

/// Marks stay at or below the head, and the position too, whatever an ack says.
pub async fn p7_marks_stay_below_the_head(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    world.commit(vec![alice.send(1, conversation, "honk")]).await;
    let head = world.head(bob.user).await;
    world.commit(vec![bob.ack(9_999, &[(conversation, 9_999)])]).await;
    assert_eq!(world.marks(conversation, bob.user).await, (1, 0));
    assert_eq!(world.positions(bob).await.1, head);
}

/// A batch leaves one receipt per conversation and reader, with the marks after it.
pub async fn p7_a_batch_leaves_one_receipt(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    world.commit((1..=9).map(|n| alice.send(n, conversation, "honk")).collect()).await;
    let (a, b) = (world.head(alice.user).await, world.head(bob.user).await);
    let records = vec![
        bob.ack(3, &[(conversation, 2)]),
        bob.read(1, conversation, 2),
        bob.ack(8, &[(conversation, 7)]),
        bob.read(2, conversation, 5),
        alice.send(10, conversation, "more"),
    ];
    world.commit(records).await;
    let told = world.kinds(alice.user, a).await;
    assert_eq!(told.len(), 2, "her message, and one receipt: {told:?}");
    assert_eq!(told[1], receipt(conversation, bob.user, 7, 5));
    let own = world.kinds(bob.user, b).await;
    let marks: Vec<_> = own.iter().filter(|kind| matches!(kind, Kind::ReadMark(_))).collect();
    assert_eq!(marks.len(), 2, "each command has its own entry");
}

/// A read mark is absolute, moves `delivered` along, and is told to the reader's own devices.
pub async fn p7_read_moves_delivered_and_tells_the_own_devices(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    world.commit((1..=5).map(|n| alice.send(n, conversation, "honk")).collect()).await;
    let (a, b) = (world.head(alice.user).await, world.head(bob.user).await);
    world.commit(vec![bob.read(1, conversation, 4)]).await;
    assert_eq!(world.marks(conversation, bob.user).await, (4, 4));
    let committed = world.commit(vec![bob.read(2, conversation, 2)]).await;
    assert_eq!(committed.entries.len(), 1, "nothing moved: no second receipt");
    assert_eq!(world.kinds(alice.user, a).await, [receipt(conversation, bob.user, 4, 4)]);
    let marks: Vec<_> = world.kinds(bob.user, b).await;
    let [Kind::ReadMark(one), Kind::ReadMark(two)] = &marks[..] else { panic!("{marks:?}") };
    assert_eq!((one.read, one.client_seq, one.device), (4, 1, bob.device.0));
    assert_eq!((two.read, two.client_seq), (4, 2), "the mark as it is now");
    assert_eq!(world.marks(conversation, alice.user).await, (0, 0), "hers are her own");
    world.commit(vec![bob.read(3, conversation, 5)]).await;
    assert_eq!(world.marks(conversation, bob.user).await, (5, 5), "up to the last message");
}

/// No marks move in a closed conversation, nor in one of others.
pub async fn p7_no_receipts_where_there_is_no_friendship(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    let eve = world.person().await;
    world.commit((1..=5).map(|n| alice.send(n, conversation, "honk")).collect()).await;
    let a = world.head(alice.user).await;
    world.commit(vec![eve.ack(3, &[(conversation, 3)])]).await;
    world.relate(bob.user, RelationAction::Remove, alice.user).await;
    world.commit(vec![bob.ack(5, &[(conversation, 4)]), bob.read(1, conversation, 4)]).await;
    let told = world.kinds(alice.user, a).await;
    assert!(matches!(told[..], [Kind::Relation(_)]), "the end, and no receipt: {told:?}");
    let rejected = world.kinds(bob.user, 0).await.pop();
    let Some(Kind::Rejected(rejected)) = rejected else { panic!("{rejected:?}") };
    assert_eq!(rejected.code, Code::NotMember.number());
    assert_eq!(world.positions(bob).await.1, 5, "the position moves all the same");
    assert_eq!(world.marks(conversation, bob.user).await, (0, 0));
}
