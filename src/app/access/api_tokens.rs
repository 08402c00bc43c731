//! API tokens: created, listed, revoked. A token never has more rights than its maker.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use zeroize::Zeroizing;

use crate::app::access::caller::Caller;
use crate::app::access::sessions::renewed;
use crate::app::access::tenants::NO_TENANT;
use crate::app::decide::{first, first_of};
use crate::app::issue::refusals::ProofLevel;
use crate::app::{App, Unavailable, entropy};
use crate::domain::enroll::credential::{Credential, CredentialKind};
use crate::domain::ids::{CredentialId, TenantId, UserId};
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::insight::audit_reason::AuditReason;
use crate::domain::label::Label;
use crate::domain::people::api_token::{ApiToken, GENERATIONS_MAX, Maker, TTL_SECONDS};
use crate::domain::people::permission::Permission;
use crate::domain::people::user::Username;
use crate::store::{Change, ReadError, Verdict, View};

/// What kind of token is wanted.
#[derive(Debug)]
pub struct ApiTokenOrder {
    /// What people call it; it need not be unique.
    pub name: Label,
    /// What it may do: at least one, and none that its maker lacks.
    pub permissions: BTreeSet<Permission>,
    /// Within [`TTL_SECONDS`]; `None`: it has no end of its own, and still ends with the token that made it.
    pub ttl_seconds: Option<i64>,
    /// `None`: the caller's own reach.
    pub tenant: Option<TenantId>,
}

/// Why a token was not created or revoked.
#[derive(Debug, thiserror::Error)]
pub enum ApiTokenError {
    /// The order grants nothing.
    #[error("an API token needs at least one permission")]
    NoPermissions,
    /// The first one that the caller lacks, or that a token confined to a tenant can't have. It goes on
    /// record.
    #[error("a token cannot have the permission {0}, because you do not have it")]
    MoreThanMaker(Permission),
    /// A lifetime out of [`TTL_SECONDS`].
    #[error("an API token that expires lives between {} seconds and 5 years", TTL_SECONDS.start())]
    InvalidTtl,
    /// Else a program could make tokens with tokens without end.
    #[error("a token that goes back to {GENERATIONS_MAX} others cannot make more of them")]
    TooManyGenerations,
    /// The caller is confined to another tenant, or there is none of this id.
    #[error("{NO_TENANT}")]
    NoTenant,
    /// It is not there, or is of a tenant that the caller can't see.
    #[error("There is no such API token.")]
    NotFound,
    /// The store or the machine could not answer; not the caller's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A token and who made it, by name.
#[derive(Debug, Clone)]
pub struct ListedToken {
    /// Its row, with the hash of its secret half.
    pub token: ApiToken,
    /// `None`: the local operator.
    pub maker: Option<Username>,
}

impl App {
    /// Creates an API token; its text is returned once and only its hash is kept.
    pub async fn create_api_token(
        &self,
        caller: &Caller,
        order: ApiTokenOrder,
    ) -> Result<(ListedToken, Credential), ApiTokenError> {
        let created = self.try_create_api_token(caller, order).await;
        if let Err(ApiTokenError::MoreThanMaker(missing)) = &created {
            let mut event = caller.event(AuditAction::ApiTokenCreate, caller.tenant(), "");
            event.detail.insert("permission", missing.to_string());
            self.record_refusal(event, ProofLevel::Somebody, AuditReason::PermissionDenied).await?;
        }
        created
    }

    async fn try_create_api_token(
        &self,
        caller: &Caller,
        order: ApiTokenOrder,
    ) -> Result<(ListedToken, Credential), ApiTokenError> {
        if order.permissions.is_empty() {
            return Err(ApiTokenError::NoPermissions);
        }
        if let Some(missing) = order.permissions.iter().find(|permission| !caller.may(**permission)) {
            return Err(ApiTokenError::MoreThanMaker(*missing));
        }
        if order.ttl_seconds.is_some_and(|ttl| !TTL_SECONDS.contains(&ttl)) {
            return Err(ApiTokenError::InvalidTtl);
        }
        let tenant = match (caller.tenant(), order.tenant) {
            (Some(own), Some(asked)) if own != asked => return Err(ApiTokenError::NoTenant),
            (own, asked) => own.or(asked),
        };
        if tenant.is_some() && order.permissions.contains(&Permission::TenantWrite) {
            return Err(ApiTokenError::MoreThanMaker(Permission::TenantWrite));
        }
        let (maker, parent) = match caller {
            Caller::User { user, .. } => (Maker::User(user.id), None),
            Caller::Token(token) => (token.maker, Some(token.id)),
            Caller::Local { .. } | Caller::Anonymous { .. } => (Maker::Local, None),
        };
        let now = self.clock.now();
        let id = CredentialId::new(now, entropy()?);
        let credential = Credential::new(CredentialKind::ApiToken, id, Zeroizing::new(entropy()?));
        let token = ApiToken {
            id,
            hash: credential.hash(),
            name: order.name,
            permissions: order.permissions,
            tenant,
            maker,
            parent,
            created_at: now,
            expires_at: order.ttl_seconds.map(|ttl| now + SignedDuration::from_secs(ttl)),
        };
        let caller = caller.clone();
        let created = self.decide(move |view, now| create(view, now, &caller, token));
        Ok((created.await?, credential))
    }

    /// API tokens that the caller may see, newest first.
    pub fn api_tokens(
        &self,
        scope: Option<TenantId>,
        before: Option<CredentialId>,
        limit: usize,
    ) -> Result<Vec<ListedToken>, Unavailable> {
        self.query(|view| {
            let tokens = first(limit, |visit| view.within(scope).api_tokens(before, visit))?;
            let named = |token| Ok(ListedToken { maker: maker_name(view, &token)?, token });
            tokens.into_iter().map(named).collect()
        })
    }

    /// Revokes a token at once, with every token that goes back to it.
    pub async fn delete_api_token(&self, caller: &Caller, id: CredentialId) -> Result<(), ApiTokenError> {
        let (scope, caller) = (caller.tenant(), caller.clone());
        self.decide(move |view, _| {
            let Some(token) = view.within(scope).api_token(id)? else {
                return Ok(Verdict::refuse(ApiTokenError::NotFound));
            };
            let mut changes = revoke(&caller, &token, None);
            for descendant in descendants(view, id)? {
                changes.extend(revoke(&caller, &descendant, Some("made with a token that was revoked")));
            }
            Ok(Verdict::accept((), changes))
        })
        .await
    }
}

fn create(
    view: &View<'_>,
    now: Timestamp,
    caller: &Caller,
    mut token: ApiToken,
) -> Result<Verdict<ListedToken, ApiTokenError>, ReadError> {
    if let Some(tenant) = token.tenant
        && !view.has_tenant(tenant)?
    {
        return Ok(Verdict::refuse(ApiTokenError::NoTenant));
    }
    // Who has lost a right since the request came can't hand it on.
    let caller = renewed(view, caller, now)?;
    let missing = |permission: &&Permission| !caller.as_ref().is_some_and(|caller| caller.may(**permission));
    let (Some(caller), None) = (&caller, token.permissions.iter().find(missing)) else {
        let missing = token.permissions.iter().find(missing).copied();
        return Ok(Verdict::refuse(ApiTokenError::MoreThanMaker(missing.unwrap_or(Permission::TokenWrite))));
    };
    let mut above = token.parent;
    for generation in 0.. {
        let Some(parent) = above.map(|id| view.any_tenant().api_token(id)).transpose()?.flatten() else {
            break;
        };
        if generation == GENERATIONS_MAX {
            return Ok(Verdict::refuse(ApiTokenError::TooManyGenerations));
        }
        // A token ends with the one that made it, so it does not claim to live for longer.
        token.expires_at = match (token.expires_at, parent.expires_at) {
            (Some(own), Some(end)) => Some(own.min(end)),
            (own, end) => own.or(end),
        };
        above = parent.parent;
    }
    let mut event = caller.event(AuditAction::ApiTokenCreate, token.tenant, token.id);
    event.detail.insert("name", token.name.to_string());
    let granted: Vec<&str> = token.permissions.iter().map(|permission| permission.as_str()).collect();
    event.detail.insert("permissions", granted.join(" "));
    let maker = maker_name(view, &token)?;
    let changes = vec![Change::PutApiToken(token.clone()), Change::Audit(event)];
    Ok(Verdict::accept(ListedToken { token, maker }, changes))
}

/// Ends a token, on record.
fn revoke(caller: &Caller, token: &ApiToken, because: Option<&str>) -> Vec<Change> {
    let mut event = caller.event(AuditAction::ApiTokenRevoke, token.tenant, token.id);
    event.detail.insert("name", token.name.to_string());
    event.detail.extend(because.map(|because| ("because", because.to_owned())));
    vec![Change::DeleteApiToken(token.id), Change::Audit(event)]
}

/// Tokens that were made with this one, or with one of those.
fn descendants(view: &View<'_>, id: CredentialId) -> Result<Vec<ApiToken>, ReadError> {
    let made = |token: &ApiToken| token.parent.is_some();
    let mut others = first_of(usize::MAX, made, |visit| view.any_tenant().api_tokens(None, visit))?;
    let (mut ended, mut descendants) = (BTreeSet::from([id]), Vec::new());
    loop {
        let goes_back = |token: &mut ApiToken| token.parent.is_some_and(|parent| ended.contains(&parent));
        let next: Vec<ApiToken> = others.extract_if(.., goes_back).collect();
        if next.is_empty() {
            return Ok(descendants);
        }
        ended.extend(next.iter().map(|token| token.id));
        descendants.extend(next);
    }
}

/// The tokens that a person has made, by their own hand or with one of these tokens; newest first.
pub(crate) fn tokens_of(view: &View<'_>, maker: UserId) -> Result<Vec<ApiToken>, ReadError> {
    let theirs = |token: &ApiToken| token.maker == Maker::User(maker);
    first_of(usize::MAX, theirs, |visit| view.any_tenant().api_tokens(None, visit))
}

/// Ends all of these, and says why on record.
pub(crate) fn end_tokens(caller: &Caller, tokens: &[ApiToken], because: &'static str) -> Vec<Change> {
    tokens.iter().flat_map(|token| revoke(caller, token, Some(because))).collect()
}

fn maker_name(view: &View<'_>, token: &ApiToken) -> Result<Option<Username>, ReadError> {
    match token.maker {
        Maker::Local => Ok(None),
        Maker::User(id) => Ok(view.any_tenant().user(id)?.map(|user| user.username)),
    }
}
