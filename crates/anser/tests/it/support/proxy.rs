//! Bad links: a TCP proxy that cuts each connection at a random byte, and one that breaks once, at
//! a byte that the test chooses.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    sync::watch,
    task::{AbortHandle, JoinSet},
};

/// Random numbers that a seed repeats (xorshift64*).
#[derive(Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11
    }

    /// One of `from .. to`.
    pub(crate) fn within(&mut self, from: usize, to: usize) -> usize {
        from + usize::try_from(self.next() % (to - from) as u64).expect("below a usize")
    }
}

/// A proxy in front of one address.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    cuts: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Proxy {
    /// Forwards to `target`. The first `cuts` connections are cut, each after a random number of
    /// bytes below `bytes_max` in one direction; later ones are whole.
    pub(crate) async fn start(
        target: SocketAddr,
        seed: u64,
        cuts: usize,
        bytes_max: usize,
    ) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let done = Arc::new(AtomicUsize::new(0));
        let count = done.clone();
        let mut random = Random::new(seed);
        let task = tokio::spawn(async move {
            let mut links = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.expect("a connection");
                let cut = count.load(Relaxed) < cuts;
                let bytes = if cut { random.within(1, bytes_max) } else { usize::MAX };
                let up = random.within(0, 2) == 0;
                let count = count.clone();
                links.spawn(async move {
                    link(near, target, if up { [bytes, usize::MAX] } else { [usize::MAX, bytes] })
                        .await;
                    if cut {
                        count.fetch_add(1, Relaxed);
                    }
                });
            }
        });
        Self { address, cuts: done, task: task.abort_handle() }
    }

    /// Connections cut so far.
    pub(crate) fn cuts(&self) -> usize {
        self.cuts.load(Relaxed)
    }
}

/// Copies both ways until one way ends or has carried its bytes; then both sides are gone.
async fn link(near: TcpStream, target: SocketAddr, [up, down]: [usize; 2]) {
    let Ok(far) = TcpStream::connect(target).await else { return };
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    tokio::select! {
        () = copy(near_read, far_write, up) => {}
        () = copy(far_read, near_write, down) => {}
    }
}

async fn copy(mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf, mut bytes: usize) {
    let mut buffer = [0; 4096];
    while bytes > 0 {
        let room = buffer.len().min(bytes);
        let Ok(count @ 1..) = from.read(&mut buffer[..room]).await else { return };
        if to.write_all(&buffer[..count]).await.is_err() {
            return;
        }
        bytes -= count;
    }
}

/// A proxy that breaks when it is told to, at one byte, and is whole otherwise.
pub(crate) struct Line {
    pub(crate) address: SocketAddr,
    trap: Arc<Trap>,
    task: AbortHandle,
}

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// To the server.
    Up,
    /// To the client.
    Down,
}

/// What a line does at the byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Break {
    /// The connection ends, both ways.
    Cut,
    /// Nothing more is passed on, and nobody is told.
    Hold,
}

struct Trap {
    /// Bytes that are still passed on, on all connections together.
    set: Mutex<Option<(Way, usize, Break)>>,
    sprung: watch::Sender<usize>,
    /// Bytes that were passed on, up and down.
    passed: [AtomicUsize; 2],
}

impl Drop for Line {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Line {
    pub(crate) async fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let (set, sprung, passed) = <_>::default();
        let trap = Arc::new(Trap { set, sprung, passed });
        let watched = trap.clone();
        let task = tokio::spawn(async move {
            let mut links = JoinSet::new();
            loop {
                let (near, _) = listener.accept().await.expect("a connection");
                let trap = watched.clone();
                links.spawn(async move {
                    let Ok(far) = TcpStream::connect(target).await else { return };
                    let (near_read, near_write) = near.into_split();
                    let (far_read, far_write) = far.into_split();
                    tokio::select! {
                        () = trap.copy(Way::Up, near_read, far_write) => {}
                        () = trap.copy(Way::Down, far_read, near_write) => {}
                    }
                });
            }
        });
        Self { address, trap, task: task.abort_handle() }
    }

    /// Breaks once, after so many bytes more one way.
    pub(crate) fn set(&self, way: Way, bytes: usize, how: Break) {
        *self.trap.set.lock() = Some((way, bytes, how));
    }

    /// Bytes that went one way so far.
    pub(crate) fn passed(&self, way: Way) -> usize {
        self.trap.passed[way as usize].load(Relaxed)
    }

    /// How often it broke.
    pub(crate) fn breaks(&self) -> usize {
        *self.trap.sprung.borrow()
    }

    /// Waits until it broke.
    pub(crate) async fn broken(&self) {
        let mut sprung = self.trap.sprung.subscribe();
        let broke = sprung.wait_for(|_| self.trap.set.lock().is_none());
        let broke = tokio::time::timeout(super::people::PATIENCE, broke).await;
        broke.expect("so many bytes come in time").expect("the line is there");
    }
}

impl Trap {
    async fn copy(&self, way: Way, mut from: tcp::OwnedReadHalf, mut to: tcp::OwnedWriteHalf) {
        let mut buffer = [0; 4096];
        loop {
            let Ok(count @ 1..) = from.read(&mut buffer).await else { return };
            let (passed, how) = self.pass(way, count);
            self.passed[way as usize].fetch_add(passed, Relaxed);
            if to.write_all(&buffer[..passed]).await.is_err() {
                return;
            }
            match how {
                None => {}
                Some(Break::Cut) => {
                    self.sprung.send_modify(|count| *count += 1);
                    return;
                }
                Some(Break::Hold) => {
                    self.sprung.send_modify(|count| *count += 1);
                    return std::future::pending().await;
                }
            }
        }
    }

    /// How many of so many bytes are passed on, and whether it breaks then.
    fn pass(&self, way: Way, count: usize) -> (usize, Option<Break>) {
        let mut set = self.set.lock();
        match &mut *set {
            Some((of, left, _)) if *of == way && *left > count => {
                *left -= count;
                (count, None)
            }
            Some((of, left, how)) if *of == way => {
                let end = (*left, Some(*how));
                *set = None;
                end
            }
            _ => (count, None),
        }
    }
}
