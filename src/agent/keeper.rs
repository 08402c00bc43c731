//! Keeps the identity fresh: rotates when it is time, when the server asks, and to learn why it was refused.
//!
//! The keeper alone writes to the identity directory while the agent runs. When to act is decided by
//! [`Schedule`], which is arithmetic; the loop only waits and calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rcgen::KeyPair;
use tokio::sync::{mpsc, watch};
use tracing::{error, info, warn};

use super::answer::Issued;
use super::boot::chain;
use super::config::AgentConfig;
use super::enrollment::{CallError, EnrollmentClient, Refusal};
use super::first_enrollment::{issued_notes, key_was_refused};
use super::identity::{Identity, IdentityError, NewIdentity, OwnedDir};
use super::notes::{Notes, Refused};
use crate::clock::Clock;
use crate::domain::rotation::{check_interval, due_at};
use crate::domain::serial::Serial;
use crate::tls::client::LiveIdentity;

/// A difference between the clocks that is worth a warning: certificates are dated back by five minutes.
const CLOCK_DIFFERENCE_MS_WARNED: i64 = 240_000;
/// A change of the difference that is worth writing down.
const CLOCK_DIFFERENCE_MS_NOTED: i64 = 1_000;
/// Shortest time between two suspicions. A revoked agent should learn it soon.
const SUSPICION_GAP_MIN: Duration = Duration::from_secs(5);
/// How often the time between suspicions doubles while the server keeps accepting an identity that can't open a
/// session. Then something else is in the way, and more certificates don't help.
const ACQUITTALS_MAX: u32 = 6;
/// Shortest wait of the loop, so that no arithmetic can make it spin.
const WAIT_MIN: Duration = Duration::from_millis(20);

/// What the session learns and the keeper must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The server asks for a rotation now.
    RotateNow,
    /// The identity may have been refused; the reason is for the log.
    PerhapsRefused(String),
    /// The server's clock minus ours, in milliseconds.
    ClockDifference(i64),
}

/// Why the keeper stopped.
#[derive(Debug)]
pub enum KeeperEnd {
    /// The identity has been revoked. There is no way back without a new enrollment.
    Revoked(Refusal),
    /// Nobody listens any more.
    Stopped,
}

/// When to rotate.
#[derive(Debug, Clone)]
pub(super) struct Schedule {
    issued_at: Timestamp,
    not_after: Timestamp,
    due: Timestamp,
    /// Asked for by the server, however long the certificate still lives.
    asked: bool,
    /// To be tried at once, to learn whether the identity still counts.
    suspected: bool,
    last_attempt: Option<Instant>,
}

impl Schedule {
    pub(super) fn new(issued_at: Timestamp, not_after: Timestamp, serial: Serial) -> Self {
        Self {
            issued_at,
            not_after,
            due: due_at(issued_at, not_after, jitter(serial)),
            asked: false,
            suspected: false,
            last_attempt: None,
        }
    }

    pub(super) const fn due(&self) -> Timestamp {
        self.due
    }

    /// How often rotation may be tried: once a minute, more often when the lifetime is short.
    fn gap(&self) -> Duration {
        check_interval(self.issued_at, self.not_after).unsigned_abs()
    }

    fn wanted(&self, server_now: Timestamp) -> bool {
        self.asked || server_now >= self.due
    }

    /// How long to wait before the next attempt or the next look. Zero means now.
    fn wait(&self, server_now: Timestamp, now: Instant) -> Duration {
        if self.suspected {
            return Duration::ZERO;
        }
        if self.wanted(server_now) {
            let since = self.last_attempt.map(|last| now.saturating_duration_since(last));
            return since.map_or(Duration::ZERO, |since| self.gap().saturating_sub(since));
        }
        let until_due = self.due.duration_since(server_now).max(SignedDuration::ZERO).unsigned_abs();
        until_due.min(self.gap())
    }
}

/// How long after a suspicion the next one counts, after so many that proved wrong since the last session.
fn suspicion_gap(gap: Duration, acquittals: u32) -> Duration {
    match acquittals {
        0 => gap.min(SUSPICION_GAP_MIN),
        wrong => gap * (1 << wrong.min(ACQUITTALS_MAX)),
    }
}

/// Spreads a fleet's rotations. Taken from the serial, whose end is random, so that everybody who looks at the
/// certificate computes the same moment.
pub fn jitter(serial: Serial) -> u16 {
    let [.., high, low] = *serial.as_bytes();
    u16::from_be_bytes([high, low]) % 1000
}

/// The owner of the identity directory while the agent runs.
#[derive(Debug)]
pub struct Keeper {
    dir: OwnedDir,
    config: Arc<AgentConfig>,
    clock: Arc<dyn Clock>,
    identity: Identity,
    live: Arc<LiveIdentity>,
    notes: Notes,
    schedule: Schedule,
    warned_of_clock: bool,
    last_suspicion: Option<Instant>,
    /// Suspicions that proved wrong since the last session.
    acquittals: u32,
    /// Tells the sessions that a new identity is in use.
    in_use: watch::Sender<Serial>,
}

impl Keeper {
    pub fn new(
        dir: OwnedDir,
        config: Arc<AgentConfig>,
        clock: Arc<dyn Clock>,
        identity: Identity,
    ) -> Result<Self, rustls::Error> {
        let notes = dir.place().notes();
        let schedule = schedule(&identity, &notes);
        let live = Arc::new(LiveIdentity::new(identity.certified_key()?));
        let (in_use, _) = watch::channel(identity.svid.serial);
        Ok(Self {
            dir,
            config,
            clock,
            identity,
            live,
            notes,
            schedule,
            warned_of_clock: false,
            last_suspicion: None,
            acquittals: 0,
            in_use,
        })
    }

    pub fn live(&self) -> Arc<LiveIdentity> {
        Arc::clone(&self.live)
    }

    pub fn in_use(&self) -> watch::Receiver<Serial> {
        self.in_use.subscribe()
    }

    pub const fn notes(&self) -> &Notes {
        &self.notes
    }

    /// Runs until the identity is revoked or `news` has no sender left.
    pub async fn run(mut self, mut news: mpsc::Receiver<News>) -> KeeperEnd {
        loop {
            let wait = self.schedule.wait(self.server_now(), Instant::now());
            if wait.is_zero() {
                if let Some(refusal) = self.rotate().await {
                    return KeeperEnd::Revoked(refusal);
                }
                continue;
            }
            tokio::select! {
                heard = news.recv() => match heard {
                    Some(heard) => self.hear(heard),
                    None => return KeeperEnd::Stopped,
                },
                () = tokio::time::sleep(wait.max(WAIT_MIN)) => {}
            }
        }
    }

    /// The time as the server has it, as far as is known.
    fn server_now(&self) -> Timestamp {
        let difference = SignedDuration::from_millis(self.notes.clock_difference_ms.unwrap_or(0));
        let now = self.clock.now();
        now.saturating_add(difference).unwrap_or(now)
    }

    fn hear(&mut self, news: News) {
        match news {
            News::RotateNow if self.schedule.asked => {}
            News::RotateNow => {
                info!("the server asks for a rotation");
                self.schedule.asked = true;
            }
            News::PerhapsRefused(reason) => self.suspect(&reason),
            News::ClockDifference(millis) => {
                self.acquittals = 0;
                self.note_clock(millis);
            }
        }
    }

    fn suspect(&mut self, reason: &str) {
        let patience = suspicion_gap(self.schedule.gap(), self.acquittals);
        if self.last_suspicion.is_some_and(|last| last.elapsed() < patience) {
            return;
        }
        warn!(reason, "the server may have refused this identity; asking it for a rotation");
        self.last_suspicion = Some(Instant::now());
        self.schedule.suspected = true;
    }

    fn note_clock(&mut self, millis: i64) {
        let known = self.notes.clock_difference_ms;
        if known.is_some_and(|known| known.abs_diff(millis) < CLOCK_DIFFERENCE_MS_NOTED.unsigned_abs()) {
            return;
        }
        let far = millis.unsigned_abs() >= CLOCK_DIFFERENCE_MS_WARNED.unsigned_abs();
        if far && !self.warned_of_clock {
            warn!(seconds = millis / 1000, "the server's clock differs from this machine's; set the clock");
        }
        self.warned_of_clock = far;
        self.notes.clock_difference_ms = Some(millis);
        self.save_notes();
    }

    /// One attempt; the refusal if the identity is gone for good.
    async fn rotate(&mut self) -> Option<Refusal> {
        self.schedule.last_attempt = Some(Instant::now());
        let suspected = std::mem::take(&mut self.schedule.suspected);
        let error = match self.try_rotate().await {
            Ok(()) => {
                self.acquittals += u32::from(suspected);
                return None;
            }
            Err(error) => error,
        };
        let refusal = error.refusal().cloned();
        if let Some(refusal) = &refusal {
            let Refusal { code, detail, .. } = refusal.clone();
            self.notes.last_refusal = Some(Refused { at: self.clock.now(), code, detail });
            self.save_notes();
        }
        if refusal.as_ref().is_some_and(Refusal::is_revocation) {
            error!(error = %chain(&error), hint = error.hint(), "this identity has been revoked");
            return refusal;
        }
        let expires = self.identity.svid.not_after;
        let retry_in_ms = self.schedule.gap().as_millis();
        error!(error = %chain(&error), hint = error.hint(), %expires, retry_in_ms, "rotation failed");
        None
    }

    async fn try_rotate(&mut self) -> Result<(), RotateError> {
        let server = self.config.rotation_server(&self.notes).ok_or(RotateError::NoServer)?;
        let client = EnrollmentClient::new(server, &self.config.later_trust())?;
        let (key, issued) = self.request(&client).await?;
        let notes = issued_notes(&self.notes, &client, &issued);
        self.dir.install(&NewIdentity {
            key: &key,
            chain: &issued.chain,
            agent_ca: &issued.agent_ca,
            server_ca: None,
            notes: &notes,
        })?;
        let place = self.dir.place();
        let identity = self.dir.read()?.ok_or_else(|| IdentityError::NotAKey(place.key().to_owned()))?;
        self.live.replace(identity.certified_key()?);
        let (old, new) = (self.identity.svid.serial, identity.svid.serial);
        let last_attempt = self.schedule.last_attempt;
        self.schedule = Schedule { last_attempt, ..schedule(&identity, &notes) };
        self.identity = identity;
        self.notes = notes;
        info!(old_serial = %old, new_serial = %new, next_rotation = %self.schedule.due(), "rotated");
        self.in_use.send_replace(new);
        Ok(())
    }

    /// Asks with the key whose answer may have been lost; if that very key is refused, with a new one.
    async fn request(&self, client: &EnrollmentClient) -> Result<(KeyPair, Issued), RotateError> {
        let (key, reused) = self.dir.pending_key()?;
        let answer = client.rotate(&self.identity, &key).await;
        if !key_was_refused(&answer) {
            return Ok((key, answer?));
        }
        self.dir.discard_pending_key()?;
        if !reused {
            answer?;
        }
        let (key, _) = self.dir.pending_key()?;
        let issued = client.rotate(&self.identity, &key).await?;
        Ok((key, issued))
    }

    fn save_notes(&self) {
        if let Err(error) = self.dir.write_notes(&self.notes) {
            warn!(error = %chain(&error), "notes for `muster agent status` could not be written");
        }
    }
}

fn schedule(identity: &Identity, notes: &Notes) -> Schedule {
    Schedule::new(identity.issued_at(notes), identity.svid.not_after, identity.svid.serial)
}

/// Why a rotation failed. The identity in use stays in use.
#[derive(Debug, thiserror::Error)]
enum RotateError {
    #[error("it is not known at which server to rotate")]
    NoServer,
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
    #[error("the new key and certificate can't be used for TLS")]
    Unusable(#[from] rustls::Error),
}

impl RotateError {
    fn hint(&self) -> &'static str {
        match self {
            Self::NoServer => "set identity.server to https://HOST:PORT",
            Self::Call(error) => error.hint(),
            Self::Identity(error) => error.hint(),
            Self::Unusable(_) => "report it with this message",
        }
    }

    const fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::Call(error) => error.refusal(),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule_of(lifetime_secs: i64) -> (Schedule, Timestamp) {
        let issued = Timestamp::from_second(1_790_000_000).unwrap();
        let serial = Serial::new(issued, [1; 10]);
        (Schedule::new(issued, issued + SignedDuration::from_secs(lifetime_secs), serial), issued)
    }

    #[test]
    fn the_loop_looks_often_and_acts_at_two_thirds() {
        for (lifetime, gap_ms) in [(10, 333), (60, 2_000), (86_400, 60_000)] {
            let (schedule, issued) = schedule_of(lifetime);
            let now = Instant::now();
            assert_eq!(schedule.gap().as_millis(), gap_ms);
            assert_eq!(schedule.wait(issued, now), schedule.gap());
            let just_before = schedule.due() - SignedDuration::from_millis(5);
            assert_eq!(schedule.wait(just_before, now), Duration::from_millis(5));
            assert_eq!(schedule.wait(schedule.due(), now), Duration::ZERO);
            let share = schedule.due().duration_since(issued).as_secs_f64() / lifetime as f64;
            assert!((0.63..0.70).contains(&share), "{share}");
        }
    }

    #[test]
    fn a_failed_rotation_waits_for_the_gap_and_a_flood_of_requests_too() {
        let (mut schedule, issued) = schedule_of(86_400);
        let now = Instant::now();
        schedule.asked = true;
        assert_eq!(schedule.wait(issued, now), Duration::ZERO);
        schedule.last_attempt = Some(now);
        assert_eq!(schedule.wait(issued, now), Duration::from_secs(60));
        assert_eq!(schedule.wait(issued, now + Duration::from_secs(59)), Duration::from_secs(1));
        assert_eq!(schedule.wait(issued, now + Duration::from_secs(60)), Duration::ZERO);
        schedule.asked = false;
        assert_eq!(
            schedule.wait(schedule.due() + SignedDuration::from_hours(1), now),
            Duration::from_secs(60)
        );
    }

    #[test]
    fn suspicions_that_prove_wrong_grow_rare() {
        let minute = Duration::from_secs(60);
        let gaps = [0, 1, 2, 6, 7, u32::MAX].map(|wrong| suspicion_gap(minute, wrong).as_secs());
        assert_eq!(gaps, [5, 120, 240, 3840, 3840, 3840]);
        assert_eq!(suspicion_gap(Duration::from_millis(333), 0), Duration::from_millis(333));
    }

    #[test]
    fn jitter_is_the_serials_and_within_bounds() {
        let at = Timestamp::UNIX_EPOCH;
        let jitters: std::collections::HashSet<u16> =
            (0..=255).map(|n| jitter(Serial::new(at, [n; 10]))).collect();
        assert!(jitters.iter().all(|jitter| *jitter < 1000) && jitters.len() > 100);
    }
}
