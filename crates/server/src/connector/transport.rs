//! Bytes of frames over TCP or WebSocket: the same frames, one code path above this file.
//!
//! The first byte of a connection tells which: a frame's length prefix starts with 0 (frames are
//! far shorter than 16 MiB), a WebSocket handshake with `G` of `GET`. An idle TCP connection holds
//! no buffer: it is read through one scratch area per thread.

use std::{
    cell::RefCell,
    io,
    net::IpAddr,
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, Stream};
use tokio::{io::AsyncWriteExt, net::TcpStream};
use tokio_tungstenite::{
    WebSocketStream,
    tungstenite::{
        self, Message,
        handshake::server::{Callback, ErrorResponse, Request, Response},
        protocol::WebSocketConfig,
    },
};

use crate::proxy::TrustedProxies;

/// Where a WebSocket connects.
pub const WEBSOCKET_PATH: &str = "/v1/connect";

/// One read from a socket: a full window of small commands.
const SCRATCH_BYTES: usize = 64 * 1024;
/// tungstenite's default is 128 KiB per connection, which would be most of its memory.
const WEBSOCKET_READ_BYTES: usize = 4 * 1024;
/// Frames that one WebSocket message may hold, in bytes, beside the limit of each frame.
const WEBSOCKET_MESSAGE_BYTES_MAX: usize = 1024 * 1024;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; SCRATCH_BYTES].into());
}

/// A connected socket.
pub(super) enum Transport {
    /// Frames right on the stream.
    Tcp(TcpStream),
    /// Frames in binary messages.
    WebSocket(Box<WebSocketStream<TcpStream>>),
}

impl Transport {
    /// Finds out which transport the client speaks, and answers a WebSocket handshake. Gives the
    /// client's address too, which is `peer` unless that is one of `proxies` and tells another.
    ///
    /// # Errors
    /// The socket failed, the handshake was refused, or it took longer than `within`.
    pub(super) async fn accept(
        stream: TcpStream,
        peer: IpAddr,
        proxies: &TrustedProxies,
        within: Duration,
    ) -> io::Result<(Self, IpAddr)> {
        tokio::time::timeout(within, Self::detect(stream, peer, proxies)).await?
    }

    async fn detect(
        stream: TcpStream,
        peer: IpAddr,
        proxies: &TrustedProxies,
    ) -> io::Result<(Self, IpAddr)> {
        let mut client = peer;
        let mut first = [0_u8; 1];
        if stream.peek(&mut first).await? == 0 || first != *b"G" {
            return Ok((Self::Tcp(stream), client));
        }
        let config = WebSocketConfig::default()
            .read_buffer_size(WEBSOCKET_READ_BYTES)
            .write_buffer_size(0)
            .max_message_size(Some(WEBSOCKET_MESSAGE_BYTES_MAX))
            .max_frame_size(Some(WEBSOCKET_MESSAGE_BYTES_MAX));
        let check = HandshakeCheck { client: &mut client, proxies };
        let socket = tokio_tungstenite::accept_hdr_async_with_config(stream, check, Some(config))
            .await
            .map_err(into_io)?;
        Ok((Self::WebSocket(Box::new(socket)), client))
    }

    /// The next bytes; `None` when the client closed its side.
    pub(super) fn poll_read(
        &mut self,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<Option<BytesMut>>> {
        match self {
            Self::Tcp(stream) => poll_read_tcp(stream, context),
            Self::WebSocket(socket) => loop {
                match ready!(Pin::new(&mut **socket).poll_next(context)) {
                    Some(Ok(Message::Binary(bytes))) => return Poll::Ready(Ok(Some(bytes.into()))),
                    Some(Ok(Message::Text(_))) => return Poll::Ready(Err(text_message())),
                    Some(Ok(_)) => {}
                    None | Some(Err(tungstenite::Error::ConnectionClosed)) => {
                        return Poll::Ready(Ok(None));
                    }
                    Some(Err(error)) => return Poll::Ready(Err(into_io(error))),
                }
            },
        }
    }

    /// Writes whole frames, in one piece where the socket takes it.
    ///
    /// # Errors
    /// The socket failed or took longer than `within`.
    pub(super) async fn write(&mut self, frames: Bytes, within: Duration) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                let written = match stream.try_write(&frames) {
                    Ok(written) => written,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                    Err(error) => return Err(error),
                };
                if written == frames.len() {
                    return Ok(());
                }
                // Rare, and large as a future: kept out of the idle connection's size.
                let rest = Box::pin(stream.write_all(&frames[written..]));
                Box::pin(tokio::time::timeout(within, rest)).await?
            }
            Self::WebSocket(socket) => {
                let send = socket.send(Message::Binary(frames));
                Box::pin(tokio::time::timeout(within, send)).await?.map_err(into_io)
            }
        }
    }

    /// Says goodbye in the transport's own way; errors do not matter any more.
    pub(super) async fn close(&mut self, within: Duration) {
        let _ = match self {
            Self::Tcp(stream) => {
                Box::pin(tokio::time::timeout(within, stream.shutdown())).await.is_ok()
            }
            Self::WebSocket(socket) => {
                Box::pin(tokio::time::timeout(within, WebSocketStream::close(socket, None)))
                    .await
                    .is_ok()
            }
        };
    }
}

fn poll_read_tcp(
    stream: &TcpStream,
    context: &mut Context<'_>,
) -> Poll<io::Result<Option<BytesMut>>> {
    SCRATCH.with_borrow_mut(|scratch| {
        loop {
            ready!(stream.poll_read_ready(context))?;
            match stream.try_read(scratch) {
                Ok(0) => return Poll::Ready(Ok(None)),
                Ok(count) => return Poll::Ready(Ok(Some(BytesMut::from(&scratch[..count])))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    })
}

/// Looks at the request of a WebSocket handshake.
struct HandshakeCheck<'a> {
    client: &'a mut IpAddr,
    proxies: &'a TrustedProxies,
}

impl Callback for HandshakeCheck<'_> {
    fn on_request(self, request: &Request, response: Response) -> Result<Response, ErrorResponse> {
        *self.client = self.proxies.client(*self.client, request.headers());
        if request.uri().path() == WEBSOCKET_PATH {
            return Ok(response);
        }
        let mut refusal = ErrorResponse::new(Some(format!("connect to {WEBSOCKET_PATH}\n")));
        *refusal.status_mut() = tungstenite::http::StatusCode::NOT_FOUND;
        Err(refusal)
    }
}

fn text_message() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "frames come in binary messages, not text")
}

fn into_io(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}
