//! What the tests share: servers, accounts, and a client that speaks raw frames.

pub(crate) mod raw;
pub(crate) mod server;
