//! Keeps the identity fresh: rotates when it is time, when the server asks, and to learn why it was refused.
//!
//! The keeper alone writes to the identity directory while the agent runs. When to act is decided by
//! `Schedule`, which is arithmetic; the loop only waits and calls.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use rcgen::KeyPair;
use tokio::sync::{mpsc, watch};
use tracing::{debug, error, info, warn};

use crate::agent::advice;
use crate::agent::advice::Case;
use crate::agent::config::AgentConfig;
use crate::agent::connect::addresses;
use crate::agent::connect::server_url::ServerUrl;
use crate::agent::connect::session_connection::ServerCalls;
use crate::agent::enroll::answer::Issued;
use crate::agent::enroll::requests::{EnrollmentClient, ServerRefusal};
use crate::agent::enroll::server_trust;
use crate::agent::identity::{Identity, NewIdentity, OwnedDir};
use crate::agent::run::backoff::{place_in, random_permille};
use crate::agent::run::door::{Door, RotationError};
use crate::agent::run::readiness::{Notify, Readiness};
use crate::agent::run::renewal::RenewalClient;
use crate::agent::run::reports::{PendingReports, ReportedEvent};
use crate::agent::run::runtime::RunEnd;
use crate::agent::run::schedule::{FailedAttempt, Schedule, WAIT_MIN, schedule, suspicion_gap};
use crate::agent::state_file::{AgentState, CLOCK_DIFFERENCE_MS_WARNED, Failed, LastRefusal};
use crate::agent::workload::{Offer, Offered, TurnedAway};
use crate::clock::{self, Clock};
use crate::domain::enroll::enrollment::past_not_after;
use crate::domain::identity::serial::Serial;
use crate::domain::network::host_port::HostPort;
use crate::error_chain::chain;
use crate::pem;
use crate::tls::client_config::LiveIdentity;
use crate::tls::server_verifier::FirstContact;

/// A change of the difference that is worth writing down.
const CLOCK_DIFFERENCE_MS_NOTED: i64 = 1_000;

/// The same for a difference that HTTP told, which is good to about a second.
const CLOCK_DIFFERENCE_MS_NOTED_HTTP: i64 = 2_500;

/// What the session learns and the keeper must know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum News {
    /// The server asks for a rotation, and may have asked the whole fleet: within so long.
    RotateWithin(Duration),
    /// The identity may have been refused; the reason is for the log.
    PerhapsRefused(String),
    /// The server's clock minus ours, in milliseconds.
    ClockDifference(i64),
}

/// With which certificate sessions are held, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InUse {
    pub serial: Serial,
    /// In the order in which to try.
    pub grpc_addrs: Vec<HostPort>,
    /// The roots of the agent CA that came with it, DER.
    pub roots: Arc<Vec<Vec<u8>>>,
}

/// The parts of the agent that the keeper tells, or hears of.
#[derive(Debug)]
pub struct Surroundings {
    /// What the programs on this machine are given.
    pub offer: Offer,
    /// The connection of the open session.
    pub calls: ServerCalls,
    /// Where the server is to be asked over HTTPS, in the order in which to try.
    pub servers: watch::Sender<Vec<ServerUrl>>,
    pub reports: Arc<PendingReports>,
    /// Connections to the Workload API that were one too many.
    pub turned_away: TurnedAway,
}

/// The owner of the identity directory while the agent runs.
#[derive(Debug)]
pub struct Rotator {
    dir: OwnedDir,
    config: Arc<AgentConfig>,
    clock: Arc<dyn Clock>,
    identity: Identity,
    pub(crate) live: Arc<LiveIdentity>,
    notes: AgentState,
    schedule: Schedule,
    warned_of_clock: bool,
    last_suspicion: Option<Instant>,
    /// Suspicions that proved wrong since the last session.
    acquittals: u32,
    /// Tells the sessions that a new identity is in use.
    pub(crate) in_use: watch::Sender<InUse>,
    around: Surroundings,
    /// The session's connection whose server is older than renewals.
    cannot_renew: Option<u64>,
    /// The failure that was reported last, until a rotation goes well.
    reported_failure: Option<String>,
    /// The server has answered a report of this run.
    reported: bool,
}

impl Rotator {
    pub fn new(
        dir: OwnedDir,
        config: Arc<AgentConfig>,
        clock: Arc<dyn Clock>,
        identity: Identity,
        around: Surroundings,
    ) -> Result<Self, rustls::Error> {
        let notes = dir.place().notes();
        let schedule = schedule(&identity, &notes);
        let live = Arc::new(LiveIdentity::new(identity.certified_key()?));
        let grpc_addrs = addresses::grpc(&config, &notes);
        around.servers.send_replace(addresses::servers(&config, &notes));
        let roots = roots_in(&dir);
        let (in_use, _) = watch::channel(InUse { serial: identity.svid.serial, grpc_addrs, roots });
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
            around,
            cannot_renew: None,
            reported_failure: None,
            reported: false,
        })
    }

    /// Runs until the identity is revoked or `news` has no sender left.
    pub async fn run(mut self, mut news: mpsc::Receiver<News>, tell: Notify) -> RunEnd {
        self.offer_identity();
        loop {
            tell(Readiness::Alive);
            self.withdraw_expired();
            self.note_surroundings();
            let wait = self.schedule.wait(self.server_now(), clock::monotonic());
            if wait.is_zero() {
                if let Some(refusal) = self.rotate().await {
                    return RunEnd::Revoked(refusal);
                }
                continue;
            }
            // The clock may be set, and the identity runs out, while nothing else happens.
            let look = wait.min(self.schedule.gap()).max(WAIT_MIN);
            tokio::select! {
                heard = news.recv() => match heard {
                    Some(heard) => self.hear(heard),
                    None => return RunEnd::Stopped,
                },
                () = self.around.turned_away.warned() => {}
                () = tokio::time::sleep(look) => {}
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
            News::RotateWithin(_) if self.schedule.asked.is_some() => {}
            News::RotateWithin(window) => {
                let wait = place_in(window, random_permille());
                info!(in_ms = wait.as_millis(), "the server asks for a rotation");
                self.schedule.asked = Some(clock::monotonic() + wait);
            }
            News::PerhapsRefused(reason) => self.suspect(&reason),
            News::ClockDifference(millis) => {
                self.acquittals = 0;
                self.note_report();
                self.note_clock(millis, CLOCK_DIFFERENCE_MS_NOTED);
            }
        }
    }

    fn suspect(&mut self, reason: &str) {
        // It has just been refused with a reason; asking more often would change nothing.
        if self.schedule.refusals > 0 && !self.schedule.until_retry(clock::monotonic()).is_zero() {
            return;
        }
        let patience = suspicion_gap(self.schedule.gap(), self.acquittals);
        if self.last_suspicion.is_some_and(|last| last.elapsed() < patience) {
            return;
        }
        warn!(reason, "the server may have refused this identity; asking it for a rotation");
        self.last_suspicion = Some(clock::monotonic());
        self.schedule.suspected = true;
    }

    /// Writes down when the server first answered a report of this run.
    fn note_report(&mut self) {
        if !std::mem::replace(&mut self.reported, true) {
            self.notes.reported_at = Some(self.clock.now());
            self.save_notes();
        }
    }

    /// Writes down what other parts of the agent have met and `agent status` shows.
    fn note_surroundings(&mut self) {
        let trouble = self.config.dialer.proxy_trouble();
        let noted = self.notes.proxy_failure.as_ref().map(|failed| &failed.what);
        let turned_away = self.around.turned_away.total();
        if noted == trouble.as_ref() && turned_away == self.notes.workload_turned_away {
            return;
        }
        if noted != trouble.as_ref() {
            let hint = "correct HTTPS_PROXY, or list the server in NO_PROXY".to_owned();
            let since = self.clock.now();
            self.notes.proxy_failure = trouble.map(|what| Failed { since, what, hint });
        }
        self.notes.workload_turned_away = turned_away;
        self.save_notes();
    }

    /// Takes in how the clocks differ, unless it is what was known, as exactly as this source can tell.
    fn note_clock(&mut self, millis: i64, exact_to_ms: i64) {
        self.warn_of_clock(millis);
        let known = self.notes.clock_difference_ms;
        if known.is_some_and(|known| known.abs_diff(millis) < exact_to_ms.unsigned_abs()) {
            return;
        }
        self.notes.clock_difference_ms = Some(millis);
        self.save_notes();
    }

    /// Once for as long as the clocks are far apart.
    fn warn_of_clock(&mut self, millis: i64) {
        let far = millis.unsigned_abs() >= CLOCK_DIFFERENCE_MS_WARNED.unsigned_abs();
        if far && !self.warned_of_clock {
            self.around.reports.note(ReportedEvent::ClockOff { seconds: millis / 1000 });
            let seconds = millis.unsigned_abs() / 1000;
            let side = if millis > 0 { "behind" } else { "ahead of" };
            warn!(
                "this machine's clock is {seconds} s {side} the server's; set it, or other programs will refuse this machine's certificate"
            );
        }
        self.warned_of_clock = far;
    }

    /// One attempt; the refusal if the identity is gone for good.
    async fn rotate(&mut self) -> Option<ServerRefusal> {
        self.schedule.last_attempt = Some(clock::monotonic());
        let suspected = std::mem::take(&mut self.schedule.suspected);
        match self.try_rotate(suspected).await {
            Ok(()) => {
                self.acquittals += u32::from(suspected);
                None
            }
            Err(error) => self.explain(&error),
        }
    }

    /// Writes down and logs why an attempt failed; the refusal if the identity is gone for good.
    fn explain(&mut self, error: &RotationError) -> Option<ServerRefusal> {
        let refusal = error.refusal().cloned();
        self.schedule.failed(FailedAttempt::of(refusal.as_ref()), random_permille());
        let servers = addresses::servers(&self.config, &self.notes);
        let place = self.dir.place();
        let case = Case {
            identity: &self.identity.svid.spiffe_id,
            host: self.notes.host_id,
            dir: place.path(),
            server: servers.first(),
            server_ca: place.server_ca().exists(),
        };
        let what_to_do = match &refusal {
            Some(refusal) => advice::after(refusal, case),
            None => error.hint().to_owned(),
        };
        let text = chain(error);
        self.note_failure(refusal.as_ref(), &text, &what_to_do);
        if self.reported_failure.as_ref() != Some(&text) {
            self.around.reports.note(ReportedEvent::RotationFailed { reason: text.clone() });
            self.reported_failure = Some(text.clone());
        }
        if refusal.as_ref().is_some_and(ServerRefusal::is_revocation) {
            error!(error = text, hint = what_to_do, "this identity has been revoked");
            return refusal;
        }
        let expires = self.identity.svid.not_after;
        let retry_in_ms = self.schedule.retry.as_millis();
        if past_not_after(expires, self.server_now()) {
            error!(error = text, hint = what_to_do, expired = %expires, retry_in_ms, "the identity has expired and could not be renewed");
        } else {
            error!(error = text, hint = what_to_do, %expires, retry_in_ms, "rotation failed");
        }
        None
    }

    /// The same trouble again is no news, and the disk may be the trouble.
    fn note_failure(&mut self, refusal: Option<&ServerRefusal>, text: &str, hint: &str) {
        let now = self.clock.now();
        match refusal {
            Some(ServerRefusal { code, detail, .. }) => {
                let (code, detail, hint) = (code.clone(), detail.clone(), hint.to_owned());
                self.notes.last_refusal = Some(LastRefusal { at: now, code, detail, hint });
                self.notes.last_failure = None;
            }
            None if self.notes.last_failure.as_ref().is_some_and(|failed| failed.what == text) => return,
            None => {
                let failed = Failed { since: now, what: text.to_owned(), hint: hint.to_owned() };
                self.notes.last_failure = Some(failed);
            }
        }
        self.save_notes();
    }

    /// Over the session's connection where that gives a certificate or a verdict, or else over HTTPS.
    async fn try_rotate(&mut self, suspected: bool) -> Result<(), RotationError> {
        // Whether an identity that may have been refused still counts is not for the connection in doubt to say.
        if let Some((number, renewal)) = self.renewal().filter(|_| !suspected) {
            let error = match self.rotate_at(Door::Session(&renewal)).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if !error.leaves_it_to_https() {
                return Err(error);
            }
            if error.is_of_an_older_server() {
                self.cannot_renew = Some(number);
                debug!(error = %chain(&error), "rotating over HTTPS");
            } else {
                warn!(error = %chain(&error), "no rotation over the session; asking over HTTPS");
            }
        }
        self.rotate_over_https().await
    }

    /// The connection of the session, if it is good for a rotation, and which of all it is.
    fn renewal(&self) -> Option<(u64, RenewalClient)> {
        if past_not_after(self.identity.svid.not_after, self.server_now()) {
            return None;
        }
        let (number, connection) = self.around.calls.connection()?;
        // One of an earlier identity would make the server see two successors of that, which is what a clone has.
        if self.cannot_renew == Some(number) || connection.serial != self.identity.svid.serial {
            return None;
        }
        Some((number, RenewalClient::new(connection, &self.config.later_trust())?))
    }

    /// At the first address that gives a certificate or a reason.
    async fn rotate_over_https(&mut self) -> Result<(), RotationError> {
        let mut servers = addresses::servers(&self.config, &self.notes).into_iter().peekable();
        let mut failure = None;
        while let Some(server) = servers.next() {
            let error = match self.rotate_at_server(server).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            if !error.is_of_this_address() {
                return Err(error);
            }
            if servers.peek().is_some() {
                warn!(error = %chain(&error), "rotation failed at one address of the server; trying the next");
            }
            failure.get_or_insert(error);
        }
        Err(failure.unwrap_or(RotationError::NoServer))
    }

    async fn rotate_at_server(&mut self, server: ServerUrl) -> Result<(), RotationError> {
        let client = EnrollmentClient::new(server, &self.config.later_trust(), &self.config.dialer)?;
        self.rotate_at(Door::Https(&client)).await
    }

    async fn rotate_at(&mut self, door: Door<'_>) -> Result<(), RotationError> {
        let requested = self.request(door).await;
        if let Some(millis) = door.clock_difference_ms(self.clock.now()) {
            self.note_clock(millis, CLOCK_DIFFERENCE_MS_NOTED_HTTP);
        }
        let (key, issued) = requested?;
        let notes = issued.notes(door.at(), self.notes.clock_difference_ms, &self.notes);
        let identity = self.dir.install(&NewIdentity {
            key: &key,
            chain: &issued.chain,
            agent_ca: &issued.agent_ca,
            server_ca: self.new_server_ca(door.server(), &issued).as_deref(),
            notes: &notes,
        })?;
        self.live.replace(identity.certified_key()?);
        let (old, new) = (self.identity.svid.serial, identity.svid.serial);
        let last_attempt = self.schedule.last_attempt;
        self.schedule = Schedule { last_attempt, ..schedule(&identity, &notes) };
        self.identity = identity;
        self.notes = notes;
        info!(old_serial = %old, new_serial = %new, next_rotation = %self.schedule.due, "rotated");
        debug!(serial = %new, by = ?door.at(), "the way of the rotation");
        self.reported_failure = None;
        self.around.reports.note(ReportedEvent::Rotated { serial: new.to_string() });
        let grpc_addrs = addresses::grpc(&self.config, &self.notes);
        self.around.servers.send_replace(addresses::servers(&self.config, &self.notes));
        self.in_use.send_replace(InUse { serial: new, grpc_addrs, roots: roots_in(&self.dir) });
        self.offer_identity();
        Ok(())
    }

    fn offer_identity(&self) {
        let roots = std::fs::read(self.dir.place().agent_ca()).unwrap_or_default();
        match Offered::new(&self.identity, &roots) {
            Ok(offered) => {
                self.around.offer.send_replace(Some(offered));
            }
            // The next rotation brings the file back.
            Err(error) => {
                let file = self.dir.place().agent_ca();
                warn!(file = %file.display(), error = %chain(&error), "the Workload API has no trust bundle to give");
            }
        }
    }

    /// Programs are not given an identity that nobody accepts any more.
    fn withdraw_expired(&self) {
        if past_not_after(self.identity.svid.not_after, self.server_now()) {
            self.around.offer.send_if_modified(|offered| offered.take().is_some());
        }
    }

    /// What the answer says of the server's CA, when that changes what is trusted.
    fn new_server_ca(&self, contact: &FirstContact, issued: &Issued) -> Option<String> {
        let told = issued.server_ca.as_ref().filter(|_| self.config.keeps_server_ca())?;
        match server_trust::successor(contact, told, issued.issued_at) {
            Ok(successor) => {
                if successor.is_some() {
                    info!(file = %self.dir.place().server_ca().display(), "the server's CA changes");
                }
                successor
            }
            Err(error) => {
                warn!(error = %chain(&error), "what the server says of its CA is not taken over");
                None
            }
        }
    }

    /// Asks with the key whose answer may have been lost; if that very key is refused, with a new one.
    async fn request(&self, door: Door<'_>) -> Result<(KeyPair, Issued), RotationError> {
        let (key, reused) = self.dir.pending_key()?;
        let answer = door.ask(&self.identity, &key).await;
        if !answer.as_ref().is_err_and(RotationError::refuses_key) {
            return Ok((key, answer?));
        }
        self.dir.discard_pending_key()?;
        if !reused {
            answer?;
        }
        let (key, _) = self.dir.pending_key()?;
        let issued = door.ask(&self.identity, &key).await?;
        Ok((key, issued))
    }

    fn save_notes(&self) {
        if let Err(error) = self.dir.write_notes(&self.notes) {
            warn!(error = %chain(&error), "notes for `muster agent status` could not be written");
        }
    }
}

/// The roots that came with the identity. A file that can't be read is none of them; the next rotation brings it back.
fn roots_in(dir: &OwnedDir) -> Arc<Vec<Vec<u8>>> {
    let file = std::fs::read(dir.place().agent_ca()).unwrap_or_default();
    Arc::new(pem::file::certificates(&file).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::code::Code;

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
            assert_eq!(schedule.wait(issued, now), schedule.due.duration_since(issued).unsigned_abs());
            let just_before = schedule.due - SignedDuration::from_millis(5);
            assert_eq!(schedule.wait(just_before, now), Duration::from_millis(5));
            assert_eq!(schedule.wait(schedule.due, now), Duration::ZERO);
            let share = schedule.due.duration_since(issued).as_secs_f64() / lifetime as f64;
            assert!((0.63..0.70).contains(&share), "{share}");
        }
    }

    #[test]
    fn a_failed_rotation_waits_for_the_gap_and_a_flood_of_requests_too() {
        let (mut schedule, issued) = schedule_of(86_400);
        let now = Instant::now();
        schedule.asked = Some(now);
        assert_eq!(schedule.wait(issued, now), Duration::ZERO);
        schedule.last_attempt = Some(now);
        schedule.asked = Some(now + Duration::from_secs(7));
        assert_eq!(schedule.wait(issued, now), Duration::from_secs(60));
        assert_eq!(schedule.wait(issued, now + Duration::from_secs(59)), Duration::from_secs(1));
        assert_eq!(schedule.wait(issued, now + Duration::from_secs(60)), Duration::ZERO);
        schedule.asked = None;
        assert_eq!(schedule.wait(schedule.due + SignedDuration::from_hours(1), now), Duration::from_secs(60));
    }

    #[test]
    fn failures_are_soon_tried_again_and_refusals_ever_more_rarely() {
        let (mut schedule, _) = schedule_of(86_400);
        let now = Instant::now();
        schedule.last_attempt = Some(now);
        let refused = |status, code: Code| {
            let refusal = ServerRefusal { status, code: code.as_str().to_owned(), detail: String::new() };
            FailedAttempt::of(Some(&refusal))
        };
        let mut retry_after = |attempt| {
            schedule.failed(attempt, 500);
            schedule.wait(schedule.due, now).as_secs()
        };
        let unavailable = refused(503, Code::Unavailable);
        assert_eq!([FailedAttempt::of(None), unavailable].map(&mut retry_after), [60, 60]);
        // The longest wait is a quarter of an hour, jitter included.
        let refusals = [refused(403, Code::SvidExpired); 5];
        assert_eq!(refusals.map(&mut retry_after).map(|seconds| seconds / 60), [2, 4, 8, 13, 13]);
        assert_eq!(retry_after(unavailable), 60);
        assert_eq!(retry_after(refused(503, Code::Busy)), 4);
    }

    #[test]
    fn a_fleet_enrolled_together_does_not_rotate_in_step() {
        let issued = Timestamp::from_second(1_790_000_000).unwrap();
        let busiest = |lifetime: SignedDuration, unit_secs: i64| {
            let mut counts = std::collections::HashMap::new();
            for agent in 0..1000_u16 {
                let [high, low] = agent.wrapping_mul(40_503).to_be_bytes();
                let serial = Serial::new(issued, [0, 0, 0, 0, 0, 0, 0, 0, high, low]);
                let due = Schedule::new(issued, issued + lifetime, serial).due;
                *counts.entry(due.as_second() / unit_secs).or_insert(0) += 1;
            }
            counts.into_values().max().unwrap()
        };
        assert!(busiest(SignedDuration::from_hours(24), 60) <= 50);
        assert!(busiest(SignedDuration::from_hours(1), 1) <= 50);
    }

    #[test]
    fn suspicions_that_prove_wrong_grow_rare() {
        let minute = Duration::from_secs(60);
        let gaps = [0, 1, 2, 6, 7, u32::MAX].map(|wrong| suspicion_gap(minute, wrong).as_secs());
        assert_eq!(gaps, [5, 120, 240, 3840, 3840, 3840]);
        assert_eq!(suspicion_gap(Duration::from_millis(333), 0), Duration::from_millis(333));
    }
}
