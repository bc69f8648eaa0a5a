//! Sent means safe: a command that was acked is on disk and applied exactly once, whatever process
//! dies next.

use std::collections::HashMap;

use anser_client::{Range, SendState};
use anser_proto::{Code, ConversationId, DeviceId, Frame, Seq};

use crate::support::{
    audit::Audit,
    layout,
    people::{Person, numbered},
    process::{Process, WITHOUT_RATE_LIMIT},
    proxy::Random,
    raw::{Raw, push, send},
    server::Server,
    site::{Account, Site},
    view::{Differences, Expected, View},
};

/// Messages that each device sends in a round.
const PER_ROUND: usize = 40;

/// Three people with two devices each, who all chat with one another and all send.
struct Crowd {
    devices: Vec<Member>,
    sent: HashMap<ConversationId, Expected>,
}

struct Member {
    account: Account,
    chats: [ConversationId; 2],
    view: View,
}

impl Crowd {
    async fn gather(site: &Site) -> Self {
        let [alice, bob, carol] = site.accounts(["alice", "bob", "carol"]).await;
        let ab = site.befriend(&alice, &bob).await;
        let bc = site.befriend(&bob, &carol).await;
        let ca = site.befriend(&carol, &alice).await;
        let mut devices = Vec::new();
        for (account, chats) in [(alice, [ab, ca]), (bob, [ab, bc]), (carol, [bc, ca])] {
            for account in [site.device(&account).await, account] {
                let view = View::of(Person::online(site, &account).await);
                devices.push(Member { account, chats, view });
            }
        }
        Self { devices, sent: HashMap::new() }
    }

    /// Every device puts a round's messages into its outbox; nobody waits.
    fn send(&mut self, round: usize) {
        for Member { account, chats, view } in &self.devices {
            for number in 0..PER_ROUND {
                let chat = chats[number % 2];
                let text = format!("{} {}: {round}/{number}", account.name, account.device);
                view.client.send(chat, text.clone()).expect("a place in the outbox");
                let expected = self.sent.entry(chat).or_default();
                expected.entry(account.device).or_default().push(text);
            }
        }
    }

    /// Waits until the server acked so many commands to one of the devices.
    async fn acked(&mut self, member: usize, count: Seq) {
        self.devices[member].view.until(|seen| seen.sent >= count).await;
    }

    /// What each device was told to be safe.
    fn told(&self) -> HashMap<DeviceId, Seq> {
        let told = |member: &Member| (member.account.device, member.view.now().sent);
        self.devices.iter().map(told).collect()
    }

    /// Waits for the rest, then compares every device's view with what was sent.
    async fn compare(&mut self) {
        let count = |sent: &HashMap<_, Expected>, chat| {
            sent.get(&chat).map_or(0, |expected| expected.values().map(Vec::len).sum::<usize>())
        };
        for member in &mut self.devices {
            let all: usize = member.chats.iter().map(|chat| count(&self.sent, *chat)).sum();
            let seen = member.view.until(|seen| seen.messages.len() >= all).await;
            for chat in member.chats {
                let found = seen.differences(chat, &self.sent[&chat]);
                assert_eq!(found, Differences::default(), "{}", member.account.name);
            }
            assert_eq!(seen.resets, 0, "nobody has to start anew");
            assert_eq!(member.view.client.outbox_len(), 0);
        }
    }
}

#[tokio::test]
async fn p1_sent_means_safe_over_a_restart() {
    let mut server = Server::start().await;
    let (alice, bob, chat) = server.friends().await;
    let mut sender = Person::online(&server, &alice).await;
    let sent = sender.client.send(chat, "remember me").expect("a place in the outbox");
    assert_eq!(sent.sent().await, SendState::Sent);
    server.stop().await;
    server.start_again().await;
    let mut receiver = Person::online(&server, &bob).await;
    assert_eq!(receiver.text().await, "remember me");
    sender.receipt((1, 0)).await;
    server.stop().await;
}

#[tokio::test]
async fn p1_kill_9_under_load_loses_doubles_and_reorders_nothing() {
    let mut server = Process::start(&WITHOUT_RATE_LIMIT).await;
    let mut crowd = Crowd::gather(&server).await;
    let (mut audit, mut random) = (Audit::default(), Random::new(1));
    for round in 0..6 {
        crowd.send(round);
        let member = random.within(0, crowd.devices.len());
        let count = round * PER_ROUND + random.within(1, PER_ROUND);
        crowd.acked(member, count as Seq).await;
        server.kill().await;
        audit.look(server.open_store(), &crowd.told()).await;
        server.start_again().await;
    }
    crowd.compare().await;
    assert!(server.terminate().await.success());
    audit.look(server.open_store(), &crowd.told()).await;
}

#[tokio::test]
async fn p1_kill_9_at_the_ack_keeps_the_command() {
    let mut server = Process::start(&WITHOUT_RATE_LIMIT).await;
    let (alice, _, chat) = server.friends().await;
    let mut audit = Audit::default();
    let mut position = 0;
    for _ in 0..4 {
        let (mut sender, welcome) = Raw::resume(&server, &alice, 0, position).await;
        assert_eq!(welcome.outbox_position, position, "what was acked, not less");
        position += 10;
        for number in position - 9..=position {
            sender.send(push(number, send(chat, b"now or never"))).await;
        }
        sender.acked(position).await;
        server.kill().await;
        audit.look(server.open_store(), &HashMap::from([(alice.device, position)])).await;
        server.start_again().await;
    }
}

#[tokio::test]
async fn p1_a_server_that_is_told_to_stop_keeps_what_it_acked() {
    let mut server = Process::start(&WITHOUT_RATE_LIMIT).await;
    let mut crowd = Crowd::gather(&server).await;
    let mut audit = Audit::default();
    for round in 0..2 {
        crowd.send(round);
        crowd.acked(round, (round * PER_ROUND + 10) as Seq).await;
        assert!(server.terminate().await.success());
        audit.look(server.open_store(), &crowd.told()).await;
        server.start_again().await;
    }
    crowd.compare().await;
}

#[tokio::test]
async fn p1_nothing_is_acked_that_a_full_disk_refuses() {
    if layout::is_elsewhere("p1_nothing_is_acked_that_a_full_disk_refuses") {
        return;
    }
    let mut server = Server::start().await;
    let (alice, _, chat) = server.friends().await;
    let mut sender = Raw::online(&server, &alice).await;
    sender.send(push(1, send(chat, b"while there is room"))).await;
    sender.acked(1).await;
    server.set_free_bytes(0);
    sender.send(push(2, send(chat, b"too late"))).await;
    loop {
        match sender.next().await {
            Frame::Ack(ack) => assert!(ack.position < 2, "acked, but not stored"),
            Frame::Close(_) => break,
            _ => {}
        }
    }
    server.stop().await;
    let told = HashMap::from([(alice.device, 1)]);
    Audit::default().look(server.open_store().await, &told).await;
}

#[tokio::test]
async fn p1_kill_9_while_the_disk_is_full_loses_nothing() {
    let mut server = Process::start(&WITHOUT_RATE_LIMIT).await;
    let (alice, bob, chat) = server.friends().await;
    let other = server.device(&alice).await;
    let mut receiver = View::of(Person::online(&server, &bob).await);
    let mut sender = View::of(Person::online(&server, &alice).await);
    let texts = numbered("full", 30);
    for text in &texts[..10] {
        let sent = sender.client.send(chat, text.clone()).expect("a place in the outbox");
        assert_eq!(sent.sent().await, SendState::Sent);
    }
    sender.until(|seen| seen.sent == 10).await;
    server.kill().await;
    // No disk has so much room: from its start on this server is below its floor.
    server.configure("ANSER_STORE__DISK_FLOOR_BYTES", "1000000 TiB");
    server.start_again().await;
    for text in &texts[10..] {
        sender.client.send(chat, text.clone()).expect("a place in the outbox");
    }
    // What was stored is still to be had, and what is refused stays with its device.
    let history = receiver.client.rest().history(chat, Range::Latest, 50).await;
    assert_eq!(history.expect("a page").messages.len(), 10);
    let (mut refused, _) = Raw::resume(&server, &other, 1, 0).await;
    refused.send(push(1, send(chat, b"refused"))).await;
    assert_eq!(refused.closed().await, Code::DiskFull);
    server.kill().await;
    assert_eq!(sender.now().sent, 10, "nothing was acked meanwhile");
    let told = HashMap::from([(alice.device, 10)]);
    Audit::default().look(server.open_store(), &told).await;
    server.configure("ANSER_STORE__DISK_FLOOR_BYTES", "1 KiB");
    server.start_again().await;
    receiver.messages(30).await;
    let expected = Expected::from([(alice.device, texts)]);
    assert_eq!(receiver.now().differences(chat, &expected), Differences::default());
}
