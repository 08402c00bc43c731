//! Signing in and out, and turning what a request carries into a caller.

use std::collections::BTreeSet;
use std::net::IpAddr;
use std::sync::Arc;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::app::access::caller::{Caller, TokenCaller};
use crate::app::access::passwords::Asker;
use crate::app::issue::refusals::{ProofLevel, place_of};
use crate::app::{App, Unavailable, entropy};
use crate::domain::enroll::credential::{Credential, CredentialKind};
use crate::domain::ids::{CredentialId, TenantId};
use crate::domain::insight::audit::AuditEvent;
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::insight::audit_reason::AuditReason;
use crate::domain::people::api_token::{ApiToken, GENERATIONS_MAX, Maker};
use crate::domain::people::permission::Permission;
use crate::domain::people::session::{PER_USER_MAX, Session, SessionKey, SessionToken, TOUCH_EVERY};
use crate::domain::people::user::{Preferences, User, Username};
use crate::domain::withdrawal::Suspended;
use crate::store::{Change, ReadError, Verdict, View};

/// Why nobody was signed in, or no password was hashed.
#[derive(Debug, thiserror::Error)]
pub enum SignInError {
    /// The user is unknown or disabled, or the password is another one. Nobody outside learns which.
    #[error("Wrong username or password.")]
    Wrong,
    /// No turn to hash came within ten seconds, or somebody else was preferred; to be tried again.
    #[error("too many passwords are being checked at once")]
    Busy,
    /// The store or the machine could not answer; not the person's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A person's session, as far as the person may see it.
#[derive(Debug, Clone)]
pub struct SignedIn {
    /// Their row, which is not disabled.
    pub user: User,
    /// Not run out. Its key is for the store alone; what the person may see is its id.
    pub session: Session,
}

impl App {
    /// Signs a person in. Whether a user exists can be told neither from the answer nor from the time it takes.
    pub async fn sign_in(
        self: &Arc<Self>,
        username: &str,
        password: Zeroizing<String>,
        address: Option<IpAddr>,
    ) -> Result<(SignedIn, SessionToken), SignInError> {
        let caller = Caller::Anonymous { address };
        let name = Username::existing(username).ok();
        let found = match &name {
            Some(name) => self.query(|view| view.any_tenant().user_named(name))?,
            None => None,
        };
        // A name that nobody has is not recorded: it may be a password, typed into the wrong field.
        let target = found.as_ref().map(|user| user.username.to_string()).unwrap_or_default();
        let user = found.filter(|user| user.disabled_at.is_none());
        let user = self.query(|view| with_a_password(view, user))?;
        let asker = Asker::of(&caller);
        let hash = user.as_ref().map(|user| user.password.clone());
        let right = self.passwords.verify(asker, password, hash).await?;
        let (Some(user), true) = (user, right) else {
            let event = caller.event(AuditAction::SessionCreate, None, target);
            // Each name is told apart, somebody's or nobody's: else only the first try at a name that somebody has would
            // wait for a commit, and its time would tell.
            let by = format!("{:016x} {}", self.refusals.digest(username), place_of(&event));
            self.record_refusal_by(event, ProofLevel::Stranger, AuditReason::WrongCredentials, by).await?;
            return Err(SignInError::Wrong);
        };
        self.passwords.signed_in(asker);
        let token = SessionToken::new(Zeroizing::new(entropy()?));
        let now = self.clock.now();
        let session =
            Session { key: token.key(), user: user.id, created_at: now, last_used_at: now, address };
        let opened = self.decide(move |view, now| open(view, now, &user, session, &caller));
        Ok((opened.await?, token))
    }

    /// The caller behind a session cookie; `None` if there is no such session any more.
    pub async fn caller_of_session(
        &self,
        token: &SessionToken,
        address: Option<IpAddr>,
    ) -> Result<Option<Caller>, Unavailable> {
        let now = self.clock.now();
        let Some(SignedIn { user, session }) = self.signed_in(token.key())? else {
            return Ok(None);
        };
        if now.duration_since(session.last_used_at) >= TOUCH_EVERY {
            self.decide(move |view, now| {
                let changes = match view.session(session.key)? {
                    Some(session) if !session.expired(now) => {
                        vec![Change::PutSession(Session { last_used_at: now, ..session })]
                    }
                    _ => Vec::new(),
                };
                Ok(Verdict::<_, Unavailable>::accept((), changes))
            })
            .await?;
        }
        Ok(Some(Caller::User { user: Box::new(user), session: token.key(), address }))
    }

    /// A live session and its person.
    pub fn signed_in(&self, key: SessionKey) -> Result<Option<SignedIn>, Unavailable> {
        let now = self.clock.now();
        self.query(|view| live(view, key, now))
    }

    /// The caller behind an API token; `None` if the token grants nothing, or nothing any more. That it was used
    /// is recorded then.
    pub async fn caller_of_token(
        &self,
        text: &str,
        address: Option<IpAddr>,
    ) -> Result<Option<Caller>, Unavailable> {
        let Some(credential) = Credential::parse(CredentialKind::ApiToken, text) else {
            self.refuse_token(None, None, address, ProofLevel::Stranger, AuditReason::MalformedToken).await?;
            return Ok(None);
        };
        let now = self.clock.now();
        let granted = self.query(|view| {
            let Some(token) = view.any_tenant().api_token(credential.id())? else {
                return Ok(Err((None, ProofLevel::Stranger, AuditReason::UnknownToken)));
            };
            let (id, tenant, maker) = (token.id, token.tenant, token.maker);
            if !token.hash.matches(&credential) {
                return Ok(Err((tenant, ProofLevel::Stranger, AuditReason::WrongSecret)));
            }
            if token.expired(now) {
                return Ok(Err((tenant, ProofLevel::Somebody, AuditReason::Expired)));
            }
            if view.suspended(Suspended::ApiToken(id))?.is_some() {
                return Ok(Err((tenant, ProofLevel::Somebody, AuditReason::Suspended)));
            }
            let Some(permissions) = effective(view, &token, now)? else {
                return Ok(Err((tenant, ProofLevel::Somebody, AuditReason::MakerGone)));
            };
            Ok(Ok(Caller::Token(Box::new(TokenCaller { id, permissions, tenant, maker, address }))))
        });
        match granted? {
            Ok(caller) => Ok(Some(caller)),
            Err((tenant, met, reason)) => {
                self.refuse_token(Some(credential.id()), tenant, address, met, reason).await?;
                Ok(None)
            }
        }
    }

    /// Records that a token was used that grants nothing. Tokens that were revoked are not kept, so theirs are
    /// unknown; the id leads to the record of the revocation.
    async fn refuse_token(
        &self,
        id: Option<CredentialId>,
        tenant: Option<TenantId>,
        address: Option<IpAddr>,
        met: ProofLevel,
        reason: AuditReason,
    ) -> Result<(), Unavailable> {
        let target = id.map(|id| id.to_string()).unwrap_or_default();
        let event = Caller::Anonymous { address }.event(AuditAction::ApiTokenUse, tenant, target);
        // The same whether there is such a token or not, so that the time of a refusal does not tell.
        let by = event.target.clone();
        self.record_refusal_by(event, met, reason, by).await
    }

    /// Records that somebody came with a session that is not there.
    pub async fn refuse_session(&self, address: Option<IpAddr>) -> Result<(), Unavailable> {
        let event = Caller::Anonymous { address }.event(AuditAction::SessionUse, None, "");
        self.record_refusal(event, ProofLevel::Stranger, AuditReason::UnknownSession).await
    }

    /// Whether there is a session, be it one that has run out.
    pub fn knows_session(&self, token: &SessionToken) -> Result<bool, Unavailable> {
        Ok(self.query(|view| view.session(token.key()))?.is_some())
    }

    /// What a program's token grants by now.
    pub fn token_permissions(&self, caller: &TokenCaller) -> Result<BTreeSet<Permission>, Unavailable> {
        let now = self.clock.now();
        Ok(self.query(|view| granted(view, caller.id, now))?.unwrap_or_default())
    }

    /// Ends the session that the caller came with. Callers without one have nothing to end.
    pub async fn sign_out(&self, caller: &Caller) -> Result<(), Unavailable> {
        let Caller::User { user, session, .. } = caller else {
            return Ok(());
        };
        let (key, event) = (*session, caller.event(AuditAction::SessionEnd, user.tenant, &user.username));
        self.decide(move |view, _| {
            let changes = match view.session(key)? {
                Some(_) => vec![Change::EndSession(key), Change::Audit(event)],
                None => Vec::new(),
            };
            Ok(Verdict::accept((), changes))
        })
        .await
    }

    /// Stores how a person wants to see times; other callers have no preferences, and nothing happens.
    pub async fn set_preferences(
        &self,
        caller: &Caller,
        preferences: Preferences,
    ) -> Result<(), Unavailable> {
        let Caller::User { user, .. } = caller else {
            return Ok(());
        };
        let (id, event) = (user.id, caller.event(AuditAction::UserPreferences, user.tenant, user.id));
        self.decide(move |view, _| {
            let changed = view.any_tenant().user(id)?.filter(|user| user.preferences != preferences);
            let changed = changed.map(|user| Change::PutUser(User { preferences, ..user }));
            let changes = changed.into_iter().flat_map(|user| [user, Change::Audit(event.clone())]).collect();
            Ok(Verdict::accept((), changes))
        })
        .await
    }
}

fn open(
    view: &View<'_>,
    now: Timestamp,
    checked: &User,
    session: Session,
    caller: &Caller,
) -> Result<Verdict<SignedIn, SignInError>, ReadError> {
    // The password may have been changed, or the person disabled, while it was being checked.
    let unchanged =
        |now: &User| now.disabled_at.is_none() && now.password.as_phc() == checked.password.as_phc();
    let user = view.any_tenant().user(checked.id)?.filter(unchanged);
    let Some(user) = with_a_password(view, user)? else {
        return Ok(Verdict::refuse(SignInError::Wrong));
    };
    let mut sessions = view.sessions()?;
    let mut changes: Vec<Change> = sessions
        .extract_if(.., |session| session.expired(now))
        .map(|session| Change::EndSession(session.key))
        .collect();
    let mut own: Vec<Session> = sessions.into_iter().filter(|session| session.user == user.id).collect();
    own.sort_by_key(|session| session.last_used_at);
    let too_many = (own.len() + 1).saturating_sub(PER_USER_MAX);
    changes.extend(own.iter().take(too_many).map(|session| Change::EndSession(session.key)));
    let event = AuditEvent {
        actor: format!("user:{}", user.username),
        ..caller.event(AuditAction::SessionCreate, user.tenant, &user.username)
    };
    changes.extend([Change::PutSession(session.clone()), Change::Audit(event)]);
    Ok(Verdict::accept(SignedIn { user, session }, changes))
}

/// Somebody whose password counts: not after a restore, until the operator says so.
fn with_a_password(view: &View<'_>, user: Option<User>) -> Result<Option<User>, ReadError> {
    let Some(user) = user else { return Ok(None) };
    let suspended = view.suspended(Suspended::Person(user.id))?;
    Ok(Some(user).filter(|_| suspended.is_none()))
}

/// A session that has not ended, and its person, who may still sign in.
fn live(view: &View<'_>, key: SessionKey, now: Timestamp) -> Result<Option<SignedIn>, ReadError> {
    let Some(session) = view.session(key)?.filter(|session| !session.expired(now)) else {
        return Ok(None);
    };
    let user = view.any_tenant().user(session.user)?.filter(|user| user.disabled_at.is_none());
    Ok(user.map(|user| SignedIn { user, session }))
}

/// What a token grants by now; `None`: nothing any more.
fn granted(
    view: &View<'_>,
    id: CredentialId,
    now: Timestamp,
) -> Result<Option<BTreeSet<Permission>>, ReadError> {
    match view.any_tenant().api_token(id)?.filter(|token| !token.expired(now)) {
        Some(token) => effective(view, &token, now),
        None => Ok(None),
    }
}

/// What a token grants: what it lists, every token that it goes back to lists, and its maker still has. `None` when
/// one of those tokens has ended, or the maker is gone or disabled.
fn effective(
    view: &View<'_>,
    token: &ApiToken,
    now: Timestamp,
) -> Result<Option<BTreeSet<Permission>>, ReadError> {
    if view.suspended(Suspended::ApiToken(token.id))?.is_some() {
        return Ok(None);
    }
    let mut permissions = token.permissions.clone();
    let mut parent = token.parent;
    for _ in 0..GENERATIONS_MAX {
        let Some(id) = parent else { break };
        let suspended = view.suspended(Suspended::ApiToken(id))?.is_some();
        let above = view.any_tenant().api_token(id)?;
        let Some(above) = above.filter(|above| !suspended && !above.expired(now)) else {
            return Ok(None);
        };
        permissions.retain(|permission| above.permissions.contains(permission));
        parent = above.parent;
    }
    if parent.is_some() {
        return Ok(None);
    }
    if let Maker::User(id) = token.maker {
        let Some(maker) = view.any_tenant().user(id)?.filter(|maker| maker.disabled_at.is_none()) else {
            return Ok(None);
        };
        permissions.retain(|permission| maker.may(*permission));
    }
    Ok(Some(permissions))
}

/// The same caller with the rights of now, for decisions that come a while after the request; `None` if there is
/// none of it any more.
pub(crate) fn renewed(view: &View<'_>, caller: &Caller, now: Timestamp) -> Result<Option<Caller>, ReadError> {
    match caller {
        Caller::Local { .. } | Caller::Anonymous { .. } => Ok(Some(caller.clone())),
        Caller::User { session, address, .. } => {
            let user = live(view, *session, now)?.map(|live| Box::new(live.user));
            Ok(user.map(|user| Caller::User { user, session: *session, address: *address }))
        }
        Caller::Token(before) => {
            let renewed =
                |permissions| Caller::Token(Box::new(TokenCaller { permissions, ..*before.clone() }));
            Ok(granted(view, before.id, now)?.map(renewed))
        }
    }
}

/// Ends every session of a person, perhaps but for one.
pub(crate) fn end_sessions(
    view: &View<'_>,
    user: &User,
    spare: Option<SessionKey>,
) -> Result<Vec<Change>, ReadError> {
    let sessions = view.sessions()?.into_iter();
    let own = sessions.filter(|session| session.user == user.id && Some(session.key) != spare);
    Ok(own.map(|session| Change::EndSession(session.key)).collect())
}
