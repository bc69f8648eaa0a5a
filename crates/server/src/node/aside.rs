//! Threads that give way to those of messages: who fetches a file of a gigabyte, or computes the
//! hash of a password, can have all cores that nobody else wants, and no more. (A product that
//! sends by REST gives way, too, up to the commit.)

use std::io;

use rustix::process::setpriority_process;
use tokio::runtime::{Builder, Handle, Runtime};
use tracing::warn;

use crate::config;

/// Of 19: at full load they get a tenth of a core that others want too.
const NICE: i32 = 10;

/// Where the api runs. Dropped, its own threads end without being waited for.
pub(super) struct Aside {
    threads: Option<Runtime>,
    handle: Handle,
}

impl Aside {
    /// Starts threads. Not for a store on a server: whoever makes a connection to it also wakes
    /// who uses it later, and those may be messages.
    ///
    /// # Errors
    /// The system gives none.
    pub(super) fn new(store: &config::Store) -> io::Result<Self> {
        if store.url.is_some() {
            return Ok(Self { threads: None, handle: Handle::current() });
        }
        let mut threads = Builder::new_multi_thread();
        let threads =
            threads.thread_name("aside").enable_all().on_thread_start(give_way).build()?;
        let handle = threads.handle().clone();
        Ok(Self { threads: Some(threads), handle })
    }

    pub(super) fn handle(&self) -> &Handle {
        &self.handle
    }
}

impl Drop for Aside {
    fn drop(&mut self) {
        // A runtime that is just dropped waits, which a task may not.
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

/// Linux has a priority for each thread, whatever POSIX says.
fn give_way() {
    if let Err(error) = setpriority_process(None, NICE) {
        warn!(%error, "threads that serve files have the priority of those that serve messages");
    }
}
