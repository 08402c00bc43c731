//! What waits for webhooks is written with what it tells of, so neither is there without the other.

use jiff::Timestamp;

use super::Batch;
use crate::domain::enroll::enrollment_secret::EnrollmentSecret;
use crate::domain::ids::WebhookId;
use crate::domain::insight::audit::AuditEvent;
use crate::domain::webhook::event::{WebhookEvent, WebhookEventKind};
use crate::domain::webhook::row::{QUEUED_MAX, WebhookQueue};
use crate::domain::withdrawal::Withdrawal;
use crate::store::ReadError;
use crate::store::change::WebhookChange;
use crate::store::rows::{Rows, Span, Table};
use crate::store::view::{View, meta, webhook_event_key};

impl Batch {
    pub(super) fn apply_webhook(&mut self, change: WebhookChange) -> Result<(), ReadError> {
        match change {
            WebhookChange::Put(webhook) => {
                self.webhooks = None;
                self.published.webhooks = true;
                self.put(Table::Webhooks, webhook.id.as_bytes(), &webhook)
            }
            WebhookChange::Delete(id) => self.delete_webhook(id),
            WebhookChange::Tell(event) => self.tell(&event),
            WebhookChange::Take { webhook, numbers, dropped } => self.take(webhook, &numbers, dropped),
            WebhookChange::LookedAt(at) => self.put(Table::Meta, meta::WEBHOOKS_LOOKED_AT, &at),
        }
    }

    fn delete_webhook(&mut self, id: WebhookId) -> Result<(), ReadError> {
        let mut waiting = Vec::new();
        self.each(Table::WebhookEvents, &Span::prefix(id.as_bytes()), &mut |key, _| {
            waiting.push(key.to_vec());
            Ok(())
        })?;
        for key in waiting {
            self.remove(Table::WebhookEvents, &key)?;
        }
        self.webhooks = None;
        self.published.webhooks = true;
        self.withdrawals.push(Withdrawal::Webhook(id));
        self.remove(Table::WebhookQueues, id.as_bytes())?;
        self.remove(Table::Webhooks, id.as_bytes())
    }

    pub(super) fn tell_of_audit(&mut self, event: &AuditEvent, now: Timestamp) -> Result<(), ReadError> {
        WebhookEvent::of_audit(event, now).map_or(Ok(()), |event| self.tell(&event))
    }

    pub(super) fn tell_of_exhausted(&mut self, secret: &EnrollmentSecret) -> Result<(), ReadError> {
        let detail = [
            ("secret_id", secret.id.to_string()),
            ("name", secret.name.to_string()),
            ("uses", secret.uses.to_string()),
        ];
        let at = secret.last_used_at.unwrap_or(secret.created_at);
        let event = WebhookEvent::of_all(WebhookEventKind::SecretExhausted, at, &detail);
        self.tell(&WebhookEvent { tenant: Some(secret.tenant), ..event })
    }

    /// Queues an event for everybody who wants to know.
    fn tell(&mut self, event: &WebhookEvent) -> Result<(), ReadError> {
        let webhooks = match self.webhooks.take() {
            Some(webhooks) => webhooks,
            None => View::new(self).webhooks()?,
        };
        for webhook in webhooks.iter().filter(|webhook| webhook.wants(event)) {
            let queue = View::new(self).webhook_queue(webhook.id)?;
            let full = queue.waiting >= QUEUED_MAX;
            let after = if full {
                WebhookQueue { dropped: queue.dropped + 1, ..queue }
            } else {
                self.put(Table::WebhookEvents, &webhook_event_key(webhook.id, queue.next), event)?;
                WebhookQueue { next: queue.next + 1, waiting: queue.waiting + 1, ..queue }
            };
            self.put(Table::WebhookQueues, webhook.id.as_bytes(), &after)?;
            self.published.webhooks = true;
        }
        self.webhooks = Some(webhooks);
        Ok(())
    }

    fn take(&mut self, id: WebhookId, numbers: &[u64], dropped: bool) -> Result<(), ReadError> {
        let mut queue = View::new(self).webhook_queue(id)?;
        let mut taken = 0_u32;
        for number in numbers {
            let key = webhook_event_key(id, *number);
            if self.get(Table::WebhookEvents, &key)?.is_some() {
                self.remove(Table::WebhookEvents, &key)?;
                taken += 1;
            }
        }
        if taken == 0 {
            return Ok(());
        }
        queue.waiting = queue.waiting.saturating_sub(taken);
        queue.dropped += if dropped { u64::from(taken) } else { 0 };
        self.put(Table::WebhookQueues, id.as_bytes(), &queue)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::clock::SystemClock;
    use crate::domain::webhook::row::{Webhook, WebhookFormat};
    use crate::store::{Change, ReadError, Store, Verdict};

    #[tokio::test]
    async fn ten_thousand_wait_and_what_comes_beyond_is_counted() {
        let store = Store::in_memory(Arc::new(SystemClock));
        let at = Timestamp::UNIX_EPOCH;
        let id = WebhookId::new(at, [1; 10]);
        let webhook = Webhook {
            id,
            tenant: None,
            url: "https://example.org/".parse().unwrap(),
            events: None,
            ca_pem: None,
            format: WebhookFormat::Json,
            may_go_inside: false,
            sealed_key: vec![1],
            created_at: at,
        };
        let write = async |changes: Vec<WebhookChange>| {
            let changes = changes.into_iter().map(Change::Webhook).collect();
            let queued = store.begin_write::<(), ReadError, _>(|_, _| Ok(Verdict::accept((), changes)));
            queued.answer().await.unwrap().unwrap();
            store.read::<_, ReadError>(|view| view.webhook_queue(id)).unwrap()
        };
        let event = || WebhookEvent::of_all(WebhookEventKind::ExpiryNear, at, &[]);
        write(vec![WebhookChange::Put(webhook)]).await;
        let told = (0..QUEUED_MAX + 5).map(|_| WebhookChange::Tell(event())).collect();
        let queue = write(told).await;
        assert_eq!(queue, WebhookQueue { next: 10_000, waiting: 10_000, dropped: 5 });
        let first = store.read::<_, ReadError>(|view| view.webhook_events(id, 3)).unwrap();
        assert_eq!(first.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [0, 1, 2]);
        // What is not there is not taken twice.
        let take = |numbers: &[u64], dropped| WebhookChange::Take {
            webhook: id,
            numbers: numbers.to_vec(),
            dropped,
        };
        let queue = write(vec![take(&[0, 1, 0], false), take(&[1, 2], true)]).await;
        assert_eq!((queue.waiting, queue.dropped), (9_997, 6));
        let queue = write(vec![WebhookChange::Tell(event())]).await;
        assert_eq!((queue.next, queue.waiting), (10_001, 9_998));
        let queue = write(vec![WebhookChange::Delete(id)]).await;
        assert_eq!(queue, WebhookQueue::default());
        assert!(store.read::<_, ReadError>(|view| view.webhook_events(id, 3)).unwrap().is_empty());
    }
}
