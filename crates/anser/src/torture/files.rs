//! Files that clients send and fetch: their content from the plan, and what came of them.

use std::{io, path::Path};

use anser_client::{Client, Content, ErrorKind, Message, proto::Code};
use sha2::{Digest as _, Sha256};

use super::{
    history::{ClientId, FileBytes, Got, OpId, Recorder, What},
    random::Random,
    words,
};

/// The name of the file that an operation sends: no other has it.
pub(super) fn name_of(op: OpId) -> String {
    format!("{op}{EXTENSION}")
}

/// The operation that sent a file.
pub(super) fn op_of(name: &str) -> Option<OpId> {
    name.strip_suffix(EXTENSION)?.parse().ok()
}

/// Makes a file of so many bytes. Nothing in it repeats, so no part of it passes for another one,
/// or for a part of another file.
///
/// # Errors
/// It can not be written.
pub(super) fn make(path: &Path, seed: u64, len: usize) -> io::Result<FileBytes> {
    let mut random = Random::of(seed, "file");
    let mut bytes = Vec::with_capacity(len + 8);
    while bytes.len() < len {
        bytes.extend(random.next().to_le_bytes());
    }
    bytes.truncate(len);
    std::fs::write(path, &bytes)?;
    Ok(in_short(&bytes))
}

/// Fetches the file of a message, if it has one, and notes what came of it.
pub(super) async fn fetch(id: ClientId, client: &Client, message: &Message, recorder: &Recorder) {
    let Content::File(file) = &message.content else { return };
    let mut bytes = Vec::new();
    let got = match client.download(file, &mut bytes, |_| {}).await {
        Ok(()) => Got::Whole(in_short(&bytes)),
        Err(error) => match error.kind() {
            ErrorKind::Damaged => Got::Damaged,
            ErrorKind::Refused(code) if !code.retryable() && code != Code::Unauthenticated => {
                Got::Refused(code.number())
            }
            _ => Got::Broken,
        },
    };
    let (user, message) = (client.user().0, words::message(message));
    recorder.note(What::Fetched { client: id, user, message, got });
}

fn in_short(bytes: &[u8]) -> FileBytes {
    words::bytes_of(bytes.len() as u64, &Sha256::digest(bytes))
}

const EXTENSION: &str = ".bin";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_made_again_by_its_seed_and_named_by_its_operation() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name_of(7));
        let made = make(&path, 3, 1_001).unwrap();
        assert_eq!((made.len, made.sha256.len()), (1_001, 64));
        assert_eq!(make(&path, 3, 1_001).unwrap(), made);
        assert_ne!(make(&path, 4, 1_001).unwrap(), made);
        assert_eq!((op_of("7.bin"), op_of("x.bin"), op_of("7")), (Some(7), None, None));
    }
}
