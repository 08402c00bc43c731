//! People: created, listed, changed. One person who can do everything always remains.

use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::caller::Caller;
use super::passwords::Asker;
use super::sessions::{SignInError, end_sessions};
use super::{App, Unavailable, entropy};
use crate::domain::ids::ALPHABET;
use crate::domain::ids::{TenantId, UserId};
use crate::domain::user::{InvalidPassword, NewPassword, PasswordHash, Preferences, Role, User, Username};
use crate::store::{Change, ReadError, Verdict, View};

/// The name of the first administrator.
pub const FIRST_ADMIN: &str = "admin";

#[derive(Debug, thiserror::Error)]
pub enum UserError {
    #[error("this username is taken")]
    Taken,
    #[error(transparent)]
    InvalidPassword(#[from] InvalidPassword),
    #[error("there is no such user")]
    NotFound,
    #[error("there is no such tenant")]
    NoTenant,
    #[error("this is the last administrator of all tenants; make another one first")]
    LastAdmin,
    #[error("too many passwords are being checked at once")]
    Busy,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<SignInError> for UserError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Unavailable(error) => Self::Unavailable(error),
            SignInError::Busy | SignInError::Wrong => Self::Busy,
        }
    }
}

/// A person to create.
#[derive(Debug)]
pub struct UserOrder {
    pub username: Username,
    pub password: Zeroizing<String>,
    pub role: Role,
    /// `None`: the caller's own reach.
    pub tenant: Option<TenantId>,
}

/// What to change about a person.
#[derive(Debug, Default)]
pub struct UserChange {
    pub role: Option<Role>,
    pub disabled: Option<bool>,
    pub password: Option<Zeroizing<String>>,
}

impl App {
    pub async fn create_user(self: &Arc<Self>, caller: &Caller, order: UserOrder) -> Result<User, UserError> {
        let tenant = match (caller.tenant(), order.tenant) {
            (Some(own), Some(asked)) if own != asked => return Err(UserError::NoTenant),
            (own, asked) => own.or(asked),
        };
        let password = NewPassword::new(order.password, &order.username)?;
        let password = self.passwords.hash(Asker::of(caller), password).await?;
        let now = self.clock.now();
        let user = User {
            id: UserId::new(now, entropy()?),
            username: order.username,
            role: order.role,
            tenant,
            password,
            created_at: now,
            disabled_at: None,
            preferences: Preferences::default(),
        };
        let event = created(caller, &user);
        let written = self.store.write(move |view, _| {
            if let Some(tenant) = tenant
                && view.tenant(tenant)?.is_none()
            {
                return Ok(Verdict::refuse(UserError::NoTenant));
            }
            if view.user_named(&user.username)?.is_some() {
                return Ok(Verdict::refuse(UserError::Taken));
            }
            Ok(Verdict::accept(user.clone(), vec![Change::PutUser(user), event]))
        });
        written.await.map_err(Unavailable::from)?
    }

    /// Users that the caller may see, in the order of their creation.
    pub fn users(
        &self,
        scope: Option<TenantId>,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<User>, Unavailable> {
        let mut users = Vec::new();
        self.store.read(|view| {
            view.users(after, |user| {
                if scope.is_none() || user.tenant == scope {
                    users.push(user);
                }
                if users.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })
        })?;
        Ok(users)
    }

    /// Changes a person. A new password, a new role and being disabled end that person's sessions.
    pub async fn change_user(
        self: &Arc<Self>,
        caller: &Caller,
        id: UserId,
        change: UserChange,
    ) -> Result<User, UserError> {
        let scope = caller.tenant();
        let visible = move |user: &User| scope.is_none() || user.tenant == scope;
        let found = self.store.read(|view| view.user(id)).map_err(Unavailable::from)?;
        let user = found.filter(visible).ok_or(UserError::NotFound)?;
        let password = match change.password {
            Some(text) => {
                let password = NewPassword::new(text, &user.username)?;
                Some(self.passwords.hash(Asker::of(caller), password).await?)
            }
            None => None,
        };
        let caller = caller.clone();
        let (role, disabled) = (change.role, change.disabled);
        let written = self.store.write(move |view, now| {
            let Some(user) = view.user(id)?.filter(visible) else {
                return Ok(Verdict::refuse(UserError::NotFound));
            };
            decide_change(view, now, &caller, &user, role, disabled, password)
        });
        written.await.map_err(Unavailable::from)?
    }

    /// Creates the first administrator with a random password, unless there is a user already. The password
    /// is returned once and only its hash is kept.
    pub async fn create_first_admin(
        self: &Arc<Self>,
        caller: &Caller,
    ) -> Result<Option<Zeroizing<String>>, UserError> {
        if self.store.read(|view| view.has_users()).map_err(Unavailable::from)? {
            return Ok(None);
        }
        let password = readable_password()?;
        let username: Username = FIRST_ADMIN.parse().expect("a constant valid username");
        let hash = NewPassword::new(password.clone(), &username)?;
        let hash = self.passwords.hash(Asker::of(caller), hash).await?;
        let now = self.clock.now();
        let user = User {
            id: UserId::new(now, entropy()?),
            username,
            role: Role::Admin,
            tenant: None,
            password: hash,
            created_at: now,
            disabled_at: None,
            preferences: Preferences::default(),
        };
        let event = created(caller, &user);
        let written = self.store.write(move |view, _| {
            if view.has_users()? {
                return Ok(Verdict::<_, UserError>::accept(false, Vec::new()));
            }
            Ok(Verdict::accept(true, vec![Change::PutUser(user), event]))
        });
        let first = written.await.map_err(Unavailable::from)??;
        Ok(first.then_some(password))
    }
}

fn created(caller: &Caller, user: &User) -> Change {
    let mut event = caller.event("user.create", user.tenant, user.id);
    event.detail.insert("username", user.username.to_string());
    event.detail.insert("role", user.role.as_str().to_owned());
    Change::Audit(event)
}

fn decide_change(
    view: &View<'_>,
    now: Timestamp,
    caller: &Caller,
    before: &User,
    role: Option<Role>,
    disabled: Option<bool>,
    password: Option<PasswordHash>,
) -> Result<Verdict<User, UserError>, ReadError> {
    let mut after = before.clone();
    let mut event = caller.event("user.change", before.tenant, before.id);
    event.detail.insert("username", before.username.to_string());
    if let Some(role) = role {
        after.role = role;
        event.detail.insert("role", role.as_str().to_owned());
    }
    if let Some(disabled) = disabled {
        after.disabled_at = disabled.then(|| before.disabled_at.unwrap_or(now));
        event.detail.insert("disabled", disabled.to_string());
    }
    let new_password = password.is_some();
    if let Some(password) = password {
        after.password = password;
        event.detail.insert("password", "changed".to_owned());
    }
    if before.is_global_admin() && !after.is_global_admin() && !another_admin(view, before.id)? {
        return Ok(Verdict::refuse(UserError::LastAdmin));
    }
    let mut changes = Vec::new();
    if new_password || after.disabled_at.is_some() || after.role != before.role {
        // Who changes the own password stays signed in here, and nowhere else.
        let spare = match caller {
            Caller::User { user, session, .. } if user.id == before.id && after.disabled_at.is_none() => {
                Some(*session)
            }
            _ => None,
        };
        changes.extend(end_sessions(view, before, spare)?);
    }
    changes.extend([Change::PutUser(after.clone()), Change::Audit(event)]);
    Ok(Verdict::accept(after, changes))
}

fn another_admin(view: &View<'_>, but: UserId) -> Result<bool, ReadError> {
    let mut found = false;
    view.users(None, |user| {
        found = user.id != but && user.is_global_admin();
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

/// 160 random bits, in groups that can be read aloud.
fn readable_password() -> Result<Zeroizing<String>, Unavailable> {
    let letters = Zeroizing::new(ALPHABET.encode(&*Zeroizing::new(entropy::<20>()?)));
    let mut password = Zeroizing::new(String::with_capacity(48));
    for (index, letter) in letters.chars().enumerate() {
        if index > 0 && index % 8 == 0 {
            password.push('-');
        }
        password.push(letter);
    }
    Ok(password)
}
