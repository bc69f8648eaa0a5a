//! The one task of a client: logs in, takes snapshots, connects, reconnects with full jitter.

pub(crate) mod backoff;
mod connection;
mod renew;
mod snapshot;
mod socket;
mod upload;

use std::{
    future::Future,
    sync::Arc,
    time::{Duration, Instant},
};

use anser_proto::{
    Code,
    rest::{Connector, LoggedIn},
    session::Closed,
};
use parking_lot::Mutex;
use tracing::debug;

use crate::{
    builder::{Builder, Transport},
    credentials::Credentials,
    error::{Error, ErrorKind, Result},
    event::{ConnectionState, Event},
    shared::Shared,
};
use backoff::Backoff;
use connection::Connection;
use socket::Socket;

/// The task, before it runs.
pub(crate) struct Task {
    shared: Arc<Shared>,
    connector: Option<String>,
    transport: Transport,
    backoff: (Duration, Duration),
    credentials: Box<dyn Credentials>,
    /// The server's connectors as it told them last: its REST side may be away alone.
    connectors: Mutex<Vec<Connector>>,
    /// A new session whose snapshot could not be taken yet. A second login would be a second
    /// device.
    session: Mutex<Option<LoggedIn>>,
}

/// A device that is replaced once may have been so by a Hello of its own, of a connection that it
/// gave up and that was slow. Twice within this time: by another instance with the same storage,
/// and two of them must not throw each other out for ever.
const REPLACED_TWICE: Duration = Duration::from_secs(600);

/// What follows the end of a connection.
enum End {
    /// Connect again.
    Again,
    /// This device can not go on: log in as a new one.
    NewDevice,
    /// The device said Hello on another connection.
    Replaced,
    /// Never again.
    Final(Option<Code>),
}

/// Tells everybody that the task has ended, also when it panicked.
struct Ending(Option<Arc<Shared>>);

impl Drop for Ending {
    fn drop(&mut self) {
        let Some(shared) = self.0.take() else { return };
        shared.end(None);
        // The storage goes first: who waited for the end may open it again at once.
        let closed = shared.closed.clone();
        drop(shared);
        closed.send_replace(true);
    }
}

impl Task {
    pub(crate) fn new(
        shared: Arc<Shared>,
        builder: Builder,
        credentials: Box<dyn Credentials>,
    ) -> Self {
        let Builder { connector, transport, backoff, .. } = builder;
        Self {
            shared,
            connector,
            transport,
            backoff,
            credentials,
            connectors: Mutex::default(),
            session: Mutex::default(),
        }
    }

    /// What must be done before the first call of the application: a device needs its name.
    pub(crate) async fn prepare(&self) -> Result<()> {
        let is_new = self.shared.local.lock().model.identity.is_none();
        if is_new {
            self.log_in().await?;
            self.take_snapshot().await?;
        }
        Ok(())
    }

    /// Connects and stays connected until the client closes or the server ends it for good.
    pub(crate) async fn run(self) {
        let ending = Ending(Some(self.shared.clone()));
        let code = tokio::select! {
            code = self.stay_connected() => code,
            () = self.uploads() => None,
        };
        self.shared.end(Some(Event::Closed { code }));
        drop(self);
        drop(ending);
    }

    /// Gives the code that ended it for good, if it was one.
    async fn stay_connected(&self) -> Option<Code> {
        let mut backoff = Backoff::new(self.backoff);
        let mut replaced_at: Option<Instant> = None;
        loop {
            if self.shared.is_closing() {
                return None;
            }
            let round = self.round(&mut backoff).await;
            self.shared.set_state(ConnectionState::default());
            match self.renewed(round).await {
                Ok(End::Final(code)) => return code,
                Ok(End::Replaced) => {
                    let before = replaced_at.replace(Instant::now());
                    if before.is_some_and(|before| before.elapsed() < REPLACED_TWICE) {
                        return Some(Code::Replaced);
                    }
                }
                Ok(End::Again | End::NewDevice) => {}
                Err(error) if error.is_retryable() || error.kind() == ErrorKind::Protocol => {
                    debug!(%error, "the connection failed");
                }
                Err(error) => {
                    debug!(%error, "the client ends");
                    return error.code();
                }
            }
            let wait = backoff.next(backoff::random());
            let _ = tokio::time::timeout(wait, self.shared.closing()).await;
        }
    }

    /// One connection from its first to its last frame, and what its end asks for.
    async fn round(&self, backoff: &mut Backoff) -> Result<End> {
        let socket = self.unless_closing(self.reach(backoff.failures())).await?;
        let mut connection = Connection::new(self, socket);
        let closed = connection.run().await;
        if let Some(since) = connection.welcomed_at {
            backoff.connected_for(Instant::now() - since);
        }
        if let Some(reset) = connection.reset.take() {
            return self.unless_closing(self.on_reset(&reset)).await;
        }
        let closed = closed?;
        debug!(code = closed.code.map_or("unknown", Code::name), text = closed.text, "closed");
        if closed.code.is_none() {
            backoff.unknown_end();
        }
        if self.shared.is_closing() {
            return Ok(End::Final(None));
        }
        Ok(after(&closed))
    }

    /// Takes a snapshot if there is none, then connects.
    async fn reach(&self, failures: u32) -> Result<Socket> {
        let is_new = self.shared.local.lock().model.epoch.is_empty();
        if is_new {
            self.take_snapshot().await?;
        }
        let address = match &self.connector {
            Some(address) => address.clone(),
            None => choose(&self.connectors().await?, failures, self.transport)?,
        };
        Socket::connect(self.transport, &address).await
    }

    async fn connectors(&self) -> Result<Vec<Connector>> {
        match self.shared.authorized().connectors().await {
            Ok(told) => {
                self.connectors.lock().clone_from(&told.connectors);
                Ok(told.connectors)
            }
            Err(error) => {
                let known = self.connectors.lock().clone();
                let away = error.is_retryable() && !known.is_empty();
                if away { Ok(known) } else { Err(error) }
            }
        }
    }

    /// Logs in as a new device where the old one can not go on. Credentials are asked here only, so
    /// a refusal of theirs ends the client.
    async fn renewed(&self, round: Result<End>) -> Result<End> {
        let renew = match &round {
            Ok(end) => matches!(end, End::NewDevice),
            Err(error) => error.code() == Some(Code::Unauthenticated),
        };
        if !renew {
            return round;
        }
        self.unless_closing(self.become_new_device()).await?;
        Ok(End::Again)
    }

    /// Gives up `work` when the client is closed.
    async fn unless_closing<T>(&self, work: impl Future<Output = Result<T>>) -> Result<T> {
        tokio::select! {
            biased;
            done = work => done,
            () = self.shared.closing() => Err(Error::closed()),
        }
    }
}

/// What the end of a connection asks for.
fn after(closed: &Closed) -> End {
    match closed.code {
        Some(Code::DeviceStale | Code::Conflict | Code::Unauthenticated) => End::NewDevice,
        Some(Code::Replaced) if closed.by_peer => End::Replaced,
        // The next Hello is answered by a Reset.
        Some(Code::BelowFloor) => End::Again,
        Some(code) if closed.by_peer && !code.retryable() => End::Final(Some(code)),
        _ => End::Again,
    }
}

/// The best connector first, another one after each failure.
fn choose(connectors: &[Connector], failures: u32, transport: Transport) -> Result<String> {
    let index = failures as usize % connectors.len().max(1);
    let chosen = connectors.get(index).map(|connector| match transport {
        Transport::Tcp => connector.tcp.clone(),
        Transport::WebSocket => connector.ws.clone(),
    });
    chosen.ok_or_else(|| Error::new(ErrorKind::Unreachable, "the server has no connector"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connectors_are_tried_in_order_and_round() {
        let connector = |n| Connector { tcp: format!("tcp{n}"), ws: format!("ws{n}") };
        let all = [connector(1), connector(2)];
        let chosen = [0, 1, 2].map(|failures| choose(&all, failures, Transport::Tcp).unwrap());
        assert_eq!(chosen, ["tcp1", "tcp2", "tcp1"]);
        assert_eq!(choose(&all, 1, Transport::WebSocket).unwrap(), "ws2");
        assert!(choose(&[], 3, Transport::Tcp).unwrap_err().is_retryable());
    }

    #[test]
    fn every_code_leads_somewhere() {
        let end = |code, by_peer| after(&Closed { code, by_peer, text: String::new() });
        for code in Code::ALL {
            let expected = match code {
                Code::DeviceStale | Code::Conflict | Code::Unauthenticated => "new device",
                Code::BelowFloor => "again",
                Code::Replaced => "once again",
                code if code.retryable() => "again",
                _ => "final",
            };
            let got = match end(Some(*code), true) {
                End::NewDevice => "new device",
                End::Again => "again",
                End::Replaced => "once again",
                End::Final(told) => {
                    assert_eq!(told, Some(*code));
                    "final"
                }
            };
            assert_eq!(got, expected, "{code:?}");
        }
        assert!(matches!(end(None, true), End::Again), "a code of a later version");
        // What this end found wrong may be the line's fault.
        assert!(matches!(end(Some(Code::Malformed), false), End::Again));
    }
}
