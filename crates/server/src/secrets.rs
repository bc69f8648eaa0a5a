//! The master key that wraps relation keys, and the server API key. Both are files in the data
//! folder (0600), made on the first start of a standalone server and never by a cluster node.

use anser_proto::seal::{KEY_BYTES, Key};

/// Wraps relation keys for the store. `Debug` hides it.
#[derive(Clone, Debug)]
pub struct MasterKey(Key);

/// The stored bytes are not a key wrapped by this master key.
#[derive(Debug, thiserror::Error)]
#[error("a relation key does not open with this master key")]
pub struct UnwrapError;

impl MasterKey {
    /// A master key from its bytes.
    pub fn new(bytes: [u8; KEY_BYTES]) -> Self {
        Self(Key::new(bytes))
    }

    /// Wraps a relation key for the store.
    pub fn wrap(&self, key: &Key) -> Vec<u8> {
        self.0.seal(&WRAP_PLACE, key.bytes())
    }

    /// Opens a wrapped relation key.
    ///
    /// # Errors
    /// [`UnwrapError`]: another master key wrapped it, or the bytes were changed.
    pub fn unwrap(&self, wrapped: &[u8]) -> Result<Key, UnwrapError> {
        let bytes = self.0.open(&WRAP_PLACE, wrapped).map_err(|_| UnwrapError)?;
        Ok(Key::new(bytes.try_into().map_err(|_| UnwrapError)?))
    }

    /// A value for the store that tells whether a key is this one, without telling the key.
    pub fn check(&self) -> Vec<u8> {
        use sha2::{Digest, Sha256};
        Sha256::new()
            .chain_update(b"anser master key check")
            .chain_update(self.0.bytes())
            .finalize()[..16]
            .to_vec()
    }
}

/// Wrapped keys are no message bodies: no conversation has the id 0.
const WRAP_PLACE: anser_proto::seal::Place = anser_proto::seal::Place {
    conversation: anser_proto::ConversationId(0),
    sender: anser_proto::UserId(0),
    device: anser_proto::DeviceId(0),
    client_seq: 0,
    key_version: 0,
};

/// The secrets of a server. `Debug` hides them.
#[derive(Clone)]
pub struct Secrets {
    /// Wraps relation keys.
    pub master_key: MasterKey,
    /// Authorises the server API.
    pub server_api_key: String,
}
