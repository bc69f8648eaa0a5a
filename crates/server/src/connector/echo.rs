//! An endpoint that echoes WebSocket messages, for test suites that others wrote. It accepts as the
//! connector does, with the same settings. In no build that serves anybody.

use std::{io, net::IpAddr, time::Duration};

use futures_util::{SinkExt as _, StreamExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::tungstenite::Message;

use super::transport::Transport;
use crate::proxy::TrustedProxies;

/// A suite opens a connection and is silent for longer than the connector would wait.
const WITHIN: Duration = Duration::from_secs(60);

/// Echoes every message of every connection, until the listener fails.
///
/// # Errors
/// What the listener failed with.
pub async fn run(listener: TcpListener) -> io::Result<()> {
    loop {
        let (stream, peer) = listener.accept().await?;
        tokio::spawn(echo(stream, peer.ip()));
    }
}

/// Ends like a connection of the connector: what breaks the protocol is dropped, after tungstenite
/// said why.
async fn echo(stream: TcpStream, peer: IpAddr) {
    let _ = stream.set_nodelay(true);
    let accepted = Transport::accept(stream, peer, &TrustedProxies::default(), WITHIN).await;
    let Ok((Transport::WebSocket(mut socket), _)) = accepted else { return };
    while let Some(Ok(message)) = socket.next().await {
        if matches!(message, Message::Text(_) | Message::Binary(_))
            && socket.send(message).await.is_err()
        {
            return;
        }
    }
}
