//! What the tests share: servers, accounts, and a client that speaks raw frames.

pub(crate) mod people;
pub(crate) mod raw;
pub(crate) mod server;
