//! The network between one client and the server: passes frames on, notes what each end says, and
//! does to them what the weather says.
//!
//! What is noted is what an end *said*, in its order, before the weather gets at it: a frame that
//! is lost on the way was said all the same.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use anser_client::proto::{
    Frame,
    frame::{self, PREFIX_BYTES},
};
use bytes::{Buf as _, Bytes, BytesMut};
use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream, tcp},
    task::AbortHandle,
};

use super::{
    history::{ConnId, What},
    random::Choice,
    storage::Mirror,
    weather::{Sky, Weather},
    words,
};

/// The largest frame that either end may send.
const FRAME_MAX: usize = 1024 * 1024;
/// Bytes that trickle at once, and the pause after them: a frame of a message takes some 100 ms.
const TRICKLE: (usize, Duration) = (16, Duration::from_millis(3));

/// A client's network. Dropping it ends it.
pub(super) struct Link {
    pub(super) address: SocketAddr,
    pub(super) sky: Sky,
    /// The newest connection: the server's address, and the port from which it sees this client.
    newest: Arc<Mutex<Option<(SocketAddr, u16)>>>,
    task: AbortHandle,
}

/// Which end said something.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Client,
    Server,
}

impl Link {
    /// A network for the client of `mirror`; each connection is to one of the servers.
    ///
    /// # Errors
    /// There is no free port.
    pub(super) async fn new(mut servers: Choice<SocketAddr>, mirror: Mirror) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (sky, newest) = (Sky::default(), Arc::new(Mutex::new(None)));
        let (weather, seen) = (sky.clone(), Arc::clone(&newest));
        let task = tokio::spawn(async move {
            // Sockets of which the server was not told that they are dead.
            let forgotten = Arc::new(Mutex::new(Vec::new()));
            while let Ok((near, _)) = listener.accept().await {
                let known = weather.cuts();
                let server = *servers.next();
                let Ok(far) = TcpStream::connect(server).await else {
                    // As if nobody listened at the server's own address.
                    reset(&near);
                    continue;
                };
                if let Ok(local) = far.local_addr() {
                    *seen.lock() = Some((server, local.port()));
                }
                let (sky, forgotten) = (weather.clone(), forgotten.clone());
                let pass = pass(near, far, mirror.clone(), sky, known);
                tokio::spawn(async move {
                    if let Some(silent) = pass.await {
                        forgotten.lock().push(silent);
                    }
                });
            }
        });
        Ok(Self { address, sky, newest, task: task.abort_handle() })
    }

    /// The newest connection: the server's address, and the port from which it sees this client.
    pub(super) fn newest(&self) -> Option<(SocketAddr, u16)> {
        *self.newest.lock()
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Closing it will be a reset, not a farewell.
fn reset(socket: &TcpStream) {
    // Not possible any more on a socket that is gone, which is as good.
    let _ = rustix::net::sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}

/// Passes one connection on to its end. Gives the server's side when the server is not to know.
async fn pass(
    near: TcpStream,
    far: TcpStream,
    mirror: Mirror,
    sky: Sky,
    known: u64,
) -> Option<(tcp::OwnedReadHalf, tcp::OwnedWriteHalf)> {
    let _ = (near.set_nodelay(true), far.set_nodelay(true));
    let conn = mirror.new_connection();
    let (near_read, near_write) = near.into_split();
    let (far_read, far_write) = far.into_split();
    let lane = |end| Lane { end, conn, mirror: mirror.clone(), sky: sky.clone() };
    let (mut up, mut down) = (Pipe::new(near_read, far_write), Pipe::new(far_read, near_write));
    let cut = {
        let (up, down) = (up.run(lane(End::Client)), down.run(lane(End::Server)));
        tokio::select! {
            _ = up => None,
            _ = down => None,
            silently = sky.cut_after(known) => Some(silently),
        }
    };
    let near = down.to.reunite(up.from);
    if let (Some(_), Ok(near)) = (cut, &near) {
        reset(near);
    }
    drop(near);
    match cut {
        Some(true) => Some((down.from, up.to)),
        Some(false) => {
            if let Ok(far) = down.from.reunite(up.to) {
                reset(&far);
            }
            None
        }
        None => None,
    }
}

/// One direction of a connection.
struct Pipe {
    from: tcp::OwnedReadHalf,
    to: tcp::OwnedWriteHalf,
}

/// What a direction knows of its connection.
struct Lane {
    end: End,
    conn: ConnId,
    mirror: Mirror,
    sky: Sky,
}

impl Pipe {
    fn new(from: tcp::OwnedReadHalf, to: tcp::OwnedWriteHalf) -> Self {
        Self { from, to }
    }

    /// Passes frames on until the sender ends.
    async fn run(&mut self, lane: Lane) -> io::Result<()> {
        let mut input = BytesMut::new();
        let mut held: Option<Bytes> = None;
        let mut count = 0_u64;
        loop {
            if lane.end == End::Server && lane.sky.weather() == Weather::Unread {
                lane.sky.not(Weather::Unread).await;
            }
            if self.from.read_buf(&mut input).await? == 0 {
                return Ok(());
            }
            while let Some(bytes) = whole(&mut input)? {
                lane.note(&bytes);
                count += 1;
                let weather = lane.sky.weather();
                if weather == Weather::Swapped && held.is_none() && count.is_multiple_of(2) {
                    held = Some(bytes);
                    continue;
                }
                self.deliver(&bytes, weather, count, &lane).await?;
                if let Some(bytes) = held.take() {
                    self.deliver(&bytes, Weather::Fair, count, &lane).await?;
                }
            }
        }
    }

    async fn deliver(
        &mut self,
        bytes: &Bytes,
        weather: Weather,
        count: u64,
        lane: &Lane,
    ) -> io::Result<()> {
        match weather {
            Weather::Fair | Weather::Swapped | Weather::Unread => {}
            Weather::Silent => lane.sky.not(Weather::Silent).await,
            Weather::Late(by) => tokio::time::sleep(by).await,
            Weather::Twice => {
                if count.is_multiple_of(2) {
                    self.to.write_all(bytes).await?;
                }
            }
            Weather::Trickle => {
                for few in bytes.chunks(TRICKLE.0) {
                    self.to.write_all(few).await?;
                    if lane.sky.weather() == Weather::Trickle {
                        tokio::time::sleep(TRICKLE.1).await;
                    }
                }
                return Ok(());
            }
        }
        self.to.write_all(bytes).await
    }
}

impl Lane {
    fn note(&self, bytes: &Bytes) {
        let mut bytes = BytesMut::from(&bytes[..]);
        let Ok(Some(frame)) = frame::decode(&mut bytes, FRAME_MAX) else { return };
        let said = match (self.end, frame) {
            (End::Client, Frame::Hello(hello)) => {
                self.mirror.device_of(&hello.token).map(|device| What::Hello {
                    conn: self.conn,
                    client: self.mirror.client(),
                    device,
                    epoch: hello.epoch,
                    position: hello.position,
                })
            }
            (end, frame) => words::of_frame(self.conn, end, frame),
        };
        if let Some(said) = said {
            self.mirror.recorder().note(said);
        }
    }
}

/// The next whole frame with its length.
fn whole(input: &mut BytesMut) -> io::Result<Option<Bytes>> {
    let Some(prefix) = input.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
    let bytes = PREFIX_BYTES + u32::from_be_bytes(*prefix) as usize;
    if bytes > FRAME_MAX {
        return Err(io::ErrorKind::InvalidData.into());
    }
    if input.remaining() < bytes {
        return Ok(None);
    }
    Ok(Some(input.split_to(bytes).freeze()))
}
