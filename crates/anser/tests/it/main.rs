//! All integration tests in one binary: a file per promise or endpoint, against a real server over
//! real sockets.

mod chat;
mod connections;
mod cuts;
mod demo;
mod deploy;
mod faults;
mod files;
mod hostile;
mod links;
mod moves;
mod mysql_tls;
mod operator;
mod promises;
mod proxies;
mod scripts;
mod several;
mod support;
mod tidy;
mod torture;
mod traces;
