//! A bad link: a TCP proxy that cuts each connection at a random byte.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
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
