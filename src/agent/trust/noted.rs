//! How trust updates stand, in a small file beside the identity: `agent status` reads it and asks nobody.

use std::path::PathBuf;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::agent::identity::IdentityDir;
use crate::agent::relying_party::settings::RelyingPartySettings;
use crate::agent::trust::shared::SharedTrust;
use crate::durable::{self, OWNER_ONLY};
use crate::error_chain::chain;

/// Between two writes.
const PAUSE: Duration = Duration::from_secs(1);
/// How often it is written when nothing changes, for what it says of its age.
const REFRESH: Duration = Duration::from_secs(60);
/// A server that is there confirms every 30 seconds; what is older than this, and the last write, is behind.
const CURRENT: SignedDuration = SignedDuration::from_secs(180);

/// The contents of `trust.json`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct TrustNotes {
    pub epoch: Option<String>,
    pub version: Option<u64>,
    /// How many serials are denied.
    pub denied: usize,
    /// When the server last confirmed that this is the newest, by its clock.
    pub confirmed_at: Option<Timestamp>,
    /// Whether the server was being watched.
    pub watching: bool,
    /// Why there are no trust updates.
    pub trouble: Option<String>,
    /// Where relying parties on this machine ask, if they may.
    pub relying_party: Option<NotedRelyingParty>,
}

/// What `relying_party` of the settings says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NotedRelyingParty {
    pub listen: String,
    pub max_age_seconds: Option<u64>,
}

/// How old what the agent believes is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum TrustStanding {
    /// The server has told nothing yet.
    None,
    /// The server confirms it.
    Current,
    /// The server has not confirmed it for a while.
    Behind,
}

/// Trust updates, by field as they are printed with `--json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TrustStatus {
    pub state: TrustStanding,
    pub epoch: Option<String>,
    pub version: Option<u64>,
    /// How many serials are denied.
    pub denied: usize,
    /// When the server last confirmed that this is the newest, by its clock.
    pub confirmed_at: Option<Timestamp>,
    pub age_seconds: Option<u64>,
    /// Why there are no trust updates.
    pub trouble: Option<String>,
    pub relying_party: Option<RelyingPartyStatus>,
}

/// Whether programs on this machine that ask the agent get an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RelyingPartyStatus {
    pub listen: String,
    pub max_age_seconds: Option<u64>,
    /// Otherwise it refuses everybody.
    pub decides: bool,
}

impl TrustNotes {
    /// What is noted; `None` where the agent wants no trust updates.
    pub(crate) fn read(dir: &IdentityDir) -> Option<Self> {
        let text = dir.read_beside(&dir.trust_notes_file()).ok()??;
        serde_json::from_slice(&text).ok()
    }

    fn of(trust: &SharedTrust, relying_party: Option<&NotedRelyingParty>) -> Self {
        let (watching, trouble) = (*trust.watches().borrow() > 0, trust.trouble());
        let relying_party = relying_party.cloned();
        match &*trust.read() {
            None => Self { watching, trouble, relying_party, ..Self::default() },
            Some(state) => Self {
                epoch: Some(state.epoch.clone()),
                version: Some(state.version),
                denied: state.denied.len(),
                confirmed_at: Some(state.confirmed_at),
                watching,
                trouble,
                relying_party,
            },
        }
    }
}

impl TrustStatus {
    /// At a moment of the server's clock.
    pub(crate) fn of(notes: TrustNotes, now: Timestamp) -> Self {
        let TrustNotes { epoch, version, denied, confirmed_at, watching, trouble, relying_party } = notes;
        let age = confirmed_at.map(|at| now.duration_since(at).max(SignedDuration::ZERO));
        let state = match age {
            None => TrustStanding::None,
            Some(age) if watching && age <= CURRENT => TrustStanding::Current,
            Some(_) => TrustStanding::Behind,
        };
        let age_seconds = age.map(|age| age.as_secs().unsigned_abs());
        let relying_party = relying_party.map(|NotedRelyingParty { listen, max_age_seconds }| {
            let decides = age_seconds.is_some_and(|age| max_age_seconds.is_none_or(|max| age <= max));
            RelyingPartyStatus { listen, max_age_seconds, decides }
        });
        Self { state, epoch, version, denied, confirmed_at, age_seconds, trouble, relying_party }
    }

    /// A line for people.
    pub(crate) fn to_text(&self, span: impl Fn(i64) -> String) -> String {
        let because = self.trouble.as_ref().map(|trouble| format!(": {trouble}")).unwrap_or_default();
        let (Some(version), Some(epoch), Some(at)) = (self.version, &self.epoch, self.confirmed_at) else {
            return format!("nothing heard yet{because}");
        };
        let age = span(i64::try_from(self.age_seconds.unwrap_or(0)).unwrap_or(i64::MAX));
        let what = format!("version {version} of epoch {epoch}, {} serials denied", self.denied);
        match self.state {
            TrustStanding::Current => format!("{what}, confirmed {age} ago{because}"),
            _ => format!("behind since {at:.0} ({age}){because}; {what}"),
        }
    }

    /// What to do about it.
    pub(crate) fn advice(&self) -> Option<String> {
        let party = self.relying_party.as_ref()?;
        if self.state == TrustStanding::Current && party.decides {
            return None;
        }
        let told =
            if party.decides { "go by what the server said long ago" } else { "are refused everything" };
        let because = match &self.trouble {
            Some(trouble) => format!("; {trouble}"),
            None => "; is `muster agent run` running, and does it reach the server? Its log has the reason"
                .to_owned(),
        };
        Some(format!("programs that ask the agent whom to let in {told}{because}"))
    }
}

/// Where it is noted.
#[derive(Debug)]
pub(crate) struct TrustNotesFile {
    path: PathBuf,
    relying_party: Option<NotedRelyingParty>,
}

impl TrustNotesFile {
    pub(crate) fn of(dir: &IdentityDir, settings: Option<&RelyingPartySettings>) -> Self {
        let noted = |settings: &RelyingPartySettings| NotedRelyingParty {
            listen: settings.listen.to_string(),
            max_age_seconds: settings.max_age.map(|age| age.as_secs()),
        };
        Self { path: dir.trust_notes_file(), relying_party: settings.map(noted) }
    }

    /// Removes what an agent of other settings has left.
    pub(crate) fn remove(&self) {
        let _ = std::fs::remove_file(&self.path);
    }

    /// Writes each change until `stop`, and how it stands then.
    pub(crate) async fn keep(self, trust: SharedTrust, stop: CancellationToken) {
        let (mut changes, mut watches) = (trust.changes(), trust.watches());
        while !stop.is_cancelled() {
            changes.mark_unchanged();
            watches.mark_unchanged();
            self.save(&trust).await;
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
            tokio::select! {
                () = stop.cancelled() => {}
                _ = changes.changed() => {}
                _ = watches.changed() => {}
                () = tokio::time::sleep(REFRESH) => {}
            }
        }
        self.save(&trust).await;
    }

    /// It is a convenience: where the disk is full, other parts of the agent say so.
    async fn save(&self, trust: &SharedTrust) {
        let notes = TrustNotes::of(trust, self.relying_party.as_ref());
        let path = self.path.clone();
        let saved = tokio::task::spawn_blocking(move || {
            let text = serde_json::to_vec_pretty(&notes)?;
            durable::replace(&path, OWNER_ONLY, &text)
        });
        if let Ok(Err(error)) = saved.await {
            debug!(error = %chain(&error), "how trust updates stand could not be noted");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_790_000_000 + second).unwrap()
    }

    fn noted(max_age_seconds: Option<u64>) -> TrustNotes {
        TrustNotes {
            epoch: Some("e1".to_owned()),
            version: Some(7),
            denied: 2,
            confirmed_at: Some(at(0)),
            watching: true,
            trouble: None,
            relying_party: Some(NotedRelyingParty { listen: "127.0.0.1:9444".to_owned(), max_age_seconds }),
        }
    }

    #[test]
    fn what_is_confirmed_is_current_and_what_is_old_or_watched_by_nobody_is_behind() {
        let span = |seconds: i64| format!("{seconds} s");
        for (notes, now, state, decides, line) in [
            (
                noted(None),
                20,
                TrustStanding::Current,
                true,
                "version 7 of epoch e1, 2 serials denied, confirmed 20 s ago",
            ),
            (noted(Some(60)), 61, TrustStanding::Current, false, "confirmed 61 s ago"),
            (
                noted(None),
                181,
                TrustStanding::Behind,
                true,
                "behind since 2026-09-21T14:13:20Z (181 s); version 7",
            ),
            (TrustNotes { watching: false, ..noted(None) }, 1, TrustStanding::Behind, true, "behind since"),
            // A clock that has been set back makes nothing newer than new.
            (noted(Some(60)), -500, TrustStanding::Current, true, "confirmed 0 s ago"),
            (
                TrustNotes {
                    version: None,
                    epoch: None,
                    confirmed_at: None,
                    trouble: Some("too old".to_owned()),
                    ..noted(None)
                },
                1,
                TrustStanding::None,
                false,
                "nothing heard yet: too old",
            ),
        ] {
            let status = TrustStatus::of(notes, at(now));
            assert_eq!(
                (status.state, status.relying_party.as_ref().unwrap().decides),
                (state, decides),
                "{now}"
            );
            assert!(status.to_text(span).contains(line), "{}", status.to_text(span));
            assert_eq!(status.advice().is_none(), state == TrustStanding::Current && decides, "{status:?}");
        }
    }
}
