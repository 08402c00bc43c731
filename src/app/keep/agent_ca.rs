//! The agent CA: created once, unsealed at every start, shown to whoever wants to verify.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::app::access::caller::Caller;
use crate::app::{App, Unavailable};
use crate::ca::authority::{Authority, AuthorityError};
use crate::ca::envelope::{Envelope, EnvelopeError, EnvelopeSettings};
use crate::ca::hierarchy::{self, DamagedCertificate, InitError, RenewError};
pub use crate::ca::hierarchy::{
    CertificateSummary, IntermediateRequest, SignedIntermediate, new_intermediate,
};
use crate::ca::revocation::RevokeIntermediateError;
use crate::ca::root::change::RootChangeError;
use crate::domain::identity::hierarchy::{Hierarchy, RootTask};
use crate::domain::identity::spiffe::TrustDomain;
use crate::domain::insight::audit::AuditEvent;
use crate::domain::insight::audit_action::AuditAction;
use crate::store::{Change, ReadError, Verdict, View, WriteError};

/// Why no agent CA was made or taken over. None is stored then.
#[derive(Debug, thiserror::Error)]
pub enum InitAgentCaError {
    /// Also where another one was stored meanwhile.
    #[error("the agent CA exists already; a second one would orphan every agent enrolled under the first")]
    Exists,
    /// No keys, no certificates, or no seal.
    #[error("the agent CA could not be created")]
    Creating(#[from] InitError),
    /// Where it was to be kept, it could not be written.
    #[error("the new root key could not be handed out, so no CA was created")]
    RootKey(#[source] io::Error),
    /// Without one the server could never issue with it.
    #[error("the server finds no envelope key to unseal the new intermediate's key with")]
    NoEnvelope,
    /// It was found, and can't be used.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// Its key can't be unsealed, or the certificates don't fit.
    #[error("the server can't use the new intermediate, so no CA was created")]
    Unusable(#[source] AuthorityError),
    /// A new certificate can't be read again.
    #[error(transparent)]
    Damaged(#[from] DamagedCertificate),
    /// The store or the machine could not answer; not the operator's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why there is no other intermediate. Nothing has changed then.
#[derive(Debug, thiserror::Error)]
pub enum RenewAgentCaError {
    /// It has to be made first.
    #[error("there is no agent CA yet")]
    Missing,
    /// Without one the new key can't be sealed.
    #[error("there is no envelope to seal the new intermediate's key with")]
    NoEnvelope,
    /// It was found, and can't be used.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// No key could be made, or what was signed is not an intermediate of this agent CA for it.
    #[error(transparent)]
    Renewing(#[from] RenewError),
    /// It is not there, or revoked already, or the root did not name it.
    #[error(transparent)]
    Revoking(#[from] RevokeIntermediateError),
    /// Another root is not what it should be, or it is not its turn.
    #[error(transparent)]
    Root(#[from] RootChangeError),
    /// To be asked for again, from the agent CA as it is now.
    #[error("the agent CA was changed by somebody else at the same time; run the command again")]
    Changed,
    /// One at a time.
    #[error(
        "an intermediate that was made before is waiting and issues from {from} on; 'muster agent-ca renew --now' takes it at once"
    )]
    Waiting {
        /// When its time comes.
        from: Timestamp,
    },
    /// The newest one issues already.
    #[error("no intermediate is waiting to issue")]
    NoneWaiting,
    /// Its key can't be unsealed, or the certificates don't fit.
    #[error("the new intermediate could not be used, so nothing was changed")]
    Unusable(#[source] AuthorityError),
    /// A certificate that is stored can't be read.
    #[error(transparent)]
    Damaged(#[from] DamagedCertificate),
    /// The store or the machine could not answer; not the operator's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Where the quickstart leaves the agent CA's root key, inside the data directory.
pub const ROOT_KEY_FILE: &str = "root-key.pem";

/// How long a new intermediate is public before it issues: relying parties fetch bundle and lists once a day at least.
const PUBLIC_BEFORE_ISSUING: SignedDuration = SignedDuration::from_hours(24);

/// How often somebody looks who waits for the store to be open again.
const OPEN_AGAIN_LOOKED_AT: Duration = Duration::from_millis(50);

/// From when on an intermediate issues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Issuing {
    /// When relying parties have got to know it.
    Later,
    /// At once.
    Now,
}

/// What the root has signed, with the sealed key that belongs to it.
#[derive(Debug, Clone)]
pub struct SignedRequest {
    /// By the root.
    pub signed: SignedIntermediate,
    /// As it came with the request.
    pub sealed_key: Vec<u8>,
}

/// A root of the trust bundle and the coordinates of its P-256 key.
#[derive(Debug, Clone)]
pub struct BundleKey {
    /// Affine coordinate, big-endian: what a JWK has as `x` (RFC 7518, 6.2.1.2).
    pub x: [u8; 32],
    /// The same for `y` (RFC 7518, 6.2.1.3).
    pub y: [u8; 32],
    /// DER.
    pub certificate: Vec<u8>,
}

/// Why nothing can be issued after a start.
#[derive(Debug, thiserror::Error)]
pub enum UnsealError {
    /// It has to be made first.
    #[error("there is no agent CA yet")]
    Missing,
    /// The envelope is another one, or what is stored is no CA that could sign.
    #[error("the agent CA's issuing key cannot be used")]
    Unusable(#[from] AuthorityError),
    /// The store or the machine could not answer; not the operator's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Why nobody can say what the agent CA consists of.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// A certificate that is stored can't be read.
    #[error(transparent)]
    Damaged(#[from] DamagedCertificate),
    /// The store or the machine could not answer; not the caller's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl App {
    /// Creates root and intermediate. `keep` receives the root's private key (PEM) before anything becomes
    /// durable; it is kept nowhere else. When `keep` fails, there is no CA.
    pub async fn init_agent_ca(
        &self,
        caller: &Caller,
        trust_domain: &TrustDomain,
        envelope: &Envelope,
        keep: impl FnOnce(&str) -> io::Result<()>,
    ) -> Result<(), InitAgentCaError> {
        let _one_at_a_time = self.hierarchy_changes.lock().await;
        if self.hierarchy()?.is_some() {
            return Err(InitAgentCaError::Exists);
        }
        let crl_base = self.policy.crl_url.as_ref();
        let created = hierarchy::init(trust_domain, envelope, crl_base, self.clock.now())?;
        keep(&created.root_key_pem).map_err(InitAgentCaError::RootKey)?;
        self.put_agent_ca(caller, created.hierarchy).await
    }

    /// Takes over an agent CA that the local operator's command has made, whose root key this process never sees, and
    /// issues from it from now on.
    pub async fn install_agent_ca(
        self: &Arc<Self>,
        caller: &Caller,
        made: Hierarchy,
        settings: &EnvelopeSettings,
    ) -> Result<(), InitAgentCaError> {
        let (caller, settings) = (caller.clone(), settings.clone());
        self.to_its_end(|app| async move { app.install_made(&caller, made, settings).await }).await
    }

    async fn install_made(
        &self,
        caller: &Caller,
        mut made: Hierarchy,
        settings: EnvelopeSettings,
    ) -> Result<(), InitAgentCaError> {
        let _one_at_a_time = self.hierarchy_changes.lock().await;
        if self.hierarchy()?.is_some() {
            return Err(InitAgentCaError::Exists);
        }
        // What it issues before the next start must not be forgotten by a start with another setting.
        made.note_svid_lifetime(self.policy.svid_ttl, self.clock.now());
        let opening = move || {
            let envelope = Envelope::find(&settings)?.ok_or(InitAgentCaError::NoEnvelope)?;
            // What could not be used must not be stored.
            let authority = Authority::open(&made, &envelope).map_err(InitAgentCaError::Unusable)?;
            Ok::<_, InitAgentCaError>((made, authority))
        };
        let (made, authority) = self.pool.run(opening).await??;
        self.put_agent_ca(caller, made).await?;
        self.set_authority(authority);
        Ok(())
    }

    async fn put_agent_ca(&self, caller: &Caller, stored: Hierarchy) -> Result<(), InitAgentCaError> {
        let mut event = caller.event(AuditAction::AgentCaInit, None, &stored.trust_domain);
        for summary in hierarchy::describe(&stored)? {
            event.detail.insert(summary.role.as_str(), summary.fingerprint);
        }
        self.replace_hierarchy(None, stored, event, InitAgentCaError::Exists).await
    }

    /// Puts a hierarchy in the place of the one that it was made from, unless another one is there by now.
    pub(crate) async fn replace_hierarchy<E: From<Unavailable> + Send + 'static>(
        &self,
        before: Option<Hierarchy>,
        after: Hierarchy,
        event: AuditEvent,
        changed: E,
    ) -> Result<(), E> {
        self.replace_hierarchy_with(before, after, event, changed, |_, _| Ok(Vec::new())).await
    }

    /// The same with further changes in the same commit. Of a commit that failed, the store says whether it came to be: what
    /// is on disk and what issues must not part.
    pub(crate) async fn replace_hierarchy_with<E: From<Unavailable> + Send + 'static>(
        &self,
        before: Option<Hierarchy>,
        after: Hierarchy,
        event: AuditEvent,
        changed: E,
        also: impl FnOnce(&View<'_>, Timestamp) -> Result<Vec<Change>, ReadError> + Send + 'static,
    ) -> Result<(), E> {
        let wanted = after.clone();
        let replacing = move |view: &View<'_>, now| {
            if view.hierarchy()? != before {
                return Ok(Verdict::accept(false, Vec::new()));
            }
            let mut changes = also(view, now)?;
            changes.extend([Change::PutHierarchy(after), Change::Audit(event)]);
            Ok(Verdict::<_, Unavailable>::accept(true, changes))
        };
        match self.decide(replacing).await {
            Ok(true) => Ok(()),
            Ok(false) => Err(changed),
            Err(Unavailable::Write(WriteError::Commit)) if self.is_stored(&wanted).await => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Whether this is the hierarchy in the store, once that can be read again after a commit that failed.
    async fn is_stored(&self, wanted: &Hierarchy) -> bool {
        loop {
            let stored = (!self.store.is_in_doubt()).then(|| self.hierarchy());
            if let Some(Ok(stored)) = stored {
                return stored.as_ref() == Some(wanted);
            }
            tokio::time::sleep(OPEN_AGAIN_LOOKED_AT).await;
        }
    }

    /// Takes note of how long SVIDs live from now on: revocation lists outlast those that are still out, and an old
    /// intermediate keeps its key as long.
    pub async fn note_svid_lifetime(&self) -> Result<(), Unavailable> {
        let _one_at_a_time = self.hierarchy_changes.lock().await;
        let lifetime = self.policy.svid_ttl;
        self.decide(move |view, now| {
            let Some(mut hierarchy) = view.hierarchy()? else { return Ok(Verdict::accept((), Vec::new())) };
            let news = hierarchy.note_svid_lifetime(lifetime, now);
            let changes = news.then_some(Change::PutHierarchy(hierarchy)).into_iter().collect();
            Ok(Verdict::<_, Unavailable>::accept((), changes))
        })
        .await
    }

    /// Makes the key of another intermediate, for the root to sign elsewhere. Nothing is stored.
    pub async fn request_intermediate(
        &self,
        settings: &EnvelopeSettings,
    ) -> Result<IntermediateRequest, RenewAgentCaError> {
        let hierarchy = self.hierarchy()?.ok_or(RenewAgentCaError::Missing)?;
        if let Some(from) = self.waiting_since_now(&hierarchy) {
            return Err(RenewAgentCaError::Waiting { from });
        }
        self.request_from_root(hierarchy, RootTask::Renew, settings).await
    }

    /// A key in the pool: where the envelope is a passphrase, sealing it takes most of a second.
    pub(crate) async fn request_from_root(
        &self,
        hierarchy: Hierarchy,
        task: RootTask,
        settings: &EnvelopeSettings,
    ) -> Result<IntermediateRequest, RenewAgentCaError> {
        let (settings, crl_base) = (settings.clone(), self.policy.crl_url.clone());
        let requesting = move || {
            let envelope = Envelope::find(&settings)?.ok_or(RenewAgentCaError::NoEnvelope)?;
            Ok(hierarchy::request(&hierarchy, &envelope, task, crl_base).map_err(RenewError::from)?)
        };
        self.pool.run(requesting).await?
    }

    /// From when on the newest intermediate issues, if that time has not come.
    fn waiting_since_now(&self, hierarchy: &Hierarchy) -> Option<Timestamp> {
        let mut issuing = hierarchy.intermediates.iter().filter(|it| !it.held);
        let newest = issuing.rfind(|it| it.revocation.is_none())?;
        newest.issuing_from.filter(|from| *from > self.clock.now())
    }

    /// Adds an intermediate that the root has signed for a request. It is public at once and issues from now on, or when
    /// relying parties have got to know it.
    pub async fn install_intermediate(
        self: &Arc<Self>,
        caller: &Caller,
        signed: SignedRequest,
        issuing: Issuing,
        settings: &EnvelopeSettings,
    ) -> Result<CertificateSummary, RenewAgentCaError> {
        let (caller, settings) = (caller.clone(), settings.clone());
        self.to_its_end(|app| async move {
            let _one_at_a_time = app.hierarchy_changes.lock().await;
            let SignedRequest { signed, sealed_key } = signed;
            let before = app.hierarchy()?.ok_or(RenewAgentCaError::Missing)?;
            let now = app.clock.now();
            let from = match issuing {
                Issuing::Now => now,
                Issuing::Later => app.issues_when_known(&before, now)?,
            };
            let accept = move |before: &Hierarchy, envelope: &Envelope| {
                Ok(hierarchy::accept(before, signed, sealed_key, from, envelope, now)?)
            };
            app.renew_to(&caller, before, accept, settings).await
        })
        .await
    }

    /// A day from now, sooner where the present intermediate would shorten SVIDs before that, or can't issue any more.
    fn issues_when_known(&self, before: &Hierarchy, now: Timestamp) -> Result<Timestamp, RenewAgentCaError> {
        let present = hierarchy::issuing(before, now)?;
        let whole = present.not_after.saturating_sub(self.policy.svid_ttl).unwrap_or(now);
        let known = now.saturating_add(PUBLIC_BEFORE_ISSUING).unwrap_or(now);
        Ok(known.min(whole).max(now))
    }

    /// Lets the intermediate that waits issue at once.
    pub async fn issue_from_waiting(
        self: &Arc<Self>,
        caller: &Caller,
        settings: &EnvelopeSettings,
    ) -> Result<CertificateSummary, RenewAgentCaError> {
        let (caller, settings) = (caller.clone(), settings.clone());
        self.to_its_end(|app| async move {
            let _one_at_a_time = app.hierarchy_changes.lock().await;
            let before = app.hierarchy()?.ok_or(RenewAgentCaError::Missing)?;
            if app.waiting_since_now(&before).is_none() {
                return Err(RenewAgentCaError::NoneWaiting);
            }
            let from = app.clock.now();
            let take = move |before: &Hierarchy, _: &Envelope| {
                let mut after = before.clone();
                let mut issuing = after.intermediates.iter_mut().filter(|it| !it.held);
                if let Some(newest) = issuing.rfind(|it| it.revocation.is_none()) {
                    newest.issuing_from = Some(from);
                }
                Ok(after)
            };
            app.renew_to(&caller, before, take, settings).await
        })
        .await
    }

    /// What a hierarchy becomes, and what then issues. In the pool: where the envelope is a passphrase, each key takes most of
    /// a second.
    pub(crate) async fn opened_anew(
        &self,
        before: &Hierarchy,
        change: impl FnOnce(&Hierarchy, &Envelope) -> Result<Hierarchy, RenewAgentCaError> + Send + 'static,
        settings: EnvelopeSettings,
    ) -> Result<(Hierarchy, Authority), RenewAgentCaError> {
        let before = before.clone();
        let opening = move || {
            let envelope = Envelope::find(&settings)?.ok_or(RenewAgentCaError::NoEnvelope)?;
            let after = change(&before, &envelope)?;
            // What could not be used must not be stored.
            let authority = Authority::open(&after, &envelope).map_err(RenewAgentCaError::Unusable)?;
            Ok((after, authority))
        };
        self.pool.run(opening).await?
    }

    async fn renew_to(
        &self,
        caller: &Caller,
        before: Hierarchy,
        change: impl FnOnce(&Hierarchy, &Envelope) -> Result<Hierarchy, RenewAgentCaError> + Send + 'static,
        settings: EnvelopeSettings,
    ) -> Result<CertificateSummary, RenewAgentCaError> {
        let (after, authority) = self.opened_anew(&before, change, settings).await?;
        let newest = hierarchy::describe(&after)?;
        let newest = newest.into_iter().rfind(|it| it.issuing_from.is_some()).ok_or(DamagedCertificate)?;
        let mut event = caller.event(AuditAction::AgentCaRenew, None, &after.trust_domain);
        event.detail.insert("intermediate", newest.fingerprint.clone());
        event.detail.insert("not_after", newest.not_after.to_string());
        if let Some(from) = newest.issuing_from {
            event.detail.insert("issuing_from", from.to_string());
        }
        self.replace_hierarchy(Some(before), after, event, RenewAgentCaError::Changed).await?;
        self.set_authority(authority);
        Ok(newest)
    }

    /// The agent CA as it is stored, its issuing keys sealed; `None` before it was made.
    pub fn hierarchy(&self) -> Result<Option<Hierarchy>, Unavailable> {
        self.query(|view| view.hierarchy())
    }

    /// Root and intermediates, and the roots alone; PEM, certificates only.
    pub fn trust_bundles(&self) -> Result<Option<(String, String)>, Unavailable> {
        let bundles =
            |hierarchy: Hierarchy| (hierarchy::bundle_pem(&hierarchy), hierarchy::roots_pem(&hierarchy));
        Ok(self.hierarchy()?.map(bundles))
    }

    /// What the agent CA consists of.
    pub fn agent_ca(&self) -> Result<Option<(TrustDomain, Vec<CertificateSummary>)>, DescribeError> {
        let Some(hierarchy) = self.hierarchy()? else {
            return Ok(None);
        };
        let summaries = hierarchy::describe(&hierarchy)?;
        Ok(Some((hierarchy.trust_domain, summaries)))
    }

    /// Whether the quickstart's copy of the root key still waits to be taken offline.
    pub(crate) fn root_key_on_disk(&self) -> bool {
        self.data_dir.join(ROOT_KEY_FILE).exists()
    }

    /// When another intermediate begins to issue.
    pub(crate) fn next_issuer_begins(&self) -> Option<Timestamp> {
        self.authority()?.next_begins(self.clock.now())
    }

    /// The public keys of the roots.
    pub fn bundle_keys(&self) -> Result<Option<Vec<BundleKey>>, Unavailable> {
        let Some(hierarchy) = self.hierarchy()? else {
            return Ok(None);
        };
        let key = |root: &Vec<u8>| {
            let (x, y) = hierarchy::p256_coordinates(root)?;
            Some(BundleKey { x, y, certificate: root.clone() })
        };
        Ok(Some(hierarchy.roots.iter().filter_map(key).collect()))
    }

    /// Unseals the issuing key; from now on enrollments and rotations are answered.
    pub fn unseal(&self, envelope: &Envelope) -> Result<Hierarchy, UnsealError> {
        let hierarchy = self.hierarchy()?.ok_or(UnsealError::Missing)?;
        self.set_authority(Authority::open(&hierarchy, envelope)?);
        self.open_jwt_keys(&hierarchy.trust_domain, envelope)?;
        Ok(hierarchy)
    }
}
