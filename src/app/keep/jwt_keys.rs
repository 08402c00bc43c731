//! The keys of JWT-SVIDs: a new one each week, public a day before it signs, destroyed when its last token has expired.
//!
//! They are made when there is an agent CA and its keys can be unsealed, by the server itself; nobody has to ask.

use std::sync::Arc;

use tokio::sync::MutexGuard;

use crate::app::issue::jwt_svids::JwtPolicy;
use crate::app::{App, Unavailable};
use crate::ca::envelope::{Envelope, EnvelopeError, EnvelopeSettings};
use crate::ca::jwt::{self, JwtKeyError, JwtSigner};
use crate::domain::identity::jwt_keys::{JwtKeys, JwtPublicKey};
use crate::domain::identity::spiffe::TrustDomain;
use crate::store::{Change, Verdict};

/// Why the keys of JWT-SVIDs are not as they should be. Those that are there stay.
#[derive(Debug, thiserror::Error)]
pub enum JwtKeysError {
    /// It has to be made first.
    #[error("there is no agent CA yet")]
    Missing,
    /// Without one no key can be sealed.
    #[error("there is no envelope to seal the keys of JWT-SVIDs with")]
    NoEnvelope,
    /// It was found, and can't be used.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// None could be made or unsealed.
    #[error(transparent)]
    Key(#[from] JwtKeyError),
    /// To be done again, with the keys as they are now.
    #[error("the keys of JWT-SVIDs were changed by somebody else at the same time")]
    Changed,
    /// The store or the machine could not answer; not the operator's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Everything that a SPIFFE bundle says of the keys of JWT-SVIDs.
#[derive(Debug, Clone)]
pub struct JwtBundleKeys {
    /// Key id and public half, in the order in which they sign.
    pub keys: Vec<(String, JwtPublicKey)>,
    /// The number of the trust bundle that they are part of.
    pub sequence: u64,
}

impl App {
    /// Signs with the keys that are stored. What can't be used is replaced when keys are looked after.
    pub(crate) fn open_jwt_keys(
        &self,
        trust_domain: &TrustDomain,
        envelope: &Envelope,
    ) -> Result<(), Unavailable> {
        let keys = self.query(|view| view.jwt_keys())?;
        if !keys.keys.is_empty()
            && let Ok(signer) = JwtSigner::open(keys, envelope)
        {
            self.jwt.set_signer(trust_domain.clone(), signer);
        }
        Ok(())
    }

    /// Makes the key that is due, drops those that nobody needs, and signs with what there is then. Nothing is written where
    /// nothing changes.
    pub async fn keep_jwt_keys(self: &Arc<Self>, settings: &EnvelopeSettings) -> Result<(), JwtKeysError> {
        if self.authority().is_none() {
            return Ok(());
        }
        let _one_at_a_time = self.jwt_key_changes.lock().await;
        let before = self.query(|view| view.jwt_keys())?;
        let JwtPolicy { alg, ttl, .. } = self.policy.jwt;
        let now = self.clock.now();
        let needed = before.needed_at(now, alg, ttl);
        if needed == before && needed.next_due(now, alg).is_none() && self.jwt.signs_with(&needed) {
            return Ok(());
        }
        let settings = settings.clone();
        let work = move || {
            let envelope = Envelope::find(&settings)?.ok_or(JwtKeysError::NoEnvelope)?;
            let mut after = needed;
            // A key that can't be used is no reason to have no tokens; nobody can sign with it.
            if let Err(error) = JwtSigner::open(after.clone(), &envelope) {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "the keys of JWT-SVIDs can't be used; others are made in their place");
                after = JwtKeys::default();
            }
            if let Some(from) = after.next_due(now, alg) {
                after.keys.push(jwt::generate(alg, from, ttl, &envelope)?);
            }
            let signer = JwtSigner::open(after.clone(), &envelope)?;
            Ok::<_, JwtKeysError>((after, signer))
        };
        let (after, signer) = self.jwt.pool().run(work).await??;
        self.put_jwt_keys(before, after, signer).await
    }

    /// Makes another key, which signs at once, and withdraws all others with every token that they have signed: whoever may
    /// have got hold of one can sign nothing any more. For whoever holds the right to change them.
    pub(crate) async fn replace_jwt_keys(
        &self,
        settings: &EnvelopeSettings,
        _one_at_a_time: &MutexGuard<'_, ()>,
    ) -> Result<(), JwtKeysError> {
        let before = self.query(|view| view.jwt_keys())?;
        let JwtPolicy { alg, ttl, .. } = self.policy.jwt;
        let (settings, now) = (settings.clone(), self.clock.now());
        let work = move || {
            let envelope = Envelope::find(&settings)?.ok_or(JwtKeysError::NoEnvelope)?;
            let after = JwtKeys { keys: vec![jwt::generate(alg, now, ttl, &envelope)?] };
            let signer = JwtSigner::open(after.clone(), &envelope)?;
            Ok::<_, JwtKeysError>((after, signer))
        };
        let (after, signer) = self.jwt.pool().run(work).await??;
        self.put_jwt_keys(before, after, signer).await
    }

    async fn put_jwt_keys(
        &self,
        before: JwtKeys,
        after: JwtKeys,
        signer: JwtSigner,
    ) -> Result<(), JwtKeysError> {
        let trust_domain = self.trust_domain().ok_or(JwtKeysError::Missing)?;
        if after != before {
            let kids: Vec<_> = after.keys.iter().map(|key| key.kid.as_str()).collect();
            let said = kids.join(", ");
            self.replace_stored_jwt_keys(before, after, JwtKeysError::Changed).await?;
            tracing::info!(keys = said, "the keys of JWT-SVIDs have changed");
        }
        self.jwt.set_signer(trust_domain, signer);
        self.trust.send_replace(());
        Ok(())
    }

    /// Puts keys in the place of those that they were made from, unless others are there by now.
    pub(crate) async fn replace_stored_jwt_keys<E: From<Unavailable> + Send + 'static>(
        &self,
        before: JwtKeys,
        after: JwtKeys,
        changed: E,
    ) -> Result<(), E> {
        self.decide(move |view, _| {
            Ok(match view.jwt_keys()? == before {
                true => Verdict::accept((), vec![Change::PutJwtKeys(after)]),
                false => Verdict::refuse(changed),
            })
        })
        .await
    }

    /// What others verify JWT-SVIDs with.
    pub fn jwt_bundle_keys(&self) -> Result<JwtBundleKeys, Unavailable> {
        self.query(|view| {
            let keys = view.jwt_keys()?;
            let keys = keys.public().map(|(kid, public)| (kid.to_owned(), public.clone())).collect();
            Ok(JwtBundleKeys { keys, sequence: view.bundle_sequence()? })
        })
    }
}
