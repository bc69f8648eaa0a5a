//! Promise 5: resume, and promise 6: every device processes every entry once.

use anser_proto::{Seq, SessionId, UserId};

use super::{Factory, Person, World};
use crate::{Greeting, Hello, InboxPage, LiveSession, Mark, NewEntry, Outcome, PageLimit, Swept};

fn hello(epoch: &str, position: u64, outbox_head: u64, outbox_trimmed: u64) -> Hello {
    Hello { session: SessionId(0), epoch: epoch.into(), position, outbox_head, outbox_trimmed }
}

impl World {
    async fn greet(&self, person: Person, hello: Hello) -> Greeting {
        let greeting = self.store.greet(person.device, hello, self.now()).await;
        greeting.expect("greets").expect("a device")
    }

    async fn epoch(&self) -> String {
        self.store.meta().await.expect("meta").epoch
    }

    async fn page(&self, user: UserId, after: u64, limit: PageLimit) -> Vec<NewEntry> {
        match self.store.read_inbox(user, after, limit).await.expect("reads") {
            InboxPage::Entries { entries, .. } => entries,
            below => panic!("{below:?}"),
        }
    }
}

/// A device that was here goes on at its position; head, floor and outbox position are told.
pub async fn p5_a_known_position_is_welcome(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    world.commit((1..=9).map(|n| alice.send(n, conversation, "honk")).collect()).await;
    world.commit(vec![bob.ack(4, &[])]).await;
    let epoch = world.epoch().await;
    let greeting = world.greet(bob, hello(&epoch, 7, 0, 0)).await;
    let welcome = Greeting::Welcome {
        head: 10,
        floor: 1,
        outbox_position: 0,
        outbox_digest: None,
        inbox_position: 4,
    };
    assert_eq!(greeting, welcome);
    let greeting = world.greet(bob, hello(&epoch, 2, 5, 0)).await;
    let Greeting::Welcome { inbox_position, .. } = greeting else { panic!("{greeting:?}") };
    assert_eq!(inbox_position, 2, "at most the Hello's");
    let greeting = world.greet(alice, hello(&epoch, 10, 9, 0)).await;
    let Greeting::Welcome { outbox_position, .. } = greeting else { panic!("{greeting:?}") };
    assert_eq!(outbox_position, 9);
    world.store.revoke_devices(bob.user, crate::Devices::All).await.expect("revokes");
    let gone = world.store.greet(bob.device, hello(&epoch, 7, 0, 0), world.now()).await;
    assert_eq!(gone.expect("greets"), None);
}

/// What can not be continued is reset: another epoch, above the head, below the floor, new.
pub async fn p5_what_can_not_go_on_is_reset(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    world.commit((1..=9).map(|n| alice.send(n, conversation, "honk")).collect()).await;
    let epoch = world.epoch().await;
    let reset =
        Greeting::Reset { epoch: epoch.clone(), head: 10, outbox_position: 0, outbox_digest: None };
    assert_eq!(world.greet(bob, hello("0123", 5, 0, 0)).await, reset);
    assert_eq!(world.greet(bob, hello("", 0, 0, 0)).await, reset);
    assert_eq!(world.greet(bob, hello(&epoch, 11, 0, 0)).await, reset);

    let second = Person { device: world.device(bob.user).await, ..bob };
    assert_eq!(world.greet(second, hello(&epoch, 0, 0, 0)).await, reset, "a new device");
    let after = world.greet(second, hello(&epoch, 10, 0, 0)).await;
    assert!(matches!(after, Greeting::Welcome { .. }), "after its snapshot: {after:?}");
    let first = world.greet(bob, hello(&epoch, 0, 0, 0)).await;
    assert!(matches!(first, Greeting::Welcome { .. }), "here since the beginning: {first:?}");

    world.commit(vec![bob.ack(10, &[]), second.ack(10, &[])]).await;
    while world.store.prune(u64::MAX, 100).await.expect("prunes") > 0 {}
    assert_eq!(world.greet(bob, hello(&epoch, 8, 0, 0)).await, reset, "9 is pruned");
    let above = world.greet(bob, hello(&epoch, 9, 0, 0)).await;
    let welcome = Greeting::Welcome {
        head: 10,
        floor: 10,
        outbox_position: 0,
        outbox_digest: None,
        inbox_position: 9,
    };
    assert_eq!(above, welcome);
}

/// Numbers that the device forgot are skipped before it is reset, and never used again.
pub async fn p5_a_reset_skips_forgotten_commands(factory: &dyn Factory) {
    let mut world = World::open(factory).await;
    let (alice, _, conversation) = world.friends().await;
    world.commit(vec![alice.send(1, conversation, "one")]).await;
    let greeting = world.greet(alice, hello("before the restore", 40, 9, 7)).await;
    let Greeting::Reset { outbox_position, .. } = greeting else { panic!("{greeting:?}") };
    assert_eq!(outbox_position, 7);
    world.reopen(factory).await;
    assert_eq!(world.positions(alice).await.0, 7);
    let one = world.one(alice.send(1, conversation, "one")).await;
    assert_eq!(one, Outcome::Refused(anser_proto::Code::DeviceStale), "nothing to compare with");
    // What was refused ended its session, where that outlived the restart.
    world.greet(alice, hello("before the restore", 40, 9, 7)).await;
    let outcomes =
        world.commit(vec![alice.send(8, conversation, "8"), alice.send(8, conversation, "8")]);
    assert_eq!(outcomes.await.outcomes, [Outcome::Applied, Outcome::Repeat]);
    let again = world.greet(alice, hello("before the restore", 40, 9, 3)).await;
    let Greeting::Reset { outbox_position, .. } = again else { panic!("{again:?}") };
    assert_eq!(outbox_position, 8, "never backwards");
}

/// A device whose storage is older than what it sent is told so, within one epoch.
pub async fn p5_a_rolled_back_device_is_stale(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, _, conversation) = world.friends().await;
    world.commit((1..=3).map(|n| alice.send(n, conversation, "honk")).collect()).await;
    let epoch = world.epoch().await;
    assert_eq!(world.greet(alice, hello(&epoch, 1, 2, 0)).await, Greeting::DeviceStale);
    assert!(matches!(world.greet(alice, hello(&epoch, 1, 3, 0)).await, Greeting::Welcome { .. }));
    assert!(matches!(world.greet(alice, hello("x", 1, 2, 0)).await, Greeting::Reset { .. }));
}

/// Pages are contiguous, bounded by entries and bytes, and never empty while there is more.
pub async fn p5_pages_are_contiguous_and_bounded(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    let body = "x".repeat(1000);
    world.commit((1..=20).map(|n| alice.send(n, conversation, &body)).collect()).await;
    let limit = |entries, bytes| PageLimit { entries, bytes };
    let seqs = |page: Vec<NewEntry>| page.into_iter().map(|entry| entry.seq).collect::<Vec<_>>();
    assert_eq!(seqs(world.page(bob.user, 3, limit(4, 1 << 20)).await), [4, 5, 6, 7]);
    assert_eq!(seqs(world.page(bob.user, 3, limit(9, 2500)).await), [4, 5, 6]);
    assert_eq!(seqs(world.page(bob.user, 3, limit(9, 0)).await), [4], "at least one");
    assert_eq!(seqs(world.page(bob.user, 19, limit(9, 1 << 20)).await), [20, 21]);
    assert!(world.page(bob.user, 21, limit(9, 1 << 20)).await.is_empty());
    let page = world.page(bob.user, 20, limit(1, 1)).await;
    assert_eq!(page[0].mark, Mark::Message { conversation, conv_seq: 20 });
    let page = world.page(alice.user, 20, limit(1, 1)).await;
    assert_eq!(page[0].mark, Mark::Own { device: alice.device });
    assert_eq!(world.page(alice.user, 0, limit(1, 1)).await[0].mark, Mark::Other);
}

/// Reading and acking by one device takes nothing from another.
pub async fn p6_a_read_consumes_nothing(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    let laptop = Person { device: world.device(bob.user).await, ..bob };
    world.commit((1..=5).map(|n| alice.send(n, conversation, "honk")).collect()).await;
    let first = world.inbox(bob.user, 0).await;
    let head = world.head(bob.user).await;
    world.commit(vec![bob.ack(head, &[(conversation, 5)])]).await;
    assert_eq!(world.inbox(bob.user, 0).await, first);
    assert_eq!(world.positions(bob).await.1, head);
    assert_eq!(world.positions(laptop).await.1, 1, "where it began");
}

/// A sweep tells the heads of the users, the last applied commands of the devices and whose device
/// is gone, and nothing else.
pub async fn p5_a_sweep_tells_what_doorbells_may_have_lost(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    let live = |person: Person, number| {
        let session = SessionId(number);
        LiveSession { user: person.user, device: person.device, session }
    };
    let epoch = world.store.meta().await.expect("meta").epoch;
    for (person, session) in [(alice, SessionId(1)), (bob, SessionId(2))] {
        let hello = Hello { session, ..hello(&epoch, 1, 0, 0) };
        let greeting = world.store.greet(person.device, hello, world.now()).await;
        assert!(matches!(greeting, Ok(Some(Greeting::Welcome { .. }))), "{greeting:?}");
    }
    let sessions = vec![live(alice, 1), live(bob, 2)];
    let swept = async |sessions: &Vec<LiveSession>| {
        let mut swept = world.store.sweep(sessions.clone()).await.expect("sweeps");
        swept.applied.sort_unstable();
        swept
    };
    let applied = |of_alice, of_bob: Option<Seq>| {
        let mut applied = vec![(alice.device, of_alice)];
        applied.extend(of_bob.map(|position| (bob.device, position)));
        applied.sort_unstable();
        applied
    };
    let heads = |of_alice, of_bob| {
        let mut heads = vec![(alice.user, of_alice), (bob.user, of_bob)];
        heads.sort_unstable();
        heads
    };
    let quiet = Swept { heads: heads(1, 1), applied: applied(0, Some(0)), over: Vec::new() };
    assert_eq!(swept(&sessions).await, quiet);

    let record = super::p2_once::by(SessionId(1), alice.send(1, conversation, "honk"));
    assert_eq!(world.one(record).await, crate::Outcome::Applied);
    let told = Swept { heads: heads(2, 2), applied: applied(1, Some(0)), over: Vec::new() };
    assert_eq!(swept(&sessions).await, told);
    let twice = swept(&vec![live(alice, 1), live(alice, 1)]).await;
    assert_eq!(twice.heads, [(alice.user, 2)], "each user once");

    world.store.revoke_devices(bob.user, crate::Devices::All).await.expect("revokes");
    let over = vec![(live(bob, 2), anser_proto::Code::Unauthenticated)];
    let told = Swept { heads: heads(2, 2), applied: applied(1, None), over };
    assert_eq!(swept(&sessions).await, told);
    assert_eq!(swept(&Vec::new()).await, Swept::default());
}
