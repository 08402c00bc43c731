//! What everybody may do about themselves: change their own password, and see and end their own sessions.

use std::sync::Arc;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::app::access::api_tokens::{end_tokens, tokens_of};
use crate::app::access::caller::Caller;
use crate::app::access::passwords::Asker;
use crate::app::access::sessions::{SignInError, end_sessions};
use crate::app::issue::refusals::ProofLevel;
use crate::app::{App, Unavailable};
use crate::domain::ids::UserId;
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::insight::audit_reason::AuditReason;
use crate::domain::people::api_token::ApiToken;
use crate::domain::people::session::{Session, SessionId, SessionKey};
use crate::domain::people::user::{InvalidPassword, NewPassword, User};
use crate::store::{Change, ReadError, Verdict, View};

/// A person, signed in, who asks for something about themselves.
#[derive(Debug, Clone)]
pub struct Oneself {
    /// As of this request; what is decided looks at their row again.
    pub user: User,
    /// The one that the request came with, which a new password leaves open.
    pub session: SessionKey,
    /// The same person as a [`Caller`], for audit records.
    pub caller: Caller,
}

impl Oneself {
    /// `None` for callers that are no person.
    pub fn of(caller: Caller) -> Option<Self> {
        match &caller {
            Caller::User { user, session, .. } => {
                Some(Self { user: user.as_ref().clone(), session: *session, caller })
            }
            Caller::Local { .. } | Caller::Token(_) | Caller::Anonymous { .. } => None,
        }
    }
}

/// A person's wish for another password.
#[derive(Debug)]
pub struct OwnPassword {
    /// What they say it is now, to be verified.
    pub current: Zeroizing<String>,
    /// What it is to be, as it was typed.
    pub new: Zeroizing<String>,
    /// Whether the person's API tokens end, too.
    pub end_api_tokens: bool,
}

/// Why somebody's wish about themselves was refused.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// It is verified even in a live session: a browser that was left open is no proof of the person.
    #[error("the current password is another one")]
    WrongPassword,
    /// The new one is too short, too long or too easy to guess.
    #[error(transparent)]
    InvalidPassword(#[from] InvalidPassword),
    /// It has ended, or is somebody else's.
    #[error("You have no such session.")]
    NoSession,
    /// The session ended, or the password was reset, while hashes were made.
    #[error("the session has ended")]
    SignedOut,
    /// No turn to hash came in time; to be tried again.
    #[error("too many passwords are being checked at once")]
    Busy,
    /// The store or the machine could not answer; not the person's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl From<SignInError> for AccountError {
    fn from(error: SignInError) -> Self {
        match error {
            SignInError::Unavailable(error) => Self::Unavailable(error),
            SignInError::Busy => Self::Busy,
            SignInError::Wrong => Self::WrongPassword,
        }
    }
}

impl App {
    /// Changes one's own password: every other session ends, and the API tokens that were asked for. Returns those.
    pub async fn change_own_password(
        self: &Arc<Self>,
        oneself: &Oneself,
        change: OwnPassword,
    ) -> Result<Vec<ApiToken>, AccountError> {
        let Oneself { user, session, caller } = oneself.clone();
        let new = NewPassword::new(change.new, &user.username)?;
        let asker = Asker::of(&caller);
        if !self.passwords.verify(asker, change.current, Some(user.password.clone())).await? {
            let event = caller.event(AuditAction::UserChange, user.tenant, user.id);
            self.record_refusal(event, ProofLevel::Somebody, AuditReason::WrongPassword).await?;
            return Err(AccountError::WrongPassword);
        }
        let password = self.passwords.hash(asker, new).await?;
        let end_api_tokens = change.end_api_tokens;
        self.decide(move |view, now| {
            // Somebody may have reset the password, or ended this session, while the hashes were made.
            let live = view.session(session)?.is_some_and(|session| !session.expired(now));
            let unchanged =
                |now: &User| now.password.as_phc() == user.password.as_phc() && now.disabled_at.is_none();
            let Some(user) = view.any_tenant().user(user.id)?.filter(unchanged).filter(|_| live) else {
                return Ok(Verdict::refuse(AccountError::SignedOut));
            };
            let user = User { password, password_set_at: Some(now), ..user };
            set_own_password(view, &caller, user, session, end_api_tokens)
        })
        .await
    }

    /// The API tokens that a person has made and that still grant something, newest first.
    pub fn own_api_tokens(&self, oneself: &Oneself) -> Result<Vec<ApiToken>, Unavailable> {
        let now = self.clock.now();
        let mut tokens = self.query(|view| tokens_of(view, oneself.user.id))?;
        tokens.retain(|token| !token.expired(now));
        Ok(tokens)
    }

    /// A person's own sessions in the order of their ids.
    pub fn own_sessions(
        &self,
        oneself: &Oneself,
        after: Option<SessionId>,
        limit: usize,
    ) -> Result<Vec<Session>, Unavailable> {
        let now = self.clock.now();
        let mut sessions = self.query(|view| live_sessions(view, oneself.user.id, now))?;
        sessions.sort_by_key(|session| session.key.id());
        sessions.retain(|session| after.is_none_or(|after| session.key.id() > after));
        sessions.truncate(limit);
        Ok(sessions)
    }

    /// Ends one of a person's own sessions.
    pub async fn end_own_session(&self, oneself: &Oneself, id: SessionId) -> Result<(), AccountError> {
        let (user, caller) = (oneself.user.clone(), oneself.caller.clone());
        self.decide(move |view, now| {
            let sessions = live_sessions(view, user.id, now)?;
            let Some(session) = sessions.into_iter().find(|session| session.key.id() == id) else {
                return Ok(Verdict::refuse(AccountError::NoSession));
            };
            let event = caller.event(AuditAction::SessionEnd, user.tenant, &user.username);
            Ok(Verdict::accept((), vec![Change::EndSession(session.key), Change::Audit(event)]))
        })
        .await
    }
}

fn set_own_password(
    view: &View<'_>,
    caller: &Caller,
    user: User,
    session: SessionKey,
    end_api_tokens: bool,
) -> Result<Verdict<Vec<ApiToken>, AccountError>, ReadError> {
    let mut changes = end_sessions(view, &user, Some(session))?;
    let ended = if end_api_tokens { tokens_of(view, user.id)? } else { Vec::new() };
    let mut event = caller.event(AuditAction::UserChange, user.tenant, user.id);
    event.detail.insert("username", user.username.to_string());
    event.detail.insert("password", "changed".to_owned());
    changes.extend([Change::PutUser(user), Change::Audit(event)]);
    changes.extend(end_tokens(caller, &ended, "their maker has changed the password"));
    Ok(Verdict::accept(ended, changes))
}

fn live_sessions(view: &View<'_>, user: UserId, now: Timestamp) -> Result<Vec<Session>, ReadError> {
    let mut sessions = view.sessions()?;
    sessions.retain(|session| session.user == user && !session.expired(now));
    Ok(sessions)
}
