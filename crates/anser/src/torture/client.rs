//! One client: the SDK with its storage in a file, behind its own network.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use anser_client::{Client, Event, Events, Password, proto::Code};
use anyhow::{Context as _, Result};
use tokio::task::JoinHandle;

use super::{
    files,
    history::{ClientId, OpId, Recorder, What},
    link::Link,
    random::{Choice, Random},
    rest::RestLink,
    storage::{Mirror, Watched},
};

/// Nobody outside can reach the server, and it lives for minutes.
const PASSWORD: &str = "an hour of torture with Anser";
/// A server that is back is found again within this time; the SDK's default is for phones.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// Pause before a client that could not be opened tries again.
const AGAIN: Duration = Duration::from_millis(200);

/// What all clients have in common.
#[derive(Clone)]
pub(super) struct World {
    pub(super) recorder: Recorder,
    pub(super) doors: Doors,
    pub(super) seed: u64,
    pub(super) folder: PathBuf,
    pub(super) connections: Arc<AtomicU64>,
}

/// Where clients can knock.
#[derive(Clone, Debug)]
pub(super) struct Doors {
    /// TCP frames.
    pub(super) connectors: Vec<SocketAddr>,
    /// The URLs of REST.
    pub(super) apis: Vec<String>,
}

/// A client.
pub(super) struct Slot {
    pub(super) id: ClientId,
    /// Which of the users of the plan, from 0.
    pub(super) user: usize,
    pub(super) link: Arc<Link>,
    pub(super) mirror: Mirror,
    rest: RestLink,
    file: PathBuf,
    recorder: Recorder,
    on: Option<On>,
}

/// It is switched on.
struct On {
    client: Client,
    reader: JoinHandle<()>,
}

impl Slot {
    /// A client that is not installed yet.
    ///
    /// # Errors
    /// There is no free port.
    pub(super) async fn new(world: &World, id: ClientId, user: usize) -> Result<Self> {
        let recorder = world.recorder.clone();
        let mirror = Mirror::new(id, recorder.clone(), world.connections.clone());
        let random = |way| Random::of(world.seed, &format!("{way} of client {id}"));
        let connectors = Choice::new(random("connector"), world.doors.connectors.clone())?;
        let apis = Choice::new(random("api"), world.doors.apis.clone())?;
        Ok(Self {
            id,
            user,
            link: Arc::new(Link::new(connectors, mirror.clone()).await?),
            rest: RestLink::new(apis, mirror.clone()).await?,
            mirror,
            file: world.folder.join(format!("client-{id}.redb")),
            recorder,
            on: None,
        })
    }

    /// The SDK's handle; `None` while it is switched off.
    pub(super) fn sdk(&self) -> Option<&Client> {
        self.on.as_ref().map(|on| &on.client)
    }

    /// The SDK's handle.
    ///
    /// # Errors
    /// It is switched off.
    pub(super) fn online(&self) -> Result<&Client> {
        self.sdk().with_context(|| format!("client {} is switched off", self.id))
    }

    /// Switches it on. An installed one needs no server for that; another one tries until there is
    /// one.
    ///
    /// # Errors
    /// The storage is broken, or the server refuses the login.
    pub(super) async fn open(&mut self) -> Result<()> {
        while self.on.is_none() {
            let storage = Watched::open(&self.file, self.mirror.clone())?;
            let builder = Client::builder(&self.rest.url)
                .connector(self.link.address.to_string())
                .backoff(BACKOFF.0, BACKOFF.1)
                .storage(storage);
            let name = user_name(self.user);
            let device = format!("client {}", self.id);
            let credentials = Password::new(name, PASSWORD, device).or_register();
            match builder.open(credentials).await {
                Ok((client, events)) => {
                    let reader = tokio::spawn(read(events, self.recorder.clone()));
                    self.on = Some(On { client, reader });
                }
                // A session that was revoked, or restored away, right after the login was given.
                Err(error)
                    if error.is_retryable() || error.code() == Some(Code::Unauthenticated) =>
                {
                    tokio::time::sleep(AGAIN).await;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    /// Switches it off.
    pub(super) async fn close(&mut self) {
        if let Some(on) = self.on.take() {
            on.client.shutdown().await;
            let _ = on.reader.await;
        }
    }

    /// Whether the SDK has given up by itself, which it does when the server tells it to.
    pub(super) fn has_ended(&self) -> bool {
        self.on.as_ref().is_some_and(|on| on.reader.is_finished())
    }

    /// Deletes all that it has, and installs it anew.
    ///
    /// # Errors
    /// As [`Slot::open`].
    pub(super) async fn wipe(&mut self) -> Result<()> {
        self.close().await;
        std::fs::remove_file(&self.file)?;
        self.recorder.note(What::Wiped { client: self.id });
        self.open().await
    }

    /// Copies its storage.
    ///
    /// # Errors
    /// The copy can not be written.
    pub(super) async fn copy(&mut self) -> Result<()> {
        self.close().await;
        std::fs::copy(&self.file, self.copy_file())?;
        self.recorder.note(What::Copied { client: self.id });
        self.open().await
    }

    /// Goes on from the copy of its storage.
    ///
    /// # Errors
    /// There is no copy.
    pub(super) async fn become_copy(&mut self) -> Result<()> {
        self.close().await;
        std::fs::rename(self.copy_file(), &self.file)?;
        self.recorder.note(What::OldCopy { client: self.id });
        self.open().await
    }

    /// Where the file is that an operation sends.
    pub(super) fn outgoing(&self, op: OpId) -> PathBuf {
        self.file.with_file_name(files::name_of(op))
    }

    fn copy_file(&self) -> PathBuf {
        self.file.with_extension("copy")
    }
}

/// The name of a user of the plan.
pub(super) fn user_name(user: usize) -> String {
    format!("user-{user}")
}

/// Reads the events, as an application would. What they tell is in the storage and on the wire, but
/// for files that are given up.
async fn read(mut events: Events, recorder: Recorder) {
    let mut batch = Vec::new();
    while events.next_batch(&mut batch).await {
        for event in batch.drain(..) {
            if let Event::FileFailed { name, code, .. } = event
                && let Some(op) = files::op_of(&name)
            {
                let code = code.map(Code::number);
                recorder.note(What::GaveUp { op, code });
            }
        }
    }
}
