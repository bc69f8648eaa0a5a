//! The golden sealed bodies as values, and their JSON.

use anser_proto::{
    ConversationId, DeviceId, UserId,
    id::NUMBER_MAX,
    seal::{Key, Place},
    wire::{self, content},
};
use prost::Message as _;
use serde_json::{Value, json};

use super::vectors::hex;

const MAX: u64 = NUMBER_MAX - 1;

/// `golden/sealed.json`.
pub(crate) fn sealed_json() -> Value {
    let vectors = sealed();
    let good: Vec<Value> = vectors.iter().map(Sealed::words).collect();
    let bad: Vec<Value> = must_not_open(&vectors[0])
        .into_iter()
        .map(|(name, sealed)| {
            let all = sealed.words();
            json!({
                "name": name, "key": all["key"], "place": all["place"], "sealed": all["sealed"],
            })
        })
        .collect();
    json!({
        "about": "Sealed message bodies: AES-256-GCM, sealed = nonce | ciphertext | tag. Values are \
                  hex, ids decimal strings. `plaintext` is a Content message of anser.proto where \
                  `text` stands beside it. What is under `must_not_open` has to fail.",
        "sealed": good,
        "must_not_open": bad,
    })
}

/// One sealed body and what it was made of.
#[derive(Clone)]
pub(crate) struct Sealed {
    name: &'static str,
    text: Option<&'static str>,
    pub(crate) key: [u8; 32],
    pub(crate) nonce: [u8; 12],
    pub(crate) place: Place,
    pub(crate) plaintext: Vec<u8>,
    pub(crate) sealed: Vec<u8>,
}

impl Sealed {
    fn words(&self) -> Value {
        json!({
            "name": self.name,
            "key": hex(&self.key),
            "nonce": hex(&self.nonce),
            "place": {
                "conversation": self.place.conversation,
                "sender": self.place.sender,
                "device": self.place.device,
                "client_seq": self.place.client_seq,
                "key_version": self.place.key_version,
            },
            "aad": hex(&self.place.aad()),
            "text": self.text,
            "plaintext": hex(&self.plaintext),
            "sealed": hex(&self.sealed),
        })
    }
}

pub(crate) fn sealed() -> Vec<Sealed> {
    let place = |numbers: [u64; 4], key_version| Place {
        conversation: ConversationId(numbers[0]),
        sender: UserId(numbers[1]),
        device: DeviceId(numbers[2]),
        client_seq: numbers[3],
        key_version,
    };
    let usual = place([7_205_759_403_792_793, 11, 12, 4], 1);
    let key: [u8; 32] = std::array::from_fn(|at| at as u8);
    let nonce: [u8; 12] = std::array::from_fn(|at| 0xa0 + at as u8);
    let make = |name, text: Option<&'static str>, (key, nonce), place: Place, raw: Vec<u8>| {
        let plaintext = text.map_or(raw, |text| {
            let text = wire::Text { text: text.to_owned() };
            wire::Content { kind: Some(content::Kind::Text(text)) }.encode_to_vec()
        });
        let sealed = Key::new(key).seal_with_nonce(nonce, &place, &plaintext);
        Sealed { name, text, key, nonce, place, plaintext, sealed }
    };
    let usual_key = (key, nonce);
    vec![
        make("hello", Some("hello"), usual_key, usual, Vec::new()),
        make("chinese and emoji", Some("鸿雁传书 🪿"), usual_key, usual, Vec::new()),
        make("empty body", None, usual_key, usual, Vec::new()),
        make("highest numbers", None, ([255; 32], [255; 12]), place([MAX; 4], u32::MAX), vec![7]),
        make("lowest numbers", None, ([0; 32], [0; 12]), place([0; 4], 0), vec![0; 33]),
        make("long body", None, usual_key, usual, vec![0x5a; 1000]),
    ]
}

/// Changes of a good vector, each of which has to fail.
pub(crate) fn must_not_open(good: &Sealed) -> Vec<(&'static str, Sealed)> {
    let changed = |name, change: fn(&mut Sealed)| {
        let mut bad = good.clone();
        change(&mut bad);
        (name, bad)
    };
    vec![
        changed("another key", |bad| bad.key[31] ^= 1),
        changed("another conversation", |bad| bad.place.conversation.0 += 1),
        changed("another sender", |bad| bad.place.sender.0 += 1),
        changed("another device", |bad| bad.place.device.0 += 1),
        changed("another client_seq", |bad| bad.place.client_seq += 1),
        changed("another key version", |bad| bad.place.key_version += 1),
        changed("sender and device exchanged", |bad| {
            (bad.place.sender.0, bad.place.device.0) = (bad.place.device.0, bad.place.sender.0);
        }),
        changed("changed nonce", |bad| bad.sealed[0] ^= 1),
        changed("changed ciphertext", |bad| bad.sealed[12] ^= 1),
        changed("changed tag", |bad| *bad.sealed.last_mut().expect("a tag") ^= 1),
        changed("one byte short", |bad| bad.sealed.truncate(bad.sealed.len() - 1)),
        changed("one byte long", |bad| bad.sealed.push(0)),
        changed("shorter than nonce and tag", |bad| bad.sealed.truncate(27)),
        changed("nothing", |bad| bad.sealed.clear()),
    ]
}
