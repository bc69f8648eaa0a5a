//! The golden files say the same as this crate does.

use anser_proto::{
    FrameError,
    frame::{self, FRAME_BYTES_MAX},
    seal::{Key, file::Opener},
};
use bytes::BytesMut;
use serde_json::Value;

use super::{file_vectors, sealed_vectors, vectors};

const HINT: &str = "golden/ is read by other languages and by old clients. If the protocol changed on \
                    purpose, write it anew: cargo run -p anser-proto --example golden frames > \
                    golden/frames.json (and the same with sealed and files)";

fn file(name: &str) -> Value {
    let path = format!("{}/../../golden/{name}", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect("a golden file");
    serde_json::from_str(&text).expect("JSON")
}

fn unhex(value: &Value) -> BytesMut {
    let text = value.as_str().expect("hex");
    let digits = |at| u8::from_str_radix(&text[at..at + 2], 16).expect("hex digits");
    (0..text.len()).step_by(2).map(digits).collect()
}

#[test]
fn frames_encode_to_the_golden_bytes() {
    let (file, ours) = (file("frames.json"), vectors::frames_json());
    for (theirs, ours) in
        file["frames"].as_array().unwrap().iter().zip(ours["frames"].as_array().unwrap())
    {
        assert_eq!(theirs, ours, "{HINT}");
    }
    assert_eq!(file, ours, "{HINT}");
}

#[test]
fn golden_bytes_decode_to_the_frames() {
    let file = file("frames.json");
    let vectors = vectors::frames();
    assert_eq!(file["frames"].as_array().unwrap().len(), vectors.len(), "{HINT}");
    for (theirs, ours) in file["frames"].as_array().unwrap().iter().zip(vectors) {
        assert_eq!(theirs["name"], ours.name, "{HINT}");
        let mut bytes = unhex(&theirs["hex"]);
        let frame = frame::decode(&mut bytes, FRAME_BYTES_MAX).unwrap();
        assert_eq!(frame, Some(ours.frame), "{}: {HINT}", ours.name);
        assert!(bytes.is_empty(), "{}", ours.name);
    }
}

#[test]
fn skipped_and_malformed_bytes_are_so() {
    let file = file("frames.json");
    let mut after = vectors::encode(&vectors::frames()[0].frame);
    let first = frame::decode(&mut after.clone(), FRAME_BYTES_MAX).unwrap();
    for vector in file["skipped"].as_array().unwrap() {
        let mut bytes = unhex(&vector["hex"]);
        bytes.extend_from_slice(&after);
        let frame = frame::decode(&mut bytes, FRAME_BYTES_MAX);
        assert_eq!(frame, Ok(first.clone()), "{vector}: the frame after it is read");
    }
    after.clear();
    for vector in file["malformed"].as_array().unwrap() {
        let error = frame::decode(&mut unhex(&vector["hex"]), FRAME_BYTES_MAX).unwrap_err();
        let too_large = vector["name"] == "length above 64 KiB";
        assert_eq!(error != FrameError::Malformed, too_large, "{vector}");
    }
}

#[test]
fn bodies_seal_to_and_open_from_the_golden_bytes() {
    let file = file("sealed.json");
    assert_eq!(file, sealed_vectors::sealed_json(), "{HINT}");
    let vectors = sealed_vectors::sealed();
    for (theirs, ours) in file["sealed"].as_array().unwrap().iter().zip(&vectors) {
        let opened = Key::new(ours.key).open(&ours.place, &unhex(&theirs["sealed"]));
        assert_eq!(opened.as_ref(), Ok(&ours.plaintext), "{}: {HINT}", theirs["name"]);
        assert_eq!(ours.sealed[..12], ours.nonce, "the nonce stands first");
    }
}

#[test]
fn files_seal_to_and_open_from_the_golden_bytes() {
    assert_eq!(file("files.json"), file_vectors::files_json(), "{HINT}");
    for vector in file_vectors::files() {
        let mut opener = Opener::new(Key::new(vector.key), vector.plain.len() as u64, 0);
        let mut plain = Vec::new();
        opener.open(&vector.sealed.concat(), &mut plain).unwrap();
        opener.finish().unwrap();
        assert!(plain == vector.plain, "it opens to what it was made of");
    }
}

#[test]
fn what_must_not_open_does_not() {
    let vectors = sealed_vectors::sealed();
    let bad = sealed_vectors::must_not_open(&vectors[0]);
    assert!(bad.len() >= 10);
    for (name, bad) in bad {
        assert!(Key::new(bad.key).open(&bad.place, &bad.sealed).is_err(), "{name}");
    }
}
