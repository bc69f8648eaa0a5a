//! A bad network between a device and the server: it breaks while commands are on their way, so
//! that the device can not know which of them arrived, and the server does not notice that it is
//! gone.

use std::{io, net::SocketAddr};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinHandle,
};

/// Bytes to the server after which the connection breaks: enough for a Hello and a few commands.
const BYTES: usize = 1_500;
/// Later breaks come after a bit more each, so that they hit different places.
const BYTES_MORE: usize = 73;

/// The network. Dropping it ends it.
pub(super) struct Tunnel {
    address: SocketAddr,
    breaks: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Tunnel {
    /// A way to `server` that breaks `times` times and holds from then on.
    ///
    /// # Errors
    /// There is no free port.
    pub(super) async fn to(server: SocketAddr, times: usize) -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let address = listener.local_addr()?;
        let (told, breaks) = watch::channel(0);
        let task = tokio::spawn(async move {
            // An error ends one connection; the device makes another.
            let mut forgotten = Vec::new();
            while let Ok((device, _)) = listener.accept().await {
                let count = *told.borrow();
                let bytes = (count < times).then_some(BYTES + BYTES_MORE * count);
                if let Ok(Some(server)) = pass(device, server, bytes).await {
                    // Stays open: the server still believes that the device is there.
                    forgotten.push(server);
                    told.send_modify(|count| *count += 1);
                }
            }
        });
        Ok(Self { address, breaks, task })
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// How often it broke until now.
    pub(super) fn breaks(&self) -> usize {
        *self.breaks.borrow()
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Passes a connection on until it ends, or breaks it off after so many bytes to the server and
/// gives the server's end of it.
async fn pass(
    device: TcpStream,
    server: SocketAddr,
    bytes: Option<usize>,
) -> io::Result<Option<TcpStream>> {
    let (mut device, mut server) = (device, TcpStream::connect(server).await?);
    device.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (mut up, mut down) = ([0; 4_096], [0; 4_096]);
    let mut passed = 0;
    loop {
        tokio::select! {
            read = device.read(&mut up) => {
                let read = read?;
                server.write_all(&up[..read]).await?;
                passed += read;
                if read == 0 {
                    return Ok(None);
                }
                if bytes.is_some_and(|bytes| passed >= bytes) {
                    return Ok(Some(server));
                }
            }
            read = server.read(&mut down) => {
                let read = read?;
                device.write_all(&down[..read]).await?;
                if read == 0 {
                    return Ok(None);
                }
            }
        }
    }
}
