//! Whose address counts when clients come through a proxy: the one that a *trusted* proxy tells,
//! by the PROXY protocol (versions 1 and 2) on the connector's port, or by `X-Forwarded-For` over
//! HTTP. Everybody else may write such things as well, and is not believed.

use std::{
    io,
    net::{IpAddr, SocketAddr},
};

use axum::http::HeaderMap;
use ipnet::IpNet;
use ppp::{v1, v2};
use tokio::{io::AsyncReadExt as _, net::TcpStream};

#[cfg(test)]
mod tests;

/// Every header of version 1 is shorter (its specification, section 2.1).
const V1_BYTES_MAX: usize = 107;
/// Signature, version, family and length of version 2.
const V2_PREFIX_BYTES: usize = 16;
/// Addresses and extensions of version 2: proxies send far less.
const V2_BYTES_MAX: usize = 2048;
/// What the client's address is told in over HTTP, each proxy adding the one that it saw.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// The proxies whose word is taken.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TrustedProxies(Vec<IpNet>);

impl TrustedProxies {
    /// Those in these networks.
    pub fn new(networks: Vec<IpNet>) -> Self {
        Self(networks)
    }

    /// Whether this is one of them.
    pub(crate) fn contains(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.0.iter().any(|network| network.contains(&address))
    }

    /// Whose HTTP request it is that came from `peer`: the last address of `X-Forwarded-For` that
    /// is no trusted proxy. What stands before it, anybody could have written.
    pub(crate) fn client(&self, peer: IpAddr, headers: &HeaderMap) -> IpAddr {
        let mut client = peer;
        let lines = headers.get_all(FORWARDED_FOR).iter().rev();
        for hop in lines.filter_map(|line| line.to_str().ok()).flat_map(|line| line.rsplit(',')) {
            if !self.contains(client) {
                break;
            }
            let Some(told) = address(hop.trim()) else { break };
            client = told;
        }
        client
    }
}

/// An address, with or without a port.
fn address(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse().ok().map(|socket: SocketAddr| socket.ip()))
}

/// Reads the header of the PROXY protocol from the start of a connection, if there is one, and
/// nothing more. Gives the client that it tells; `None` when it tells none, as health checks do.
///
/// # Errors
/// The socket failed, or the header is none that proxies write.
pub(crate) async fn read_header(stream: &mut TcpStream) -> io::Result<Option<IpAddr>> {
    let mut first = [0];
    stream.peek(&mut first).await?;
    // Neither a frame nor an HTTP request begins so.
    match first {
        [b'\r'] => read_v2(stream).await,
        [b'P'] => read_v1(stream).await,
        _ => Ok(None),
    }
}

async fn read_v2(stream: &mut TcpStream) -> io::Result<Option<IpAddr>> {
    let mut header = vec![0; V2_PREFIX_BYTES];
    stream.read_exact(&mut header).await?;
    let bytes = usize::from(u16::from_be_bytes([header[14], header[15]]));
    if bytes > V2_BYTES_MAX {
        return Err(broken("it is too long"));
    }
    header.resize(V2_PREFIX_BYTES + bytes, 0);
    stream.read_exact(&mut header[V2_PREFIX_BYTES..]).await?;
    let header = v2::Header::try_from(&header[..]).map_err(broken)?;
    Ok(match (header.command, header.addresses) {
        (v2::Command::Local, _) => None,
        (_, v2::Addresses::IPv4(addresses)) => Some(addresses.source_address.into()),
        (_, v2::Addresses::IPv6(addresses)) => Some(addresses.source_address.into()),
        _ => None,
    })
}

async fn read_v1(stream: &mut TcpStream) -> io::Result<Option<IpAddr>> {
    let mut header = Vec::with_capacity(V1_BYTES_MAX);
    while header.last() != Some(&b'\n') {
        if header.len() == V1_BYTES_MAX {
            return Err(broken("it is too long"));
        }
        // Byte by byte: what follows the line belongs to the client.
        header.push(stream.read_u8().await?);
    }
    let header = v1::Header::try_from(&header[..]).map_err(broken)?;
    Ok(match header.addresses {
        v1::Addresses::Tcp4(addresses) => Some(addresses.source_address.into()),
        v1::Addresses::Tcp6(addresses) => Some(addresses.source_address.into()),
        v1::Addresses::Unknown => None,
    })
}

fn broken(why: impl std::fmt::Display) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a broken PROXY header: {why}"))
}
