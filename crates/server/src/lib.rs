//! The server as a library: the roles *connector* (holds the clients' connections), *transfer*
//! (sequences and stores what they send) and *api* (REST), the parts they share, and the node, the
//! only place that knows which roles and back ends are on.

pub mod config;
pub mod logging;
pub mod node;
pub mod secrets;

pub mod api;
pub mod connector;
pub mod files;
pub mod ops;
pub mod retention;
pub mod transfer;

pub mod directory;
pub mod link;
pub mod presence;
pub mod proxy;
pub mod queue;

pub mod clock;
pub mod metrics;
pub mod token;
pub mod trace;
