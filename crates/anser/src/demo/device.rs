//! A device of a person in the story: the SDK with its state in a file, and a record of all it
//! gets, which outlives that the device is away.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use anser_client::{
    Builder, Client, Events, FileStorage, Password, SendHandle, proto::ConversationId,
};
use anyhow::Context as _;
use tokio::{sync::watch, task::JoinHandle};

use super::received::{Received, Sent};

/// Nobody outside can reach the server of the demo, and it lives for seconds.
const PASSWORD: &str = "a scripted day with Anser";
/// A restarted server is found again within this time.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(10), Duration::from_millis(200));
/// An address at which nobody ever answers: port 1 of this machine.
const NOWHERE: &str = "http://127.0.0.1:1";

/// A device.
pub(super) struct Device {
    /// Whose and which, as the story calls it.
    pub(super) name: &'static str,
    user_name: &'static str,
    server: String,
    file: PathBuf,
    received: Arc<watch::Sender<Received>>,
    on: Option<SwitchedOn>,
}

/// The device while it is switched on.
struct SwitchedOn {
    client: Client,
    reader: JoinHandle<()>,
}

/// How a device is made.
pub(super) struct Plan<'a> {
    pub(super) name: &'static str,
    pub(super) user_name: &'static str,
    pub(super) server: &'a str,
    /// Its state.
    pub(super) file: PathBuf,
}

impl Device {
    /// A device that is switched on for the first time: it registers the user where needed and logs
    /// in.
    /// `before` was sent earlier, and is not for this device.
    ///
    /// # Errors
    /// The server refuses, or the file can not be made.
    pub(super) async fn new(plan: Plan<'_>, before: Sent) -> anyhow::Result<Self> {
        let Plan { name, user_name, server, file } = plan;
        let received = Arc::new(watch::Sender::new(Received::after(before)));
        let server = server.to_owned();
        let mut device = Self { name, user_name, server, file, received, on: None };
        device.come_back().await?;
        Ok(device)
    }

    /// Is switched on, with frames going to this address and reconnects that do not wait.
    ///
    /// # Errors
    /// The state can not be opened.
    pub(super) async fn come_back_through(&mut self, connector: SocketAddr) -> anyhow::Result<()> {
        let builder = Client::builder(&self.server).connector(connector.to_string());
        self.open(builder.backoff(Duration::ZERO, Duration::ZERO)).await
    }

    /// Is switched on, as it was when it was switched off.
    ///
    /// # Errors
    /// The state can not be opened.
    pub(super) async fn come_back(&mut self) -> anyhow::Result<()> {
        self.open(Client::builder(&self.server).backoff(BACKOFF.0, BACKOFF.1)).await
    }

    /// Is switched on where there is no network.
    ///
    /// # Errors
    /// The state can not be opened.
    pub(super) async fn come_back_without_network(&mut self) -> anyhow::Result<()> {
        self.open(Client::builder(NOWHERE).backoff(BACKOFF.0, BACKOFF.1)).await
    }

    async fn open(&mut self, builder: Builder) -> anyhow::Result<()> {
        let credentials = Password::new(self.user_name, PASSWORD, self.name).or_register();
        let opened = builder.storage(FileStorage::open(&self.file)?).open(credentials).await;
        let (client, events) = opened.with_context(|| format!("{} does not start", self.name))?;
        let reader = tokio::spawn(record(events, self.received.clone()));
        self.on = Some(SwitchedOn { client, reader });
        Ok(())
    }

    /// Is switched off; what it received until then is on record.
    ///
    /// # Errors
    /// The record failed.
    pub(super) async fn leave(&mut self) -> anyhow::Result<()> {
        if let Some(on) = self.on.take() {
            on.client.shutdown().await;
            on.reader.await?;
        }
        Ok(())
    }

    /// The SDK's handle.
    ///
    /// # Errors
    /// The device is switched off.
    pub(super) fn client(&self) -> anyhow::Result<&Client> {
        let on = self.on.as_ref();
        Ok(&on.with_context(|| format!("{} is switched off", self.name))?.client)
    }

    /// What it got so far, and a way to wait for more.
    pub(super) fn received(&self) -> watch::Receiver<Received> {
        self.received.subscribe()
    }

    /// Writes `texts` and notes them in `sent`.
    ///
    /// # Errors
    /// The SDK did not take one.
    pub(super) fn write(
        &self,
        to: ConversationId,
        texts: &[String],
        sent: &mut Sent,
    ) -> anyhow::Result<Vec<SendHandle>> {
        let client = self.client()?;
        let mut handles = Vec::with_capacity(texts.len());
        for text in texts {
            handles.push(client.send(to, text.clone())?);
            sent.add(client.user(), text.clone());
        }
        Ok(handles)
    }
}

async fn record(mut events: Events, received: Arc<watch::Sender<Received>>) {
    while let Some(event) = events.next().await {
        received.send_modify(|received| received.on_event(event));
    }
}
