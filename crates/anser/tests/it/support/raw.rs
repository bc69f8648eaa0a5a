//! A client that speaks raw frames and does what it is told, however wrong.

use std::time::Duration;

use anser_proto::{Code, ConversationId, Frame, Seq, frame, wire};
use bytes::{Bytes, BytesMut};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::site::{Account, Site};

/// No answer of a healthy server takes this long; only a failing test waits so.
const PATIENCE: Duration = Duration::from_secs(20);

/// One TCP connection.
pub(crate) struct Raw {
    pub(crate) stream: TcpStream,
    buffer: BytesMut,
}

impl Raw {
    /// Connects and says nothing.
    pub(crate) async fn connect(site: &Site) -> Self {
        Self::over(TcpStream::connect(site.connector).await.expect("a connection"))
    }

    /// Speaks over a connection that was made elsewhere.
    pub(crate) fn over(stream: TcpStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// Connects as a device that has stored nothing, and waits until it is caught up.
    pub(crate) async fn online(site: &Site, account: &Account) -> Self {
        let mut raw = Self::connect(site).await;
        raw.send(hello(site, account, 0, 0).await).await;
        raw.welcome().await;
        raw
    }

    /// Connects as a device at these positions.
    pub(crate) async fn resume(
        site: &Site,
        account: &Account,
        position: Seq,
        outbox_head: Seq,
    ) -> (Self, wire::Welcome) {
        let mut raw = Self::connect(site).await;
        raw.send(hello(site, account, position, outbox_head).await).await;
        let welcome = raw.welcome().await;
        (raw, welcome)
    }

    /// Says a Hello that must be answered by a Reset, which ends the connection.
    pub(crate) async fn reset(site: &Site, hello: Frame) -> wire::Reset {
        let mut raw = Self::connect(site).await;
        raw.send(hello).await;
        match raw.next().await {
            Frame::Reset(reset) => {
                assert!(raw.try_next().await.is_none(), "nothing follows a Reset");
                reset
            }
            other => panic!("expected Reset, got {other:?}"),
        }
    }

    /// Says that everything up to `position` is stored here.
    pub(crate) async fn ack(&mut self, position: Seq) {
        self.send(Frame::Ack(wire::Ack { position })).await;
    }

    /// Reads entries up to number `last`, which must come without a hole, from `first` on.
    pub(crate) async fn entries(&mut self, first: Seq, last: Seq) -> Vec<wire::Entry> {
        let mut entries = Vec::new();
        for expected in first..=last {
            let (seq, entry) = self.entry().await;
            assert_eq!(seq, expected);
            entries.push(entry);
        }
        entries
    }

    /// The Welcome that must come next.
    pub(crate) async fn welcome(&mut self) -> wire::Welcome {
        match self.next().await {
            Frame::Welcome(welcome) => welcome,
            other => panic!("expected Welcome, got {other:?}"),
        }
    }

    pub(crate) async fn send(&mut self, frame: Frame) {
        let mut bytes = BytesMut::new();
        frame::encode(&frame, &mut bytes);
        self.send_bytes(&bytes).await;
    }

    pub(crate) async fn send_bytes(&mut self, bytes: &[u8]) {
        // The server may have closed already: what it said is judged, not this write.
        let _ = self.stream.write_all(bytes).await;
    }

    /// The next frame.
    pub(crate) async fn next(&mut self) -> Frame {
        self.try_next().await.expect("a frame before the end of the connection")
    }

    /// The next frame, or `None` at the end of the connection.
    pub(crate) async fn try_next(&mut self) -> Option<Frame> {
        loop {
            let frame = frame::decode(&mut self.buffer, frame::FRAME_BYTES_MAX).expect("a frame");
            if frame.is_some() {
                return frame;
            }
            let read = timeout(PATIENCE, self.stream.read_buf(&mut self.buffer)).await;
            match read.expect("the server answers in time") {
                Ok(0) | Err(_) => return None,
                Ok(_) => {}
            }
        }
    }

    /// The next entry with its number; skips other frames.
    pub(crate) async fn entry(&mut self) -> (Seq, wire::Entry) {
        loop {
            if let Frame::Push(push) = self.next().await {
                return (push.seq, wire::Entry::decode(push.body).expect("an entry"));
            }
        }
    }

    /// The next receipt, as delivered and read; skips other entries.
    pub(crate) async fn receipt(&mut self) -> (Seq, Seq) {
        loop {
            if let Some(wire::entry::Kind::Receipt(receipt)) = self.entry().await.1.kind {
                return (receipt.delivered, receipt.read);
            }
        }
    }

    /// Waits for the ack of this device's command `position`.
    pub(crate) async fn acked(&mut self, position: Seq) {
        loop {
            match self.next().await {
                Frame::Ack(ack) if ack.position >= position => return,
                Frame::Close(close) => panic!("closed: {}", close.text),
                _ => {}
            }
        }
    }

    /// The code with which the server closes; skips other frames.
    pub(crate) async fn closed(&mut self) -> Code {
        loop {
            if let Frame::Close(close) = self.next().await {
                let code = Code::from_number(close.code).expect("a known code");
                assert!(self.try_next().await.is_none(), "nothing follows a Close");
                return code;
            }
        }
    }
}

/// The Hello of a device at `position`.
pub(crate) async fn hello(
    site: &Site,
    account: &Account,
    position: Seq,
    outbox_head: Seq,
) -> Frame {
    Frame::Hello(wire::Hello {
        version: 1,
        token: account.token.clone(),
        epoch: site.status().await.epoch,
        position,
        outbox_head,
        outbox_trimmed: 0,
    })
}

/// A Send command with an unsealed body: the server does not look into it.
pub(crate) fn send(conversation: ConversationId, body: &[u8]) -> Bytes {
    let kind = wire::Send { conversation: conversation.0, key_version: 1, ..<_>::default() };
    let kind = Some(wire::command::Kind::Send(kind));
    wire::Command { kind, body: Bytes::copy_from_slice(body) }.encode_to_vec().into()
}

pub(crate) fn push(seq: Seq, body: Bytes) -> Frame {
    Frame::Push(wire::Push { seq, body })
}
