//! All integration tests in one binary: a file per promise or endpoint, against a real server over
//! real sockets.

mod support;

mod connections;
mod faults;
mod hostile;
mod promises;
mod tidy;
