//! Passwords: argon2id, few at a time.
//!
//! Every check costs exactly one hash, also for a user that does not exist or has no password, so
//! that neither answer nor effort tells whether a name is taken.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use anser_proto::Code;
use argon2::{
    Algorithm, Argon2, Params, Version,
    password_hash::{PasswordHasher as _, PasswordVerifier as _, phc::PasswordHash},
};
use tokio::sync::Semaphore;

use super::error::{Error, Result};
use crate::metrics::PASSWORD_HASHES_TOTAL;

/// Hashes and checks passwords; a cheap clone.
#[derive(Clone)]
pub(crate) struct Passwords(Arc<Shared>);

struct Shared {
    argon2: Argon2<'static>,
    /// Hash of a password that nobody has.
    nobody: String,
    running: Arc<Semaphore>,
    waiting: Semaphore,
    hashes: AtomicU64,
}

impl Passwords {
    /// # Errors
    /// Only when the operating system gives no random bytes.
    pub(crate) fn new() -> Result<Self> {
        let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(Error::internal)?;
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let nobody = hash(&argon2, &crate::token::mint(""))?;
        Ok(Self(Arc::new(Shared {
            argon2,
            nobody,
            running: Arc::new(Semaphore::new(RUNNING_MAX)),
            waiting: Semaphore::new(WAITING_MAX),
            hashes: AtomicU64::new(0),
        })))
    }

    /// The PHC string to store.
    pub(crate) async fn hash(&self, password: String) -> Result<String> {
        self.run(move |shared| hash(&shared.argon2, &password)).await?
    }

    /// Whether `password` is the one of `stored`; `None` costs the same and is never.
    pub(crate) async fn verify(&self, password: String, stored: Option<String>) -> Result<bool> {
        self.run(move |shared| {
            let text = stored.as_deref().unwrap_or(&shared.nobody);
            let parsed = PasswordHash::new(text).map_err(Error::internal)?;
            let fits = shared.argon2.verify_password(password.as_bytes(), &parsed).is_ok();
            Ok(fits && stored.is_some())
        })
        .await?
    }

    /// How many hashes were computed since start.
    #[cfg(test)]
    pub(crate) fn hashes(&self) -> u64 {
        self.0.hashes.load(Ordering::Relaxed)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Shared) -> T + Send + 'static,
    ) -> Result<T> {
        let busy = || {
            Error::new(Code::Unavailable, "Too many logins at this moment; try again in a second.")
        };
        let _waits = self.0.waiting.try_acquire().map_err(|_| busy())?;
        let running = Arc::clone(&self.0.running).acquire_owned().await.map_err(Error::internal)?;
        let shared = Arc::clone(&self.0);
        // The permit goes with the work: a caller who gives up does not make room for another hash
        // while this one still runs.
        tokio::task::spawn_blocking(move || {
            shared.hashes.fetch_add(1, Ordering::Relaxed);
            metrics::counter!(PASSWORD_HASHES_TOTAL).increment(1);
            let result = work(&shared);
            drop(running);
            result
        })
        .await
        .map_err(Error::internal)
    }
}

fn hash(argon2: &Argon2<'_>, password: &str) -> Result<String> {
    let hash = argon2.hash_password(password.as_bytes()).map_err(Error::internal)?;
    Ok(hash.to_string())
}

// OWASP Password Storage Cheat Sheet: argon2id with at least 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;

/// Hashes at once: 38 MiB, and two cores at most.
const RUNNING_MAX: usize = 2;
/// Those who wait behind them: some two seconds of work.
const WAITING_MAX: usize = 128;
