//! Promise 8: only members, and promise 10: rejections are told.

use anser_proto::wire::{self, entry::Kind};
use anser_proto::{Code, ConversationId, SessionId};
use prost::Message as _;

use super::{Factory, Person, World, random_hash, send_bytes};
use crate::{Devices, HistoryRange, Outcome, Record, RelationAction};

impl World {
    /// Commits a command that must be rejected in place, and gives its code.
    pub(super) async fn rejection(&self, person: Person, record: Record) -> Code {
        let Record::Command { client_seq, .. } = record else { panic!("no command") };
        let head = self.head(person.user).await;
        let committed = self.commit(vec![record]).await;
        assert_eq!(committed.outcomes, [Outcome::Applied], "it consumes its number");
        assert_eq!(committed.entries.len(), 1, "and nobody else is told");
        assert_eq!(self.positions(person).await.0, client_seq);
        let kinds = self.kinds(person.user, head).await;
        let [Kind::Rejected(rejected)] = &kinds[..] else { panic!("{kinds:?}") };
        assert_eq!((rejected.device, rejected.client_seq), (person.device.0, client_seq));
        Code::from_number(rejected.code).expect("a code of the table")
    }
}

/// A stranger can neither write to a conversation nor read it, nor learn that it exists.
pub async fn p8_a_stranger_stays_outside(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    let eve = world.person().await;
    world.commit(vec![alice.send(1, conversation, "secret")]).await;
    let heads = (world.head(alice.user).await, world.head(bob.user).await);
    let nowhere = ConversationId(conversation.0 ^ 1);
    for (n, place) in [(1, conversation), (3, nowhere)] {
        assert_eq!(world.rejection(eve, eve.send(n, place, "hi")).await, Code::NotMember);
        assert_eq!(world.rejection(eve, eve.read(n + 1, place, 1)).await, Code::NotMember);
        let history = world.store.history(eve.user, place, HistoryRange::Latest, 10).await;
        assert_eq!(history.expect("reads"), None);
    }
    assert_eq!((world.head(alice.user).await, world.head(bob.user).await), heads);
    assert!(world.store.conversations(eve.user).await.expect("lists").is_empty());
}

/// A device speaks for its own user only, and no more after it was revoked.
pub async fn p8_a_device_speaks_for_its_user(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    let heads = (world.head(alice.user).await, world.head(bob.user).await);
    let forged = Person { user: alice.user, device: bob.device };
    let unauthenticated = Outcome::Refused(Code::Unauthenticated);
    assert_eq!(world.one(forged.send(1, conversation, "hi")).await, unauthenticated);
    assert_eq!(world.one(forged.ack(1, &[(conversation, 1)])).await, unauthenticated);
    world.store.revoke_devices(alice.user, Devices::One(alice.device)).await.expect("revokes");
    assert_eq!(world.one(alice.send(1, conversation, "hi")).await, unauthenticated);
    assert_eq!((world.head(alice.user).await, world.head(bob.user).await), heads);
}

/// Removed and blocked look the same to a sender: one code.
pub async fn p8_closed_is_closed_for_both(factory: &dyn Factory) {
    let world = World::open(factory).await;
    for action in [RelationAction::Remove, RelationAction::Block] {
        let (alice, bob, conversation) = world.friends().await;
        world.commit(vec![alice.send(1, conversation, "honk")]).await;
        world.relate(bob.user, action, alice.user).await;
        let refused = world.rejection(alice, alice.send(2, conversation, "hi")).await;
        assert_eq!(refused, Code::NotMember);
        assert_eq!(world.rejection(bob, bob.send(1, conversation, "hi")).await, Code::NotMember);
        let history = world.store.history(alice.user, conversation, HistoryRange::Latest, 9).await;
        assert_eq!(history.expect("reads").expect("was a member").messages.len(), 1);
    }
}

/// Each reason has its code and leaves one entry in the sender's inbox.
pub async fn p10_every_rejection_is_told(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    let b = world.head(bob.user).await;
    let longest = "x".repeat(16 << 10);
    let unknown = wire::Command { kind: None, body: "from the future".into() }.encode_to_vec();
    let cases = [
        (alice.send(1, conversation, ""), Code::BodyEmpty),
        (alice.send(2, conversation, &(longest.clone() + "x")), Code::BodyTooLarge),
        (alice.command(3, send_bytes(conversation, 2, "hi")), Code::UnknownKeyVersion),
        (alice.command(4, send_bytes(conversation, 0, "hi")), Code::UnknownKeyVersion),
        (alice.command(5, unknown), Code::UnknownCommand),
        (alice.read(6, conversation, 1), Code::ReadAboveHead),
    ];
    for (record, code) in cases {
        assert_eq!(world.rejection(alice, record).await, code);
    }
    assert_eq!(world.head(bob.user).await, b);
    assert_eq!(world.one(alice.send(7, conversation, &longest)).await, Outcome::Applied);
    assert_eq!(world.head(bob.user).await, b + 1);
}

/// Bytes that are no command consume nothing.
pub async fn p10_garbage_consumes_nothing(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, _, conversation) = world.friends().await;
    let head = world.head(alice.user).await;
    let garbage = alice.command(1, &b"\x0a\xff\xff"[..]);
    assert_eq!(world.one(garbage).await, Outcome::Refused(Code::Malformed));
    assert_eq!((world.positions(alice).await.0, world.head(alice.user).await), (0, head));
    assert_eq!(world.one(alice.send(1, conversation, "hi")).await, Outcome::Applied);
    let unknown = Record::Command {
        user: alice.user,
        device: alice.device,
        session: SessionId(0),
        client_seq: 2,
        command: "\u{7f}".into(),
        once: Some(Box::new(random_hash())),
        trace: None,
    };
    assert_eq!(world.one(unknown).await, Outcome::Refused(Code::Malformed));
}
