//! A panic of the writer ends the process: a store that only answers `Unavailable` helps nobody.

use std::process::Command;

use super::options;
use crate::Store as _;
use crate::embedded::Embedded;

const FOLDER: &str = "ANSER_STORE_PANIC_TEST";

#[tokio::test]
async fn a_panic_of_the_writer_ends_the_process() {
    let folder = tempfile::tempdir().unwrap();
    let name = "embedded::tests::panic::child_lets_the_writer_panic";
    let output = Command::new(std::env::current_exe().unwrap())
        .args([name, "--exact", "--nocapture"])
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), None, "ended by a signal: {told}");
    assert!(!told.contains("still here"), "{told}");
    Embedded::open(options(folder.path())).unwrap().close().await.unwrap();
}

/// Not a test of its own: what the child process runs.
#[tokio::test]
async fn child_lets_the_writer_panic() {
    #[expect(clippy::disallowed_methods, reason = "how the parent test calls its child")]
    let Some(folder) = std::env::var_os(FOLDER) else { return };
    let store = Embedded::open(options(folder.as_ref())).unwrap();
    let answer: crate::Result<()> = store.write(|_| panic!("on purpose")).await;
    println!("still here: {answer:?}");
}
