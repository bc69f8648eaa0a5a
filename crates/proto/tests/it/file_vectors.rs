//! The golden sealed files as values, and their JSON.

use anser_proto::seal::{
    Key,
    file::{CHUNK_BYTES, Sealer},
};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::vectors::hex;

/// `golden/files.json`.
pub(crate) fn files_json() -> Value {
    let files: Vec<Value> = files().iter().map(SealedFile::words).collect();
    json!({
        "about": "Sealed files: chunks of 65536 bytes, each AES-256-GCM, sealed = nonce | \
                  ciphertext | tag. Values are hex. Byte n of a file is (seed + n) mod 251. Of \
                  each chunk stand its first 44 bytes (nonce and the first 32 that follow), its \
                  length, and its tag.",
        "files": files,
    })
}

/// One sealed file and what it was made of.
pub(crate) struct SealedFile {
    name: &'static str,
    pub(crate) key: [u8; 32],
    seed: usize,
    pub(crate) plain: Vec<u8>,
    /// Chunk by chunk.
    pub(crate) sealed: Vec<Vec<u8>>,
}

impl SealedFile {
    fn new(name: &'static str, seed: usize, size: usize) -> Self {
        let key: [u8; 32] = std::array::from_fn(|at| (at + seed) as u8);
        let plain: Vec<u8> = (0..size).map(|at| ((seed + at) % 251) as u8).collect();
        let mut sealer = Sealer::new(Key::new(key), size as u64);
        let (mut rest, mut chunks) = (&plain[..], Vec::new());
        while let Some(wanted) = sealer.wanted() {
            let (chunk, later) = rest.split_at(wanted);
            let mut sealed = Vec::new();
            sealer.seal(chunk, &mut sealed);
            chunks.push(sealed);
            rest = later;
        }
        Self { name, key, seed, plain, sealed: chunks }
    }

    fn words(&self) -> Value {
        let chunk = |sealed: &Vec<u8>| {
            json!({
                "bytes": sealed.len(),
                "begins": hex(&sealed[..sealed.len().min(44)]),
                "tag": hex(&sealed[sealed.len() - 16..]),
            })
        };
        json!({
            "name": self.name,
            "key": hex(&self.key),
            "seed": self.seed,
            "size": self.plain.len(),
            "sha256": hex(&Sha256::digest(&self.plain)),
            "sealed_sha256": hex(&Sha256::digest(self.sealed.concat())),
            "chunks": self.sealed.iter().map(chunk).collect::<Vec<_>>(),
        })
    }
}

pub(crate) fn files() -> Vec<SealedFile> {
    vec![
        SealedFile::new("empty", 0, 0),
        SealedFile::new("short", 1, 100),
        SealedFile::new("one full chunk", 2, CHUNK_BYTES),
        SealedFile::new("three chunks", 3, 2 * CHUNK_BYTES + 1),
    ]
}
