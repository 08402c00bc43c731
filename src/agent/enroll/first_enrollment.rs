//! From a credential to an identity on disk, once.

use std::path::PathBuf;

use crate::agent::connect::addresses::AnsweredAt;
use crate::agent::enroll::requests::{CallError, EnrollmentClient};
use crate::agent::facts::Subject;
use crate::agent::identity::{Identity, IdentityError, NewIdentity, OwnedDir};
use crate::agent::state_file::AgentState;
use crate::clock::Clock;
use crate::domain::enroll::credential::Credential;
use crate::domain::identity::spiffe::SpiffeId;

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
    if reused && answer.as_ref().is_err_and(CallError::refuses_key) {
        dir.discard_pending_key()?;
        key = dir.pending_key()?.0;
        answer = client.enroll(credential, &key, &facts).await;
    }
    if answer.as_ref().is_err_and(CallError::refuses_key) {
        dir.discard_pending_key()?;
    }
    let issued = answer?;
    let difference = client.clock_difference_ms(clock.now());
    let notes = issued.notes(AnsweredAt::Https(&client.https.server), difference, &AgentState::default());
    Ok(dir.install(&NewIdentity {
        key: &key,
        chain: &issued.chain,
        agent_ca: &issued.agent_ca,
        server_ca: client.first_contact.verified().as_deref(),
        notes: &notes,
    })?)
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
