//! Recovery recipients of the envelope: a second way to everything that is sealed.
//!
//! First they are written down, so that whatever is sealed from then on, by whichever command, is sealed for them; then what is
//! sealed already is sealed anew. Where the second half fails, doing it again completes it.

use std::sync::Arc;

use crate::app::access::caller::Caller;
use crate::app::keep::reseal::ResealError;
use crate::app::{App, Unavailable};
pub use crate::ca::envelope::RecoveryRecipient;
use crate::ca::envelope::{Envelope, EnvelopeError, EnvelopeSettings};
use crate::domain::insight::audit_action::AuditAction;

/// Recipients of one envelope: each makes everything that is sealed a little longer.
const RECIPIENTS_MAX: usize = 16;

/// Why the recovery recipients are as they were, or what is sealed already is not sealed for them yet.
#[derive(Debug, thiserror::Error)]
pub enum RecoveryError {
    /// The settings name none, and none lies where one is looked for unnamed.
    #[error("there is no envelope yet, so nothing could be recovered")]
    NoEnvelope,
    /// It can't be used, or can have no recipients.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// It opens everything anyway.
    #[error("this is the envelope's own public key; a recovery identity is another one, kept elsewhere")]
    Own,
    /// There is nothing to remove.
    #[error("this is no recovery recipient of the envelope")]
    Unknown,
    /// Nobody needs so many.
    #[error("the envelope has {RECIPIENTS_MAX} recovery recipients already")]
    TooMany,
    /// It is written down. Doing it again completes it.
    #[error(
        "the recovery recipients are written down, but what is sealed already was not sealed anew; do it again"
    )]
    Reseal(#[from] ResealError),
    /// The store or the machine could not answer; not the operator's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// What becomes of a recovery recipient.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecoveryChange {
    /// It opens all that is sealed from now on, and all that is stored.
    Add,
    /// It opens what was sealed before, if somebody kept that, and nothing else.
    Remove,
}

/// Who opens what the envelope seals.
#[derive(Debug, Clone)]
pub struct RecoveryRecipients {
    /// In the order in which they were added.
    pub recipients: Vec<RecoveryRecipient>,
    /// The line by which an identity's file says whose seals its owner believes.
    pub line: String,
}

impl RecoveryRecipients {
    fn of(envelope: &Envelope) -> Self {
        Self { recipients: envelope.recovery().to_vec(), line: envelope.sealer_line() }
    }
}

impl App {
    /// The recovery recipients.
    pub fn recovery(&self, settings: &EnvelopeSettings) -> Result<RecoveryRecipients, RecoveryError> {
        Ok(RecoveryRecipients::of(&Envelope::find(settings)?.ok_or(RecoveryError::NoEnvelope)?))
    }

    /// Adds one or removes it, and seals all that is sealed anew. One that is there is sealed for again.
    pub async fn change_recovery(
        self: &Arc<Self>,
        caller: &Caller,
        settings: &EnvelopeSettings,
        change: RecoveryChange,
        recipient: RecoveryRecipient,
    ) -> Result<RecoveryRecipients, RecoveryError> {
        let (caller, settings) = (caller.clone(), settings.clone());
        self.to_its_end(
            |app| async move { app.change_recovery_now(&caller, settings, change, recipient).await },
        )
        .await
    }

    async fn change_recovery_now(
        &self,
        caller: &Caller,
        settings: EnvelopeSettings,
        change: RecoveryChange,
        recipient: RecoveryRecipient,
    ) -> Result<RecoveryRecipients, RecoveryError> {
        let _one_at_a_time = self.hierarchy_changes.lock().await;
        let before = Envelope::find(&settings)?.ok_or(RecoveryError::NoEnvelope)?;
        if change == RecoveryChange::Add && before.recipient().as_ref() == Some(&recipient) {
            return Err(RecoveryError::Own);
        }
        let mut recipients = before.recovery().to_vec();
        let at = recipients.iter().position(|known| *known == recipient);
        let action = match (change, at) {
            (RecoveryChange::Add, None) if recipients.len() >= RECIPIENTS_MAX => {
                return Err(RecoveryError::TooMany);
            }
            (RecoveryChange::Add, None) => {
                recipients.push(recipient.clone());
                AuditAction::EnvelopeAddRecovery
            }
            (RecoveryChange::Add, Some(_)) => AuditAction::EnvelopeAddRecovery,
            (RecoveryChange::Remove, Some(at)) => {
                recipients.remove(at);
                AuditAction::EnvelopeRemoveRecovery
            }
            (RecoveryChange::Remove, None) => return Err(RecoveryError::Unknown),
        };
        let after = before.sealing_for(recipients)?;
        after.keep_recovery(&settings.data_dir)?;
        let event = caller.event(action, None, recipient);
        self.seal_anew(&after, &[&after], event).await?;
        Ok(RecoveryRecipients::of(&after))
    }
}
