//! Where log lines go: to standard error, as text for people or as JSON objects for machines.
//!
//! Errors are logged once, where they are handled. Never logged: message texts, tokens, passwords, keys.

use std::io::IsTerminal as _;

use tracing_subscriber::{filter::LevelFilter, fmt};

use crate::config;

/// Starts logging for this process. A second call changes nothing.
pub fn start(config: &config::Log) {
    let level = config.level.parse().unwrap_or(LevelFilter::INFO);
    let colours = std::io::stderr().is_terminal();
    let builder = fmt().with_writer(std::io::stderr).with_ansi(colours).with_max_level(level);
    let _ = if config.json { builder.json().try_init() } else { builder.try_init() };
}
