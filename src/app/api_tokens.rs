//! API tokens: created, listed, revoked. A token never has more rights than its maker.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use jiff::SignedDuration;
use zeroize::Zeroizing;

use super::caller::Caller;
use super::{App, Unavailable, entropy};
use crate::domain::api_token::{ApiToken, Maker, TTL_SECONDS};
use crate::domain::credential::{Credential, CredentialKind};
use crate::domain::ids::{CredentialId, TenantId};
use crate::domain::label::Label;
use crate::domain::permission::Permission;
use crate::domain::user::Username;
use crate::store::{Change, Verdict};

/// What kind of token is wanted.
#[derive(Debug)]
pub struct ApiTokenOrder {
    pub name: Label,
    pub permissions: BTreeSet<Permission>,
    pub ttl_seconds: Option<i64>,
    /// `None`: the caller's own reach.
    pub tenant: Option<TenantId>,
}

#[derive(Debug, thiserror::Error)]
pub enum ApiTokenError {
    #[error("an API token needs at least one permission")]
    NoPermissions,
    #[error("a token cannot have the permission {0}, because you do not have it")]
    MoreThanMaker(Permission),
    #[error("an API token that expires lives between {} seconds and 5 years", TTL_SECONDS.start())]
    InvalidTtl,
    #[error("there is no such tenant")]
    NoTenant,
    #[error("there is no such API token")]
    NotFound,
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// A token and who made it, by name.
#[derive(Debug, Clone)]
pub struct ListedToken {
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
        let maker = match caller {
            Caller::User { user, .. } => Maker::User(user.id),
            Caller::Token(token) => token.maker,
            Caller::Local { .. } | Caller::Anonymous { .. } => Maker::Local,
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
            created_at: now,
            expires_at: order.ttl_seconds.map(|ttl| now + SignedDuration::from_secs(ttl)),
        };
        let mut event = caller.event("api_token.create", tenant, id);
        event.detail.insert("name", token.name.to_string());
        let granted: Vec<&str> = token.permissions.iter().map(|permission| permission.as_str()).collect();
        event.detail.insert("permissions", granted.join(" "));
        let created = self.store.write(move |view, _| {
            if let Some(tenant) = tenant
                && view.tenant(tenant)?.is_none()
            {
                return Ok(Verdict::refuse(ApiTokenError::NoTenant));
            }
            let maker = maker_name(view, &token)?;
            let changes = vec![Change::PutApiToken(token.clone()), Change::Audit(event)];
            Ok(Verdict::accept(ListedToken { token, maker }, changes))
        });
        Ok((created.await.map_err(Unavailable::from)??, credential))
    }

    /// API tokens that the caller may see, newest first.
    pub fn api_tokens(
        &self,
        scope: Option<TenantId>,
        before: Option<CredentialId>,
        limit: usize,
    ) -> Result<Vec<ListedToken>, Unavailable> {
        let listed = self.store.read(|view| {
            let mut tokens = Vec::new();
            let listed = |token| {
                tokens.push(token);
                if tokens.len() < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            };
            match scope {
                Some(_) => view.api_tokens_of(scope, before, listed)?,
                None => view.api_tokens(before, listed)?,
            }
            let named =
                tokens.into_iter().map(|token| Ok(ListedToken { maker: maker_name(view, &token)?, token }));
            named.collect::<Result<Vec<_>, crate::store::ReadError>>()
        });
        Ok(listed?)
    }

    /// Revokes a token at once.
    pub async fn delete_api_token(&self, caller: &Caller, id: CredentialId) -> Result<(), ApiTokenError> {
        let (scope, mut event) = (caller.tenant(), caller.event("api_token.revoke", caller.tenant(), id));
        let deleted = self.store.write(move |view, _| {
            let visible = |token: &ApiToken| scope.is_none() || token.tenant == scope;
            let Some(token) = view.api_token(id)?.filter(visible) else {
                return Ok(Verdict::refuse(ApiTokenError::NotFound));
            };
            event.tenant = token.tenant;
            event.detail.insert("name", token.name.to_string());
            Ok(Verdict::accept((), vec![Change::DeleteApiToken(id), Change::Audit(event)]))
        });
        deleted.await.map_err(Unavailable::from)?
    }
}

fn maker_name(
    view: &crate::store::View<'_>,
    token: &ApiToken,
) -> Result<Option<Username>, crate::store::ReadError> {
    match token.maker {
        Maker::Local => Ok(None),
        Maker::User(id) => Ok(view.user(id)?.map(|user| user.username)),
    }
}
