//! Reading webhooks and what waits for them.

use std::ops::ControlFlow;

use jiff::Timestamp;

use super::{View, meta};
use crate::domain::ids::WebhookId;
use crate::domain::webhook::event::WebhookEvent;
use crate::domain::webhook::row::{Webhook, WebhookQueue};
use crate::store::ReadError;
use crate::store::record::decode;
use crate::store::rows::{Span, Table};

/// Where an event that waits stands: behind those that came before it.
pub(in crate::store) fn webhook_event_key(webhook: WebhookId, number: u64) -> [u8; 24] {
    let mut key = [0; 24];
    key[..16].copy_from_slice(webhook.as_bytes());
    key[16..].copy_from_slice(&number.to_be_bytes());
    key
}

impl View<'_> {
    /// All webhooks of all tenants, the oldest first; there are few.
    pub fn webhooks(&self) -> Result<Vec<Webhook>, ReadError> {
        let mut all = Vec::new();
        self.rows.each(Table::Webhooks, &Span::all(), &mut |_, content| {
            all.push(decode(Table::Webhooks, content)?);
            Ok(())
        })?;
        Ok(all)
    }

    /// One of them.
    pub fn webhook(&self, id: WebhookId) -> Result<Option<Webhook>, ReadError> {
        self.record(Table::Webhooks, id.as_bytes())
    }

    /// How the queue of one stands.
    pub fn webhook_queue(&self, id: WebhookId) -> Result<WebhookQueue, ReadError> {
        Ok(self.record(Table::WebhookQueues, id.as_bytes())?.unwrap_or_default())
    }

    /// What waits for one, the oldest first, so many at most.
    pub fn webhook_events(&self, id: WebhookId, most: usize) -> Result<Vec<(u64, WebhookEvent)>, ReadError> {
        let table = Table::WebhookEvents;
        let mut waiting = Vec::new();
        self.rows.scan(table, &Span::prefix(id.as_bytes()), &mut |key, content| {
            let number = key.get(16..).and_then(|number| number.try_into().ok()).ok_or(table.damaged())?;
            waiting.push((u64::from_be_bytes(number), decode(table, content)?));
            Ok(if waiting.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(waiting)
    }

    /// Up to when what comes about by time alone has been told.
    pub fn webhooks_looked_at(&self) -> Result<Option<Timestamp>, ReadError> {
        self.record(Table::Meta, meta::WEBHOOKS_LOOKED_AT)
    }
}
