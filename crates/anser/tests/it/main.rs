//! All integration tests in one binary: a file per promise or endpoint, against a real server over
//! real sockets.

mod chat;
mod connections;
mod demo;
mod faults;
mod files;
mod hostile;
mod operator;
mod promises;
mod scripts;
mod support;
mod tidy;
mod torture;
