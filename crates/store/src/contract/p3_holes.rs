//! Promise 3: no holes, and promise 4: order.

use anser_proto::wire::entry::Kind;

use super::{Factory, World, decode};
use crate::{HistoryRange, InboxPage, Outcome, PageLimit};

/// Whatever is refused in between, numbers have no holes and conversations are in one order.
pub async fn p3_refusals_leave_no_holes(factory: &dyn Factory) {
    let mut world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    for round in 0..12_u64 {
        let next = round * 2 + 1;
        let records = vec![
            alice.send(next, conversation, "from alice"),
            alice.send(next, conversation, "a conflict"),
            bob.send(next + 7, conversation, "a gap"),
            alice.command(next + 1, &b"\xff\xff\xff"[..]),
            bob.send(round + 1, conversation, "from bob"),
            alice.send(next + 1, conversation, ""),
        ];
        world.commit(records).await;
        if round == 6 {
            world.reopen(factory).await;
        }
    }
    // `inbox` checks that each is contiguous.
    let (a, b) = (world.kinds(alice.user, 0).await, world.kinds(bob.user, 0).await);
    assert_eq!((a.len(), b.len()), (1 + 36, 1 + 24), "one entry for each that was taken");
    let messages = |kinds: &[Kind]| -> Vec<u64> {
        let number = |kind: &Kind| match kind {
            Kind::Message(message) => Some(message.conv_seq),
            _ => None,
        };
        kinds.iter().filter_map(number).collect()
    };
    assert_eq!(messages(&a), (1..=24).collect::<Vec<_>>());
    assert_eq!(messages(&a), messages(&b), "the same order for both");
}

/// Rows that went are below the floor; those above stay, and so does the head.
pub async fn p3_pruning_raises_the_floor_and_keeps_the_head(factory: &dyn Factory) {
    let mut world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    world.commit((1..=10).map(|n| alice.send(n, conversation, "old")).collect()).await;
    let old = world.head(bob.user).await;
    let moment = world.now() + 1;
    world.now_ms.store(moment, std::sync::atomic::Ordering::Relaxed);
    world.commit((11..=15).map(|n| alice.send(n, conversation, "new")).collect()).await;
    let head = world.head(bob.user).await;
    world.commit(vec![bob.ack(old - 3, &[]), alice.ack(head, &[])]).await;

    let mut pruned = 0;
    loop {
        let step = world.store.prune(moment, 4).await.expect("prunes");
        assert!(step <= 4, "a step is bounded");
        pruned += step;
        if step == 0 {
            break;
        }
    }
    let limit = PageLimit { entries: 100, bytes: 1 << 20 };
    let below = world.store.read_inbox(bob.user, 0, limit).await.expect("reads");
    let InboxPage::BelowFloor { floor } = below else { panic!("{below:?}") };
    assert_eq!(floor, old - 2, "bob's device had stored up to {}", old - 3);
    assert_eq!(world.inbox(bob.user, floor - 1).await.len() as u64, head - floor + 1);
    // Alice's device passed everything: all that is old went.
    assert_eq!(pruned, (old - 3) + old);
    let history = world.store.history(bob.user, conversation, HistoryRange::Latest, 100).await;
    assert_eq!(history.expect("reads").expect("a member").messages.len(), 15, "history stays");

    world.reopen(factory).await;
    world.commit(vec![alice.send(16, conversation, "on")]).await;
    assert_eq!(world.head(bob.user).await, head + 1, "numbers go on");
}

/// A step passes rows that do not tell their age, and several steps at a time dig no hole.
pub async fn p3_pruning_passes_long_rows_of_receipts(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    for n in 1..=30 {
        // All the messages come first in her inbox, then thirty receipts in a row.
        world.commit(vec![alice.send(n, conversation, "old")]).await;
    }
    for n in 1..=30 {
        world.commit(vec![bob.ack(n + 1, &[(conversation, n)])]).await;
    }
    world.commit(vec![bob.send(1, conversation, "old, too")]).await;
    let moment = world.now() + 1;
    world.now_ms.store(moment, std::sync::atomic::Ordering::Relaxed);
    world.commit(vec![bob.send(2, conversation, "new")]).await;
    let (a, b) = (world.head(alice.user).await, world.head(bob.user).await);
    world.commit(vec![alice.ack(a, &[]), bob.ack(b, &[])]).await;

    let mut pruned = 0;
    loop {
        let steps = [1, 9, 4].map(|rows_max| world.store.prune(moment, rows_max));
        let [one, two, three] = steps;
        let (one, two, three) = tokio::join!(one, two, three);
        let rows: u64 = [one, two, three].into_iter().map(|step| step.expect("prunes")).sum();
        pruned += rows;
        for user in [alice.user, bob.user] {
            let limit = PageLimit { entries: 100, bytes: 1 << 20 };
            let page = world.store.read_inbox(user, 0, limit).await.expect("reads");
            let floor = if let InboxPage::BelowFloor { floor } = page { floor } else { 1 };
            // Checks that there is no hole above the floor.
            world.inbox(user, floor - 1).await;
        }
        if rows == 0 {
            break;
        }
    }
    assert_eq!(pruned, (a - 1) + (b - 1), "all that is older than the last message");
}

/// With every row old and passed, the last one stays: the next number is counted from it.
pub async fn p3_a_number_is_never_used_again(factory: &dyn Factory) {
    let mut world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    world
        .commit(vec![alice.send(1, conversation, "one"), alice.send(2, conversation, "two")])
        .await;
    let head = world.head(bob.user).await;
    world.commit(vec![bob.ack(head, &[])]).await;
    while world.store.prune(u64::MAX, 100).await.expect("prunes") > 0 {}
    world.reopen(factory).await;
    assert_eq!(world.head(bob.user).await, head);
    let committed = world.commit(vec![alice.send(3, conversation, "three")]).await;
    let entry = committed.entries.iter().find(|entry| entry.user == bob.user).expect("an entry");
    assert_eq!(entry.seq, head + 1);
}

/// Commands of one device keep their order; entries of a batch rise within each inbox.
pub async fn p4_a_device_keeps_its_order(factory: &dyn Factory) {
    let world = World::open(factory).await;
    let (alice, bob, conversation) = world.friends().await;
    let other = super::Person { user: alice.user, device: world.device(alice.user).await };
    let mut records = Vec::new();
    for n in 1..=40_u64 {
        records.push(alice.send(n, conversation, &format!("a{n}")));
        records.push(other.send(n, conversation, &format!("b{n}")));
        if n % 3 == 0 {
            records.push(bob.read(n / 3, conversation, n));
        }
    }
    let committed = world.commit(records).await;
    assert!(committed.outcomes.iter().all(|outcome| *outcome == Outcome::Applied));
    for user in [alice.user, bob.user] {
        let mine = committed.entries.iter().filter(|entry| entry.user == user);
        let stored = world.inbox(user, 1).await;
        assert!(mine.map(|row| (row.seq, decode(&row.entry))).eq(stored), "as told, so stored");
    }
    let mut last = std::collections::HashMap::new();
    let mut conv_seq = 0;
    for kind in world.kinds(bob.user, 0).await {
        if let Kind::Message(message) = kind {
            let before = last.insert(message.device, message.client_seq).unwrap_or(0);
            assert_eq!(message.client_seq, before + 1);
            assert_eq!(message.conv_seq, conv_seq + 1);
            conv_seq += 1;
        }
    }
    assert_eq!(conv_seq, 80);
}
