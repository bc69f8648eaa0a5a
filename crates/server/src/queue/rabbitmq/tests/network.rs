//! A network that fails by plan, between a queue and RabbitMQ.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::AbortHandle,
};

use super::Options;

/// What the network does with bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Mode {
    #[default]
    Pass,
    /// They stay where they are; the connections stand.
    Stall,
    /// What RabbitMQ says is lost.
    Mute,
    /// Only its confirms are lost.
    Unconfirmed,
    /// Connections end at once.
    Refuse,
}

#[derive(Clone, Default)]
struct Plan {
    mode: Mode,
    cuts: usize,
    blocked: bool,
    broken: Option<String>,
}

/// The network.
pub(super) struct Network {
    address: String,
    plan: watch::Sender<Plan>,
    refused: Arc<AtomicUsize>,
    task: AbortHandle,
}

impl Network {
    pub(super) async fn new(options: &Options) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let far = super::super::broker::uri(&options.url).unwrap().authority;
        let (plan, seen) = watch::channel(Plan::default());
        let refused = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&refused);
        let task = tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let far = TcpStream::connect((far.host.as_str(), far.port)).await.unwrap();
                tokio::spawn(pass(near, far, seen.clone(), Arc::clone(&count)));
            }
        });
        Self { address, plan, refused, task: task.abort_handle() }
    }

    /// The way through this network, with a heartbeat that finds a stalled one within seconds.
    pub(super) fn through(&self, options: Options) -> Options {
        let uri = super::super::broker::uri(&options.url).unwrap();
        let user = uri.authority.userinfo;
        let vhost = uri.vhost.replace('/', "%2f");
        let (name, password, address) = (user.username, user.password, &self.address);
        let url = format!("amqp://{name}:{password}@{address}/{vhost}?heartbeat=1");
        Options { url, ..options }
    }

    pub(super) fn set(&self, mode: Mode) {
        self.plan.send_modify(|plan| plan.mode = mode);
    }

    /// Says for RabbitMQ that it is short of something, or no more. To be called when it is silent.
    pub(super) fn set_blocked(&self, blocked: bool) {
        self.plan.send_modify(|plan| plan.blocked = blocked);
    }

    /// RabbitMQ ends, as it does, a connection that asks for what is in this queue: its process is
    /// dead.
    pub(super) fn set_broken(&self, queue: Option<String>) {
        self.plan.send_modify(|plan| plan.broken = queue);
    }

    /// How many connections ended for that.
    pub(super) fn refused(&self) -> usize {
        self.refused.load(Ordering::Relaxed)
    }

    /// Ends the connections that there are.
    pub(super) fn cut(&self) {
        self.plan.send_modify(|plan| plan.cuts += 1);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn pass(
    mut near: TcpStream,
    mut far: TcpStream,
    mut plan: watch::Receiver<Plan>,
    refused: Arc<AtomicUsize>,
) {
    let (mut said, mut answered) = (vec![0; 1 << 16], vec![0; 1 << 16]);
    let (cuts, mut blocked) = (plan.borrow().cuts, false);
    loop {
        let Plan { mode, cuts: cuts_now, blocked: blocked_now, broken } =
            plan.borrow_and_update().clone();
        if mode == Mode::Refuse || cuts != cuts_now {
            return;
        }
        if blocked != blocked_now {
            blocked = blocked_now;
            let frame = if blocked { BLOCKED } else { UNBLOCKED };
            if near.write_all(frame).await.is_err() {
                return;
            }
        }
        if mode == Mode::Stall {
            if plan.changed().await.is_err() {
                return;
            }
            continue;
        }
        tokio::select! {
            count = near.read(&mut said) => {
                let Ok(count @ 1..) = count else { return };
                let asks = |queue: String| {
                    [CONSUME, GET].iter().any(|method| has(&said[..count], &of(method, &queue)))
                };
                if broken.is_some_and(asks) {
                    refused.fetch_add(1, Ordering::Relaxed);
                    let _ = near.write_all(CLOSE).await;
                    return;
                }
                if far.write_all(&said[..count]).await.is_err() {
                    return;
                }
            }
            count = far.read(&mut answered) => {
                let Ok(count @ 1..) = count else { return };
                let is_lost = match mode {
                    Mode::Mute => true,
                    Mode::Unconfirmed => has(&answered[..count], ACK),
                    Mode::Pass | Mode::Stall | Mode::Refuse => false,
                };
                if !is_lost && near.write_all(&answered[..count]).await.is_err() {
                    return;
                }
            }
            changed = plan.changed() => if changed.is_err() {
                return;
            },
        }
    }
}

fn has(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A method, up to the queue that it is for.
fn of(method: &[u8], queue: &str) -> Vec<u8> {
    let length = u8::try_from(queue.len()).unwrap();
    [method, b"\0\0", &[length], queue.as_bytes()].concat()
}

/// The beginning of `basic.consume` and of `basic.get`.
const CONSUME: &[u8] = b"\0\x3c\0\x14";
const GET: &[u8] = b"\0\x3c\0\x46";
/// The beginning of `basic.ack`.
const ACK: &[u8] = b"\0\x3c\0\x50";
/// `connection.close` with the code 541, without a method that it is for.
const CLOSE: &[u8] = b"\x01\0\0\0\0\0\x19\0\x0a\0\x32\x02\x1d\x0eINTERNAL_ERROR\0\0\0\0\xce";
/// Frames of channel 0: `connection.blocked` with the reason `disk`, and `connection.unblocked`.
const BLOCKED: &[u8] = b"\x01\0\0\0\0\0\x09\0\x0a\0\x3c\x04disk\xce";
const UNBLOCKED: &[u8] = b"\x01\0\0\0\0\0\x04\0\x0a\0\x3d\xce";
