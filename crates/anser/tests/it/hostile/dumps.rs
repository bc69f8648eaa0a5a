//! What a crash leaves on the disk, and what lies in memory.

use std::os::unix::process::ExitStatusExt as _;

use rustix::process::{Resource, Rlimit, Signal, getrlimit, prlimit, setrlimit};

use crate::support::process::Process;

const CORE_DUMPS: &str = "ANSER_NODE__CORE_DUMPS";

/// The soft and hard limit of a core dump's size, as the kernel tells them.
fn limits(server: &Process) -> String {
    let path = format!("/proc/{}/limits", server.pid().as_raw_nonzero());
    let limits = std::fs::read_to_string(path).expect("the kernel tells limits");
    let line = limits.lines().find_map(|line| line.strip_prefix("Max core file size"));
    line.expect("a limit of core dumps").split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// Lets the servers that this process starts leave core dumps, as far as it is up to the system.
fn allow_core_dumps() -> Rlimit {
    let Rlimit { maximum, .. } = getrlimit(Resource::Core);
    let all = Rlimit { current: maximum, maximum };
    setrlimit(Resource::Core, all).expect("a limit up to the hard one");
    all
}

#[tokio::test]
async fn a_crash_leaves_no_core_dump() {
    let all = allow_core_dumps();
    let mut server = Process::start(&[]).await;
    assert!(limits(&server).starts_with("0 "), "{}", limits(&server));
    // The limit can be lifted from outside; the process itself still refuses.
    prlimit(Some(server.pid()), Resource::Core, all).expect("a limit up to the hard one");
    let status = server.end_by(Signal::ABORT).await;
    assert_eq!(status.signal(), Some(Signal::ABORT.as_raw()));
    assert!(!status.core_dumped(), "a dump holds keys and tokens");
}

#[tokio::test]
async fn core_dumps_can_be_allowed_while_a_fault_is_looked_for() {
    let own = allow_core_dumps();
    let mut server = Process::start(&[]).await;
    assert!(server.terminate().await.success());
    server.configure(CORE_DUMPS, "true");
    server.start_again().await;
    let word = |limit: Option<u64>| limit.map_or("unlimited".into(), |bytes| bytes.to_string());
    assert_eq!(limits(&server), format!("{} {}", word(own.current), word(own.maximum)));
}
