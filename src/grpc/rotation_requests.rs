//! When a session asks its agent to rotate: once for each time that the server wants it, and not all agents at once.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tokio::sync::watch;
use tokio::time::{Sleep, sleep};
use tokio_stream::Stream;
use tokio_stream::wrappers::WatchStream;

use crate::clock::Clock;
use crate::domain::identity::rotation::jitter;
use crate::domain::identity::serial::Serial;
use crate::tls::live::LivePeers;

/// Agents that are asked in a second. Each draws a moment of its own besides, within a heartbeat's interval.
const ASKED_PER_SECOND: u64 = 100;
/// The longest time over which they are asked: it leaves the last of them some before relying parties are told.
const SPREAD_MAX: Duration = Duration::from_secs(480);

/// The longest that is waited until what an agent gets is no longer of before itself. A clock that is set must not hold it up.
const LEAD_MAX: SignedDuration = SignedDuration::from_secs(2);

/// Over how long so many agents are asked.
fn spread(agents: usize) -> Duration {
    let agents = u64::try_from(agents).unwrap_or(u64::MAX);
    Duration::from_millis(agents.saturating_mul(1000 / ASKED_PER_SECOND)).min(SPREAD_MAX)
}

/// One session's view of what the server wants.
pub(crate) struct RotationRequests {
    wanted: WatchStream<Option<Timestamp>>,
    serial: Serial,
    /// Until this agent's turn.
    turn: Option<Pin<Box<Sleep>>>,
    /// What it was asked for, so that it is asked once.
    asked: Option<Timestamp>,
}

impl RotationRequests {
    pub(crate) fn new(wanted: watch::Receiver<Option<Timestamp>>, serial: Serial) -> Self {
        Self { wanted: WatchStream::new(wanted), serial, turn: None, asked: None }
    }

    /// Whether the agent is to be asked now. Never before the moment whose predecessors are to rotate: an agent that did at once
    /// would get one of them, and after a rotation it takes its time to the next.
    pub(crate) fn poll_asked(&mut self, cx: &mut Context<'_>, live: &LivePeers, clock: &dyn Clock) -> bool {
        while let Poll::Ready(Some(made_before)) = Pin::new(&mut self.wanted).poll_next(cx) {
            let older = made_before.filter(|moment| self.serial.made_at() < *moment);
            if let Some(moment) = older.filter(|_| self.asked < made_before) {
                self.asked = made_before;
                let lead = moment.duration_since(clock.now()).clamp(SignedDuration::ZERO, LEAD_MAX);
                let turn = spread(live.count()) * u32::from(jitter(self.serial)) / 1000;
                self.turn = Some(Box::pin(sleep(turn + lead.unsigned_abs())));
            }
        }
        let due = self.turn.as_mut().is_some_and(|turn| turn.as_mut().poll(cx).is_ready());
        if due {
            self.turn = None;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::SystemClock;

    /// Who is asked in the first moment draws his own within half a minute, and might draw the first.
    #[tokio::test]
    async fn nobody_is_asked_before_the_moment_has_come() {
        let now = SystemClock.now();
        let moment = now + SignedDuration::from_millis(300);
        let wanted = watch::Sender::new(Some(moment));
        let serial = Serial::new(now, [7; 10]);
        let mut requests = RotationRequests::new(wanted.subscribe(), serial);
        let live = LivePeers::default();
        let asked = std::future::poll_fn(|cx| {
            if requests.poll_asked(cx, &live, &SystemClock) { Poll::Ready(()) } else { Poll::Pending }
        });
        asked.await;
        assert!(SystemClock.now() >= moment);
    }

    #[test]
    fn a_large_fleet_is_asked_over_minutes() {
        for (agents, seconds) in [(0, 0), (100, 1), (10_000, 100), (1_000_000, 480)] {
            assert_eq!(spread(agents).as_secs(), seconds, "{agents}");
        }
    }
}
