//! The two sides of the link, over real sockets, and between them a network that fails.

mod bounded;
mod handshake;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anser_proto::{Code, ConversationId, DeviceId, NodeId, Seq, SessionId, UserId};
use anser_store::{LiveSession, Mark, NewEntry};
use async_trait::async_trait;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio_util::task::AbortOnDropHandle;

use super::{Listener, Remote, Secret};
use crate::{
    directory::{Node, Role, State},
    link::{
        Doorbell, Link as _,
        network::{Network, Weather, until},
    },
    presence::Presence,
};

/// What a connector was told, in the order in which it was.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Told {
    Entries(Vec<(UserId, Seq)>),
    Head(UserId, Seq),
    Ack(DeviceId, Seq),
    Refused(DeviceId, SessionId, Code),
    Closed(DeviceId, Code),
}

#[derive(Default)]
struct Bell {
    told: Mutex<Vec<Told>>,
    entries: Mutex<Vec<NewEntry>>,
    accepted: Mutex<Option<Instant>>,
}

impl Bell {
    fn told(&self) -> Vec<Told> {
        self.told.lock().clone()
    }

    /// All entries, whatever batches they came in.
    fn entries(&self) -> Vec<(UserId, Seq)> {
        self.entries.lock().iter().map(|entry| (entry.user, entry.seq)).collect()
    }
}

impl Doorbell for Bell {
    fn deliver(&self, entries: Vec<NewEntry>, accepted: Option<Instant>) {
        let numbers = entries.iter().map(|entry| (entry.user, entry.seq)).collect();
        self.told.lock().push(Told::Entries(numbers));
        self.entries.lock().extend(entries);
        *self.accepted.lock() = accepted;
    }

    fn grew(&self, heads: &[(UserId, Seq)]) {
        self.told.lock().extend(heads.iter().map(|(user, seq)| Told::Head(*user, *seq)));
    }

    fn ack(&self, device: DeviceId, position: Seq) {
        self.told.lock().push(Told::Ack(device, position));
    }

    fn refused(&self, (device, session): (DeviceId, SessionId), code: Code) {
        self.told.lock().push(Told::Refused(device, session, code));
    }

    fn close(&self, devices: &[DeviceId], code: Code) {
        self.told.lock().extend(devices.iter().map(|device| Told::Closed(*device, code)));
    }
}

type Located = Vec<(NodeId, Vec<UserId>)>;

/// Says what the test knows, and counts how often it was asked.
#[derive(Default)]
struct Known {
    at: Mutex<Option<Located>>,
    asked: Mutex<usize>,
}

#[async_trait]
impl Presence for Known {
    async fn online(&self, _: LiveSession) -> Vec<(NodeId, SessionId)> {
        Vec::new()
    }
    async fn offline(&self, _: LiveSession) {}
    async fn locate(&self, _: Vec<UserId>) -> Option<Vec<(NodeId, Vec<UserId>)>> {
        *self.asked.lock() += 1;
        self.at.lock().clone()
    }
}

/// A connector that takes rings.
struct Connector {
    id: NodeId,
    address: String,
    bell: Arc<Bell>,
    missed: Arc<Notify>,
    stop: Arc<Notify>,
    running: AbortOnDropHandle<()>,
}

impl Connector {
    async fn new() -> Self {
        Self::knowing(secret()).await
    }

    async fn knowing(secret: Secret) -> Self {
        let (id, bell, missed) = (NodeId::random(), Arc::<Bell>::default(), Arc::default());
        let any = "127.0.0.1:0".parse().unwrap();
        let missed: Arc<Notify> = missed;
        let listener = Listener::bind(any, secret, id, bell.clone(), missed.clone()).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let stop = Arc::<Notify>::default();
        let stopped = stop.clone();
        let running = tokio::spawn(async move {
            listener.run(stopped.notified()).await.unwrap();
        });
        let running = AbortOnDropHandle::new(running);
        Self { id, address, bell, missed, stop, running }
    }

    fn node(&self) -> Node {
        self.node_behind(&self.address)
    }

    fn node_behind(&self, address: &str) -> Node {
        Node {
            id: self.id,
            name: "a connector".to_owned(),
            roles: vec![Role::Connector],
            link: Some(address.to_owned()),
            tcp: None,
            ws: None,
            connections: 0,
            version: "1".to_owned(),
            started_at_ms: 1,
            state: State::Serving,
        }
    }

    /// Waits until it is to look at the store.
    async fn looks(&self) {
        let looks = tokio::time::timeout(Duration::from_secs(30), self.missed.notified());
        looks.await.expect("it is to look at the store");
    }

    async fn stop(self) {
        self.stop.notify_one();
        self.running.await.unwrap();
    }
}

/// A node that commits.
struct Caller {
    link: Arc<Remote>,
    presence: Arc<Known>,
    nodes: watch::Sender<Arc<[Node]>>,
}

impl Caller {
    fn new(nodes: Vec<Node>) -> Self {
        Self::at(NodeId::random(), None, nodes)
    }

    fn at(here: NodeId, local: Option<Arc<dyn Doorbell>>, nodes: Vec<Node>) -> Self {
        let presence = Arc::<Known>::default();
        let (nodes, seen) = watch::channel(nodes.into());
        let link = Remote::start(here, secret(), local, presence.clone(), seen);
        Self { link, presence, nodes }
    }
}

fn secret() -> Secret {
    Secret::new(b"only this cluster knows it")
}

fn entry(user: u64, seq: Seq) -> NewEntry {
    sized(user, seq, 20)
}

fn sized(user: u64, seq: Seq, bytes: usize) -> NewEntry {
    let entry = vec![seq as u8; bytes].into();
    NewEntry { user: UserId(user), seq, entry, mark: Mark::Other }
}

#[tokio::test]
async fn everything_arrives_as_it_was_told() {
    let connector = Connector::new().await;
    let caller = Caller::new(vec![connector.node()]);
    let (id, session, device) = (connector.id, SessionId(8), DeviceId(7));
    let message = Mark::Message { conversation: ConversationId(3), conv_seq: 4 };
    let marks = [message, Mark::Own { device }, Mark::Other];
    let entries: Vec<_> =
        (1..).zip(marks).map(|(seq, mark)| NewEntry { mark, ..entry(5, seq) }).collect();
    let accepted = Instant::now();
    caller.link.ack(id, device, 12);
    caller.link.refused(id, (device, session), Code::OutboxGap);
    caller.link.close(&[DeviceId(9)], Code::Unauthenticated);
    caller.link.deliver(entries.clone(), Some(accepted));
    until("all is told", async || connector.bell.told().len() == 4).await;
    let told = connector.bell.told();
    for one in [
        Told::Ack(device, 12),
        Told::Refused(device, session, Code::OutboxGap),
        Told::Closed(DeviceId(9), Code::Unauthenticated),
        Told::Entries(entries.iter().map(|entry| (entry.user, entry.seq)).collect()),
    ] {
        assert!(told.contains(&one), "{one:?} is not in {told:?}");
    }
    let came = connector.bell.entries.lock().clone();
    for (came, told) in came.iter().zip(&entries) {
        assert_eq!((&came.entry, came.mark), (&told.entry, told.mark));
    }
    let seen = connector.bell.accepted.lock().expect("when it was accepted");
    let apart = seen.max(accepted) - seen.min(accepted);
    assert!(apart < Duration::from_secs(60), "{apart:?}");
}

#[tokio::test]
async fn what_waits_goes_together_and_in_order() {
    let connector = Connector::new().await;
    let network = Network::to(connector.address.clone()).await;
    network.becomes(Weather::Silent);
    let caller = Caller::new(vec![connector.node_behind(&network.address().to_string())]);
    for seq in 1..=1000 {
        // Two commits at a time for the same user: the later one is told first.
        let user = (seq - 1) / 2 % 3 + 1;
        let seq = if seq % 2 == 1 { seq + 1 } else { seq - 1 };
        caller.link.deliver(vec![entry(user, seq)], None);
        caller.link.ack(connector.id, DeviceId(7), seq);
    }
    network.becomes(Weather::Fine);
    until("all is told", async || connector.bell.entries().len() == 1000).await;
    for user in 1..=3 {
        let all = connector.bell.entries();
        let seqs = all.iter().filter(|(whose, _)| whose.0 == user).map(|(_, seq)| *seq);
        assert!(seqs.is_sorted(), "rising for user {user}");
    }
    let told = connector.bell.told();
    let acks: Vec<_> = told.iter().filter(|one| matches!(one, Told::Ack(..))).collect();
    assert_eq!(acks.last(), Some(&&Told::Ack(DeviceId(7), 1000)));
    assert!(told.len() < 100, "{} calls for 1000 entries and acks", told.len());
    assert!(*caller.presence.asked.lock() < 100, "one look-up for all that waits");
}

#[tokio::test]
async fn only_who_holds_the_user_is_rung_or_everybody() {
    let (one, two) = (Connector::new().await, Connector::new().await);
    let local = Arc::<Bell>::default();
    let here = NodeId::random();
    let caller = Caller::at(here, Some(local.clone()), vec![one.node(), two.node()]);
    *caller.presence.at.lock() =
        Some(vec![(here, vec![UserId(1)]), (one.id, vec![UserId(1)]), (two.id, vec![UserId(2)])]);
    caller.link.deliver(vec![entry(1, 1), entry(2, 1), entry(3, 1)], None);
    // Here at once, and without a look-up: the registry knows who is here.
    assert_eq!(local.entries().len(), 3);
    until("one is told", async || one.bell.entries() == [(UserId(1), 1)]).await;
    until("two is told", async || two.bell.entries() == [(UserId(2), 1)]).await;
    *caller.presence.at.lock() = None;
    caller.link.deliver(vec![entry(3, 2)], None);
    until("one is told", async || one.bell.entries().contains(&(UserId(3), 2))).await;
    until("two is told", async || two.bell.entries().contains(&(UserId(3), 2))).await;
    assert_eq!(local.entries().len(), 4);
}

#[tokio::test]
async fn a_close_reaches_all_and_an_ack_only_its_connector() {
    let (one, two) = (Connector::new().await, Connector::new().await);
    let local = Arc::<Bell>::default();
    let here = NodeId::random();
    let caller = Caller::at(here, Some(local.clone()), vec![one.node(), two.node()]);
    caller.link.ack(here, DeviceId(1), 1);
    caller.link.ack(one.id, DeviceId(2), 2);
    caller.link.refused(here, (DeviceId(1), SessionId(1)), Code::Conflict);
    caller.link.close(&[DeviceId(3), DeviceId(4)], Code::Unauthenticated);
    let closed = [3, 4].map(|device| Told::Closed(DeviceId(device), Code::Unauthenticated));
    let refused = Told::Refused(DeviceId(1), SessionId(1), Code::Conflict);
    let mut at_local = vec![Told::Ack(DeviceId(1), 1), refused];
    at_local.extend(closed.clone());
    assert_eq!(local.told(), at_local);
    until("two is told", async || two.bell.told() == closed).await;
    let mut at_one = vec![Told::Ack(DeviceId(2), 2)];
    at_one.extend(closed);
    until("one is told", async || one.bell.told() == at_one).await;
}

#[tokio::test]
async fn a_connector_that_restarts_is_dialled_again_and_looks_at_the_store() {
    let first = Connector::new().await;
    let caller = Caller::new(vec![first.node()]);
    first.looks().await;
    first.stop().await;
    let second = Connector::new().await;
    caller.nodes.send_replace([second.node()].into());
    second.looks().await;
    caller.link.ack(second.id, DeviceId(1), 1);
    until("it is told", async || second.bell.told() == [Told::Ack(DeviceId(1), 1)]).await;
}

#[tokio::test]
async fn a_line_that_was_cut_comes_back_and_the_connector_looks_at_the_store() {
    let connector = Connector::new().await;
    let network = Network::to(connector.address.clone()).await;
    let caller = Caller::new(vec![connector.node_behind(&network.address().to_string())]);
    connector.looks().await;
    network.becomes(Weather::Cut);
    until("it is dialled again", async || network.opened() >= 2).await;
    caller.link.ack(connector.id, DeviceId(1), 1);
    network.becomes(Weather::Fine);
    connector.looks().await;
    caller.link.ack(connector.id, DeviceId(1), 2);
    let newest = Told::Ack(DeviceId(1), 2);
    until("it is told", async || connector.bell.told().last() == Some(&newest)).await;
}

#[tokio::test]
async fn a_silent_line_is_given_up() {
    let connector = Connector::new().await;
    let network = Network::to(connector.address.clone()).await;
    let address = network.address().to_string();
    let _caller = Caller::new(vec![connector.node_behind(&address)]);
    connector.looks().await;
    network.becomes(Weather::Silent);
    until("it is dialled again", async || network.opened() >= 2).await;
    network.becomes(Weather::Fine);
    connector.looks().await;
}
