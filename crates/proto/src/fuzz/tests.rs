//! Every target over its committed corpus, and over seeded inputs.

use std::path::Path;

use super::{codec, entry, replay, rest_body, session};

fn over_corpus(target: &str, run: fn(&[u8])) {
    let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/corpus");
    replay(&Path::new(corpus).join(target), run);
}

#[test]
fn the_codec_keeps_its_promises() {
    over_corpus("codec", codec);
}

#[test]
fn sessions_keep_their_promises() {
    over_corpus("session", session);
}

#[test]
fn entries_and_sealed_bodies_keep_their_promises() {
    over_corpus("entry", entry);
}

#[test]
fn rest_bodies_keep_their_promises() {
    over_corpus("rest_body", rest_body);
}
