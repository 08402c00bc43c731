//! A webhook's row, and how its queue stands.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};

use crate::domain::ids::{TenantId, WebhookId};
use crate::domain::vocabulary::vocabulary;
use crate::domain::webhook::event::{WebhookEvent, WebhookEventKind};
use crate::domain::webhook::receiver::WebhookUrl;

/// Events that wait for one receiver. What comes beyond them is dropped and counted.
pub const QUEUED_MAX: u32 = 10_000;
/// For how long an event is tried.
pub const TRIED_FOR: SignedDuration = SignedDuration::from_hours(24);
/// Webhooks of one tenant, or of the whole deployment.
pub const WEBHOOKS_MAX: usize = 20;

vocabulary! {
    /// How an event is written.
    #[schemars(rename = "WebhookFormatName")]
    wire pub enum WebhookFormat {
        // `type`, `timestamp`, `data`, as Standard Webhooks have it.
        Json = "json",
        // `text`: one sentence, as team chats take it.
        Text = "text",
    }
}

/// Whom to tell of what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Webhook {
    /// Of the row.
    pub id: WebhookId,
    /// Whose events it is told of; `None`: everybody's, and those of the deployment.
    pub tenant: Option<TenantId>,
    /// Where they go.
    pub url: WebhookUrl,
    /// Which; `None`: all, those of later versions included.
    pub events: Option<BTreeSet<WebhookEventKind>>,
    /// PEM: what vouches for the receiver in place of the system's roots.
    pub ca_pem: Option<String>,
    /// How they are written.
    pub format: WebhookFormat,
    /// Whether it may lead to this machine, its link, or go unencrypted: whoever made it belongs to no tenant.
    pub may_go_inside: bool,
    /// What events are signed with, sealed with the envelope.
    pub sealed_key: Vec<u8>,
    /// When it was made.
    pub created_at: Timestamp,
}

impl Webhook {
    /// Whether it is told of this.
    pub fn wants(&self, event: &WebhookEvent) -> bool {
        let its = self.tenant.is_none() || self.tenant == event.tenant;
        its && self.events.as_ref().is_none_or(|kinds| kinds.contains(&event.kind))
    }
}

/// How the queue of a webhook stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct WebhookQueue {
    /// The number that the next event gets.
    pub next: u64,
    /// How many wait.
    pub waiting: u32,
    /// How many never arrived: they found no room, or were tried for too long.
    pub dropped: u64,
}
