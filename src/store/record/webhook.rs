//! Webhooks and what waits for them, as they lie on disk.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::domain::ids::{HostId, TenantId, WebhookId};
use crate::domain::webhook::event::{WebhookEvent, WebhookEventKind};
use crate::domain::webhook::receiver::WebhookUrl;
use crate::domain::webhook::row::{Webhook, WebhookFormat, WebhookQueue};
use crate::store::record::encoding::{base64, on_disk};

on_disk! {
    Webhook as WebhookRecord,
    WebhookQueue as WebhookQueueRecord,
    WebhookEvent as WebhookEventRecord,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "Webhook")]
struct WebhookRecord {
    id: WebhookId,
    tenant: Option<TenantId>,
    url: WebhookUrl,
    #[serde(deserialize_with = "known_kinds")]
    events: Option<BTreeSet<WebhookEventKind>>,
    ca_pem: Option<String>,
    format: WebhookFormat,
    may_go_inside: bool,
    #[serde(with = "base64")]
    sealed_key: Vec<u8>,
    created_at: Timestamp,
}

/// What a newer version can tell of and this one can't is not told.
fn known_kinds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<BTreeSet<WebhookEventKind>>, D::Error> {
    let words = Option::<Vec<String>>::deserialize(from)?;
    Ok(words.map(|words| words.iter().filter_map(|word| word.parse().ok()).collect()))
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "WebhookQueue")]
struct WebhookQueueRecord {
    next: u64,
    waiting: u32,
    dropped: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(remote = "WebhookEvent")]
struct WebhookEventRecord {
    kind: WebhookEventKind,
    at: Timestamp,
    tenant: Option<TenantId>,
    host: Option<HostId>,
    detail: BTreeMap<String, String>,
}
