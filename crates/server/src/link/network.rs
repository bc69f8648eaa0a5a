//! A network that fails by plan: it passes bytes between two ends, keeps them, or cuts the line.
//! And how a test waits for what happens elsewhere.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
};
use tokio_util::task::AbortOnDropHandle;

/// What the network does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weather {
    /// It passes bytes.
    Fine,
    /// It takes connections and bytes, and passes nothing on.
    Silent,
    /// It cuts all connections, new ones at once.
    Cut,
}

/// A network in front of one address.
pub(crate) struct Network {
    address: SocketAddr,
    weather: watch::Sender<Weather>,
    opened: Arc<AtomicUsize>,
    _accepting: AbortOnDropHandle<()>,
}

impl Network {
    pub(crate) async fn to(far: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("a bound port");
        let (weather, seen) = watch::channel(Weather::Fine);
        let opened = Arc::<AtomicUsize>::default();
        let count = opened.clone();
        let accepting = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                if let Ok(far) = TcpStream::connect(&far).await {
                    count.fetch_add(1, Ordering::Relaxed);
                    tokio::spawn(pass(near, far, seen.clone()));
                }
            }
        });
        Self { address, weather, opened, _accepting: AbortOnDropHandle::new(accepting) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How many connections were made so far.
    pub(crate) fn opened(&self) -> usize {
        self.opened.load(Ordering::Relaxed)
    }

    pub(crate) fn becomes(&self, weather: Weather) {
        self.weather.send_replace(weather);
    }
}

async fn pass(mut near: TcpStream, mut far: TcpStream, mut weather: watch::Receiver<Weather>) {
    let (mut said, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    loop {
        let now = *weather.borrow_and_update();
        let fine = now == Weather::Fine;
        if now == Weather::Cut {
            return;
        }
        let passed = tokio::select! {
            changed = weather.changed() => changed.is_ok(),
            count = near.read(&mut said), if fine => match count {
                Ok(count @ 1..) => far.write_all(&said[..count]).await.is_ok(),
                _ => false,
            },
            count = far.read(&mut answered), if fine => match count {
                Ok(count @ 1..) => near.write_all(&answered[..count]).await.is_ok(),
                _ => false,
            },
        };
        if !passed {
            return;
        }
    }
}

/// Waits for something that no event tells of here.
///
/// # Panics
/// It never happens.
pub(crate) async fn until(what: &str, happened: impl AsyncFn() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(5));
    let wait = async {
        while !happened().await {
            looks.tick().await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), wait).await;
    assert!(waited.is_ok(), "never: {what}");
}
