//! Presence: which devices are connected, anywhere.
//!
//! In one process that is what this process's connector holds, so the registry answers and nothing
//! is kept twice. With several connectors their registries will publish to a shared store.

use std::sync::Arc;

use anser_proto::DeviceId;

use crate::connector::Registry;

/// Answers who is connected; a cheap clone.
#[derive(Clone)]
pub struct Handle(Arc<Registry>);

impl Handle {
    /// Presence of the one connector in this process.
    pub fn local(registry: Arc<Registry>) -> Self {
        Self(registry)
    }

    /// Whether the device is connected now.
    pub fn is_online(&self, device: DeviceId) -> bool {
        self.0.holds(device)
    }

    /// Connected devices.
    pub fn count(&self) -> usize {
        self.0.len()
    }
}
