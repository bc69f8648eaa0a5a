//! Sealing of files: chunks of 64 KiB, each AES-256-GCM under a key that this file alone has.
//!
//! A file of `size` bytes is cut into chunks of [`CHUNK_BYTES`], the last one shorter or full; an
//! empty file is one empty chunk. `sealed chunk = nonce (12) | ciphertext | tag (16)`, and the
//! sealed file is its sealed chunks one after another. Associated data of a chunk:
//! `"anserf" | be64 number (from 0) | end mark (1 for the last chunk, else 0)`. So a file that was
//! cut off, made longer, or whose chunks were exchanged does not open.
//!
//! The nonce is the first 12 bytes of SHA-256 over `"anser file nonce" | key | be64 number | end
//! mark | SHA-256 of the plaintext from the file's start to the chunk's end`. The same file seals
//! to the same bytes, so an upload can go on at any byte; should it change meanwhile, the nonces
//! change with it and none is used twice. The hash is that of the file, which is made in any case:
//! hashing is half of what sealing costs, and so it is done once.
//!
//! In: pieces of bytes. Out: pieces of bytes. No I/O; at most one chunk is held.

use aes_gcm::aead::AeadInOut as _;
use sha2::{Digest as _, Sha256};

use super::{Key, NONCE_BYTES, OVERHEAD_BYTES, OpenError};

/// Plain bytes of a chunk, but of the last one.
pub const CHUNK_BYTES: usize = 64 * 1024;
/// Sealed bytes of a chunk, but of the last one.
pub const SEALED_CHUNK_BYTES: usize = CHUNK_BYTES + OVERHEAD_BYTES;

/// Length of the associated data of a chunk.
const AAD_BYTES: usize = 6 + 8 + 1;

/// How many chunks a file of `size` bytes has.
pub const fn chunks(size: u64) -> u64 {
    if size == 0 { 1 } else { size.div_ceil(CHUNK_BYTES as u64) }
}

/// The length of a sealed file of `size` bytes.
pub const fn sealed_bytes(size: u64) -> u64 {
    size.saturating_add(chunks(size).saturating_mul(OVERHEAD_BYTES as u64))
}

/// Seals a file, chunk after chunk from its start, and hashes it.
#[derive(Clone, Debug)]
pub struct Sealer {
    key: Key,
    size: u64,
    next: u64,
    /// Of the chunks before the next one.
    hash: Sha256,
}

impl Sealer {
    /// Seals a file of `size` bytes.
    pub fn new(key: Key, size: u64) -> Self {
        Self { key, size, next: 0, hash: Sha256::new() }
    }

    /// How many chunks were sealed or passed over, from the file's first on.
    pub fn done(&self) -> u64 {
        self.next
    }

    /// How many plain bytes the next chunk takes; `None` after the last one.
    pub fn wanted(&self) -> Option<usize> {
        plain_bytes(self.size, self.next)
    }

    /// Appends the sealed next chunk to `sealed`.
    ///
    /// # Panics
    /// When `plain` is not as long as [`Sealer::wanted`] says.
    pub fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) {
        let number = self.next;
        self.pass(plain);
        let is_last = self.next == chunks(self.size);
        let nonce = nonce(&self.key, number, is_last, self.hash.clone());
        sealed.extend_from_slice(&nonce);
        let start = sealed.len();
        sealed.extend_from_slice(plain);
        let text = (&mut sealed[start..]).into();
        let aad = aad(number, is_last);
        let tag = self.key.0.cipher.encrypt_inout_detached(&nonce.into(), &aad, text);
        sealed.extend_from_slice(&tag.expect("a chunk is shorter than AES-GCM's 64 GiB"));
    }

    /// Passes over the next chunk, which was sealed before: it is only hashed.
    ///
    /// # Panics
    /// When `plain` is not as long as [`Sealer::wanted`] says.
    pub fn pass(&mut self, plain: &[u8]) {
        assert_eq!(self.wanted(), Some(plain.len()), "a chunk has its length");
        self.hash.update(plain);
        self.next += 1;
    }

    /// The SHA-256 of what was sealed or passed over.
    pub fn sha256(&self) -> [u8; 32] {
        self.hash.clone().finalize().into()
    }
}

/// Opens a sealed file whose bytes come in pieces of any length.
#[derive(Debug)]
pub struct Opener {
    key: Key,
    size: u64,
    next: u64,
    /// The beginning of a chunk.
    held: Vec<u8>,
}

impl Opener {
    /// Opens a file of `size` bytes from chunk `first` on.
    pub fn new(key: Key, size: u64, first: u64) -> Self {
        Self { key, size, next: first, held: Vec::new() }
    }

    /// Takes the next sealed bytes and appends what opens to `plain`: at most as many bytes as were
    /// taken, and one chunk.
    ///
    /// # Errors
    /// [`OpenError`]: a chunk was changed, exchanged or cut, or more follows the last one. Nothing
    /// that was appended is wrong, and the opener is of no more use.
    pub fn open(&mut self, mut sealed: &[u8], plain: &mut Vec<u8>) -> Result<(), OpenError> {
        while !sealed.is_empty() {
            let whole = plain_bytes(self.size, self.next).ok_or(OpenError)? + OVERHEAD_BYTES;
            let (now, later) = sealed.split_at(sealed.len().min(whole - self.held.len()));
            self.held.extend_from_slice(now);
            sealed = later;
            if self.held.len() == whole {
                self.chunk(plain)?;
            }
        }
        Ok(())
    }

    /// How many chunks were opened, from the file's first on.
    pub fn opened(&self) -> u64 {
        self.next
    }

    /// Says that no more bytes come.
    ///
    /// # Errors
    /// [`OpenError`]: the file is cut off.
    pub fn finish(&self) -> Result<(), OpenError> {
        let is_whole = self.next == chunks(self.size) && self.held.is_empty();
        if is_whole { Ok(()) } else { Err(OpenError) }
    }

    fn chunk(&mut self, plain: &mut Vec<u8>) -> Result<(), OpenError> {
        let (nonce, rest) = self.held.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError)?;
        let (text, tag) = rest.split_last_chunk::<16>().ok_or(OpenError)?;
        let start = plain.len();
        plain.extend_from_slice(text);
        let aad = aad(self.next, self.next + 1 == chunks(self.size));
        let text = (&mut plain[start..]).into();
        let cipher = &self.key.0.cipher;
        if cipher.decrypt_inout_detached(&(*nonce).into(), &aad, text, &(*tag).into()).is_err() {
            plain.truncate(start);
            return Err(OpenError);
        }
        self.held.clear();
        self.next += 1;
        Ok(())
    }
}

/// Plain bytes of chunk `number`; `None`: the file has no such chunk.
fn plain_bytes(size: u64, number: u64) -> Option<usize> {
    if number >= chunks(size) {
        return None;
    }
    let left = size - number * CHUNK_BYTES as u64;
    Some(usize::try_from(left).map_or(CHUNK_BYTES, |left| left.min(CHUNK_BYTES)))
}

fn aad(number: u64, is_last: bool) -> [u8; AAD_BYTES] {
    let mut aad = [0; AAD_BYTES];
    aad[..6].copy_from_slice(b"anserf");
    aad[6..14].copy_from_slice(&number.to_be_bytes());
    aad[14] = u8::from(is_last);
    aad
}

fn nonce(key: &Key, number: u64, is_last: bool, plain: Sha256) -> [u8; NONCE_BYTES] {
    let mut hash = Sha256::new();
    hash.update(b"anser file nonce");
    hash.update(key.bytes());
    hash.update(number.to_be_bytes());
    hash.update([u8::from(is_last)]);
    hash.update(plain.finalize());
    let hash = hash.finalize();
    std::array::from_fn(|at| hash[at])
}

#[cfg(test)]
mod tests;
