//! What several partitions have is one commit, and each keeps its order and its receipts.

use std::{
    collections::VecDeque,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use anser_proto::{ConversationId, UserId, wire};
use anser_store::{
    CreateUser, NewDevice, NewEntry, NewUser, RelationAction, RelationChange, RelationOutcome,
    embedded::{Embedded, Options},
};
use async_trait::async_trait;
use parking_lot::Mutex;
use prost::Message as _;

use super::*;

const HERE: NodeId = NodeId(7);
/// Messages of each sender, one in a batch.
const EACH: Seq = 5;

/// What happened, in its order.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Event {
    Taken(usize, Seq),
    Settled(usize, Seq),
    GivenBack(usize, Seq),
    Refused(DeviceId),
    Acked(DeviceId, Seq),
}

type Events = Arc<Mutex<Vec<Event>>>;

/// A partition that has all its batches from the start.
struct Filled {
    index: usize,
    batches: Mutex<VecDeque<Record>>,
    events: Events,
}

#[async_trait]
impl Partition for Filled {
    async fn take(&self) -> Option<Taken> {
        let record = self.batches.lock().pop_front()?;
        let Record::Command { client_seq, .. } = record else { unreachable!("commands only") };
        self.events.lock().push(Event::Taken(self.index, client_seq));
        let receipt = Receipt { connection: 0, delivery: client_seq };
        let (records, from) = (vec![record], vec![(HERE, 1)]);
        Some(Taken { records, from, published: Instant::now(), receipt })
    }

    fn settle(&self, receipt: Receipt) {
        self.events.lock().push(Event::Settled(self.index, receipt.delivery));
    }

    fn give_back(&self, receipt: Receipt) {
        self.events.lock().push(Event::GivenBack(self.index, receipt.delivery));
    }

    fn is_durable(&self) -> bool {
        true
    }
}

struct Bell(Events);

impl link::Link for Bell {
    fn deliver(&self, _entries: Vec<NewEntry>, _accepted: Option<Instant>) {}

    fn ack(&self, connector: NodeId, device: DeviceId, position: Seq) {
        assert_eq!(connector, HERE, "told to where it came from");
        self.0.lock().push(Event::Acked(device, position));
    }

    fn refused(&self, _connector: NodeId, session: (DeviceId, SessionId), _code: Code) {
        self.0.lock().push(Event::Refused(session.0));
    }

    fn close(&self, _devices: &[DeviceId], _code: Code) {}
}

#[tokio::test]
async fn what_partitions_have_is_committed_together_and_settled_where_it_came_from() {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::new(dir.path());
    options.disk_floor_bytes = 0;
    let store: Arc<dyn Store> = Arc::new(Embedded::open(options).unwrap());
    let events = Events::default();
    let mut partitions: Vec<Arc<dyn Partition>> = Vec::new();
    let mut devices = Vec::new();
    for index in 0..3 {
        let (user, device, conversation) = sender(&*store, index).await;
        let batches = (1..=EACH).map(|seq| command(user, device, conversation, seq)).collect();
        let batches = Mutex::new(batches);
        partitions.push(Arc::new(Filled { index, batches, events: events.clone() }));
        devices.push(device);
    }

    let before = store.stats().commits;
    let link = link::Handle::new(Arc::new(Bell(events.clone())));
    let transfer = Transfer::unordered(store.clone(), link);
    transfer.run(partitions, CancellationToken::new()).await.unwrap();

    assert_eq!(store.stats().commits - before, EACH, "one for all three");
    let events = events.lock().clone();
    for (index, device) in devices.into_iter().enumerate() {
        let of = |wanted: fn(&Event, usize, DeviceId) -> Option<Seq>| {
            events.iter().filter_map(|one| wanted(one, index, device)).collect::<Vec<_>>()
        };
        let all: Vec<Seq> = (1..=EACH).collect();
        let taken = of(|event, index, _| match event {
            Event::Taken(of, seq) => (*of == index).then_some(*seq),
            _ => None,
        });
        let settled = of(|event, index, _| match event {
            Event::Settled(of, seq) => (*of == index).then_some(*seq),
            _ => None,
        });
        let acked = of(|event, _, device| match event {
            Event::Acked(of, seq) => (*of == device).then_some(*seq),
            _ => None,
        });
        assert_eq!([taken, settled, acked], [all.clone(), all.clone(), all]);
        assert!(!events.contains(&Event::Refused(device)));
    }
}

/// A transfer that stops does not try for ever.
#[tokio::test]
async fn what_the_store_does_not_take_is_given_back() {
    let dir = tempfile::tempdir().unwrap();
    let free = Arc::new(AtomicU64::new(u64::MAX));
    let mut options = Options::new(dir.path());
    let told = free.clone();
    options.free_space = Some(Arc::new(move || told.load(Relaxed)));
    let store: Arc<dyn Store> = Arc::new(Embedded::open(options).unwrap());
    let (user, device, conversation) = sender(&*store, 0).await;
    free.store(0, Relaxed);
    let events = Events::default();
    let batches = Mutex::new([command(user, device, conversation, 1)].into());
    let partition = Filled { index: 0, batches, events: events.clone() };
    let link = link::Handle::new(Arc::new(Bell(events.clone())));
    let stop = CancellationToken::new();
    stop.cancel();
    let transfer = Transfer::unordered(store, link);
    transfer.run(vec![Arc::new(partition)], stop).await.unwrap();
    let expected = [Event::Taken(0, 1), Event::GivenBack(0, 1), Event::Refused(device)];
    assert_eq!(*events.lock(), expected);
}

fn command(
    user: UserId,
    device: DeviceId,
    conversation: ConversationId,
    client_seq: Seq,
) -> Record {
    let send = wire::Send { conversation: conversation.0, key_version: 1, ..<_>::default() };
    let kind = Some(wire::command::Kind::Send(send));
    let command = wire::Command { kind, body: vec![1; 32].into() };
    Record::Command {
        user,
        device,
        session: SessionId(0),
        client_seq,
        command: command.encode_to_vec().into(),
        once: None,
        trace: None,
    }
}

/// Somebody with a device and a friend.
async fn sender(store: &dyn Store, index: usize) -> (UserId, DeviceId, ConversationId) {
    let (actor, peer) = (user(store, format!("a{index}")).await, user(store, format!("b{index}")));
    let device = NewDevice {
        user: actor,
        name: "test".into(),
        token_hash: crate::token::hash(&format!("token {index}")),
        devices_max: 1,
        now_ms: 0,
    };
    let device = store.create_device(device).await.unwrap().expect("a new user has no device");
    let change = RelationChange {
        actor,
        peer: peer.await,
        action: RelationAction::Befriend,
        wrapped_key: vec![0; 60],
        relations_max: 10,
        now_ms: 0,
    };
    match store.change_relation(change).await.unwrap() {
        RelationOutcome::Done { relation, .. } => (actor, device, relation.id),
        RelationOutcome::Refused(code) => panic!("making friends: {code}"),
    }
}

async fn user(store: &dyn Store, name: String) -> UserId {
    let new = NewUser {
        id: UserId::random(),
        display_name: name.clone(),
        name,
        password_hash: None,
        system: false,
        invite: None,
        now_ms: 0,
    };
    match store.create_user(new).await.unwrap() {
        CreateUser::Created(user) => user.id,
        other => panic!("creating a user: {other:?}"),
    }
}
