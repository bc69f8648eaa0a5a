//! The network between a device and the server: two pipes that are slow, split what is written, and
//! can be cut in the middle of a frame, with or without telling the ends.

use std::time::Instant;

use bytes::Bytes;

use super::{connection::Connection, device::Client};

/// Who bytes are for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum To {
    Server,
    Client,
}

/// One connection. An end that is gone stays gone; bytes for it vanish.
pub(super) struct Line {
    pub(super) device: usize,
    pub(super) client: Option<Client>,
    pub(super) server: Option<Connection>,
    /// The server's history when it was opened.
    pub(super) history: u32,
    to_server: Pipe,
    to_client: Pipe,
}

/// One direction.
pub(super) struct Pipe {
    /// Nothing arrives before what was sent before it.
    pub(super) last: Instant,
    /// Once it is cut: the bytes that still arrive.
    left: Option<usize>,
}

impl Line {
    pub(super) fn new(device: usize, history: u32, now: Instant) -> Self {
        let pipe = || Pipe { last: now, left: None };
        let (to_server, to_client) = (pipe(), pipe());
        Self { device, client: None, server: None, history, to_server, to_client }
    }

    pub(super) fn pipe(&mut self, to: To) -> &mut Pipe {
        match to {
            To::Server => &mut self.to_server,
            To::Client => &mut self.to_client,
        }
    }
}

impl Pipe {
    pub(super) fn cut_after(&mut self, bytes: usize) {
        let left = self.left.unwrap_or(usize::MAX);
        self.left = Some(left.min(bytes));
    }

    pub(super) fn is_dead(&self) -> bool {
        self.left == Some(0)
    }

    pub(super) fn is_cut(&self) -> bool {
        self.left.is_some()
    }

    /// What of these bytes arrives.
    pub(super) fn arriving(&mut self, mut bytes: Bytes) -> Bytes {
        if let Some(left) = &mut self.left {
            bytes.truncate(*left);
            *left -= bytes.len();
        }
        bytes
    }
}
