//! The Rust SDK of Anser.
