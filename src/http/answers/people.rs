//! People, sessions, API tokens and tenants: what goes over the wire, made from what the use cases answer.

use crate::api::encoding::word::Word;
use crate::api::people::{
    ApiTokenItem, ChangedUserAnswer, CreatedApiToken, OwnToken, PreferencesBody, SessionItem, TenantItem,
    UserItem,
};
use crate::app::access::api_tokens::ListedToken;
use crate::app::access::users::ChangedUser;
use crate::domain::enroll::credential::Credential;
use crate::domain::people::api_token::ApiToken;
use crate::domain::people::session::{Session, SessionKey};
use crate::domain::people::tenant::Tenant;
use crate::domain::people::user::{Preferences, User};

impl From<Preferences> for PreferencesBody {
    fn from(preferences: Preferences) -> Self {
        Self { time_zone: preferences.time_zone, clock: preferences.clock }
    }
}

impl From<User> for UserItem {
    fn from(user: User) -> Self {
        Self {
            id: user.id.to_string(),
            username: user.username.to_string(),
            role: user.role.into(),
            tenant_id: user.tenant.map(|tenant| tenant.to_string()),
            disabled: user.disabled_at.is_some(),
            created_at: user.created_at,
        }
    }
}

impl From<ChangedUser> for ChangedUserAnswer {
    fn from(changed: ChangedUser) -> Self {
        let ended_api_tokens = changed.ended_tokens.into_iter().map(OwnToken::from).collect();
        Self { item: UserItem::from(changed.user), ended_api_tokens }
    }
}

impl From<ApiToken> for OwnToken {
    fn from(token: ApiToken) -> Self {
        Self {
            id: token.id.to_string(),
            name: token.name.to_string(),
            created_at: token.created_at,
            expires_at: token.expires_at,
        }
    }
}

impl SessionItem {
    pub(crate) fn new(session: &Session, asking: SessionKey) -> Self {
        Self {
            id: session.key.id().to_string(),
            created_at: session.created_at,
            last_used_at: session.last_used_at,
            expires_at: session.expires_at(),
            address: session.address,
            current: session.key == asking,
        }
    }
}

impl From<ListedToken> for ApiTokenItem {
    fn from(listed: ListedToken) -> Self {
        let ListedToken { token, maker } = listed;
        Self {
            id: token.id.to_string(),
            name: token.name.to_string(),
            permissions: token.permissions.into_iter().map(Word::from).collect(),
            tenant_id: token.tenant.map(|tenant| tenant.to_string()),
            created_at: token.created_at,
            expires_at: token.expires_at,
            created_by: maker.map(|maker| maker.to_string()),
            created_with: token.parent.map(|parent| parent.to_string()),
        }
    }
}

impl CreatedApiToken {
    pub(crate) fn new(listed: ListedToken, credential: &Credential) -> Self {
        Self { item: ApiTokenItem::from(listed), token: credential.reveal() }
    }
}

impl From<Tenant> for TenantItem {
    fn from(tenant: Tenant) -> Self {
        Self { id: tenant.id.to_string(), name: tenant.name.to_string(), created_at: tenant.created_at }
    }
}
