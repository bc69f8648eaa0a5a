//! A connector that a test plays frame by frame.

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use anser_proto::{
    Code, Frame, Seq,
    frame::{self, FRAME_BYTES_MAX},
    wire,
};
use bytes::{Bytes, BytesMut};
use prost::Message as _;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::soon;

pub(crate) struct Connector {
    pub(crate) address: SocketAddr,
    listener: TcpListener,
    digests: Digests,
}

/// What devices, named by their tokens, pushed under their numbers.
type Digests = Arc<Mutex<HashMap<(String, Seq), u64>>>;

/// The server's end of one connection.
pub(crate) struct Peer {
    pub(crate) hello: wire::Hello,
    pub(crate) stream: TcpStream,
    buffer: BytesMut,
    digests: Digests,
}

impl Connector {
    pub(crate) async fn bind() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        Self { address, listener, digests: Digests::default() }
    }

    /// The next connection, up to its Hello.
    pub(crate) async fn accept(&self) -> Peer {
        let (stream, _) = soon(self.listener.accept()).await.expect("a connection");
        let hello = wire::Hello::default();
        let digests = self.digests.clone();
        let mut peer = Peer { hello, stream, buffer: BytesMut::new(), digests };
        match peer.frame().await {
            Some(Frame::Hello(hello)) => peer.hello = hello,
            other => panic!("no Hello: {other:?}"),
        }
        peer
    }
}

impl Peer {
    pub(crate) async fn send(&mut self, frame: Frame) {
        self.send_together([frame]).await;
    }

    /// In one write, so that the client has all before it does anything.
    pub(crate) async fn send_together(&mut self, frames: impl IntoIterator<Item = Frame>) {
        let mut bytes = BytesMut::new();
        frames.into_iter().for_each(|frame| frame::encode(&frame, &mut bytes));
        self.stream.write_all(&bytes).await.expect("the client reads");
    }

    pub(crate) async fn welcome(&mut self, head: Seq, outbox_position: Seq) {
        let outbox_digest = self.digest(outbox_position);
        let usual = welcome(head, outbox_position);
        self.send(Frame::Welcome(wire::Welcome { outbox_digest, ..usual })).await;
    }

    /// The digest of a command that this device pushed, on any connection.
    pub(crate) fn digest(&self, position: Seq) -> Bytes {
        let key = (self.hello.token.clone(), position);
        wire::outbox_digest(self.digests.lock().expect("no panic").get(&key).copied())
    }

    pub(crate) async fn caught_up(&mut self) {
        self.send(Frame::CaughtUp(wire::CaughtUp {})).await;
    }

    pub(crate) async fn entry(&mut self, seq: Seq, entry: &wire::Entry) {
        self.bytes(seq, entry.encode_to_vec().into()).await;
    }

    pub(crate) async fn bytes(&mut self, seq: Seq, body: Bytes) {
        self.send(Frame::Push(wire::Push { seq, body })).await;
    }

    pub(crate) async fn ack(&mut self, position: Seq) {
        self.send(Frame::Ack(wire::Ack { position })).await;
    }

    pub(crate) async fn close(&mut self, code: Code) {
        let text = code.sentence().to_owned();
        self.send(Frame::Close(wire::Close { code: code.number(), text })).await;
    }

    /// The client's next frame; `None` when it hung up.
    pub(crate) async fn frame(&mut self) -> Option<Frame> {
        loop {
            let frame = frame::decode(&mut self.buffer, FRAME_BYTES_MAX).expect("a frame");
            if let Some(Frame::Push(push)) = &frame {
                let (key, digest) = (self.hello.token.clone(), wire::command_digest(&push.body));
                self.digests.lock().expect("no panic").insert((key, push.seq), digest);
            }
            if frame.is_some() {
                return frame;
            }
            match soon(self.stream.read_buf(&mut self.buffer)).await {
                Ok(1..) => {}
                Ok(0) | Err(_) => return None,
            }
        }
    }

    /// The client's next command, past acks and pings.
    pub(crate) async fn command(&mut self) -> (Seq, Bytes) {
        loop {
            match self.frame().await {
                Some(Frame::Push(push)) => return (push.seq, push.body),
                Some(Frame::Ack(_) | Frame::Ping(_)) => {}
                other => panic!("no command: {other:?}"),
            }
        }
    }

    /// Reads until the client acked up to `position`.
    pub(crate) async fn acked(&mut self, position: Seq) {
        loop {
            match self.frame().await {
                Some(Frame::Ack(ack)) if ack.position >= position => return,
                Some(Frame::Ack(_) | Frame::Ping(_)) => {}
                other => panic!("no ack of {position}: {other:?}"),
            }
        }
    }

    /// Everything that the client says until it hangs up.
    pub(crate) async fn last_frames(&mut self) -> Vec<Frame> {
        let mut frames = Vec::new();
        while let Some(frame) = self.frame().await {
            frames.push(frame);
        }
        frames
    }
}

/// A usual Welcome.
pub(crate) fn welcome(head: Seq, outbox_position: Seq) -> wire::Welcome {
    wire::Welcome {
        epoch: "e1".to_owned(),
        head,
        floor: 1,
        outbox_position,
        heartbeat_ms: 30_000,
        limits: Some(wire::Limits {
            frame_bytes_max: 64 * 1024,
            body_bytes_max: 16 * 1024,
            commands_in_flight_max: 64,
            entries_in_flight_max: 256,
        }),
        ..<_>::default()
    }
}
