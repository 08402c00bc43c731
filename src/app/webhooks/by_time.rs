//! Events that come about by time alone: somebody falls silent, something comes near its end. Each is told once, because
//! what was told up to which moment is on disk.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::app::insight::findings::SILENT_AFTER;
use crate::app::{App, Unavailable};
use crate::domain::insight::finding::{EXPIRY_CRITICAL, EXPIRY_SOON, Ending};
use crate::domain::webhook::event::{WebhookEvent, WebhookEventKind};
use crate::store::{Change, WebhookChange};

/// Whoever lost the server has to come back before he counts as silent.
pub const SETTLED_AFTER: Duration = Duration::from_mins(10);

impl App {
    /// Tells of what has come about since it was last looked.
    pub async fn tell_of_time(self: &Arc<Self>, endings: &[Ending]) -> Result<(), Unavailable> {
        let now = self.clock.now();
        let (any, since) =
            self.query(|view| Ok((!view.webhooks()?.is_empty(), view.webhooks_looked_at()?)))?;
        if !any {
            return Ok(());
        }
        // The first look, and one after a clock was set back, only notes where it stands.
        let mut events = Vec::new();
        if let Some(since) = since.filter(|since| *since <= now) {
            events.extend(endings.iter().filter_map(|ending| near(ending, since, now)));
            let troubles = self.replica_figures();
            let troubles = troubles.iter().filter_map(|replica| replica.trouble(now));
            events.extend(
                troubles.filter(|(began, _)| since < *began && *began <= now).map(|(_, why)| {
                    WebhookEvent::of_all(WebhookEventKind::ReplicaBehind, now, &[("why", why)])
                }),
            );
            events.extend(
                self.fleet.fallen_silent(since - SILENT_AFTER, now - SILENT_AFTER).into_iter().map(
                    |(tenant, host, last_seen)| WebhookEvent {
                        tenant: Some(tenant),
                        host: Some(host),
                        ..WebhookEvent::of_all(
                            WebhookEventKind::HostSilent,
                            now,
                            &[("last_seen", format!("{last_seen:.0}"))],
                        )
                    },
                ),
            );
        }
        let told = events.into_iter().map(|event| Change::Webhook(WebhookChange::Tell(event)));
        self.record(told.chain([Change::Webhook(WebhookChange::LookedAt(now))]).collect()).await
    }
}

/// An end that has come within reach since.
fn near(ending: &Ending, since: Timestamp, now: Timestamp) -> Option<WebhookEvent> {
    let passed = |before: SignedDuration| {
        let moment = ending.at - before;
        since < moment && moment <= now
    };
    let reached = [EXPIRY_SOON, EXPIRY_CRITICAL, SignedDuration::ZERO].into_iter().any(passed);
    let detail = [
        ("code", ending.code.to_string()),
        ("what", ending.what.to_owned()),
        ("not_after", format!("{:.0}", ending.at)),
    ];
    reached.then(|| WebhookEvent::of_all(WebhookEventKind::ExpiryNear, now, &detail))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::insight::finding_code::FindingCode;

    #[test]
    fn an_end_is_told_as_it_comes_within_reach_and_not_again() {
        let at = Timestamp::from_second(1_900_000_000).unwrap();
        let ending = Ending { code: FindingCode::RootExpiry, what: "The root", at, hint: "" };
        let days = |days: i64| at - SignedDuration::from_hours(24 * days);
        let told = |from, until| near(&ending, days(from), days(until)).is_some();
        assert!(!told(90, 61) && told(61, 60) && told(90, 59) && !told(60, 8) && told(8, 7) && !told(7, 1));
        assert!(told(1, 0) && !told(0, -30));
    }
}
