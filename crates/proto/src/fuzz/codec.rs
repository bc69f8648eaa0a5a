//! The codec under any bytes, in any chunks, under any limit.

use bytes::BytesMut;

use crate::{
    Frame, FrameError,
    frame::{FRAME_BYTES_MAX, PREFIX_BYTES, decode, encode},
};

/// What a connection's bytes decode to, and why decoding ended, if it did.
type Decoded = (Vec<Frame>, Option<FrameError>);

/// Decodes `data` as a connection's bytes. The first byte chooses chunks and limit.
///
/// # Panics
/// When frames depend on how the bytes are cut, do not survive their own encoding, or are larger
/// than what was read.
pub fn codec(data: &[u8]) {
    let Some((choice, bytes)) = data.split_first() else { return };
    let limit = [FRAME_BYTES_MAX, 64, 8, 0][usize::from(choice & 3)];
    let whole = decoded(bytes, bytes.len().max(1), limit);
    let cut = decoded(bytes, usize::from(choice >> 2) + 1, limit);
    assert_eq!(whole, cut, "frames depend on how the bytes are cut");
    check(&whole, bytes.len(), limit);

    // With an honest length, so that the protobuf decoder sees all of the bytes too.
    let prefix = u32::try_from(bytes.len()).expect("an input is shorter than 4 GiB");
    let framed = [&prefix.to_be_bytes()[..], bytes].concat();
    check(&decoded(&framed, framed.len(), FRAME_BYTES_MAX), framed.len(), FRAME_BYTES_MAX);
}

fn decoded(bytes: &[u8], chunk: usize, limit: usize) -> Decoded {
    let (mut buffer, mut frames) = (BytesMut::new(), Vec::new());
    for chunk in bytes.chunks(chunk) {
        buffer.extend_from_slice(chunk);
        loop {
            let before = buffer.len();
            match decode(&mut buffer, limit) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
            assert!(buffer.len() + PREFIX_BYTES <= before, "a frame takes at least its prefix");
        }
        // What stays is the beginning of one frame, not a heap of unread ones.
        assert!(
            buffer.len() < PREFIX_BYTES + limit.max(1),
            "an unfinished frame is below its limit"
        );
    }
    (frames, None)
}

fn check((frames, error): &Decoded, read: usize, limit: usize) {
    let mut again = BytesMut::new();
    for frame in frames {
        let before = again.len();
        encode(frame, &mut again);
        assert!(again.len() - before <= PREFIX_BYTES + limit, "no frame is above the limit");
    }
    // The shortest encoding of what was read: a stranger can not make this end write more.
    assert!(again.len() <= read, "frames are no larger than the bytes that they came in");
    let (same, none) = decoded(&again, again.len().max(1), limit);
    assert_eq!((&same, none), (frames, None), "a frame survives its own encoding");
    if let Some(FrameError::TooLarge { bytes, max }) = error {
        assert!(bytes > max && *max == limit, "{error:?}");
    }
}
