//! Hashing passwords: Argon2id, one at a time, so that a flood of sign-ins costs a bounded amount of memory
//! and leaves the other cores alone. Who waits for a turn is served in the order of `domain::fairness::turns`, so that the
//! flood keeps nobody else out.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use argon2::password_hash::{PasswordHasher, PasswordVerifier, phc};
use argon2::{Algorithm, Argon2, Params, Version};
use parking_lot::Mutex;
use tokio::sync::oneshot;
use zeroize::Zeroizing;

use crate::app::Unavailable;
use crate::app::access::caller::Caller;
use crate::app::access::sessions::SignInError;
use crate::clock;
use crate::domain::fairness::turns::{Asking, Turns};
use crate::domain::network::networks::accountable;
use crate::domain::people::user::{NewPassword, PasswordHash};

/// People who may wait for their turn; more are told to come back.
const WAITING_MAX: usize = 64;
/// How long they may wait. Those whom others are always preferred to are told to come back, too.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Hash of a password that nobody has, with our own cost: what is compared when there is no such user.
const NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$bXVzdGVyLW5vYm9keQ$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Cost of a password hash (OWASP Password Storage: 19 MiB, two passes, one lane).
fn argon2id() -> Argon2<'static> {
    let params = Params::new(19_456, 2, 1, Some(32)).expect("constant parameters within argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

/// The one place where passwords are hashed.
#[derive(Debug, Default)]
pub(crate) struct Passwords(Arc<Mutex<Waiting>>);

/// Whoever asks for a hash, as far as the order of turns goes.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asker {
    /// `None`: the operator of this machine.
    client: Option<IpAddr>,
    proved: bool,
}

impl Asker {
    pub(crate) fn of(caller: &Caller) -> Self {
        let proved = !matches!(caller, Caller::Anonymous { .. });
        Self { client: caller.address().map(accountable), proved }
    }
}

#[derive(Debug, Default)]
struct Waiting {
    /// Whether somebody has the turn.
    taken: bool,
    turns: Turns<Option<IpAddr>, oneshot::Sender<Turn>>,
}

/// The right to hash. When it is dropped, whoever comes next has it.
#[derive(Debug)]
struct Turn(Arc<Mutex<Waiting>>);

impl Drop for Turn {
    fn drop(&mut self) {
        let mut waiting = self.0.lock();
        let next = waiting.turns.take_next();
        waiting.taken = next.is_some();
        drop(waiting);
        if let Some(next) = next {
            // Whoever has gone away meanwhile hands the turn on by dropping it.
            let _ = next.send(Self(Arc::clone(&self.0)));
        }
    }
}

impl Passwords {
    /// Waits for the turn; an error for whoever has to make way.
    async fn turn(&self, asker: Asker) -> Result<Turn, SignInError> {
        let (made_way, turn) = {
            let (now, mut waiting) = (clock::monotonic(), self.0.lock());
            let held_against = waiting.turns.ask(asker.client, now);
            if !waiting.taken {
                waiting.taken = true;
                return Ok(Turn(Arc::clone(&self.0)));
            }
            let (sender, turn) = oneshot::channel();
            let asking = Asking { client: asker.client, proved: asker.proved, held_against };
            (waiting.turns.wait(&asking, now, sender, WAITING_MAX), turn)
        };
        drop(made_way);
        // The place of who gives up is skipped when its turn comes.
        let turn = tokio::time::timeout(WAIT_MAX, turn).await.map_err(|_| SignInError::Busy)?;
        turn.map_err(|_| SignInError::Busy)
    }

    async fn run<T: Send + 'static>(
        &self,
        asker: Asker,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, SignInError> {
        let turn = self.turn(asker).await?;
        // The turn lasts as long as the work, even where nobody waits for its outcome any more.
        let done = tokio::task::spawn_blocking(move || {
            let result = work();
            drop(turn);
            result
        });
        Ok(done.await.map_err(|_| Unavailable::Stopping)?)
    }

    /// Remembers that somebody at this address has signed in: the next time they come before strangers.
    pub(crate) fn signed_in(&self, asker: Asker) {
        self.0.lock().turns.belongs(asker.client, clock::monotonic());
    }

    /// Whether a password is the one behind a hash. Without a hash the same work is done for nothing.
    pub(crate) async fn verify(
        &self,
        asker: Asker,
        password: Zeroizing<String>,
        hash: Option<PasswordHash>,
    ) -> Result<bool, SignInError> {
        // Longer ones can't have been set; hashing them would only cost.
        if password.chars().take(257).count() > 256 {
            return Ok(false);
        }
        let known = hash.is_some();
        let matches = self.run(asker, move || {
            let text = hash.as_ref().map_or(NOBODY, PasswordHash::as_phc);
            let parsed = phc::PasswordHash::new(text);
            parsed.is_ok_and(|parsed| argon2id().verify_password(password.as_bytes(), &parsed).is_ok())
        });
        Ok(matches.await? && known)
    }

    pub(crate) async fn hash(
        &self,
        asker: Asker,
        password: NewPassword,
    ) -> Result<PasswordHash, SignInError> {
        let work = move || argon2id().hash_password(password.reveal().as_bytes()).map(|h| h.to_string());
        let hashed = self.run(asker, work);
        let phc = hashed.await?.map_err(|_| Unavailable::NoRandomness)?;
        Ok(PasswordHash::from_phc(phc))
    }
}
