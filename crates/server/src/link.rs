//! From the roles that commit to the connectors: "this inbox has new rows", "close this device".
//!
//! A doorbell, not a delivery: what it carries is in the store already, and losing it costs
//! latency, never a message. In process it is a call into the registry; between processes it will
//! be gRPC.

use std::{sync::Arc, time::Instant};

use anser_proto::{Code, DeviceId, Seq, SessionId};
use anser_store::NewEntry;

/// What a connector does with what it is told. Must not block.
pub trait Doorbell: Send + Sync + 'static {
    /// These rows were committed; ascending by seq within each user. `accepted`: when the oldest
    /// command behind them was read from its socket, if one was.
    fn deliver(&self, entries: Vec<NewEntry>, accepted: Option<Instant>);
    /// Commands of this device up to `position` are applied.
    fn ack(&self, device: DeviceId, position: Seq);
    /// Something of this session was refused: it ends, unless a newer one took its place already.
    fn refused(&self, session: (DeviceId, SessionId), code: Code);
    /// These devices may not be connected any more.
    fn close(&self, devices: &[DeviceId], code: Code);
}

/// Gives access to all connectors; a cheap clone.
#[derive(Clone)]
pub struct Handle(Arc<dyn Doorbell>);

impl Handle {
    /// The link to a connector in this process.
    pub fn local(doorbell: Arc<dyn Doorbell>) -> Self {
        Self(doorbell)
    }

    /// See [`Doorbell::deliver`].
    pub fn deliver(&self, entries: Vec<NewEntry>) {
        self.deliver_accepted(entries, None);
    }

    /// See [`Doorbell::deliver`]; for commands that came over a socket.
    pub fn deliver_accepted(&self, entries: Vec<NewEntry>, accepted: Option<Instant>) {
        if !entries.is_empty() {
            self.0.deliver(entries, accepted);
        }
    }

    /// See [`Doorbell::ack`].
    pub fn ack(&self, device: DeviceId, position: Seq) {
        self.0.ack(device, position);
    }

    /// See [`Doorbell::refused`].
    pub fn refused(&self, session: (DeviceId, SessionId), code: Code) {
        self.0.refused(session, code);
    }

    /// See [`Doorbell::close`].
    pub fn close(&self, devices: &[DeviceId], code: Code) {
        if !devices.is_empty() {
            self.0.close(devices, code);
        }
    }
}
