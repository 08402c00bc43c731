//! People: created, listed, changed. One person who can do everything always remains, and nobody makes, changes or
//! takes over somebody who may do more than they do.

use std::ops::ControlFlow;
use std::sync::Arc;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::app::access::api_tokens::{end_tokens, tokens_of};
use crate::app::access::caller::Caller;
use crate::app::access::passwords::Asker;
use crate::app::access::sessions::{SignInError, end_sessions, renewed};
use crate::app::access::tenants::NO_TENANT;
use crate::app::decide::first;
use crate::app::issue::refusals::ProofLevel;
use crate::app::{App, Unavailable, entropy};
use crate::domain::ids::{ALPHABET, TenantId, UserId};
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::insight::audit_reason::AuditReason;
use crate::domain::people::api_token::ApiToken;
use crate::domain::people::tenant::DEFAULT_TENANT;
use crate::domain::people::user::{
    InvalidPassword, NewPassword, PasswordHash, Preferences, Role, User, Username,
};
use crate::store::{Change, ReadError, Verdict, View};

/// The name of the first administrator.
pub const FIRST_ADMIN: &str = "admin";

/// Why a person was not created or changed.
#[derive(Debug, thiserror::Error)]
pub enum UserError {
    /// Somebody of the same tenant has it, or no other form of it is free.
    #[error("this username is taken")]
    Taken,
    /// Which rule the name breaks, as a clause for people.
    #[error("{0}")]
    InvalidUsername(&'static str),
    /// It is too short, too long or too easy to guess.
    #[error(transparent)]
    InvalidPassword(#[from] InvalidPassword),
    /// The caller may not do all that the person may, or is to. It goes on record.
    #[error("You may not do all that somebody of this role may, so you may neither create nor change them.")]
    MoreThanCaller,
    /// It is not there, or is of a tenant that the caller can't see.
    #[error("There is no such user.")]
    NotFound,
    /// The caller is confined to another tenant, or there is none of this id.
    #[error("{NO_TENANT}")]
    NoTenant,
    /// Nobody would be left who can do everything everywhere.
    #[error("this is the last administrator of all tenants; make another one first")]
    LastAdmin,
    /// No turn to hash came in time; to be tried again.
    #[error("too many passwords are being checked at once")]
    Busy,
    /// The store or the machine could not answer; not the caller's fault.
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
    /// The name wished for: in tenants other than the default one it gets a suffix.
    pub username: Username,
    /// As it was typed; judged as a [`NewPassword`].
    pub password: Zeroizing<String>,
    /// What they may do: no more than the caller may.
    pub role: Role,
    /// `None`: the caller's own reach.
    pub tenant: Option<TenantId>,
}

/// What to change about a person.
#[derive(Debug, Default)]
pub struct UserChange {
    /// `None`: it stays.
    pub role: Option<Role>,
    /// Whether they can't sign in; `None`: as before.
    pub disabled: Option<bool>,
    /// A new one, as it was typed; `None`: it stays.
    pub password: Option<Zeroizing<String>>,
}

/// A person after a change, and what the change has ended besides sessions.
#[derive(Debug)]
pub struct ChangedUser {
    /// Their row after it.
    pub user: User,
    /// The API tokens of theirs that it revoked.
    pub ended_tokens: Vec<ApiToken>,
}

impl App {
    /// Creates a person. One who belongs to a tenant other than the default one gets a name that says so, which is
    /// why no name is refused because somebody of another tenant has it.
    pub async fn create_user(self: &Arc<Self>, caller: &Caller, order: UserOrder) -> Result<User, UserError> {
        let mut event = caller.event(AuditAction::UserCreate, caller.tenant(), "");
        event.detail.insert("role", order.role.as_str().to_owned());
        let created = self.try_create_user(caller, order).await;
        if matches!(created, Err(UserError::MoreThanCaller)) {
            self.record_refusal(event, ProofLevel::Somebody, AuditReason::PermissionDenied).await?;
        }
        created
    }

    async fn try_create_user(self: &Arc<Self>, caller: &Caller, order: UserOrder) -> Result<User, UserError> {
        let tenant = match (caller.tenant(), order.tenant) {
            (Some(own), Some(asked)) if own != asked => return Err(UserError::NoTenant),
            (own, asked) => own.or(asked),
        };
        if !caller.may_all_that(order.role, tenant) {
            return Err(UserError::MoreThanCaller);
        }
        let password = NewPassword::new(order.password, &order.username)?;
        let password = self.passwords.hash(Asker::of(caller), password).await?;
        let user = self.new_user(order.username, order.role, tenant, password)?;
        let caller = caller.clone();
        self.decide(move |view, now| {
            if tenant.map(|tenant| view.has_tenant(tenant)).transpose()? == Some(false) {
                return Ok(Verdict::refuse(UserError::NoTenant));
            }
            // Hashing takes its time, and the caller may have lost rights meanwhile.
            let caller = renewed(view, &caller, now)?;
            let Some(caller) = caller.filter(|caller| caller.may_all_that(user.role, tenant)) else {
                return Ok(Verdict::refuse(UserError::MoreThanCaller));
            };
            let username = match name_in(view, &user.username, tenant)? {
                Ok(username) => username,
                Err(refusal) => return Ok(Verdict::refuse(refusal)),
            };
            let user = User { username, ..user };
            let event = created(&caller, &user);
            Ok(Verdict::accept(user.clone(), vec![Change::PutUser(user), event]))
        })
        .await
    }

    fn new_user(
        &self,
        username: Username,
        role: Role,
        tenant: Option<TenantId>,
        password: PasswordHash,
    ) -> Result<User, Unavailable> {
        let created_at = self.clock.now();
        let (id, preferences) = (UserId::new(created_at, entropy()?), Preferences::default());
        let (password_set_at, disabled_at) = (None, None);
        Ok(User {
            id,
            username,
            role,
            tenant,
            password,
            password_set_at,
            created_at,
            disabled_at,
            preferences,
        })
    }

    /// Users that the caller may see, in the order of their creation.
    pub fn users(
        &self,
        scope: Option<TenantId>,
        after: Option<UserId>,
        limit: usize,
    ) -> Result<Vec<User>, Unavailable> {
        self.query(|view| first(limit, |visit| view.within(scope).users(after, visit)))
    }

    /// Changes a person. A new password, a new role and being disabled end that person's sessions; a password that
    /// somebody else has set, and being disabled, end the person's API tokens too.
    pub async fn change_user(
        self: &Arc<Self>,
        caller: &Caller,
        id: UserId,
        change: UserChange,
    ) -> Result<ChangedUser, UserError> {
        let changed = self.try_change_user(caller, id, change).await;
        if matches!(changed, Err(UserError::MoreThanCaller)) {
            let event = caller.event(AuditAction::UserChange, caller.tenant(), id);
            self.record_refusal(event, ProofLevel::Somebody, AuditReason::PermissionDenied).await?;
        }
        changed
    }

    async fn try_change_user(
        self: &Arc<Self>,
        caller: &Caller,
        id: UserId,
        change: UserChange,
    ) -> Result<ChangedUser, UserError> {
        let scope = caller.tenant();
        let found = self.query(|view| view.within(scope).user(id))?;
        let user = found.ok_or(UserError::NotFound)?;
        let (role, disabled) = (change.role, change.disabled);
        if !may_change(caller, &user, role) {
            return Err(UserError::MoreThanCaller);
        }
        let password = match change.password {
            Some(text) => {
                let password = NewPassword::new(text, &user.username)?;
                Some(self.passwords.hash(Asker::of(caller), password).await?)
            }
            None => None,
        };
        let caller = caller.clone();
        self.decide(move |view, now| {
            let Some(user) = view.within(scope).user(id)? else {
                return Ok(Verdict::refuse(UserError::NotFound));
            };
            let caller = renewed(view, &caller, now)?;
            let Some(caller) = caller.filter(|caller| may_change(caller, &user, role)) else {
                return Ok(Verdict::refuse(UserError::MoreThanCaller));
            };
            decide_change(view, now, &caller, &user, role, disabled, password)
        })
        .await
    }

    /// Creates the first administrator with a random password, unless there is a user already. The password
    /// is returned once and only its hash is kept.
    pub async fn create_first_admin(
        self: &Arc<Self>,
        caller: &Caller,
    ) -> Result<Option<Zeroizing<String>>, UserError> {
        if self.query(|view| view.has_users())? {
            return Ok(None);
        }
        let password = readable_password()?;
        let username: Username = FIRST_ADMIN.parse().expect("a constant valid username");
        let hash = NewPassword::new(password.clone(), &username)?;
        let hash = self.passwords.hash(Asker::of(caller), hash).await?;
        let user = self.new_user(username, Role::Admin, None, hash)?;
        let event = created(caller, &user);
        let written = self.decide(move |view, _| {
            if view.has_users()? {
                return Ok(Verdict::<_, UserError>::accept(false, Vec::new()));
            }
            Ok(Verdict::accept(true, vec![Change::PutUser(user), event]))
        });
        let first = written.await?;
        Ok(first.then_some(password))
    }
}

/// Whether a caller may change this person, and give them this role.
fn may_change(caller: &Caller, user: &User, role: Option<Role>) -> bool {
    let may = |role| caller.may_all_that(role, user.tenant);
    may(user.role) && role.is_none_or(may)
}

/// The name that a person gets who is to have this one, or why there is none to be had.
fn name_in(
    view: &View<'_>,
    wish: &Username,
    tenant: Option<TenantId>,
) -> Result<Result<Username, UserError>, ReadError> {
    let Some(candidates) = candidates(view, wish, tenant)? else {
        return Ok(Err(UserError::InvalidUsername("a username has one '@' at most")));
    };
    for name in candidates {
        match view.any_tenant().user_named(&name)? {
            None => return Ok(Ok(name)),
            Some(other) if other.tenant == tenant => break,
            // Nothing is said about people of other tenants, not even that they are there.
            Some(_) => {}
        }
    }
    Ok(Err(UserError::Taken))
}

/// The names to try, best first. `None`: names of this form are kept for people of tenants.
fn candidates(
    view: &View<'_>,
    wish: &Username,
    tenant: Option<TenantId>,
) -> Result<Option<Vec<Username>>, ReadError> {
    let tenants = view.tenants()?;
    let default = view.default_tenant()?;
    let own = tenants.iter().find(|other| Some(other.id) == tenant);
    let ending_in = |suffix: &str| wish.ending_in(suffix).ok();
    Ok(match own {
        Some(own) if own.id != default => Some(
            [own.suffix(&tenants), own.unmistakable_suffix()].iter().filter_map(|s| ending_in(s)).collect(),
        ),
        _ if wish.as_str().matches('@').count() > 1 => None,
        Some(_) => {
            let mut others = tenants.iter().filter(|other| other.id != default);
            let like_theirs = others.any(|other| wish.ends_in(&other.suffix(&tenants)));
            let name = if like_theirs { ending_in(DEFAULT_TENANT) } else { Some(wish.clone()) };
            Some(name.into_iter().collect())
        }
        None => Some(vec![wish.clone()]),
    })
}

fn created(caller: &Caller, user: &User) -> Change {
    let mut event = caller.event(AuditAction::UserCreate, user.tenant, user.id);
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
) -> Result<Verdict<ChangedUser, UserError>, ReadError> {
    let mut after = before.clone();
    let mut event = caller.event(AuditAction::UserChange, before.tenant, before.id);
    event.detail.insert("username", before.username.to_string());
    if let Some(role) = role.filter(|role| *role != before.role) {
        after.role = role;
        event.detail.insert("role", role.as_str().to_owned());
    }
    if let Some(disabled) = disabled.filter(|disabled| *disabled != before.disabled_at.is_some()) {
        after.disabled_at = disabled.then_some(now);
        event.detail.insert("disabled", disabled.to_string());
    }
    let new_password = password.is_some();
    if let Some(password) = password {
        (after.password, after.password_set_at) = (password, Some(now));
        event.detail.insert("password", "changed".to_owned());
    }
    if before.is_global_admin() && !after.is_global_admin() && !another_admin(view, before.id)? {
        return Ok(Verdict::refuse(UserError::LastAdmin));
    }
    // What changes nothing writes nothing.
    let unchanged = (after.role, after.disabled_at) == (before.role, before.disabled_at);
    if unchanged && !new_password {
        return Ok(Verdict::accept(ChangedUser { user: after, ended_tokens: Vec::new() }, Vec::new()));
    }
    // Who changes the own password stays signed in here, and nowhere else.
    let own = match caller {
        Caller::User { user, session, .. } if user.id == before.id => Some(*session),
        _ => None,
    };
    let mut changes = Vec::new();
    if new_password || after.disabled_at.is_some() || after.role != before.role {
        changes.extend(end_sessions(view, before, own.filter(|_| after.disabled_at.is_none()))?);
    }
    // A person who is let in again starts without tokens, whatever an earlier version has left.
    let because = match (before.disabled_at.or(after.disabled_at), new_password && own.is_none()) {
        (Some(_), _) => Some("their maker was disabled"),
        (None, true) => Some("somebody else has set their maker's password"),
        (None, false) => None,
    };
    let ended_tokens = if because.is_some() { tokens_of(view, before.id)? } else { Vec::new() };
    changes.extend([Change::PutUser(after.clone()), Change::Audit(event)]);
    changes.extend(end_tokens(caller, &ended_tokens, because.unwrap_or_default()));
    Ok(Verdict::accept(ChangedUser { user: after, ended_tokens }, changes))
}

fn another_admin(view: &View<'_>, but: UserId) -> Result<bool, ReadError> {
    let mut found = false;
    // Whoever is an administrator of all tenants belongs to none.
    view.no_tenant().users(None, |user| {
        found = user.id != but && user.is_global_admin();
        if found { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

/// 160 random bits, in groups that can be read aloud. No user name has a `+`, so that a password that was typed into
/// the wrong field can't be taken for one.
fn readable_password() -> Result<Zeroizing<String>, Unavailable> {
    let letters = Zeroizing::new(ALPHABET.encode(&*Zeroizing::new(entropy::<20>()?)));
    let mut password = Zeroizing::new(String::with_capacity(48));
    for (index, letter) in letters.chars().enumerate() {
        if index > 0 && index % 8 == 0 {
            password.push('+');
        }
        password.push(letter);
    }
    Ok(password)
}
