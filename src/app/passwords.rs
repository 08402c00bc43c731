//! Hashing passwords: Argon2id, one at a time, so that a flood of sign-ins costs a bounded amount of memory
//! and leaves the other cores alone.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use argon2::password_hash::phc;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use super::Unavailable;
use super::sessions::SignInError;
use crate::domain::user::{NewPassword, PasswordHash};

/// People who may wait for their turn; more are told to come back.
const WAITING_MAX: usize = 64;

/// Hash of a password that nobody has, with our own cost: what is compared when there is no such user.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bXVzdGVyLW5vYm9keQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Cost of a password hash (OWASP Password Storage: 19 MiB, two passes, one lane).
fn argon2id() -> Argon2<'static> {
    let params = Params::new(19_456, 2, 1, Some(32)).expect("constant parameters within argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// The one place where passwords are hashed.
#[derive(Debug)]
pub(super) struct Passwords {
    turn: Arc<Semaphore>,
    waiting: AtomicUsize,
}

impl Default for Passwords {
    fn default() -> Self {
        Self { turn: Arc::new(Semaphore::new(1)), waiting: AtomicUsize::new(0) }
    }
}

/// Counts somebody who waits, until dropped.
struct Waiting<'p>(&'p AtomicUsize);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Passwords {
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, SignInError> {
        let waiting = Waiting(&self.waiting);
        if self.waiting.fetch_add(1, Ordering::Relaxed) >= WAITING_MAX {
            return Err(SignInError::Busy);
        }
        let turn = Arc::clone(&self.turn).acquire_owned().await.map_err(|_| Unavailable::Stopping)?;
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        let result = done.await.map_err(|_| Unavailable::Stopping)?;
        drop(waiting);
        Ok(result)
    }

    /// Whether a password is the one behind a hash. Without a hash the same work is done for nothing.
    pub(super) async fn verify(
        &self,
        password: Zeroizing<String>,
        hash: Option<PasswordHash>,
    ) -> Result<bool, SignInError> {
        // Longer ones can't have been set; hashing them would only cost.
        if password.chars().take(257).count() > 256 {
            return Ok(false);
        }
        let known = hash.is_some();
        let matches = self.run(move || {
            let text = hash.as_ref().map_or(NOBODY, PasswordHash::as_phc);
            let parsed = phc::PasswordHash::new(text);
            parsed.is_ok_and(|parsed| argon2id().verify_password(password.as_bytes(), &parsed).is_ok())
        });
        Ok(matches.await? && known)
    }

    pub(super) async fn hash(&self, password: NewPassword) -> Result<PasswordHash, SignInError> {
        let hashed =
            self.run(move || argon2id().hash_password(password.reveal().as_bytes()).map(|h| h.to_string()));
        let phc = hashed.await?.map_err(|_| Unavailable::NoRandomness)?;
        Ok(PasswordHash::from_phc(phc))
    }
}
