//! The codec: `u32 big-endian length | protobuf Frame`, the same bytes on TCP and inside WebSocket
//! binary messages.
//!
//! "Not enough bytes yet" is `Ok(None)`, not an error. A frame of unknown kind is skipped.

use bytes::{Buf, BufMut, Bytes, BytesMut};
use prost::Message as _;

use crate::wire;
pub use crate::wire::frame::Kind as Frame;

#[cfg(test)]
mod tests;

/// Length of the prefix in bytes.
pub const PREFIX_BYTES: usize = 4;

/// Largest frame without its prefix, in bytes: four of the largest message bodies.
pub const FRAME_BYTES_MAX: usize = 64 * 1024;

/// Why bytes are not a frame. All of them end the connection.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum FrameError {
    /// The length prefix is above the limit; nothing of the frame was read.
    #[error("a frame of {bytes} bytes is above the limit of {max}")]
    TooLarge {
        /// The length that the prefix told.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// The bytes do not decode.
    #[error("the frame does not decode")]
    Malformed,
}

/// Appends `frame` with its length prefix to `out`.
///
/// # Panics
/// When the frame is longer than a `u32` tells, which no limit allows.
pub fn encode(frame: &Frame, out: &mut BytesMut) {
    let len = frame.encoded_len();
    out.reserve(PREFIX_BYTES + len);
    out.put_u32(u32::try_from(len).expect("a frame is shorter than 4 GiB"));
    frame.encode(out);
}

/// Takes the next whole frame from the front of `buffer`.
///
/// `Ok(None)`: more bytes are needed. The body of a frame shares the buffer's memory.
///
/// # Errors
/// [`FrameError`]: close the connection; the buffer's state is unspecified.
pub fn decode(buffer: &mut BytesMut, bytes_max: usize) -> Result<Option<Frame>, FrameError> {
    loop {
        let Some(prefix) = buffer.first_chunk::<PREFIX_BYTES>() else { return Ok(None) };
        let bytes = u32::from_be_bytes(*prefix) as usize;
        if bytes > bytes_max {
            return Err(FrameError::TooLarge { bytes, max: bytes_max });
        }
        if buffer.len() < PREFIX_BYTES + bytes {
            return Ok(None);
        }
        buffer.advance(PREFIX_BYTES);
        let frame: Bytes = buffer.split_to(bytes).freeze();
        match wire::Frame::decode(frame) {
            Ok(wire::Frame { kind: Some(kind) }) => return Ok(Some(kind)),
            Ok(wire::Frame { kind: None }) => {}
            Err(_) => return Err(FrameError::Malformed),
        }
    }
}
