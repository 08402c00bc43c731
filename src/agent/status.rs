//! `muster agent status`: what the identity directory says, and what to do about it. It asks nobody.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use serde::Serialize;

use super::identity::{Identity, IdentityDir, IdentityError};
use crate::agent::state_file::{AgentState, CLOCK_DIFFERENCE_MS_WARNED, Failed, LastRefusal};
use crate::agent::trust::noted::{TrustNotes, TrustStatus};
use crate::domain::code::Code;
use crate::domain::enroll::enrollment::past_not_after;
use crate::domain::identity::rotation::{check_interval, due_at, jitter};
use crate::error_chain::chain;
use crate::secret_file;

/// The state of an identity, worst last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    #[default]
    Ok,
    /// It should have rotated by now.
    Overdue,
    Revoked,
    Expired,
    NotEnrolled,
    Broken,
}

/// Everything there is to tell, by field as it is printed with `--json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Status {
    pub state: State,
    pub advice: Option<String>,
    pub spiffe_id: Option<String>,
    pub agent_id: Option<String>,
    pub tenant_id: Option<String>,
    pub host_id: Option<String>,
    pub serial: Option<String>,
    pub issued_at: Option<Timestamp>,
    pub not_after: Option<Timestamp>,
    pub next_rotation: Option<Timestamp>,
    pub server: Option<String>,
    pub grpc_addr: Option<String>,
    /// Where the server last said that it is, in its order.
    pub servers: Vec<String>,
    pub grpc_addrs: Vec<String>,
    /// The server's clock minus this machine's.
    pub clock_difference_seconds: Option<i64>,
    pub last_refusal: Option<LastRefusal>,
    /// Why rotation fails at present, when that is not a refusal.
    pub last_failure: Option<Failed>,
    /// Why the proxy is of no use at present; the direct way is taken.
    pub proxy_failure: Option<Failed>,
    /// When the server first answered a report of the agent that runs or ran last.
    pub reported_at: Option<Timestamp>,
    /// Connections to the Workload API that were one too many, since the agent started.
    pub workload_turned_away: u64,
    /// What the server tells of whom to let in; `None` where nobody on this machine wants to know.
    pub trust: Option<TrustStatus>,
    /// By this machine's clock, corrected by the difference.
    pub expires_in_seconds: Option<i64>,
    pub files: Vec<FileHealth>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FileHealth {
    pub path: PathBuf,
    pub health: Health,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Health {
    Ok,
    Absent,
    Unreadable,
    /// Others than the owner may read or write it.
    Exposed,
}

/// Judges a directory at a moment of this machine's clock.
pub fn status(place: &IdentityDir, now: Timestamp) -> Status {
    let notes = place.notes();
    let mut status = of_notes(place, &notes);
    status.trust = TrustNotes::read(place).map(|noted| TrustStatus::of(noted, server_now(&notes, now)));
    match place.read() {
        Ok(Some(identity)) => judge(&mut status, &identity, &notes, now),
        Ok(None) => {
            status.state = State::NotEnrolled;
            status.advice = Some("enroll this machine with `muster agent enroll`".to_owned());
        }
        // It says itself what to run.
        Err(error @ IdentityError::ExposedKey(_)) => {
            status.state = State::Broken;
            status.advice = Some(chain(&error));
        }
        Err(error) => {
            status.state = State::Broken;
            status.advice = Some(format!("{}; {}", chain(&error), error.hint()));
        }
    }
    status
}

fn of_notes(place: &IdentityDir, notes: &AgentState) -> Status {
    let files = [place.cert().to_owned(), place.key().to_owned(), place.agent_ca(), place.server_ca()];
    Status {
        host_id: notes.host_id.map(|id| id.to_string()),
        server: notes.server.as_ref().map(ToString::to_string),
        grpc_addr: notes.grpc_addr.as_ref().map(ToString::to_string),
        servers: notes.servers.iter().map(ToString::to_string).collect(),
        grpc_addrs: notes.grpc_addrs.iter().map(ToString::to_string).collect(),
        clock_difference_seconds: notes.clock_difference_ms.map(|millis| millis / 1000),
        last_refusal: notes.last_refusal.clone(),
        last_failure: notes.last_failure.clone(),
        proxy_failure: notes.proxy_failure.clone(),
        reported_at: notes.reported_at,
        workload_turned_away: notes.workload_turned_away,
        files: files.map(|path| FileHealth { health: health(&path), path }).into(),
        ..Status::default()
    }
}

fn judge(status: &mut Status, identity: &Identity, notes: &AgentState, now: Timestamp) {
    let svid = &identity.svid;
    let issued_at = identity.issued_at(notes);
    let due = due_at(issued_at, svid.not_after, jitter(svid.serial));
    status.spiffe_id = Some(svid.spiffe_id.to_string());
    status.agent_id = Some(svid.spiffe_id.agent.to_string());
    status.tenant_id = Some(svid.spiffe_id.tenant.to_string());
    status.serial = Some(svid.serial.to_string());
    status.issued_at = Some(issued_at);
    status.not_after = Some(svid.not_after);
    status.next_rotation = Some(due);

    let server_now = server_now(notes, now);
    status.expires_in_seconds = Some(svid.not_after.duration_since(server_now).as_secs());
    let revoked =
        notes.last_refusal.as_ref().is_some_and(|refused| refused.code == Code::IdentityRevoked.as_str());
    // A running agent looks once in an interval; one more is for the answer.
    let late = due.saturating_add(check_interval(issued_at, svid.not_after) * 2).unwrap_or(due);
    status.state = if revoked {
        State::Revoked
    } else if past_not_after(svid.not_after, server_now) {
        State::Expired
    } else if server_now > late {
        State::Overdue
    } else {
        State::Ok
    };
    status.advice = advice(status, notes);
}

fn server_now(notes: &AgentState, now: Timestamp) -> Timestamp {
    let difference = jiff::SignedDuration::from_millis(notes.clock_difference_ms.unwrap_or(0));
    now.saturating_add(difference).unwrap_or(now)
}

/// The most pressing thing to do.
fn advice(status: &Status, notes: &AgentState) -> Option<String> {
    if status.state != State::Ok {
        return Some(match (&notes.last_refusal, &notes.last_failure) {
            (_, Some(failed)) => {
                format!("since {} rotation fails: {}; {}", failed.since, failed.what, failed.hint)
            }
            (Some(refused), None) if !refused.hint.is_empty() => refused.hint.clone(),
            _ => "is `muster agent run` running (systemctl status muster-agent), and does it reach the server? Its log has the reason".to_owned(),
        });
    }
    if let Some(seconds) = status.clock_difference_seconds.filter(|seconds| is_far(*seconds)) {
        let side = if seconds > 0 { "behind" } else { "ahead of" };
        let seconds = seconds.unsigned_abs();
        return Some(format!("this machine's clock is {seconds} s {side} the server's; set it"));
    }
    if let Some(failed) = &notes.proxy_failure {
        return Some(format!(
            "since {} the proxy can't be used and the direct way is taken: {}; {}",
            failed.since, failed.what, failed.hint
        ));
    }
    if notes.workload_turned_away > 0 {
        return Some(
            "programs had to be refused by the Workload API; let them share connections, or raise workload_api.connections_per_user"
                .to_owned(),
        );
    }
    if let Some(advice) = status.trust.as_ref().and_then(TrustStatus::advice) {
        return Some(advice);
    }
    let exposed = status.files.iter().any(|file| file.health == Health::Exposed);
    exposed.then(|| "files of the identity can be read by others; chmod 600 them".to_owned())
}

const fn is_far(seconds: i64) -> bool {
    seconds.saturating_mul(1000).unsigned_abs() >= CLOCK_DIFFERENCE_MS_WARNED.unsigned_abs()
}

fn health(path: &Path) -> Health {
    let Ok(metadata) = fs::metadata(path) else {
        return Health::Absent;
    };
    if secret_file::check_mode(path, &metadata).is_err() {
        return Health::Exposed;
    }
    if fs::File::open(path).is_ok() { Health::Ok } else { Health::Unreadable }
}

impl Status {
    /// Whether the identity works as far as can be seen from here.
    pub const fn healthy(&self) -> bool {
        matches!(self.state, State::Ok | State::Overdue)
    }

    /// Lines for people.
    pub fn to_text(&self) -> String {
        let state = match self.state {
            State::Ok => "ok",
            State::Overdue => "rotation overdue",
            State::Revoked => "revoked",
            State::Expired => "expired",
            State::NotEnrolled => "not enrolled",
            State::Broken => "broken",
        };
        let time = |at: Option<Timestamp>| at.map(|at| at.to_string());
        let seconds = self.clock_difference_seconds.map(|seconds| format!("{seconds:+} s"));
        let left = self.expires_in_seconds.map(|seconds| {
            if seconds < 0 { format!("{} ago", span(-seconds)) } else { format!("in {}", span(seconds)) }
        });
        let expires = time(self.not_after).zip(left).map(|(at, left)| format!("{at} ({left})"));
        let since = |failed: &Failed| format!("since {}: {}", failed.since, failed.what);
        let turned_away = (self.workload_turned_away > 0)
            .then(|| format!("{} connections turned away", self.workload_turned_away));
        let among = |all: &[String], one: &Option<String>| match all {
            [] => one.clone(),
            all => Some(all.join(", ")),
        };
        let relying_party = self.trust.as_ref().and_then(|trust| trust.relying_party.as_ref()).map(|party| {
            format!("{} {}", party.listen, if party.decides { "decides" } else { "refuses everybody" })
        });
        let refusal = self.last_refusal.as_ref();
        let refusal =
            refusal.map(|refused| format!("{} at {}: {}", refused.code, refused.at, refused.detail));
        let lines = [
            ("state", Some(state.to_owned())),
            ("spiffe id", self.spiffe_id.clone()),
            ("host id", self.host_id.clone()),
            ("serial", self.serial.clone()),
            ("issued", time(self.issued_at)),
            ("expires", expires),
            ("next rotation", time(self.next_rotation)),
            ("server", among(&self.servers, &self.server)),
            ("grpc", among(&self.grpc_addrs, &self.grpc_addr)),
            ("server clock", seconds),
            ("last refusal", refusal),
            ("last failure", self.last_failure.as_ref().map(since)),
            ("proxy", self.proxy_failure.as_ref().map(since)),
            ("workload api", turned_away),
            ("trust", self.trust.as_ref().map(|trust| trust.to_text(span))),
            ("relying party", relying_party),
        ];
        let mut text: String = lines
            .into_iter()
            .filter_map(|(name, value)| value.map(|value| format!("{name:14} {value}\n")))
            .collect();
        for file in &self.files {
            let health = match file.health {
                Health::Ok => "ok",
                Health::Absent => "absent",
                Health::Unreadable => "unreadable",
                Health::Exposed => "readable by others",
            };
            text.push_str(&format!("{:14} {} ({health})\n", "file", file.path.display()));
        }
        if let Some(advice) = &self.advice {
            text.push_str(&format!("{:14} {advice}\n", "what to do"));
        }
        text
    }
}

/// A span of time in its two largest units.
fn span(seconds: i64) -> String {
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, _) => format!("{minutes} min"),
        (0, _, _) => format!("{hours} h {minutes} min"),
        _ => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use jiff::SignedDuration;
    use rcgen::{KeyPair, PublicKeyData};

    use super::*;
    use crate::agent::identity::NewIdentity;
    use crate::agent::test_server::TestCa;

    #[test]
    fn a_directory_is_judged_by_the_servers_clock() {
        let dir = tempfile::tempdir().unwrap();
        let place = IdentityDir::new(dir.path());
        let now = Timestamp::now();
        assert_eq!(status(&place, now).state, State::NotEnrolled);

        let key = KeyPair::generate().unwrap();
        let ca = TestCa::new();
        let issued = ca.issue(&key.subject_public_key_info(), "web-1", SignedDuration::from_hours(24));
        // A busy machine takes a second to sign.
        let now = issued.issued_at;
        let notes = AgentState {
            serial: Some(issued.serial),
            issued_at: Some(issued.issued_at),
            ..AgentState::default()
        };
        let owned = place.clone().lock().unwrap();
        let chain = format!("{}{}", issued.certificate, ca.intermediate);
        let new = NewIdentity { key: &key, chain: &chain, agent_ca: "ca", server_ca: None, notes: &notes };
        owned.install(&new).unwrap();
        let state = |hours: i64| status(&place, now + SignedDuration::from_hours(hours)).state;
        assert_eq!((state(0), state(20), state(25)), (State::Ok, State::Overdue, State::Expired));

        let behind = AgentState { clock_difference_ms: Some(-5 * 3_600_000), ..notes.clone() };
        owned.write_notes(&behind).unwrap();
        assert_eq!((state(20), state(25)), (State::Ok, State::Overdue));
        let advice = status(&place, now).advice.unwrap();
        assert!(advice.contains("18000 s ahead of the server's"), "{advice}");

        let refused = |code: &str| {
            let (code, detail) = (code.to_owned(), "no more".to_owned());
            Some(LastRefusal { at: now, code, detail, hint: "ask for a token".to_owned() })
        };
        owned.write_notes(&AgentState { last_refusal: refused("svid_expired"), ..notes.clone() }).unwrap();
        let shown = status(&place, now + SignedDuration::from_hours(25));
        assert_eq!(shown.advice.as_deref(), Some("ask for a token"));
        assert!(shown.to_text().contains("(1 h 0 min ago)"), "{}", shown.to_text());
        let failed = Failed { since: now, what: "the disk is full".to_owned(), hint: "make room".to_owned() };
        owned.write_notes(&AgentState { last_failure: Some(failed), ..notes.clone() }).unwrap();
        let shown = status(&place, now + SignedDuration::from_hours(20));
        assert!(shown.advice.unwrap().contains("the disk is full; make room"));

        owned.write_notes(&AgentState { last_refusal: refused("identity_revoked"), ..notes }).unwrap();
        let shown = status(&place, now);
        assert_eq!(shown.state, State::Revoked);
        assert!(!shown.healthy() && shown.to_text().contains("identity_revoked"));

        fs::set_permissions(place.key(), fs::Permissions::from_mode(0o644)).unwrap();
        let files = status(&place, now).files;
        assert_eq!((files[0].health, files[1].health), (Health::Ok, Health::Exposed));
        assert_eq!(files[3].health, Health::Absent);
        fs::remove_file(place.key()).unwrap();
        let broken = status(&place, now);
        assert_eq!(broken.state, State::Broken);
        assert!(broken.advice.unwrap().contains("enroll again"));
    }
}
