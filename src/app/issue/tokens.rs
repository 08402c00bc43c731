//! Join tokens: minted, listed, voided.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::SignedDuration;
use zeroize::Zeroizing;

use crate::app::access::caller::Caller;
use crate::app::access::tenants::NO_TENANT;
use crate::app::decide::first;
use crate::app::{App, Unavailable, entropy};
use crate::domain::enroll::credential::{Credential, CredentialKind};
use crate::domain::enroll::join_token::{JoinToken, JoinTokenState, TTL_SECONDS, TTL_SECONDS_DEFAULT};
use crate::domain::host::tag::{Tag, listed};
use crate::domain::identity::deny::AgentRef;
use crate::domain::identity::spiffe::AgentId;
use crate::domain::ids::{CredentialId, TenantId};
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::label::Label;
use crate::domain::people::permission::Permission;
use crate::store::{Change, Verdict, View};

/// What kind of token is wanted.
#[derive(Debug, Default)]
pub struct TokenOrder {
    /// The agent that it is for, new or enrolled before; `None`: a new host, whose id becomes its agent id.
    pub agent: Option<AgentId>,
    /// What people call it; it need not be unique.
    pub name: Option<Label>,
    /// Within [`TTL_SECONDS`]; `None`: [`TTL_SECONDS_DEFAULT`].
    pub ttl_seconds: Option<i64>,
    /// What its host is tagged with.
    pub tags: BTreeSet<Tag>,
}

/// Why a join token was not minted or voided.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// A lifetime out of [`TTL_SECONDS`].
    #[error("a join token lives between {} seconds and {} days", TTL_SECONDS.start(), TTL_SECONDS.end() / 86_400)]
    InvalidTtl,
    /// Relying parties may take it for a person of power.
    #[error(
        "the agent id '{0}' is reserved, because programs that go by a certificate's common name may take it for a person of power; choose another one"
    )]
    Reserved(AgentId),
    /// As many are open as the policy allows, which is this many.
    #[error(
        "{0} join tokens are open in this tenant, and there may be no more; void some, or wait until they expire"
    )]
    TooMany(usize),
    /// The agent has a host, and whoever asks may not change it.
    #[error("tags for a host that is there already need the permission host.write")]
    TagsOfAHost,
    /// There is none of this id.
    #[error("{NO_TENANT}")]
    NoTenant,
    /// It is not there, or is another tenant's.
    #[error("There is no such join token.")]
    NotFound,
    /// It has let its machine in, and voiding it would take nothing away.
    #[error("this join token has already been used; revoke the agent instead")]
    AlreadyUsed,
    /// The store or the machine could not answer; not the caller's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl App {
    /// Mints a join token; its text is returned once and only its hash is kept.
    pub async fn mint_token(
        &self,
        caller: &Caller,
        tenant: TenantId,
        order: TokenOrder,
    ) -> Result<(JoinToken, Credential), TokenError> {
        let ttl = order.ttl_seconds.unwrap_or(TTL_SECONDS_DEFAULT);
        if !TTL_SECONDS.contains(&ttl) {
            return Err(TokenError::InvalidTtl);
        }
        if let Some(agent) = order.agent.as_ref().filter(|agent| self.policy.reserved_agent_ids.has(agent)) {
            return Err(TokenError::Reserved(agent.clone()));
        }
        let now = self.clock.now();
        let id = CredentialId::new(now, entropy()?);
        let credential = Credential::new(CredentialKind::JoinToken, id, Zeroizing::new(entropy()?));
        let token = JoinToken {
            id,
            hash: credential.hash(),
            tenant,
            agent: order.agent,
            name: order.name,
            created_at: now,
            expires_at: now + SignedDuration::from_secs(ttl),
            used_at: None,
            voided_at: None,
            tags: order.tags,
        };
        let mut event = caller.event(AuditAction::JoinTokenMint, Some(tenant), id);
        event.detail.insert("expires_at", token.expires_at.to_string());
        event.detail.extend(token.agent.iter().map(|agent| ("agent_id", agent.to_string())));
        event.detail.extend(token.name.iter().map(|name| ("name", name.to_string())));
        event.detail.extend(listed(&token.tags).map(|tags| ("tags", tags)));
        let most = self.policy.open_join_tokens_max;
        let tags_hosts = token.tags.is_empty() || caller.may(Permission::HostWrite);
        let minted = self.decide(move |view, now| {
            if !view.has_tenant(tenant)? {
                return Ok(Verdict::refuse(TokenError::NoTenant));
            }
            if let Some(agent) = token.agent.clone().filter(|_| !tags_hosts)
                && view.host_of(&AgentRef { tenant, agent })?.is_some()
            {
                return Ok(Verdict::refuse(TokenError::TagsOfAHost));
            }
            if view.open_join_tokens(tenant, now, most)? >= most {
                return Ok(Verdict::refuse(TokenError::TooMany(most)));
            }
            let changes = vec![Change::PutJoinToken(token.clone()), Change::Audit(event)];
            Ok(Verdict::accept(token, changes))
        });
        Ok((minted.await?, credential))
    }

    /// A tenant's join tokens, newest first.
    pub async fn tokens(
        self: &Arc<Self>,
        tenant: TenantId,
        before: Option<CredentialId>,
        limit: usize,
    ) -> Result<Vec<JoinToken>, Unavailable> {
        let walk =
            move |view: &View<'_>| first(limit, |visit| view.tenant(tenant).join_tokens(before, visit));
        self.query_long(move |app| app.query(walk)).await
    }

    /// Voids a token that has not been used. Repeating it is harmless.
    pub async fn void_token(
        &self,
        caller: &Caller,
        tenant: TenantId,
        id: CredentialId,
    ) -> Result<JoinToken, TokenError> {
        let event = caller.event(AuditAction::JoinTokenVoid, Some(tenant), id);
        self.decide(move |view, now| {
            let Some(token) = view.tenant(tenant).join_token(id)? else {
                return Ok(Verdict::refuse(TokenError::NotFound));
            };
            match token.state(now) {
                JoinTokenState::Used => Ok(Verdict::refuse(TokenError::AlreadyUsed)),
                JoinTokenState::Voided => Ok(Verdict::accept(token, Vec::new())),
                JoinTokenState::Open | JoinTokenState::Expired => {
                    let token = JoinToken { voided_at: Some(now), ..token };
                    let changes = vec![Change::PutJoinToken(token.clone()), Change::Audit(event)];
                    Ok(Verdict::accept(token, changes))
                }
            }
        })
        .await
    }
}
