//! Webhooks: what goes over the wire, made from what the use cases answer.

use crate::api::webhooks::WebhookItem;
use crate::app::webhooks::manage::ListedWebhook;

impl From<ListedWebhook> for WebhookItem {
    fn from(listed: ListedWebhook) -> Self {
        let ListedWebhook { webhook, queue, health } = listed;
        Self {
            id: webhook.id.to_string(),
            url: webhook.url.to_string(),
            events: webhook.events.map(|kinds| kinds.into_iter().map(Into::into).collect()),
            format: webhook.format.into(),
            own_ca: webhook.ca_pem.is_some(),
            tenant_id: webhook.tenant.map(|tenant| tenant.to_string()),
            created_at: webhook.created_at,
            waiting: queue.waiting,
            dropped: queue.dropped,
            delivered: health.delivered,
            last_attempt_at: health.last_attempt_at,
            last_status: health.last_status,
            last_error: health.last_error,
            failing_since: health.failing_since,
        }
    }
}
