//! Another envelope key, for whoever fears that the old one is known.
//!
//! What is sealed lies in two places, and the key in a third, so no single step can change all of them. First
//! everything is sealed for both keys, then the new key takes the old one's place, and only then is everything
//! sealed for the new key alone. Until the second step the old key opens everything, from then on the new one
//! does, wherever the work is interrupted.

use std::path::{Path, PathBuf};

use crate::app::access::caller::Caller;
use crate::app::{App, Unavailable};
use crate::ca::envelope::{Envelope, EnvelopeError, EnvelopeSettings, Successor};
use crate::ca::hierarchy;
use crate::ca::jwt;
use crate::ca::server::{self, ServerCaError};
use crate::domain::insight::audit_action::AuditAction;

/// Why the envelope key was not replaced. Whichever key is in its place opens everything that is sealed.
#[derive(Debug, thiserror::Error)]
pub enum ResealError {
    /// There is nothing to seal anew.
    #[error("there is no agent CA yet")]
    Missing,
    /// The settings name none, and none lies where one is looked for unnamed.
    #[error("there is no envelope to open what is sealed")]
    NoEnvelope,
    /// The old key or the new one can't be used, or can't take the other's place.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// The key of the server certificate's CA can't be sealed anew.
    #[error(transparent)]
    ServerCa(#[from] ServerCaError),
    /// Nothing is lost: it may be begun anew.
    #[error("the agent CA was changed by somebody else at the same time")]
    Changed,
    /// The store or the machine could not answer; not the operator's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl App {
    /// Seals every key that is sealed with a new envelope key: the one in `new_key_file`, or a fresh one. Returns
    /// where the old key is kept, if this has put the new one in its place.
    pub async fn reseal(
        &self,
        caller: &Caller,
        settings: &EnvelopeSettings,
        new_key_file: Option<&Path>,
    ) -> Result<Option<PathBuf>, ResealError> {
        let old = Envelope::find(settings)?.ok_or(ResealError::NoEnvelope)?;
        let successor = Successor::prepare(settings, new_key_file, self.clock.now())?;
        let new = successor.envelope();
        self.seal_for(caller, &old, &[&old, new], "both keys").await?;
        let kept = successor.take_over()?;
        self.seal_for(caller, new, &[new], "the new key").await?;
        Ok(kept)
    }

    async fn seal_for(
        &self,
        caller: &Caller,
        from: &Envelope,
        to: &[&Envelope],
        meaning: &'static str,
    ) -> Result<(), ResealError> {
        let before = self.hierarchy()?.ok_or(ResealError::Missing)?;
        let after = hierarchy::reseal(&before, from, to)?;
        server::reseal(&self.data_dir.join("tls"), from, to)?;
        let mut event = caller.event(AuditAction::AgentCaReseal, None, &after.trust_domain);
        event.detail.insert("sealed_for", meaning.to_owned());
        self.replace_hierarchy(Some(before), after, event, ResealError::Changed).await?;
        let before = self.query(|view| view.jwt_keys())?;
        let after = jwt::reseal(&before, from, to)?;
        self.replace_stored_jwt_keys(before, after, ResealError::Changed).await
    }
}
