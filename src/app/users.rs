//! People: so far the first administrator, whom the quickstart creates.

use argon2::password_hash::PasswordHasher;
use argon2::{Algorithm, Argon2, Params, Version};
use zeroize::Zeroizing;

use super::caller::Caller;
use super::{App, Unavailable, entropy};
use crate::domain::credential::ALPHABET;
use crate::domain::ids::UserId;
use crate::domain::user::{PasswordHash, Role, User, Username};
use crate::store::{Change, Verdict};

/// The name of the first administrator.
pub const FIRST_ADMIN: &str = "admin";

/// Cost of a password hash (OWASP Password Storage: 19 MiB, two passes, one lane).
fn argon2id() -> Argon2<'static> {
    let params = Params::new(19_456, 2, 1, Some(32)).expect("constant parameters within argon2's bounds");
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
}

#[derive(Debug, thiserror::Error)]
pub enum UserError {
    #[error("the password could not be hashed")]
    Hashing,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl App {
    /// Creates the first administrator with a random password, unless there is a user already. The password
    /// is returned once and only its hash is kept.
    pub async fn create_first_admin(&self, caller: &Caller) -> Result<Option<Zeroizing<String>>, UserError> {
        if self.store.read(|view| view.has_users()).map_err(Unavailable::from)? {
            return Ok(None);
        }
        // 160 random bits, in groups that can be read aloud.
        let letters = Zeroizing::new(ALPHABET.encode(&*Zeroizing::new(entropy::<20>()?)));
        let mut password = Zeroizing::new(String::with_capacity(48));
        for (index, letter) in letters.chars().enumerate() {
            if index > 0 && index % 8 == 0 {
                password.push('-');
            }
            password.push(letter);
        }
        let plaintext = password.clone();
        let hash =
            self.pool.run(move || argon2id().hash_password(plaintext.as_bytes()).map(|h| h.to_string()));
        let hash = hash.await?.map_err(|_| UserError::Hashing)?;
        let username: Username = FIRST_ADMIN.parse().expect("a constant valid username");
        let now = self.clock.now();
        let user = User {
            id: UserId::new(now, entropy()?),
            username,
            role: Role::Admin,
            tenant: None,
            password: PasswordHash::from_phc(hash),
            created_at: now,
            disabled_at: None,
        };
        let mut event = caller.event("user.create", None, user.id);
        event.detail.insert("username", user.username.to_string());
        event.detail.insert("role", user.role.as_str().to_owned());
        let created = self.store.write(move |view, _| {
            if view.has_users()? {
                return Ok(Verdict::<_, UserError>::accept(false, Vec::new()));
            }
            Ok(Verdict::accept(true, vec![Change::PutUser(user), Change::Audit(event)]))
        });
        let created = created.await.map_err(Unavailable::from)??;
        Ok(created.then_some(password))
    }
}
