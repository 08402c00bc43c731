//! Tells receivers what waits for them: one after the other for each, in the order of each host, and again until it
//! has arrived.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

use crate::app::webhooks::by_time::SETTLED_AFTER;
use crate::app::{App, Unavailable};
use crate::clock;
use crate::domain::ids::WebhookId;
use crate::domain::webhook::event::WebhookEvent;
use crate::domain::webhook::row::Webhook;
use crate::error_chain::chain;
use crate::http::{Shared, findings};
use crate::server::background::warn_of;
use crate::webhook::send::{Message, SendError, own_addresses, send};

/// After a first failure; doubled with each one that follows, up to the last.
const AGAIN_AFTER: Duration = Duration::from_secs(1);
const AGAIN_AFTER_MOST: Duration = Duration::from_secs(300);
/// Events of one webhook that are looked at together.
const LOOKED_AT: usize = 64;
/// How often what is there is looked at without news.
const LOOKED_EVERY: Duration = Duration::from_secs(60);

/// How long to wait after so many failures.
fn again_after(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    AGAIN_AFTER.saturating_mul(1 << doublings).min(AGAIN_AFTER_MOST)
}

/// Keeps a task for each webhook.
pub(crate) async fn tell_receivers(shared: Shared, ending: CancellationToken) {
    let mut news = shared.app.webhook_news();
    let mut telling: HashMap<WebhookId, (Webhook, AbortOnDropHandle<()>)> = HashMap::new();
    let keeping = async {
        loop {
            news.borrow_and_update();
            match shared.app.all_webhooks() {
                Ok(webhooks) => {
                    // A key that was sealed anew is another row; what was begun may be sent twice.
                    telling.retain(|_, (webhook, _)| webhooks.contains(webhook));
                    for webhook in &webhooks {
                        telling.entry(webhook.id).or_insert_with(|| {
                            let task = tokio::spawn(tell_one(shared.clone(), webhook.clone()));
                            (webhook.clone(), AbortOnDropHandle::new(task))
                        });
                    }
                    shared.app.forget_webhooks_but(&webhooks);
                }
                Err(error) => warn_of(Err(error), "webhooks can't be read; it will be tried again"),
            }
            let _ = timeout(LOOKED_EVERY, news.changed()).await;
        }
    };
    tokio::select! {
        () = ending.cancelled() => {}
        () = keeping => {}
    }
}

/// Tells of what comes about by time alone.
pub(crate) async fn tell_of_time(shared: Shared, ending: CancellationToken) {
    let mut due = tokio::time::interval(LOOKED_EVERY);
    due.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let began = clock::monotonic();
    loop {
        tokio::select! {
            () = ending.cancelled() => return,
            _ = due.tick() => {}
        }
        // Before that nobody can say who has not come back.
        if began.elapsed() < SETTLED_AFTER {
            continue;
        }
        let told = async { shared.app.tell_of_time(&findings::endings(&shared)?).await };
        warn_of(
            told.await,
            "webhooks were not told of who is silent and what expires; it will be tried again",
        );
    }
}

async fn tell_one(shared: Shared, webhook: Webhook) {
    let mut teller = Teller { shared, webhook, key: None, failures: 0, refused: HashMap::new() };
    let mut news = teller.shared.app.webhook_news();
    loop {
        news.borrow_and_update();
        let rest = match teller.tell_next().await {
            Ok(Next::Told) => continue,
            Ok(Next::Rest(rest)) => rest,
            // Whatever comes meanwhile waits as well.
            Ok(Next::Pause(pause)) => {
                tokio::time::sleep(pause).await;
                continue;
            }
            Err(error) => {
                warn_of(
                    Err(error),
                    "what waits for a webhook can't be read or noted; it will be tried again",
                );
                tokio::time::sleep(AGAIN_AFTER).await;
                continue;
            }
        };
        let _ = timeout(rest, news.changed()).await;
    }
}

/// What to do after a look at the queue.
enum Next {
    Told,
    /// Until there is news.
    Rest(Duration),
    /// Whatever the news.
    Pause(Duration),
}

struct Teller {
    shared: Shared,
    webhook: Webhook,
    key: Option<Zeroizing<Vec<u8>>>,
    /// How often in a row the receiver could not be reached, or wanted nothing.
    failures: u32,
    /// Messages that the receiver has refused, how often, and when they are tried again.
    refused: HashMap<u64, (u32, Instant)>,
}

impl Teller {
    fn app(&self) -> &Arc<App> {
        &self.shared.app
    }

    async fn tell_next(&mut self) -> Result<Next, Unavailable> {
        let id = self.webhook.id;
        let waiting = self.app().waiting_for(id, LOOKED_AT)?;
        if self.app().drop_old_webhook_events(id, &waiting).await? > 0 {
            return Ok(Next::Told);
        }
        self.refused.retain(|number, _| waiting.iter().any(|(waits, _)| waits == number));
        let now = clock::monotonic();
        let (number, event) = match due(&waiting, &self.refused, now) {
            Ok(due) => due,
            Err(at) => {
                let rest = at.map_or(LOOKED_EVERY, |at| at.saturating_duration_since(now));
                return Ok(Next::Rest(rest.min(LOOKED_EVERY)));
            }
        };
        match self.attempt(number, event).await? {
            Ok(status) => {
                self.app().webhook_delivered(id, number).await?;
                if self.failures > 0 {
                    tracing::info!(webhook = %id, "the receiver of a webhook takes events again");
                }
                self.failures = 0;
                self.app().note_webhook_attempt(id, Ok(status));
                Ok(Next::Told)
            }
            Err(error) => {
                self.app().note_webhook_attempt(id, Err((error.status(), chain(&error))));
                let receiver = self.webhook.url.host();
                if error.is_of_the_message() {
                    let (times, next) = self.refused.entry(number).or_insert((0, now));
                    *times += 1;
                    *next = clock::monotonic() + again_after(*times);
                    if *times == 1 {
                        let error = &error as &dyn std::error::Error;
                        tracing::warn!(webhook = %id, %receiver, error, "the receiver of a webhook refuses an event");
                    }
                    return Ok(Next::Told);
                }
                self.failures += 1;
                if self.failures == 1 {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(webhook = %id, %receiver, error, "an event did not reach the receiver of a webhook; it is tried again for a day");
                }
                Ok(Next::Pause(again_after(self.failures)))
            }
        }
    }

    async fn attempt(
        &mut self,
        number: u64,
        event: &WebhookEvent,
    ) -> Result<Result<u16, SendError>, Unavailable> {
        let key = match self.key.take() {
            Some(key) => key,
            None => match self.app().webhook_key(&self.webhook, &self.shared.facts.envelope).await {
                Ok(key) => key,
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(webhook = %self.webhook.id, error, "the key of a webhook can't be unsealed");
                    return Err(Unavailable::Failed);
                }
            },
        };
        let body = self.app().webhook_body(&self.webhook, event)?;
        let message = Message { id: format!("msg_{}_{number}", self.webhook.id), body };
        let now = self.app().clock.now();
        let sent = send(&self.webhook, &key, &message, now, &own_addresses()).await;
        self.key = Some(key);
        Ok(sent)
    }
}

/// The first event that may be sent now: none stands before it that is about the same host. Else when there will be one.
fn due<'w>(
    waiting: &'w [(u64, WebhookEvent)],
    refused: &HashMap<u64, (u32, Instant)>,
    now: Instant,
) -> Result<(u64, &'w WebhookEvent), Option<Instant>> {
    let mut held_up = HashSet::new();
    let mut first = None;
    for (number, event) in waiting {
        if event.host.is_some_and(|host| held_up.contains(&host)) {
            continue;
        }
        match refused.get(number) {
            Some((_, next)) if *next > now => {
                first = Some(first.map_or(*next, |first: Instant| first.min(*next)));
                held_up.extend(event.host);
            }
            _ => return Ok((*number, event)),
        }
    }
    Err(first)
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::ids::HostId;
    use crate::domain::webhook::event::WebhookEventKind;

    #[test]
    fn a_refused_event_holds_up_its_own_host_alone() {
        let at = Timestamp::UNIX_EPOCH;
        let event = |host: u8| WebhookEvent {
            host: (host > 0).then(|| HostId::new(at, [host; 10])),
            ..WebhookEvent::of_all(WebhookEventKind::HostEnrolled, at, &[])
        };
        let waiting = [(1, event(1)), (2, event(1)), (3, event(2)), (4, event(0)), (5, event(0))];
        let now = clock::monotonic();
        let later = now + Duration::from_secs(9);
        let next = |refused: &[u64]| {
            let refused = refused.iter().map(|number| (*number, (1, later))).collect();
            due(&waiting, &refused, now).map(|(number, _)| number)
        };
        assert_eq!(next(&[]), Ok(1));
        assert_eq!(next(&[1]), Ok(3));
        assert_eq!(next(&[1, 3]), Ok(4));
        assert_eq!(next(&[1, 3, 4]), Ok(5));
        assert_eq!(next(&[1, 3, 4, 5]), Err(Some(later)));
        assert_eq!(due(&[], &HashMap::new(), now), Err(None));
    }

    #[test]
    fn waits_double_up_to_five_minutes() {
        let seconds: Vec<_> = (1..=11).map(|failures| again_after(failures).as_secs()).collect();
        assert_eq!(seconds, [1, 2, 4, 8, 16, 32, 64, 128, 256, 300, 300]);
        assert_eq!(again_after(u32::MAX).as_secs(), 300);
    }
}
