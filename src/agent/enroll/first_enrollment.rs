//! From a credential to an identity on disk, once.

use std::path::PathBuf;

use tracing::warn;

use crate::agent::enroll::answer::Issued;
use crate::agent::enroll::requests::{CallError, EnrollmentClient};
use crate::agent::facts::Subject;
use crate::agent::identity::{Identity, IdentityError, NewIdentity, OwnedDir};
use crate::agent::state_file::AgentState;
use crate::clock::Clock;
use crate::domain::enroll::credential::Credential;
use crate::domain::identity::spiffe::SpiffeId;

/// The code of a refusal that a new key may cure.
pub(crate) const BAD_CSR: &str = "bad_csr";

/// Why there is no identity now. What was there before is untouched.
#[derive(Debug, thiserror::Error)]
pub enum FirstEnrollmentError {
    #[error("{} already holds an identity, {spiffe_id}", dir.display())]
    AlreadyEnrolled { dir: PathBuf, spiffe_id: SpiffeId },
    #[error(transparent)]
    Call(#[from] CallError),
    #[error(transparent)]
    Identity(#[from] IdentityError),
}

impl FirstEnrollmentError {
    /// What to do about it.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::AlreadyEnrolled { .. } => {
                "nothing was changed; run the agent with it, or choose another directory"
            }
            Self::Call(error) => error.hint(),
            Self::Identity(error) => error.hint(),
        }
    }
}

/// One attempt. The key outlives it: another attempt, even after a restart, asks for a certificate of the same
/// key and is given the one whose answer was lost.
pub async fn enroll(
    dir: &OwnedDir,
    client: &EnrollmentClient,
    credential: &Credential,
    subject: &Subject,
    clock: &dyn Clock,
) -> Result<Identity, FirstEnrollmentError> {
    check_vacant(dir)?;
    let facts = subject.facts();
    let (mut key, reused) = dir.pending_key()?;
    let mut answer = client.enroll(credential, &key, &facts).await;
    if reused && key_was_refused(&answer) {
        dir.discard_pending_key()?;
        key = dir.pending_key()?.0;
        answer = client.enroll(credential, &key, &facts).await;
    }
    if key_was_refused(&answer) {
        dir.discard_pending_key()?;
    }
    let issued = answer?;
    let difference = client.clock_difference_ms(clock.now());
    let notes = issued_notes(difference, client, &issued, &AgentState::default());
    dir.install(&NewIdentity {
        key: &key,
        chain: &issued.chain,
        agent_ca: &issued.agent_ca,
        server_ca: client.verified().as_deref(),
        notes: &notes,
    })?;
    let identity = dir.read()?;
    identity.ok_or_else(|| IdentityError::NotAKey(dir.place().key().to_owned()).into())
}

/// Refuses a directory that holds an identity.
pub fn check_vacant(dir: &OwnedDir) -> Result<(), FirstEnrollmentError> {
    match dir.read()? {
        None => Ok(()),
        Some(identity) => Err(FirstEnrollmentError::AlreadyEnrolled {
            dir: dir.place().path().to_owned(),
            spiffe_id: identity.svid.spiffe_id,
        }),
    }
}

/// Another identity may hold an old key: one that was cloned with its disk, or enrolled without ever learning it.
pub(crate) fn key_was_refused(answer: &Result<Issued, CallError>) -> bool {
    let refusal = answer.as_ref().err().and_then(CallError::refusal);
    refusal.is_some_and(|refusal| refusal.code == BAD_CSR)
}

/// What is worth remembering of an answer.
pub(crate) fn issued_notes(
    clock_difference_ms: Option<i64>,
    client: &EnrollmentClient,
    issued: &Issued,
    earlier: &AgentState,
) -> AgentState {
    let told = &issued.told;
    if told.unusable > 0 {
        warn!(
            count = told.unusable,
            "the server names addresses that can't be used here; have its public_url and grpc_addr corrected"
        );
    }
    // Where it was before is better than nowhere.
    let grpc_addrs = if told.grpc.is_empty() { &earlier.grpc_addrs } else { &told.grpc };
    AgentState {
        server: Some(client.server().clone()),
        grpc_addr: grpc_addrs.first().cloned(),
        servers: told.servers.clone(),
        grpc_addrs: grpc_addrs.clone(),
        spiffe_id: Some(issued.svid.spiffe_id.to_string()),
        host_id: Some(issued.host),
        serial: Some(issued.svid.serial),
        issued_at: Some(issued.issued_at),
        not_after: Some(issued.svid.not_after),
        clock_difference_ms,
        last_refusal: None,
        last_failure: None,
        ..earlier.clone()
    }
}
