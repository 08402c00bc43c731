//! What waits for a webhook, and what has become of it.

use std::sync::Arc;

use jiff::Timestamp;
use tokio::sync::watch;

use crate::app::webhooks::manage::WebhookHealth;
use crate::app::{App, Unavailable};
use crate::domain::ids::WebhookId;
use crate::domain::insight::finding::{Finding, Severity};
use crate::domain::insight::finding_code::FindingCode;
use crate::domain::webhook::event::WebhookEvent;
use crate::domain::webhook::row::{TRIED_FOR, Webhook};
use crate::store::{Change, Verdict, WebhookChange};

/// A receiver that takes nothing for so long is somebody's business.
const FAILING_AFTER: jiff::SignedDuration = jiff::SignedDuration::from_hours(1);

/// How all webhooks together go.
#[derive(Debug, Clone, Copy, Default)]
pub struct WebhookFigures {
    /// How many there are.
    pub webhooks: usize,
    /// Events that wait.
    pub waiting: u64,
    /// Events that never arrived, since their webhooks were made.
    pub dropped: u64,
    /// Events that arrived since this process started.
    pub delivered: u64,
}

impl App {
    /// Told when something waits for a webhook, or there is another one.
    pub fn webhook_news(&self) -> watch::Receiver<()> {
        self.webhook_news.subscribe()
    }

    /// Every webhook.
    pub fn all_webhooks(&self) -> Result<Vec<Webhook>, Unavailable> {
        self.query(|view| view.webhooks())
    }

    /// What waits for one, the oldest first.
    pub fn waiting_for(&self, id: WebhookId, most: usize) -> Result<Vec<(u64, WebhookEvent)>, Unavailable> {
        self.query(|view| view.webhook_events(id, most))
    }

    /// Takes an event out of its queue: it has arrived.
    pub async fn webhook_delivered(&self, webhook: WebhookId, number: u64) -> Result<(), Unavailable> {
        let take = WebhookChange::Take { webhook, numbers: vec![number], dropped: false };
        self.record(vec![Change::Webhook(take)]).await
    }

    /// Drops what has waited for too long.
    pub async fn drop_old_webhook_events(
        &self,
        webhook: WebhookId,
        waiting: &[(u64, WebhookEvent)],
    ) -> Result<usize, Unavailable> {
        let now = self.clock.now();
        let old = waiting.iter().filter(|(_, event)| now.duration_since(event.at) > TRIED_FOR);
        let numbers: Vec<_> = old.map(|(number, _)| *number).collect();
        let count = numbers.len();
        if count > 0 {
            let take = WebhookChange::Take { webhook, numbers, dropped: true };
            self.record(vec![Change::Webhook(take)]).await?;
        }
        Ok(count)
    }

    /// Tells webhooks of something that no audit record says.
    pub async fn tell_webhooks(self: &Arc<Self>, events: Vec<WebhookEvent>) -> Result<(), Unavailable> {
        self.decide(move |view, _| {
            let anybody = !view.webhooks()?.is_empty();
            let tell = events
                .into_iter()
                .filter(|_| anybody)
                .map(|event| Change::Webhook(WebhookChange::Tell(event)));
            Ok(Verdict::accept((), tell.collect()))
        })
        .await
    }

    /// Takes note of an attempt.
    pub fn note_webhook_attempt(&self, id: WebhookId, outcome: Result<u16, (Option<u16>, String)>) {
        let now = self.clock.now();
        let mut all = self.webhook_health.lock();
        let health = all.entry(id).or_default();
        let before = std::mem::take(health);
        *health = match outcome {
            Ok(status) => WebhookHealth {
                delivered: before.delivered + 1,
                last_attempt_at: Some(now),
                last_status: Some(status),
                last_error: None,
                failing_since: None,
            },
            Err((status, error)) => WebhookHealth {
                delivered: before.delivered,
                last_attempt_at: Some(now),
                last_status: status,
                last_error: Some(error),
                failing_since: before.failing_since.or(Some(now)),
            },
        };
    }

    /// Forgets how those went that are gone.
    pub fn forget_webhooks_but(&self, there: &[Webhook]) {
        self.webhook_health.lock().retain(|id, _| there.iter().any(|webhook| webhook.id == *id));
    }

    pub(crate) fn webhook_figures(&self) -> Result<WebhookFigures, Unavailable> {
        let mut figures = WebhookFigures::default();
        for listed in self.webhooks(None)? {
            figures.webhooks += 1;
            figures.waiting += u64::from(listed.queue.waiting);
            figures.dropped += listed.queue.dropped;
            figures.delivered += listed.health.delivered;
        }
        Ok(figures)
    }

    pub(crate) fn webhook_findings(&self, now: Timestamp) -> Option<Finding> {
        let since: Vec<_> =
            self.webhook_health.lock().values().filter_map(|health| health.failing_since).collect();
        let failing: Vec<_> =
            since.into_iter().filter(|since| now.duration_since(*since) > FAILING_AFTER).collect();
        let first = failing.iter().min().copied()?;
        let message = match failing.len() {
            1 => "The receiver of a webhook takes no events".to_owned(),
            many => format!("The receivers of {many} webhooks take no events"),
        };
        let hint = "'muster webhook list' says what they answer. What waits is tried for a day, then dropped and counted.";
        let count = u64::try_from(failing.len()).unwrap_or(u64::MAX);
        Some(
            Finding::new(FindingCode::WebhookFailing, Severity::Soon, message, hint)
                .at(first)
                .counting(count),
        )
    }
}
