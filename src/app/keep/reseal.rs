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
use crate::domain::insight::audit::AuditEvent;
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::webhook::row::Webhook;
use crate::store::{Change, Verdict, WebhookChange};

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resealed {
    /// Where the old key is kept, if the new one was put in its place.
    pub old_key: Option<PathBuf>,
    /// The line that belongs into the files of recovery identities now, if there are any.
    pub recovery_line: Option<String>,
}

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
    /// Seals every key that is sealed with a new envelope key: the one in `new_key_file`, or a fresh one.
    pub async fn reseal(
        &self,
        caller: &Caller,
        settings: &EnvelopeSettings,
        new_key_file: Option<&Path>,
    ) -> Result<Resealed, ResealError> {
        let old = Envelope::find(settings)?.ok_or(ResealError::NoEnvelope)?;
        let successor = Successor::prepare(settings, new_key_file, self.clock.now())?;
        let new = successor.envelope();
        self.seal_for(caller, &old, &[&old, new], "both keys").await?;
        let old_key = successor.take_over()?;
        self.seal_for(caller, new, &[new], "the new key").await?;
        let recovery_line = new.has_recovery().then(|| new.sealer_line());
        Ok(Resealed { old_key, recovery_line })
    }

    async fn seal_for(
        &self,
        caller: &Caller,
        from: &Envelope,
        to: &[&Envelope],
        meaning: &'static str,
    ) -> Result<(), ResealError> {
        let trust_domain = self.hierarchy()?.ok_or(ResealError::Missing)?.trust_domain;
        let mut event = caller.event(AuditAction::AgentCaReseal, None, &trust_domain);
        event.detail.insert("sealed_for", meaning.to_owned());
        self.seal_anew(from, to, event).await
    }

    /// Seals the keys of webhooks anew; one that was removed meanwhile stays removed.
    async fn reseal_webhooks(&self, from: &Envelope, to: &[&Envelope]) -> Result<(), ResealError> {
        let mut sealed = Vec::new();
        for webhook in self.all_webhooks()? {
            let key = from.unseal(&webhook.sealed_key)?;
            sealed.push((webhook.id, Envelope::seal_for(to, &key)?));
        }
        self.decide(move |view, _| {
            let mut changes = Vec::new();
            for (id, sealed_key) in sealed {
                let webhook = view.webhook(id)?.map(|webhook| Webhook { sealed_key, ..webhook });
                changes.extend(webhook.map(|webhook| Change::Webhook(WebhookChange::Put(webhook))));
            }
            Ok(Verdict::accept((), changes))
        })
        .await
    }

    /// Seals all that is sealed anew, and puts that on record. For whoever holds the right to change the agent CA, or has the
    /// store alone.
    pub(crate) async fn seal_anew(
        &self,
        from: &Envelope,
        to: &[&Envelope],
        event: AuditEvent,
    ) -> Result<(), ResealError> {
        server::reseal(&self.data_dir.join("tls"), from, to)?;
        match self.hierarchy()? {
            Some(before) => {
                let after = hierarchy::reseal(&before, from, to)?;
                self.replace_hierarchy(Some(before), after, event, ResealError::Changed).await?;
            }
            None => self.record(vec![Change::Audit(event)]).await?,
        }
        self.reseal_webhooks(from, to).await?;
        let _one_at_a_time = self.jwt_key_changes.lock().await;
        let before = self.query(|view| view.jwt_keys())?;
        let after = jwt::reseal(&before, from, to)?;
        self.replace_stored_jwt_keys(before, after, ResealError::Changed).await
    }
}
