//! What threads share: the mailbox of a session, and the registry of all of them. And what an idle
//! connection costs.

mod interleaved;
mod mailbox;

use super::*;

/// An idle connection may take 3 KiB of memory, with its places in the runtime and the registry.
const TASK_BYTES_MAX: usize = 2304;

fn future_bytes<A, B, C, D, F: Future>(_: impl Fn(A, B, C, D) -> F) -> usize {
    size_of::<F>()
}

#[test]
fn an_idle_connection_is_a_small_task() {
    let bytes = future_bytes(serve);
    assert!(bytes <= TASK_BYTES_MAX, "the task of a connection takes {bytes} bytes");
}
