use super::*;

const CHUNK: u64 = CHUNK_BYTES as u64;

fn bytes(size: u64) -> Vec<u8> {
    (0..size).map(|at| (at * 31 % 251) as u8).collect()
}

fn seal(key: &Key, plain: &[u8]) -> Vec<u8> {
    let mut sealer = Sealer::new(key.clone(), plain.len() as u64);
    let (mut sealed, mut rest) = (Vec::new(), plain);
    while let Some(wanted) = sealer.wanted() {
        let (chunk, later) = rest.split_at(wanted);
        sealer.seal(chunk, &mut sealed);
        rest = later;
    }
    sealed
}

/// Opens in pieces of `step` bytes.
fn open(key: &Key, size: u64, sealed: &[u8], step: usize) -> Result<Vec<u8>, OpenError> {
    let mut opener = Opener::new(key.clone(), size, 0);
    let mut plain = Vec::new();
    for piece in sealed.chunks(step) {
        opener.open(piece, &mut plain)?;
    }
    opener.finish()?;
    Ok(plain)
}

/// Three chunks, sealed, and where each begins.
fn three() -> (Key, u64, Vec<Vec<u8>>) {
    let (key, size) = (Key::random(), 2 * CHUNK + 5);
    let sealed = seal(&key, &bytes(size));
    (key, size, sealed.chunks(SEALED_CHUNK_BYTES).map(<[u8]>::to_vec).collect())
}

#[test]
fn every_length_opens_from_pieces_of_every_length() {
    let key = Key::random();
    for size in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 7] {
        let plain = bytes(size);
        let sealed = seal(&key, &plain);
        assert_eq!(sealed.len() as u64, sealed_bytes(size), "{size}");
        for step in [1000, CHUNK_BYTES, SEALED_CHUNK_BYTES, usize::MAX] {
            assert_eq!(open(&key, size, &sealed, step).as_ref(), Ok(&plain), "{size} by {step}");
        }
    }
}

#[test]
fn sealing_can_go_on_at_any_chunk_with_the_same_bytes() {
    let (key, size, chunks) = three();
    let plain = bytes(size);
    for (number, chunk) in chunks.iter().enumerate() {
        let mut sealer = Sealer::new(key.clone(), size);
        let start = number * CHUNK_BYTES;
        plain[..start].chunks(CHUNK_BYTES).for_each(|before| sealer.pass(before));
        assert_eq!(sealer.done(), number as u64);
        let wanted = sealer.wanted().unwrap();
        let mut again = Vec::new();
        sealer.seal(&plain[start..start + wanted], &mut again);
        assert_eq!(&again, chunk, "chunk {number}");
        let hash: [u8; 32] = Sha256::digest(&plain[..start + wanted]).into();
        assert_eq!(sealer.sha256(), hash);
        let mut opener = Opener::new(key.clone(), size, number as u64);
        let mut opened = Vec::new();
        opener.open(chunk, &mut opened).unwrap();
        assert_eq!(opened, plain[start..start + wanted]);
    }
}

/// A nonce that two different plaintexts share gives them away.
#[test]
fn a_changed_file_gets_other_nonces() {
    let key = Key::random();
    let nonces = |plain: &[u8]| -> Vec<Vec<u8>> {
        let sealed = seal(&key, plain);
        sealed.chunks(SEALED_CHUNK_BYTES).map(|chunk| chunk[..NONCE_BYTES].to_vec()).collect()
    };
    let mut plain = bytes(2 * CHUNK);
    let before = nonces(&plain);
    plain[2 * CHUNK_BYTES - 1] ^= 1;
    let after = nonces(&plain);
    assert_eq!(before[0], after[0]);
    assert_ne!(before[1], after[1]);
    // The same bytes again are another chunk.
    let alike = vec![7; 3 * CHUNK_BYTES];
    let mut all = nonces(&alike);
    all.dedup();
    assert_eq!(all.len(), 3);
}

#[test]
fn a_file_that_was_cut_off_does_not_open() {
    let (key, size, chunks) = three();
    for kept in 0..3 {
        let cut = chunks[..kept].concat();
        assert_eq!(open(&key, size, &cut, 9_999), Err(OpenError), "{kept} chunks");
        // Not even when the length lies with it: the last chunk carries the end mark.
        assert_eq!(open(&key, kept as u64 * CHUNK, &cut, 9_999), Err(OpenError), "{kept} chunks");
    }
    let whole = chunks.concat();
    assert_eq!(open(&key, size, &whole[..whole.len() - 1], 9_999), Err(OpenError));
}

#[test]
fn a_file_that_was_made_longer_does_not_open() {
    let (key, size, chunks) = three();
    let longer = [&chunks.concat()[..], &[0]].concat();
    assert_eq!(open(&key, size, &longer, 9_999), Err(OpenError));
    let twice = [&chunks[..], &chunks[2..]].concat().concat();
    assert_eq!(open(&key, size, &twice, 9_999), Err(OpenError));
    assert_eq!(open(&key, size + 5, &twice, 9_999), Err(OpenError), "with a length that lies");
}

#[test]
fn chunks_can_not_be_exchanged() {
    let (key, size, chunks) = three();
    let swapped = [&chunks[1][..], &chunks[0], &chunks[2]].concat();
    assert_eq!(open(&key, size, &swapped, 9_999), Err(OpenError));
    let repeated = [&chunks[0][..], &chunks[0], &chunks[2]].concat();
    assert_eq!(open(&key, size, &repeated, 9_999), Err(OpenError));
    let (_, _, others) = three();
    let mixed = [&chunks[0][..], &others[1], &chunks[2]].concat();
    assert_eq!(open(&key, size, &mixed, 9_999), Err(OpenError), "of another file");
}

#[test]
fn no_byte_can_be_changed() {
    let key = Key::random();
    let sealed = seal(&key, &bytes(40));
    for at in 0..sealed.len() {
        let mut changed = sealed.clone();
        changed[at] ^= 0x80;
        assert_eq!(open(&key, 40, &changed, 9_999), Err(OpenError), "byte {at}");
    }
    assert_eq!(open(&Key::random(), 40, &sealed, 9_999), Err(OpenError), "another key");
}

#[test]
fn an_opener_holds_no_more_than_a_chunk() {
    let (key, size, chunks) = three();
    let mut opener = Opener::new(key, size, 0);
    let mut plain = Vec::new();
    for piece in chunks.concat().chunks(777) {
        plain.clear();
        opener.open(piece, &mut plain).unwrap();
        assert!(
            plain.len() <= CHUNK_BYTES + piece.len()
                && opener.held.capacity() <= 2 * SEALED_CHUNK_BYTES
        );
    }
}
