//! Sealing the same file again from an earlier place, as a broken line asks for.

use std::{future::poll_fn, io::Write as _};

use sha2::{Digest as _, Sha256};

use super::*;
use crate::upload::identity;

/// Three marks, and a chunk that is not whole.
const SIZE: usize = 130 * CHUNK_BYTES + 1000;

/// A file of no pattern, and how it is remembered.
fn saved() -> (tempfile::NamedTempFile, Vec<u8>, SavedUpload) {
    let plain: Vec<u8> =
        (0u32..).flat_map(|at| at.wrapping_mul(2_654_435_761).to_be_bytes()).take(SIZE).collect();
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(&plain).unwrap();
    let (size, modified_ns) = identity(file.as_file()).unwrap();
    let upload = SavedUpload {
        number: 1,
        conversation: anser_proto::ConversationId(1),
        path: file.path().display().to_string(),
        name: String::new(),
        media_type: String::new(),
        size,
        modified_ns,
        key: [7; 32],
        pixels: None,
        preview: Vec::new(),
        file: None,
        client_seq: None,
    };
    (file, plain, upload)
}

/// Seals on from `offset` until so many bytes came, or to the end.
async fn seal(reader: Reader, offset: u64, wanted: usize) -> (Reader, Vec<u8>) {
    let sealing = reader.seal(offset);
    let (pieces, mut sealed) = (sealing.pieces(), Vec::new());
    while sealed.len() < wanted
        && let Some(piece) = poll_fn(|cx| pieces.poll(cx)).await
    {
        sealed.extend_from_slice(&piece);
    }
    (sealing.end().await.unwrap(), sealed)
}

#[tokio::test]
async fn a_file_seals_to_the_same_bytes_from_wherever_it_goes_on() {
    let (_file, plain, saved) = saved();
    let reader = Reader::open(&saved).await.unwrap();
    let (mut reader, whole) = seal(reader, 0, usize::MAX).await;
    // Back to marks and between them, to within a chunk, to the start, and forth from each.
    let chunk = SEALED_CHUNK_BYTES;
    for offset in [128 * chunk, 70 * chunk + 5, 64 * chunk, 3 * chunk + 1, 0, 129 * chunk] {
        let sealed;
        (reader, sealed) = seal(reader, offset as u64, 2 * chunk).await;
        assert!(!sealed.is_empty() && whole[offset..].starts_with(&sealed), "from byte {offset}");
    }
    assert_eq!(reader.finish(&saved).await.unwrap(), *Sha256::digest(&plain));

    // Another process knows no marks.
    let reader = Reader::open(&saved).await.unwrap();
    let (reader, sealed) = seal(reader, 100 * chunk as u64, usize::MAX).await;
    assert_eq!(sealed, whole[100 * chunk..]);
    assert_eq!(reader.finish(&saved).await.unwrap(), *Sha256::digest(&plain));
}

#[tokio::test]
async fn a_file_that_changed_is_not_taken_for_the_one_before() {
    let (mut file, _, saved) = saved();
    let reader = Reader::open(&saved).await.unwrap();
    file.write_all(b"more").unwrap();
    let error = reader.finish(&saved).await.unwrap_err();
    assert!(error.to_string().contains("has changed"), "{error}");
    let error = Reader::open(&saved).await.map(drop).unwrap_err();
    assert!(error.to_string().contains("has changed"), "{error}");
}
