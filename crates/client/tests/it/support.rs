//! A small world: Alice's client, a connector that a test plays, and a REST side with set answers.

pub(crate) mod connector;
pub(crate) mod fixtures;
pub(crate) mod rest;
pub(crate) mod store;

use std::{future::Future, sync::Arc, time::Duration};

use anser_client::{
    Builder, Client, Content, Credentials, Error, Event, Events, LoginFuture, MemoryStorage, Rest,
    Session, Storage,
};
use anser_proto::{Code, Seq, rest::LoggedIn};
use parking_lot::Mutex;

use self::{
    connector::{Connector, Peer},
    rest::FakeRest,
};

/// Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// `what`, which must come in time.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it comes in time")
}

/// A server that the test plays.
pub(crate) struct World {
    pub(crate) rest: FakeRest,
    pub(crate) connector: Connector,
}

impl World {
    pub(crate) async fn new() -> Self {
        let (rest, connector) = (FakeRest::start().await, Connector::bind().await);
        rest.set("GET /v1/snapshot", &fixtures::snapshot("e1", 0, &[]));
        for device in [12, 13] {
            rest.set(&format!("DELETE /v1/me/sessions/{device}"), &());
        }
        Self { rest, connector }
    }

    pub(crate) fn builder(&self, storage: impl Storage) -> Builder {
        Client::builder(&self.rest.url)
            .connector(self.connector.address.to_string())
            .backoff(Duration::from_millis(1), Duration::from_millis(20))
            .storage(storage)
    }

    pub(crate) async fn open(&self, storage: impl Storage) -> Alice {
        self.open_as(storage, Session::new(fixtures::alice(12))).await
    }

    pub(crate) async fn open_as(
        &self,
        storage: impl Storage,
        credentials: impl Credentials,
    ) -> Alice {
        let opened = soon(self.builder(storage).open(credentials)).await;
        let (client, events) = opened.expect("a client");
        Alice { client, events }
    }

    /// A client in memory, and its connection, which is online.
    pub(crate) async fn online(&self) -> (Alice, Peer) {
        let alice = self.open(MemoryStorage::default()).await;
        let peer = self.welcome(0, 0).await;
        soon(alice.client.online()).await.expect("online");
        (alice, peer)
    }

    /// The next connection, welcomed; caught up where it said it was.
    pub(crate) async fn welcome(&self, head: Seq, outbox_position: Seq) -> Peer {
        let mut peer = self.connector.accept().await;
        peer.welcome(head, outbox_position).await;
        if head == peer.hello.position {
            peer.caught_up().await;
        }
        peer
    }
}

/// Alice's client.
pub(crate) struct Alice {
    pub(crate) client: Client,
    pub(crate) events: Events,
}

impl Alice {
    pub(crate) async fn event(&mut self) -> Event {
        soon(self.events.next()).await.expect("an event before the end")
    }

    /// The next event that `pick` accepts.
    pub(crate) async fn next<T>(&mut self, mut pick: impl FnMut(Event) -> Option<T>) -> T {
        loop {
            if let Some(picked) = pick(self.event().await) {
                return picked;
            }
        }
    }

    /// The number and content of the next message.
    pub(crate) async fn message(&mut self) -> (Seq, Content) {
        self.next(|event| match event {
            Event::Message(message) => Some((message.conv_seq, message.content)),
            _ => None,
        })
        .await
    }

    pub(crate) async fn text(&mut self) -> (Seq, String) {
        match self.message().await {
            (conv_seq, Content::Text(text)) => (conv_seq, text),
            other => panic!("no text: {other:?}"),
        }
    }

    /// Everything up to the end of the stream.
    pub(crate) async fn rest_of_events(&mut self) -> Vec<Event> {
        let mut all = Vec::new();
        while let Some(event) = soon(self.events.next()).await {
            all.push(event);
        }
        all
    }
}

/// Credentials that give these sessions, one after another, and then are refused.
#[derive(Clone)]
pub(crate) struct Logins(Arc<Mutex<Vec<LoggedIn>>>);

impl Logins {
    pub(crate) fn new(sessions: impl IntoIterator<Item = LoggedIn>) -> Self {
        let mut sessions: Vec<_> = sessions.into_iter().collect();
        sessions.reverse();
        Self(Arc::new(Mutex::new(sessions)))
    }

    pub(crate) fn left(&self) -> usize {
        self.0.lock().len()
    }
}

impl Credentials for Logins {
    fn login<'a>(&'a self, _: &'a Rest) -> LoginFuture<'a> {
        let session = self.0.lock().pop().ok_or_else(|| Error::refused(Code::WrongPassword));
        Box::pin(std::future::ready(session))
    }
}
