//! A network that fails by plan: it passes bytes between a store and its server, loses answers, and
//! changes words of the same length.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

use super::Database;
use crate::mysql::Options;

/// What the network does.
#[derive(Default)]
pub(super) struct Plan {
    /// So many packets that end with a commit reach the server, whose answers are lost.
    pub(super) lose_commits: AtomicUsize,
    /// Connections are cut at their next byte, new ones at once.
    pub(super) down: AtomicBool,
    /// What the store says is replaced on its way: from, to.
    pub(super) replace: Option<(&'static str, &'static str)>,
}

/// A network in front of the server; gives the options of a store behind it.
pub(super) async fn network(database: &Database, plan: &Arc<Plan>) -> Options {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let server = database.server.rsplit_once(['@', '/']).unwrap().1.to_owned();
    let plan = Arc::clone(plan);
    tokio::spawn(async move {
        while let Ok((near, _)) = listener.accept().await {
            let far = TcpStream::connect(&server).await.unwrap();
            tokio::spawn(pass(near, far, Arc::clone(&plan)));
        }
    });
    let url = database.options().url.replace(&database.server, &through(&database.server, port));
    // It reads along.
    let url = format!("{url}?ssl-mode=DISABLED");
    Options { url, ..database.options() }
}

/// The server's URL, with the address of the network in it.
fn through(server: &str, port: u16) -> String {
    let user = server.rsplit_once('@').map_or("mysql://", |(user, _)| user);
    let at = if user.ends_with('/') { "" } else { "@" };
    format!("{user}{at}127.0.0.1:{port}")
}

/// Passes bytes both ways until the plan cuts the connection, or one end does.
async fn pass(mut near: TcpStream, mut far: TcpStream, plan: Arc<Plan>) {
    let (mut said, mut answered) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut lose = false;
    while !plan.down.load(Relaxed) {
        tokio::select! {
            count = near.read(&mut said) => {
                let Ok(count @ 1..) = count else { return };
                if plan.down.load(Relaxed) {
                    return;
                }
                let said = &mut said[..count];
                if let Some((from, to)) = plan.replace {
                    replace(said, from.as_bytes(), to.as_bytes());
                }
                let commits = said.ends_with(b"COMMIT;") || said.ends_with(b"COMMIT");
                let one_less = |count: usize| count.checked_sub(1);
                let left = &plan.lose_commits;
                lose = commits && left.fetch_update(Relaxed, Relaxed, one_less).is_ok();
                if far.write_all(said).await.is_err() {
                    return;
                }
            }
            count = far.read(&mut answered) => {
                let Ok(count @ 1..) = count else { return };
                // The server has done what it answers.
                if lose || near.write_all(&answered[..count]).await.is_err() {
                    return;
                }
            }
        }
    }
}

fn replace(said: &mut [u8], from: &[u8], to: &[u8]) {
    assert_eq!(from.len(), to.len(), "or the packet's length would be wrong");
    for at in 0..said.len().saturating_sub(from.len() - 1) {
        if said[at..].starts_with(from) {
            said[at..at + to.len()].copy_from_slice(to);
        }
    }
}
