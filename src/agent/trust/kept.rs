//! The last trust update on disk, so that an agent decides while its server is away, from its start on.
//!
//! It is written beside the identity, whole or not at all, soon after each change and not for each of a burst. What was
//! damaged, or is another identity's, counts as none.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::agent::identity::IdentityDir;
use crate::agent::trust::shared::SharedTrust;
use crate::agent::trust::state::{DeniedSerial, TrustState};
use crate::agent::trust::update::UpdateReader;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::SpiffeId;
use crate::domain::sha256::sha256;
use crate::durable::{self, OWNER_ONLY};
use crate::error_chain::chain;
use crate::grpc::proto::{BarredId, Denied, TrustUpdate};

/// How the file begins; the number is that of its form.
pub(in crate::agent::trust) const MAGIC: &[u8] = b"muster trust 1\n";
const DIGEST: usize = 32;
/// Between two writes.
const PAUSE: Duration = Duration::from_secs(1);
/// How often it is written when nothing changes, for what it says of its age.
const REFRESH: Duration = Duration::from_secs(600);

/// Where it is kept, and for whom.
#[derive(Debug, Clone)]
pub(crate) struct TrustFile {
    path: PathBuf,
    holder: String,
}

impl TrustFile {
    pub(crate) fn of(dir: &IdentityDir, holder: &SpiffeId) -> Self {
        Self { path: dir.trust_file(), holder: holder.to_string() }
    }

    /// What is kept, if it can be used.
    pub(crate) fn read(&self, dir: &IdentityDir) -> Option<TrustState> {
        let path = self.path.display();
        match dir.read_trust_file() {
            Ok(None) => None,
            Ok(Some(content)) => {
                let state = decode(&content, &self.holder);
                if state.is_none() {
                    warn!(%path, "the kept trust update is damaged or another identity's, so it is not used");
                }
                state
            }
            Err(error) => {
                warn!(%path, error = %chain(&error), hint = error.hint(), "the kept trust update is not used");
                None
            }
        }
    }

    /// Writes each change until `stop`, and the last one after it.
    pub(crate) async fn keep(self, trust: SharedTrust, stop: CancellationToken) {
        let mut changes = trust.changes();
        let mut failing = false;
        loop {
            let due = tokio::select! {
                () = stop.cancelled() => break,
                changed = changes.changed() => changed.is_ok(),
                () = tokio::time::sleep(REFRESH) => true,
            };
            if due {
                self.save(&trust, &mut failing).await;
            }
            tokio::select! {
                () = stop.cancelled() => break,
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
        if changes.has_changed().unwrap_or(false) {
            self.save(&trust, &mut failing).await;
        }
    }

    async fn save(&self, trust: &SharedTrust, failing: &mut bool) {
        let (trust, file) = (trust.clone(), self.clone());
        let saved = tokio::task::spawn_blocking(move || {
            let copy = trust.read_at_length(KeptTrust::of);
            copy.map_or(Ok(()), |copy| write(&file.path, &copy.encode(&file.holder)))
        });
        let saved = saved.await.unwrap_or_else(|_| Err(io::Error::other("it could not be written")));
        if let Err(error) = &saved
            && !*failing
        {
            let path = self.path.display();
            let hint = "make room for it; until then a restart of the agent forgets what it was told since";
            warn!(%path, error = %chain(error), hint, "the trust update is not on disk");
        }
        *failing = saved.is_err();
    }
}

fn write(path: &Path, content: &[u8]) -> io::Result<()> {
    durable::replace(path, OWNER_ONLY, content)
}

/// A copy of what is kept, so that updates wait no longer than it takes to make it.
struct KeptTrust {
    confirmed_at: Timestamp,
    forgotten_before: Timestamp,
    denied: Vec<(Serial, DeniedSerial)>,
    documents: TrustUpdate,
    lists: Arc<Vec<Vec<u8>>>,
}

impl KeptTrust {
    fn of(state: &TrustState) -> Self {
        let documents = TrustUpdate {
            epoch: state.epoch.clone(),
            version: state.version,
            snapshot: true,
            more: false,
            roots: state.roots.clone(),
            intermediates: state.intermediates.clone(),
            denied: Vec::new(),
            lists: Vec::new(),
            denied_ids: state.denied_ids.iter().map(|id| id.to_vec()).collect(),
            barred: state
                .barred
                .iter()
                .map(|(id, before)| BarredId { id: id.to_vec(), made_before_ms: before.as_millisecond() })
                .collect(),
        };
        Self {
            confirmed_at: state.confirmed_at,
            forgotten_before: state.forgotten_before,
            denied: state.denied.iter().map(|(serial, denied)| (*serial, denied.clone())).collect(),
            documents,
            lists: Arc::clone(&state.lists),
        }
    }

    fn encode(self, holder: &str) -> Vec<u8> {
        let denied = self.denied.into_iter().map(|(serial, DeniedSerial { until, spiffe_id })| Denied {
            serial: serial.as_bytes().to_vec(),
            until_ms: until.as_millisecond(),
            spiffe_id: spiffe_id.map(|id| id.to_string()).unwrap_or_default(),
        });
        let lists = Arc::unwrap_or_clone(self.lists);
        let update = TrustUpdate { denied: denied.collect(), lists, ..self.documents };
        let body = [
            self.confirmed_at.as_millisecond().to_be_bytes().as_slice(),
            &self.forgotten_before.as_millisecond().to_be_bytes(),
            &u16::try_from(holder.len()).unwrap_or(u16::MAX).to_be_bytes(),
            holder.as_bytes(),
            &update.to_bytes(),
        ]
        .concat();
        [MAGIC, &sha256(&[&body]), &body].concat()
    }
}

#[cfg(any(test, fuzzing))]
pub(in crate::agent::trust) fn encode(state: &TrustState, holder: &str) -> Vec<u8> {
    KeptTrust::of(state).encode(holder)
}

pub(in crate::agent::trust) fn decode(content: &[u8], holder: &str) -> Option<TrustState> {
    let (digest, body) = content.strip_prefix(MAGIC)?.split_at_checked(DIGEST)?;
    if sha256(&[body]) != digest {
        return None;
    }
    let (confirmed_at, rest) = moment(body)?;
    let (forgotten_before, rest) = moment(rest)?;
    let (length, rest) = rest.split_first_chunk()?;
    let (kept_for, update) = rest.split_at_checked(u16::from_be_bytes(*length).into())?;
    if kept_for != holder.as_bytes() {
        return None;
    }
    let update = UpdateReader::default().take(TrustUpdate::from_bytes(update)?).ok()??;
    // What has ended is forgotten when the server is heard again, by its clock.
    let state = TrustState::from_snapshot(None, update, Timestamp::MIN).ok()?;
    Some(TrustState { confirmed_at, forgotten_before, ..state })
}

fn moment(content: &[u8]) -> Option<(Timestamp, &[u8])> {
    let (millis, rest) = content.split_first_chunk()?;
    Some((Timestamp::from_millisecond(i64::from_be_bytes(*millis)).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::trust::update::tests::{authority, denied, update};

    const HOLDER: &str = "spiffe://muster/tenant/01890000-0000-7000-8000-000000000000/agent/web-1";

    fn state() -> TrustState {
        let (root, list) = authority();
        let told = TrustUpdate {
            snapshot: true,
            roots: vec![root.clone()],
            intermediates: vec![root],
            lists: vec![list],
            denied_ids: vec![vec![3; 32]],
            barred: vec![BarredId { id: vec![4; 32], made_before_ms: 5 }],
            ..update(9, vec![denied(1, 5_000, HOLDER), denied(2, 6_000, "")])
        };
        let whole = UpdateReader::default().take(told).unwrap().unwrap();
        TrustState::from_snapshot(None, whole, Timestamp::from_millisecond(7_000).unwrap()).unwrap()
    }

    #[test]
    fn what_was_kept_comes_back_and_what_is_damaged_does_not() {
        let state = state();
        let content = encode(&state, HOLDER);
        assert_eq!(decode(&content, HOLDER), Some(state));
        assert_eq!(decode(&content, "spiffe://muster/x"), None, "another identity's");
        for length in [0, 1, MAGIC.len(), MAGIC.len() + DIGEST, content.len() - 1] {
            assert_eq!(decode(&content[..length], HOLDER), None, "cut at {length}");
        }
        for octet in 0..content.len() {
            let mut damaged = content.clone();
            damaged[octet] ^= 1;
            assert_eq!(decode(&damaged, HOLDER), None, "octet {octet}");
        }
    }
}
