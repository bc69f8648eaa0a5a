//! The cluster's secret, and how the two ends of a link prove that they know it.
//!
//! A connector's address comes from Redis. Were the secret said to whoever answers there, everybody
//! who can write to Redis could learn it. So each end shows a keyed hash of what both have chosen
//! for this one stream, the connector first.

use std::{fmt, sync::Arc};

use anser_proto::NodeId;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// Random bytes that each end chooses.
const NONCE_BYTES: usize = 32;

/// What all nodes of a cluster know. `Debug` hides it.
#[derive(Clone)]
pub struct Secret(Arc<[u8]>);

impl Secret {
    /// A secret of these bytes.
    ///
    /// # Panics
    /// Without any.
    pub fn new(bytes: &[u8]) -> Self {
        assert!(!bytes.is_empty(), "an empty secret proves nothing");
        Self(bytes.into())
    }

    pub(super) fn proof(&self, end: End, talk: &Talk) -> Vec<u8> {
        self.mac(end, talk).finalize().into_bytes().to_vec()
    }

    /// Whether it is; takes the same time for every wrong one.
    pub(super) fn is_proof(&self, end: End, talk: &Talk, proof: &[u8]) -> bool {
        self.mac(end, talk).verify_slice(proof).is_ok()
    }

    fn mac(&self, end: End, talk: &Talk) -> Hmac<Sha256> {
        let mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("every length is a key");
        // The label comes first and fixed lengths follow it, but for the last.
        mac.chain_update(end.label())
            .chain_update(talk.connector.0.to_be_bytes())
            .chain_update(talk.caller.0.to_be_bytes())
            .chain_update(&talk.connector_nonce)
            .chain_update(&talk.caller_nonce)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Who proves it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Connector,
    Caller,
}

impl End {
    fn label(self) -> &'static [u8] {
        match self {
            Self::Connector => b"anser link 1 connector",
            Self::Caller => b"anser link 1 caller",
        }
    }
}

/// What a proof is of. Nonces of another length than [`NONCE_BYTES`] are refused before.
pub(super) struct Talk {
    pub(super) connector: NodeId,
    pub(super) caller: NodeId,
    pub(super) connector_nonce: Vec<u8>,
    pub(super) caller_nonce: Vec<u8>,
}

/// Random bytes from the operating system.
pub(super) fn nonce() -> Vec<u8> {
    let mut nonce = vec![0; NONCE_BYTES];
    getrandom::fill(&mut nonce).expect("the operating system gives random bytes");
    nonce
}

/// Whether the other end's nonce has the right length.
pub(super) fn is_nonce(bytes: &[u8]) -> bool {
    bytes.len() == NONCE_BYTES
}
