//! The one task of a client: logs in, takes snapshots, connects, reconnects with full jitter.

mod connection;
mod renew;
mod socket;
#[cfg(test)]
mod tests;

use std::{sync::Arc, time::Duration};

use anser_proto::Code;
use tracing::debug;

use crate::{
    client::{Builder, Shared, Transport},
    credentials::Credentials,
    error::{Error, ErrorKind, Result},
    event::{ConnectionState, Event},
    rest::Authorized,
};
use connection::{Connection, End};

/// The task, before it runs.
pub(crate) struct Task {
    shared: Arc<Shared>,
    connector: Option<String>,
    transport: Transport,
    backoff: (Duration, Duration),
    credentials: Box<dyn Credentials>,
}

impl Task {
    pub(crate) fn new(
        shared: Arc<Shared>,
        builder: Builder,
        credentials: Box<dyn Credentials>,
    ) -> Self {
        let Builder { connector, transport, backoff, .. } = builder;
        Self { shared, connector, transport, backoff, credentials }
    }

    /// What must be done before the first call of the application: a device needs its name.
    pub(crate) async fn prepare(&self) -> Result<()> {
        if self.shared.local.lock().model.identity.is_none() {
            self.log_in().await?;
            self.take_snapshot().await?;
        }
        Ok(())
    }

    /// Connects and stays connected until the client closes or the server ends it for good.
    pub(crate) async fn run(self) {
        let mut attempt = 0;
        let code = loop {
            if self.shared.is_closing() {
                break None;
            }
            let round = self.round(&mut attempt).await;
            self.shared.set_state(ConnectionState::default());
            match round {
                Ok(End::Final(code)) => break code,
                Ok(End::Again) => {}
                Err(error) if error.is_retryable() || error.kind() == ErrorKind::Protocol => {
                    debug!(%error, "the connection failed");
                }
                Err(error) => {
                    debug!(%error, "the client ends");
                    break error.code();
                }
            }
            if !self.shared.is_closing() {
                self.pause(attempt).await;
                attempt += 1;
            }
        };
        self.shared.events.push([Event::Closed { code }]);
        self.shared.events.close();
        // The storage goes first: who waited for the end may open it again at once.
        let closed = self.shared.closed.clone();
        drop(self);
        closed.send_replace(true);
    }

    /// One connection from its first to its last frame, and what its end asks for.
    async fn round(&self, attempt: &mut u32) -> Result<End> {
        let new_device = self.shared.local.lock().model.identity.is_none();
        if new_device {
            self.log_in().await?;
        }
        if self.shared.local.lock().model.epoch.is_empty() {
            self.or_renewed(self.take_snapshot().await).await?;
        }
        let address = match &self.connector {
            Some(address) => address.clone(),
            None => match self.rest().connectors().await {
                Ok(connectors) => self.choose(connectors, *attempt)?,
                Err(error) => return self.or_renewed(Err(error)).await.map(|()| End::Again),
            },
        };
        let socket = socket::Socket::connect(self.transport, &address).await?;
        let closed = Connection::new(self, socket).run(attempt).await?;
        match closed.code {
            Some(Code::Replaced) => Ok(End::Final(closed.code)),
            Some(Code::DeviceStale | Code::Unauthenticated) => {
                let everything_is_known = closed.code == Some(Code::DeviceStale);
                self.become_new_device(everything_is_known).await?;
                *attempt = 0;
                Ok(End::Again)
            }
            _ if self.shared.is_closing() => Ok(End::Final(None)),
            Some(code) if closed.by_peer && !code.retryable() => Ok(End::Final(Some(code))),
            _ => Ok(End::Again),
        }
    }

    /// A refused session is replaced by a new one; other errors stay errors.
    async fn or_renewed(&self, result: Result<()>) -> Result<()> {
        match result {
            Err(error) if error.code() == Some(Code::Unauthenticated) => {
                self.become_new_device(false).await
            }
            other => other,
        }
    }

    /// The best connector first, another one after each failure.
    fn choose(&self, connectors: anser_proto::rest::Connectors, attempt: u32) -> Result<String> {
        let all = connectors.connectors;
        let index = attempt as usize % all.len().max(1);
        let chosen = all.into_iter().nth(index);
        let none = || Error::new(ErrorKind::Unreachable, "the server has no connector");
        chosen.map(|connector| connector.tcp).ok_or_else(none)
    }

    fn rest(&self) -> Authorized {
        let local = self.shared.local.lock();
        let identity = local.model.identity.as_ref();
        let token = identity.map(|identity| identity.token.clone()).unwrap_or_default();
        self.shared.rest.with_token(token)
    }

    /// A random wait up to a bound that doubles: clients of a restarted server spread out.
    async fn pause(&self, attempt: u32) {
        let (shortest, longest) = self.backoff;
        let bound = shortest.saturating_mul(1 << attempt.min(16)).min(longest);
        let random = getrandom::u32().unwrap_or(u32::MAX / 2);
        let wait = bound.mul_f64(f64::from(random) / f64::from(u32::MAX));
        let closing = async {
            while !self.shared.is_closing() {
                self.shared.work.notified().await;
            }
        };
        let _ = tokio::time::timeout(wait, closing).await;
    }
}
