//! Ports for servers that are stopped and started again.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener},
    sync::atomic::{AtomicU16, Ordering::Relaxed},
};

/// Below the ports that the system gives to outgoing connections: a server that comes back finds
/// its port free, however many clients knocked meanwhile.
const PORTS: std::ops::Range<u16> = 20_000..30_000;
static NEXT: AtomicU16 = AtomicU16::new(0);

/// An address that nobody listens on, and that no other test of this process gets.
pub(crate) fn free() -> SocketAddr {
    // Processes begin at different places.
    let begin = std::process::id().wrapping_mul(61) as u16;
    for _ in PORTS {
        let step = begin.wrapping_add(NEXT.fetch_add(1, Relaxed));
        let port = PORTS.start + step % (PORTS.end - PORTS.start);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
    panic!("all of {PORTS:?} are taken");
}
