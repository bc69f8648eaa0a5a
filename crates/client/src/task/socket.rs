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
    builder::Transport,
    error::{Error, ErrorKind, Result},
};

/// Most time to connect, and for one write.
const TIMEOUT: Duration = Duration::from_secs(15);
/// Room for one read: more than a hundred small entries.
const READ_BYTES: usize = 32 * 1024;
/// Enough for a phone's worth of connections; tungstenite's default is 128 KiB.
const WEBSOCKET_READ_BYTES: usize = 16 * 1024;
/// Largest message that is taken, whatever the server sends: a window of 1 MiB and its numbers.
const WEBSOCKET_MESSAGE_BYTES_MAX: usize = 2 * 1024 * 1024;
/// Where a WebSocket connects, when only host and port are known.
const WEBSOCKET_PATH: &str = "/v1/connect";

/// A connected socket.
pub(super) enum Socket {
    Tcp(TcpStream),
    WebSocket(Box<WebSocketStream<TcpStream>>),
}

impl Socket {
    /// Connects to `host:port`, or for a WebSocket also to `ws://host:port/path`.
    pub(super) async fn connect(transport: Transport, address: &str) -> Result<Self> {
        let connect = async {
            let (host, url) = target(address)?;
            let stream = TcpStream::connect(host).await?;
            stream.set_nodelay(true)?;
            match transport {
                Transport::Tcp => Ok(Self::Tcp(stream)),
                Transport::WebSocket => {
                    let config = WebSocketConfig::default()
                        .read_buffer_size(WEBSOCKET_READ_BYTES)
                        .max_message_size(Some(WEBSOCKET_MESSAGE_BYTES_MAX))
                        .max_frame_size(Some(WEBSOCKET_MESSAGE_BYTES_MAX));
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
                // All frames of the last read are done with, so this mostly starts at the front
                // again: the same few pages, however many clients there are.
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
        match self {
            Self::Tcp(stream) => {
                // Mostly there is room at once, and no need for a timer.
                let written = match stream.try_write(&frames) {
                    Ok(written) => written,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                    Err(error) => return Err(error),
                };
                if written == frames.len() {
                    return Ok(());
                }
                tokio::time::timeout(TIMEOUT, stream.write_all(&frames[written..])).await?
            }
            Self::WebSocket(socket) => {
                let send = socket.send(Message::Binary(frames));
                tokio::time::timeout(TIMEOUT, send).await?.map_err(into_io)
            }
        }
    }
}

/// Where to connect, and the URL of a WebSocket there.
fn target(address: &str) -> io::Result<(String, String)> {
    if let Some(rest) = address.strip_prefix("ws://") {
        let host = rest.split('/').next().unwrap_or(rest);
        let port = if has_port(host) { "" } else { ":80" };
        return Ok((format!("{host}{port}"), address.to_owned()));
    }
    if address.contains("://") {
        let detail = "this version connects to host:port and ws:// only";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, detail));
    }
    Ok((address.to_owned(), format!("ws://{address}{WEBSOCKET_PATH}")))
}

fn has_port(host: &str) -> bool {
    // The colons inside the brackets of an IPv6 address are none.
    host.rsplit(']').next().is_some_and(|end| end.contains(':'))
}

fn into_io(error: tungstenite::Error) -> io::Error {
    match error {
        tungstenite::Error::Io(error) => error,
        other => io::Error::new(io::ErrorKind::InvalidData, other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_lead_to_a_host_and_a_url() {
        let target = |address| target(address).map(|(host, url)| format!("{host} {url}")).ok();
        let expected = |text: &str| Some(text.to_owned());
        assert_eq!(target("host:7400"), expected("host:7400 ws://host:7400/v1/connect"));
        assert_eq!(target("ws://a:1/v1/connect"), expected("a:1 ws://a:1/v1/connect"));
        assert_eq!(target("ws://a/x"), expected("a:80 ws://a/x"));
        assert_eq!(target("ws://[::1]/x"), expected("[::1]:80 ws://[::1]/x"));
        assert_eq!(target("ws://[::1]:9/x"), expected("[::1]:9 ws://[::1]:9/x"));
        assert_eq!(target("wss://a/x"), None);
    }
}
