//! What two Anser processes must agree on: ids, frames and their codec, the pure session, the table
//! of codes, REST bodies and the sealing of message bodies.
//!
//! Nothing here does I/O, reads a clock or knows of async.

pub mod cluster;
pub mod code;
pub mod failpoint;
pub mod fault;
pub mod frame;
#[cfg(any(test, feature = "testing"))]
pub mod fuzz;
pub mod id;
pub mod rest;
pub mod seal;
pub mod session;
pub mod wire;

pub use code::Code;
pub use frame::{Frame, FrameError};
pub use id::{ConversationId, DeviceId, FileId, NodeId, Seq, SessionId, UserId};
