//! Sealing of message bodies: AES-256-GCM with the key that two friends share.
//!
//! `sealed = nonce (12 bytes) | ciphertext | tag (16 bytes)`. The nonce is random, never a counter:
//! a restored client must not repeat one. The associated data binds a body to its place:
//! `"anser1" | be64 conversation | be64 sender | be64 device | be64 client_seq | be32 key version`.

pub mod file;

use std::sync::Arc;

use aes_gcm::{
    Aes256Gcm, KeyInit,
    aead::{Aead, AeadInOut, Payload},
};

use crate::{ConversationId, DeviceId, Seq, UserId};

/// Length of a relation key in bytes.
pub const KEY_BYTES: usize = 32;
/// Bytes that sealing adds: nonce and tag.
pub const OVERHEAD_BYTES: usize = NONCE_BYTES + 16;

const NONCE_BYTES: usize = 12;
/// Length of the associated data in bytes.
pub const AAD_BYTES: usize = 6 + 4 * 8 + 4;

/// A relation's key in one version; a cheap clone. Its `Debug` hides it.
#[derive(Clone)]
pub struct Key(Arc<Schedule>);

/// The bytes, and what AES makes of them once for all bodies.
struct Schedule {
    bytes: [u8; KEY_BYTES],
    cipher: Aes256Gcm,
}

/// Where a body belongs; authenticated, not contained in the sealed bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    /// The conversation.
    pub conversation: ConversationId,
    /// The sending user.
    pub sender: UserId,
    /// The sending device.
    pub device: DeviceId,
    /// The command's number there.
    pub client_seq: Seq,
    /// The version of the key.
    pub key_version: u32,
}

/// The body does not open: wrong key or place, or it was changed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the body does not open with this key")]
pub struct OpenError;

impl Key {
    /// A key from its bytes.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Arc::new(Schedule { bytes, cipher: Aes256Gcm::new(&bytes.into()) }))
    }

    /// A new key from the operating system's randomness.
    ///
    /// # Panics
    /// When the operating system gives no random bytes.
    pub fn random() -> Self {
        let mut bytes = [0; KEY_BYTES];
        getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
        Self::new(bytes)
    }

    /// The key's bytes: a secret.
    pub fn bytes(&self) -> &[u8; KEY_BYTES] {
        &self.0.bytes
    }

    /// Seals `body` for `place` under a random nonce.
    ///
    /// # Panics
    /// When the operating system gives no random bytes.
    pub fn seal(&self, place: &Place, body: &[u8]) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).expect("the operating system gives random bytes");
        self.seal_with_nonce(nonce, place, body)
    }

    /// Like [`Key::seal`] with a given nonce: only for golden vectors.
    #[doc(hidden)]
    pub fn seal_with_nonce(&self, nonce: [u8; NONCE_BYTES], place: &Place, body: &[u8]) -> Vec<u8> {
        let mut sealed = Vec::with_capacity(body.len() + OVERHEAD_BYTES);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(body);
        let text = (&mut sealed[NONCE_BYTES..]).into();
        let tag = self.0.cipher.encrypt_inout_detached(&nonce.into(), &place.aad(), text);
        sealed.extend_from_slice(&tag.expect("a body is shorter than AES-GCM's 64 GiB"));
        sealed
    }

    /// Opens a sealed body.
    ///
    /// # Errors
    /// [`OpenError`] when key, place or bytes are not those of the sealing.
    pub fn open(&self, place: &Place, sealed: &[u8]) -> Result<Vec<u8>, OpenError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_BYTES>().ok_or(OpenError)?;
        self.0
            .cipher
            .decrypt(&(*nonce).into(), Payload { msg: sealed, aad: &place.aad() })
            .map_err(|_| OpenError)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Key {}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(hidden)")
    }
}

impl Place {
    /// The associated data that a sealed body is bound to; the file head gives its shape.
    pub fn aad(&self) -> [u8; AAD_BYTES] {
        let mut aad = [0; AAD_BYTES];
        aad[..6].copy_from_slice(b"anser1");
        let numbers = [self.conversation.0, self.sender.0, self.device.0, self.client_seq];
        for (slot, number) in aad[6..38].chunks_exact_mut(8).zip(numbers) {
            slot.copy_from_slice(&number.to_be_bytes());
        }
        aad[38..].copy_from_slice(&self.key_version.to_be_bytes());
        aad
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> Place {
        Place {
            conversation: ConversationId(1),
            sender: UserId(2),
            device: DeviceId(3),
            client_seq: 4,
            key_version: 5,
        }
    }

    #[test]
    fn what_is_sealed_opens_and_costs_the_overhead() {
        let key = Key::random();
        for body in [&b""[..], b"hello", &[0; 16 * 1024]] {
            let sealed = key.seal(&place(), body);
            assert_eq!(sealed.len(), body.len() + OVERHEAD_BYTES);
            assert_eq!(key.open(&place(), &sealed).as_deref(), Ok(body));
        }
    }

    /// The golden file covers the bits; this covers every byte, and every shorter length.
    #[test]
    fn no_byte_can_be_changed_or_missing() {
        let key = Key::random();
        let sealed = key.seal(&place(), b"hello");
        for at in 0..sealed.len() {
            let mut changed = sealed.clone();
            changed[at] ^= 0x80;
            assert_eq!(key.open(&place(), &changed), Err(OpenError), "byte {at}");
            assert_eq!(key.open(&place(), &sealed[..at]), Err(OpenError), "{at} bytes");
        }
    }

    #[test]
    fn the_same_body_never_seals_to_the_same_bytes() {
        let key = Key::random();
        assert_ne!(key.seal(&place(), b"hello"), key.seal(&place(), b"hello"));
        assert_ne!(Key::random(), Key::random());
    }

    #[test]
    fn keys_hide_in_debug() {
        assert_eq!(format!("{:?}", Key::new([7; KEY_BYTES])), "Key(hidden)");
    }
}
