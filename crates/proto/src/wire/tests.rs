use prost::Message as _;

use super::*;

fn message(body: &'static [u8]) -> Entry {
    let message = Message { conversation: 1, conv_seq: 300, sender: 2, ..Default::default() };
    Entry { kind: Some(entry::Kind::Message(message)), body: Bytes::from_static(body) }
}

fn cut(bytes: &[u8]) -> Vec<u8> {
    let bytes = Bytes::copy_from_slice(bytes);
    let cut = without_body(&bytes);
    let inside = cut.is_empty() || bytes.as_ptr_range().contains(&cut.as_ptr());
    assert!(inside, "a view, not a copy");
    cut.to_vec()
}

#[test]
fn a_body_is_cut_off() {
    let whole = message(b"sealed").encode_to_vec();
    assert_eq!(cut(&whole), message(b"").encode_to_vec());
    assert_eq!(cut(&cut(&whole)), message(b"").encode_to_vec(), "twice changes nothing");
    let send = command::Kind::Send(Send { conversation: 1, key_version: 2, files: vec![3] });
    let command = Command { kind: Some(send), body: Bytes::from_static(b"sealed") };
    let bare = Command { body: Bytes::new(), ..command.clone() };
    assert_eq!(cut(&command.encode_to_vec()), bare.encode_to_vec());
}

#[test]
fn a_body_without_a_kind_is_cut_off() {
    let entry = Entry { kind: None, body: Bytes::from_static(b"sealed") };
    assert_eq!(cut(&entry.encode_to_vec()), b"");
    assert_eq!(cut(b""), b"");
}

#[test]
fn fields_of_a_later_version_before_the_body_stay() {
    let kind = message(b"").encode_to_vec();
    // Field 14 as varint 5, then the body.
    let later = [&kind[..], &[0x70, 5]].concat();
    let whole = [&later[..], &[0x7a, 2, b'h', b'i']].concat();
    assert_eq!(Entry::decode(&whole[..]).unwrap().body, "hi");
    assert_eq!(cut(&whole), later);
}

#[test]
fn bytes_that_are_no_message_come_back_whole() {
    let hostile: [&[u8]; 9] = [
        // A length far above what follows, up to the whole range of 64 bits.
        &[0x7a, 5, 1],
        &[0x0a, 200, 1, 0],
        &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1],
        // A varint without an end, a tag without a length, tag 0, a wire type that does not exist.
        &[0xff; 12],
        &[0x0a],
        &[0x00, 1],
        &[0x7f, 1],
        // A group without an end, and one of the body's number.
        &[0x0b, 0x08],
        &[0x7b, 0x08, 1],
    ];
    for bytes in hostile {
        assert_eq!(cut(bytes), bytes);
    }
    assert_eq!(cut(&[0x78, 1]), [0x78, 1], "a number in the body's place is no body");
    let mut nested = vec![0x0b; 10_000];
    nested.extend([0x0c; 10_000]);
    assert_eq!(cut(&nested), nested, "deep groups do not overflow the stack");
}

#[test]
fn a_hello_does_not_show_its_token() {
    let hello = Hello { token: "secret-token".to_owned(), position: 77, ..Default::default() };
    let shown = format!("{:?}", crate::Frame::Hello(hello));
    assert!(shown.contains("77") && !shown.contains("secret-token"), "{shown}");
}
