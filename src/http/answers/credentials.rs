//! Join tokens and enrollment secrets: what goes over the wire, made from what the use cases answer.

use jiff::Timestamp;

use crate::api::credentials::{CreatedSecret, MintWarning, MintedToken, SecretItem, TokenItem};
use crate::domain::code::Code;
use crate::domain::enroll::credential::Credential;
use crate::domain::enroll::enrollment_secret::EnrollmentSecret;
use crate::domain::enroll::join_lines;
use crate::domain::enroll::join_link::JoinLink;
use crate::domain::enroll::join_token::JoinToken;
use crate::domain::identity::spiffe::AgentId;
use crate::http::ServerFacts;

impl TokenItem {
    pub(crate) fn new(token: &JoinToken, now: Timestamp) -> Self {
        Self {
            id: token.id.to_string(),
            tenant_id: token.tenant.to_string(),
            agent_id: token.agent.as_ref().map(ToString::to_string),
            name: token.name.as_ref().map(ToString::to_string),
            state: token.state(now).into(),
            created_at: token.created_at,
            expires_at: token.expires_at,
            used_at: token.used_at,
            voided_at: token.voided_at,
            tags: token.tags.iter().map(ToString::to_string).collect(),
        }
    }
}

impl MintWarning {
    pub(crate) fn identity_revoked(agent: &AgentId) -> Self {
        let message = format!(
            "The identity of '{agent}' is revoked, so this token will be refused until its host is re-enabled."
        );
        Self { code: Code::IdentityRevoked.as_str().into(), message }
    }
}

impl MintedToken {
    pub(crate) fn new(
        token: &JoinToken,
        credential: &Credential,
        now: Timestamp,
        facts: &ServerFacts,
        warning: Option<MintWarning>,
    ) -> Self {
        let link = facts.join_link(credential);
        Self {
            warning,
            item: TokenItem::new(token, now),
            token: credential.reveal(),
            ca_pin: facts.server_pin().map(|pin| pin.to_string()),
            server: facts.reach.address().map(|address| format!("https://{address}")),
            server_warning: facts.reach.warning(),
            join_link: link.as_ref().map(JoinLink::reveal),
            install_command: link.as_ref().map(|link| join_lines::install(link, facts.key_pin())),
            enroll_command: link.as_ref().map(join_lines::enroll),
        }
    }
}

impl From<&EnrollmentSecret> for SecretItem {
    fn from(secret: &EnrollmentSecret) -> Self {
        Self {
            id: secret.id.to_string(),
            tenant_id: secret.tenant.to_string(),
            name: secret.name.to_string(),
            created_at: secret.created_at,
            uses: secret.uses,
            max_uses: secret.max_uses,
            expires_at: secret.expires_at,
            last_used_at: secret.last_used_at,
            revoked_at: secret.revoked_at,
            tags: secret.tags.iter().map(ToString::to_string).collect(),
            from: secret.from.texts(),
        }
    }
}

impl CreatedSecret {
    pub(crate) fn new(secret: &EnrollmentSecret, credential: &Credential) -> Self {
        Self { item: SecretItem::from(secret), secret: credential.reveal() }
    }
}
