//! People with the real SDK.

use std::time::Duration;

use anser_client::{
    Builder, Client, Content, Credentials, Event, Events, FileStorage, MemoryStorage, Session,
    Storage, Transport,
};
use anser_proto::{
    ConversationId, Seq,
    rest::{LoggedIn, User},
};

use super::site::{Account, Site};

/// Only a failing test waits so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// One device of a person, connected by the SDK.
pub(crate) struct Person {
    pub(crate) client: Client,
    pub(crate) events: Events,
}

impl Person {
    /// A device that keeps its state in memory.
    pub(crate) async fn online(site: &Site, account: &Account) -> Self {
        let person = Self::open(site, account, MemoryStorage::default()).await;
        person.client.online().await.expect("online");
        person
    }

    /// A device that keeps its state in `file` inside the server's folder.
    pub(crate) async fn with_file(site: &Site, account: &Account, file: &str) -> Self {
        Self::open(site, account, storage(site, file)).await
    }

    pub(crate) async fn open(site: &Site, account: &Account, storage: impl Storage) -> Self {
        Self::open_over(site, account, storage, Transport::Tcp).await
    }

    pub(crate) async fn open_over(
        site: &Site,
        account: &Account,
        storage: impl Storage,
        transport: Transport,
    ) -> Self {
        Self::of(builder(site).transport(transport).storage(storage), session(account)).await
    }

    /// A device that is set up in its own way.
    pub(crate) async fn of(builder: Builder, credentials: impl Credentials) -> Self {
        let (client, events) = builder.open(credentials).await.expect("a client");
        Self { client, events }
    }

    /// The next event that `pick` accepts.
    pub(crate) async fn next<T>(&mut self, mut pick: impl FnMut(&Event) -> Option<T>) -> T {
        let found = async {
            loop {
                let event = self.events.next().await.expect("an event before the end");
                assert!(!matches!(event, Event::Lagged { .. }), "this reader is fast enough");
                if let Some(found) = pick(&event) {
                    return found;
                }
            }
        };
        tokio::time::timeout(PATIENCE, found).await.expect("the event comes in time")
    }

    /// The text of the next message, own ones too.
    pub(crate) async fn text(&mut self) -> String {
        self.next(|event| match event {
            Event::Message(message) => match &message.content {
                Content::Text(text) => Some(text.clone()),
                other => panic!("an unreadable message: {other:?}"),
            },
            _ => None,
        })
        .await
    }

    /// The texts of the next messages.
    pub(crate) async fn texts(&mut self, count: usize) -> Vec<String> {
        let mut texts = Vec::new();
        while texts.len() < count {
            texts.push(self.text().await);
        }
        texts
    }

    pub(crate) async fn caught_up(&mut self) {
        self.next(|event| (*event == Event::CaughtUp).then_some(())).await;
    }

    /// Sends texts without waiting for any of them.
    pub(crate) fn send_all(&self, to: ConversationId, texts: &[String]) {
        for text in texts {
            self.client.send(to, text.clone()).expect("a place in the outbox");
        }
    }

    /// Waits for a receipt of at least these watermarks.
    pub(crate) async fn receipt(&mut self, at_least: (Seq, Seq)) -> (Seq, Seq) {
        self.next(|event| match event {
            Event::Receipt { delivered, read, .. }
                if *delivered >= at_least.0 && *read >= at_least.1 =>
            {
                Some((*delivered, *read))
            }
            _ => None,
        })
        .await
    }
}

/// A client of this server that reconnects as fast as tests want it.
pub(crate) fn builder(site: &Site) -> Builder {
    Client::builder(format!("http://{}", site.api))
        .backoff(Duration::from_millis(5), Duration::from_millis(100))
}

/// The session of an account's device.
pub(crate) fn session(account: &Account) -> Session {
    let (name, display_name) = (account.name.clone(), account.name.clone());
    let user = User { id: account.user, name, display_name };
    Session::new(LoggedIn { user, device: account.device, token: account.token.clone() })
}

/// A storage in `file` inside the server's folder.
pub(crate) fn storage(site: &Site, file: &str) -> FileStorage {
    FileStorage::open(site.folder().join(file)).expect("a storage")
}

/// `count` texts that tell their place.
pub(crate) fn numbered(prefix: &str, count: usize) -> Vec<String> {
    (1..=count).map(|number| format!("{prefix} {number}")).collect()
}
