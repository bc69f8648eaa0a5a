//! From the roles that commit to the connectors: "this inbox has new rows", "close this device".
//!
//! A doorbell, not a delivery: what it carries is in the store already, and losing it costs
//! latency, never a message. In process it is a call into the registry; between processes it is
//! gRPC.

pub mod grpc;
#[cfg(test)]
pub(crate) mod network;

use std::{sync::Arc, time::Instant};

use anser_proto::{Code, DeviceId, NodeId, Seq, SessionId, UserId};
use anser_store::NewEntry;

/// What a connector does with what it is told. Must not block.
pub trait Doorbell: Send + Sync + 'static {
    /// These rows were committed; ascending by seq within each user. `accepted`: when the oldest
    /// command behind them was read from its socket, if one was.
    fn deliver(&self, entries: Vec<NewEntry>, accepted: Option<Instant>);
    /// The inboxes of these users have rows up to here, which are not told themselves.
    fn grew(&self, heads: &[(UserId, Seq)]);
    /// Commands of this device up to `position` are applied.
    fn ack(&self, device: DeviceId, position: Seq);
    /// Something of this session was refused: it ends, unless a newer one took its place already.
    fn refused(&self, session: (DeviceId, SessionId), code: Code);
    /// These devices may not be connected any more.
    fn close(&self, devices: &[DeviceId], code: Code);
}

/// The way to all connectors. Nothing here waits: what can not be passed on now is dropped, and
/// the sweep finds what it told of.
pub trait Link: Send + Sync + 'static {
    /// See [`Doorbell::deliver`]; to the connectors that hold sessions of these users.
    fn deliver(&self, entries: Vec<NewEntry>, accepted: Option<Instant>);
    /// See [`Doorbell::ack`]; to the connector that the commands came from.
    fn ack(&self, connector: NodeId, device: DeviceId, position: Seq);
    /// See [`Doorbell::refused`]; to the connector that it came from.
    fn refused(&self, connector: NodeId, session: (DeviceId, SessionId), code: Code);
    /// See [`Doorbell::close`]; to all connectors.
    fn close(&self, devices: &[DeviceId], code: Code);
}

/// Gives access to all connectors; a cheap clone.
#[derive(Clone)]
pub struct Handle(Arc<dyn Link>);

impl Handle {
    /// The link to these connectors.
    pub fn new(link: Arc<dyn Link>) -> Self {
        Self(link)
    }

    /// The link to the one connector, in this process.
    pub fn local(doorbell: Arc<dyn Doorbell>) -> Self {
        Self::new(Arc::new(Local(doorbell)))
    }

    /// See [`Link::deliver`].
    pub fn deliver(&self, entries: Vec<NewEntry>) {
        self.deliver_accepted(entries, None);
    }

    /// See [`Link::deliver`]; for commands that came over a socket.
    pub fn deliver_accepted(&self, entries: Vec<NewEntry>, accepted: Option<Instant>) {
        if !entries.is_empty() {
            self.0.deliver(entries, accepted);
        }
    }

    /// See [`Link::ack`].
    pub fn ack(&self, connector: NodeId, device: DeviceId, position: Seq) {
        self.0.ack(connector, device, position);
    }

    /// See [`Link::refused`].
    pub fn refused(&self, connector: NodeId, session: (DeviceId, SessionId), code: Code) {
        self.0.refused(connector, session, code);
    }

    /// See [`Link::close`].
    pub fn close(&self, devices: &[DeviceId], code: Code) {
        if !devices.is_empty() {
            self.0.close(devices, code);
        }
    }
}

/// One connector, in this process: whatever came, it came from there.
struct Local(Arc<dyn Doorbell>);

impl Link for Local {
    fn deliver(&self, entries: Vec<NewEntry>, accepted: Option<Instant>) {
        self.0.deliver(entries, accepted);
    }

    fn ack(&self, _connector: NodeId, device: DeviceId, position: Seq) {
        self.0.ack(device, position);
    }

    fn refused(&self, _connector: NodeId, session: (DeviceId, SessionId), code: Code) {
        self.0.refused(session, code);
    }

    fn close(&self, devices: &[DeviceId], code: Code) {
        self.0.close(devices, code);
    }
}
