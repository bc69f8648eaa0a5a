use super::*;

#[test]
fn not_enough_bytes_is_no_error_and_takes_nothing() {
    let mut whole = BytesMut::new();
    encode(&Frame::Ping(wire::Ping { nonce: 1 }), &mut whole);
    for len in 0..whole.len() {
        let mut part = BytesMut::from(&whole[..len]);
        assert_eq!(decode(&mut part, FRAME_BYTES_MAX), Ok(None), "{len} bytes");
        assert_eq!(part.len(), len);
    }
}

#[test]
fn many_skipped_frames_do_not_hide_the_next() {
    let mut bytes = BytesMut::from(&[0; 4 * 10_000][..]);
    encode(&Frame::Pong(wire::Pong { nonce: 2 }), &mut bytes);
    let frame = decode(&mut bytes, FRAME_BYTES_MAX);
    assert_eq!(frame, Ok(Some(Frame::Pong(wire::Pong { nonce: 2 }))));
}

#[test]
fn errors_say_the_limit() {
    let error = decode(&mut BytesMut::from(&[0, 0, 1, 0][..]), 255).unwrap_err();
    assert_eq!(error.to_string(), "a frame of 256 bytes is above the limit of 255");
}
