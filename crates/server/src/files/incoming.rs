//! The body of a request that adds to a file, piece by piece.

use std::time::Duration;

use anser_proto::Code;
use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::StreamExt as _;

/// What comes, until it ends.
pub(super) struct Incoming {
    pieces: BodyDataStream,
    /// Bytes that the file still takes.
    room: u64,
    /// Why it ended early.
    pub(super) cut: Option<Code>,
}

impl Incoming {
    pub(super) fn new(body: Body, room: u64) -> Self {
        Self { pieces: body.into_data_stream(), room, cut: None }
    }

    /// The next piece; `None` at the end. A piece that is too much ends it, and is not given.
    pub(super) async fn next(&mut self) -> Option<Bytes> {
        if self.cut.is_some() {
            return None;
        }
        match tokio::time::timeout(SILENCE_MAX, self.pieces.next()).await {
            Ok(Some(Ok(piece))) if piece.len() as u64 > self.room => {
                self.cut = Some(Code::PayloadTooLarge);
            }
            Ok(Some(Ok(piece))) => {
                self.room -= piece.len() as u64;
                return Some(piece);
            }
            Ok(None) => {}
            Ok(Some(Err(_))) => self.cut = Some(Code::Malformed),
            Err(_) => self.cut = Some(Code::TimedOut),
        }
        None
    }
}

/// An upload that is silent for so long is over; it goes on by another request, which waits for it:
/// a client that was killed may have left a connection behind that a network keeps.
const SILENCE_MAX: Duration = Duration::from_secs(10);
