//! The codec on any frame and on any bytes.

use anser_proto::{
    Frame, FrameError,
    frame::{FRAME_BYTES_MAX, PREFIX_BYTES, decode, encode},
    wire,
};
use bytes::{Bytes, BytesMut};
use proptest::{collection::vec, prelude::*};
use prost::Message as _;

fn any_bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..300).prop_map(Bytes::from)
}

fn any_frame() -> impl Strategy<Value = Frame> {
    let hello = (any::<u32>(), ".*", ".*", any::<[u64; 3]>()).prop_map(
        |(version, token, epoch, [position, outbox_head, outbox_trimmed])| {
            let numbers =
                wire::Hello { position, outbox_head, outbox_trimmed, ..Default::default() };
            Frame::Hello(wire::Hello { version, token, epoch, ..numbers })
        },
    );
    let welcome = (".*", any::<[u64; 3]>(), any::<Option<[u32; 4]>>()).prop_map(
        |(epoch, [head, floor, outbox_position], limits)| {
            let limits = limits.map(|[a, b, c, d]| wire::Limits {
                frame_bytes_max: a,
                body_bytes_max: b,
                commands_in_flight_max: c,
                entries_in_flight_max: d,
            });
            let heartbeat_ms = head as u32;
            let outbox_digest = wire::outbox_digest(limits.map(|_| floor));
            Frame::Welcome(wire::Welcome {
                epoch,
                head,
                floor,
                outbox_position,
                heartbeat_ms,
                limits,
                outbox_digest,
            })
        },
    );
    let reset = (".*", any::<[u64; 2]>()).prop_map(|(epoch, [head, outbox_position])| {
        let outbox_digest = wire::outbox_digest((head % 2 == 0).then_some(head));
        Frame::Reset(wire::Reset { epoch, head, outbox_position, outbox_digest })
    });
    prop_oneof![
        hello,
        welcome,
        reset,
        (any::<u64>(), any_bytes()).prop_map(|(seq, body)| Frame::Push(wire::Push { seq, body })),
        any::<u64>().prop_map(|position| Frame::Ack(wire::Ack { position })),
        Just(Frame::CaughtUp(wire::CaughtUp {})),
        any::<u64>().prop_map(|nonce| Frame::Ping(wire::Ping { nonce })),
        any::<u64>().prop_map(|nonce| Frame::Pong(wire::Pong { nonce })),
        any_bytes().prop_map(|body| Frame::Notify(wire::Notify { body })),
        any::<u32>().prop_map(|after_ms| Frame::GoAway(wire::GoAway { after_ms })),
        (any::<u32>(), ".*").prop_map(|(code, text)| Frame::Close(wire::Close { code, text })),
    ]
}

proptest! {
    #[test]
    fn frames_survive_the_wire_in_any_chunks(
        frames in vec(any_frame(), 1..6),
        chunk in 1..50usize,
    ) {
        let mut wire = BytesMut::new();
        frames.iter().for_each(|frame| encode(frame, &mut wire));
        let (mut buffer, mut decoded) = (BytesMut::new(), Vec::new());
        for bytes in wire.chunks(chunk) {
            buffer.extend_from_slice(bytes);
            while let Some(frame) = decode(&mut buffer, FRAME_BYTES_MAX).unwrap() {
                decoded.push(frame);
            }
        }
        prop_assert_eq!(decoded, frames);
        prop_assert!(buffer.is_empty());
    }

    #[test]
    fn any_bytes_decode_or_fail_but_never_panic(bytes in vec(any::<u8>(), 0..400)) {
        let mut buffer = BytesMut::from(&bytes[..]);
        while let Ok(Some(_)) = decode(&mut buffer, FRAME_BYTES_MAX) {}
        // With an honest length, so that the protobuf decoder sees the bytes too.
        let mut framed = BytesMut::from(&(bytes.len() as u32).to_be_bytes()[..]);
        framed.extend_from_slice(&bytes);
        let _ = decode(&mut framed, FRAME_BYTES_MAX);
    }

    #[test]
    fn without_body_cuts_only_the_body_of_messages(
        conversation in any::<u64>(), conv_seq in any::<u64>(), body in any_bytes(),
    ) {
        let message = wire::Message { conversation, conv_seq, ..Default::default() };
        let kind = Some(wire::entry::Kind::Message(message));
        let entry = wire::Entry { kind: kind.clone(), body };
        let cut = wire::without_body(&entry.encode_to_vec().into());
        let without = wire::Entry { kind, body: Bytes::new() };
        prop_assert_eq!(wire::Entry::decode(cut).unwrap(), without);
    }

    #[test]
    fn without_body_of_any_bytes_is_their_beginning(bytes in any_bytes()) {
        let cut = wire::without_body(&bytes);
        prop_assert!(bytes.starts_with(&cut));
    }
}

#[test]
fn a_known_frame_has_the_bytes_that_the_protobuf_rules_give() {
    let mut bytes = BytesMut::new();
    encode(&Frame::Ack(wire::Ack { position: 300 }), &mut bytes);
    // Length 5 | field 5, 3 bytes | field 1 = 300 as varint.
    assert_eq!(&bytes[..], [0, 0, 0, 5, 0x2a, 3, 0x08, 0xac, 0x02]);
}

#[test]
fn a_frame_above_the_limit_is_refused_by_its_prefix() {
    let frame = |len| {
        let body = Bytes::from(vec![0; len]);
        let mut bytes = BytesMut::new();
        encode(&Frame::Notify(wire::Notify { body }), &mut bytes);
        bytes
    };
    let overhead = frame(60_000).len() - 60_000 - PREFIX_BYTES;
    let mut largest = frame(FRAME_BYTES_MAX - overhead);
    assert!(matches!(decode(&mut largest, FRAME_BYTES_MAX), Ok(Some(_))));
    let mut above = frame(FRAME_BYTES_MAX - overhead + 1);
    above.truncate(PREFIX_BYTES);
    let error = FrameError::TooLarge { bytes: FRAME_BYTES_MAX + 1, max: FRAME_BYTES_MAX };
    assert_eq!(decode(&mut above, FRAME_BYTES_MAX), Err(error));
}

#[test]
fn a_decoded_body_shares_the_buffer() {
    let mut bytes = BytesMut::new();
    encode(&Frame::Push(wire::Push { seq: 1, body: Bytes::from(vec![7; 1000]) }), &mut bytes);
    let memory = bytes.as_ptr_range();
    let Ok(Some(Frame::Push(push))) = decode(&mut bytes, FRAME_BYTES_MAX) else { panic!("a push") };
    assert!(memory.contains(&push.body.as_ptr()), "the body was copied");
}
