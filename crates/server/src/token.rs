//! Session tokens, the server API key and invitation codes: 256 random bits, told once, stored as
//! SHA-256.

use anser_store::Hash;
use sha2::{Digest, Sha256};

/// A new secret: 64 lower-case hex digits behind a prefix that tells scanners what leaked.
///
/// # Panics
/// When the operating system gives no random bytes.
pub fn mint(prefix: &str) -> String {
    let mut bytes = [0_u8; 32];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{prefix}{hex}")
}

/// What the store keeps of a secret.
pub fn hash(secret: &str) -> Hash {
    Sha256::digest(secret.as_bytes()).into()
}
