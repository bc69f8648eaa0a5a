//! Bytes of frames to and from a connector, over TCP or WebSocket.

use std::{io, time::Duration};

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, StreamExt};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_tungstenite::{
    WebSocketStream, client_async_with_config,
    tungstenite::{self, Message, protocol::WebSocketConfig},
};

use crate::{
    client::Transport,
    error::{Error, ErrorKind, Result},
};

/// Most time to connect, and for one write.
const TIMEOUT: Duration = Duration::from_secs(15);
/// One read: a full window of small entries.
const READ_BYTES: usize = 64 * 1024;
/// Enough for a phone's worth of connections; tungstenite's default is 128 KiB.
const WEBSOCKET_READ_BYTES: usize = 16 * 1024;

/// A connected socket.
pub(super) enum Socket {
    Tcp(TcpStream),
    WebSocket(Box<WebSocketStream<TcpStream>>),
}

impl Socket {
    pub(super) async fn connect(transport: Transport, address: &str) -> Result<Self> {
        let connect = async {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            match transport {
                Transport::Tcp => Ok(Self::Tcp(stream)),
                Transport::WebSocket => {
                    let url = format!("ws://{address}/v1/connect");
                    let config = WebSocketConfig::default().read_buffer_size(WEBSOCKET_READ_BYTES);
                    let socket = client_async_with_config(url, stream, Some(config)).await;
                    Ok(Self::WebSocket(Box::new(socket.map_err(into_io)?.0)))
                }
            }
        };
        let connected = tokio::time::timeout(TIMEOUT, connect).await;
        connected.unwrap_or_else(|elapsed| Err(elapsed.into())).map_err(|error: io::Error| {
            let detail = format!("the connector at {address} can not be reached");
            Error::with(ErrorKind::Unreachable, detail, error)
        })
    }

    /// Appends the next bytes to `buffer`. Cancelling loses nothing.
    pub(super) async fn read(&mut self, buffer: &mut BytesMut) -> io::Result<()> {
        match self {
            Self::Tcp(stream) => {
                buffer.reserve(READ_BYTES);
                match stream.read_buf(buffer).await? {
                    0 => Err(io::ErrorKind::UnexpectedEof.into()),
                    _ => Ok(()),
                }
            }
            Self::WebSocket(socket) => loop {
                match socket.next().await {
                    Some(Ok(Message::Binary(bytes))) => {
                        buffer.extend_from_slice(&bytes);
                        return Ok(());
                    }
                    Some(Ok(_)) => {}
                    Some(Err(error)) => return Err(into_io(error)),
                    None => return Err(io::ErrorKind::UnexpectedEof.into()),
                }
            },
        }
    }

    pub(super) async fn write(&mut self, frames: Bytes) -> io::Result<()> {
        let write = async {
            match self {
                Self::Tcp(stream) => stream.write_all(&frames).await,
                Self::WebSocket(socket) => {
                    socket.send(Message::Binary(frames)).await.map_err(into_io)
                }
            }
        };
        tokio::time::timeout(TIMEOUT, write).await?
    }
}

fn into_io(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}
