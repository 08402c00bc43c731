//! Webhooks.

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::api::encoding::word::Word;
use crate::domain::webhook::event::WebhookEventKind;
use crate::domain::webhook::row::WebhookFormat;

/// `POST /v1/webhooks`
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct WebhookBody {
    /// Where events are posted: `https://…`, with a path that may hold what the receiver knows its callers by.
    #[schemars(length(min = 9, max = 2048))]
    pub(crate) url: String,
    /// Which events; without it all, those of later versions included.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) events: Option<Vec<WebhookEventKind>>,
    /// PEM: what vouches for the receiver in place of the system's roots.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 65536))]
    pub(crate) ca_pem: Option<String>,
    /// `json`, unless another one is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) format: Option<WebhookFormat>,
}

/// Somebody who is told of events.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct WebhookItem {
    pub(crate) id: String,
    pub(crate) url: String,
    /// `null`: all.
    pub(crate) events: Option<Vec<Word<WebhookEventKind>>>,
    pub(crate) format: Word<WebhookFormat>,
    /// Whether certificates of its own vouch for the receiver.
    pub(crate) own_ca: bool,
    /// `null`: it is told of every tenant's events, and of the deployment's.
    pub(crate) tenant_id: Option<String>,
    pub(crate) created_at: Timestamp,
    /// Events that wait.
    pub(crate) waiting: u32,
    /// Events that never arrived: ten thousand waited already, or they were tried for a day.
    pub(crate) dropped: u64,
    /// Events that arrived since the server started.
    pub(crate) delivered: u64,
    pub(crate) last_attempt_at: Option<Timestamp>,
    /// What the receiver answered last.
    pub(crate) last_status: Option<u16>,
    /// Why the last attempt came to nothing.
    pub(crate) last_error: Option<String>,
    /// Since when nothing has arrived.
    pub(crate) failing_since: Option<Timestamp>,
}

/// The only answer that ever holds a webhook's key.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct CreatedWebhook {
    #[serde(flatten)]
    pub(crate) item: WebhookItem,
    /// `whsec_` and base64; what Standard Webhooks' libraries take.
    #[schemars(with = "String")]
    pub(crate) secret: Zeroizing<String>,
}

/// What came of a test.
#[derive(Serialize, Deserialize, JsonSchema)]
pub(crate) struct WebhookTestAnswer {
    pub(crate) delivered: bool,
    /// What the receiver answered.
    pub(crate) status: Option<u16>,
    /// Why it did not arrive.
    pub(crate) error: Option<String>,
}
