//! Targets for a fuzzer, as plain functions: bytes of a stranger in, a panic when a promise breaks.
//!
//! `fuzz/` outside the workspace drives them with coverage, the test beside this file with the
//! committed corpus and seeded inputs. In no build that serves anybody.

mod choices;
mod codec;
mod entry;
mod replay;
mod rest_body;
mod session;

#[cfg(test)]
mod tests;

pub use self::{
    codec::codec, entry::entry, replay::replay, rest_body::rest_body, session::session,
};
