//! What webhooks tell of.

use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::domain::ids::{HostId, TenantId};
use crate::domain::insight::audit::{AuditEvent, Outcome};
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::vocabulary::vocabulary;

vocabulary! {
    /// The kinds of events that a webhook can be told of.
    #[schemars(rename = "WebhookEventName")]
    wire pub enum WebhookEventKind {
        HostEnrolled = "host.enrolled",
        // It has not reported for a day.
        HostSilent = "host.silent",
        HostDecommissioned = "host.decommissioned",
        IdentityRevoked = "identity.revoked",
        CloneSuspected = "clone.suspected",
        // A capped enrollment secret has let in as many as it may.
        SecretExhausted = "secret.exhausted",
        // At most one a minute for each cause and network.
        EnrollmentRefused = "enrollment.refused",
        // A certificate of the agent CA, or the server's.
        ExpiryNear = "expiry.near",
        BackupFailed = "backup.failed",
        ReplicaBehind = "replica.behind",
    }
}

/// Something that webhooks are told of. It says what by ids; names are looked up when it is sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WebhookEvent {
    /// What has happened.
    pub kind: WebhookEventKind,
    /// When.
    pub at: Timestamp,
    /// Whose it is; `None`: the whole deployment's.
    pub tenant: Option<TenantId>,
    /// The host that it is about. Events of one host are told in their order.
    pub host: Option<HostId>,
    /// What else there is to say: few, short, and no secrets.
    pub detail: BTreeMap<String, String>,
}

impl WebhookEvent {
    /// One of the whole deployment.
    pub fn of_all(kind: WebhookEventKind, at: Timestamp, detail: &[(&str, String)]) -> Self {
        let detail = detail.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
        Self { kind, at, tenant: None, host: None, detail }
    }

    /// What an audit record is told as, if it is. Refusals are told by whoever bounds how often.
    pub fn of_audit(event: &AuditEvent, at: Timestamp) -> Option<Self> {
        let kind = match event.action {
            AuditAction::AgentEnroll => WebhookEventKind::HostEnrolled,
            AuditAction::AgentRevoke => WebhookEventKind::IdentityRevoked,
            AuditAction::HostDecommission => WebhookEventKind::HostDecommissioned,
            AuditAction::HostPossibleClone => WebhookEventKind::CloneSuspected,
            _ => return None,
        };
        let told = ["via", "agent_id", "signal", "because"];
        let detail =
            told.iter().filter_map(|name| Some(((*name).to_owned(), event.detail.get(name)?.clone())));
        (event.outcome == Outcome::Success).then(|| Self {
            kind,
            at,
            tenant: event.tenant,
            host: event.target.parse().ok(),
            detail: detail.chain([("actor".to_owned(), event.actor.clone())]).collect(),
        })
    }
}
