//! Deciding from memory: whether a certificate is a live agent's, by what the server last told.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;

use crate::agent::relying_party::settings::{RelyingPartySettings, TenantChoices};
use crate::agent::trust::shared::{AnswersWanted, SharedTrust};
use crate::domain::identity::spiffe::SpiffeId;
use crate::domain::ids::TenantId;
use crate::vouch::certificate_header::CertificateHeader;
use crate::vouch::issuers::{Issuers, VerifiedSvid};
use crate::vouch::refusal::NotVouched;

/// Answers questions of relying parties. A shared handle.
#[derive(Debug, Clone)]
pub(crate) struct Voucher(Arc<State>);

#[derive(Debug)]
struct State {
    trust: SharedTrust,
    /// The agent watches for as long as somebody may ask.
    _watching: AnswersWanted,
    tenants: TenantChoices,
    header: CertificateHeader,
    max_age: Option<Duration>,
    /// Who the agent itself is, once it has an identity. It stays who it is, expired or not.
    own: OnceLock<SpiffeId>,
    /// Set when the server has said that the agent's own identity is revoked: from then on it speaks for nobody.
    revoked: AtomicBool,
    issuers: Mutex<Option<KnownIntermediates>>,
}

#[derive(Debug)]
struct KnownIntermediates {
    certificates: Vec<Vec<u8>>,
    issuers: Arc<Issuers>,
}

impl Voucher {
    pub(crate) fn new(trust: SharedTrust, settings: &RelyingPartySettings) -> Self {
        Self(Arc::new(State {
            _watching: trust.answers_wanted(),
            trust,
            tenants: settings.tenants.clone(),
            header: settings.header,
            max_age: settings.max_age,
            own: OnceLock::new(),
            revoked: AtomicBool::new(false),
            issuers: Mutex::default(),
        }))
    }

    /// Says who the agent is.
    pub(crate) fn set_own(&self, own: SpiffeId) {
        // An agent has one identity for as long as it runs.
        let _ = self.0.own.set(own);
    }

    /// Nobody is let in any more.
    pub(crate) fn revoke(&self) {
        self.0.revoked.store(true, Ordering::SeqCst);
    }

    /// The header where a question names none.
    pub(crate) fn usual_header(&self) -> CertificateHeader {
        self.0.header
    }

    /// Whole seconds since the server last confirmed that what is known is the newest, where that can be told.
    pub(crate) fn trust_age(&self) -> Option<u64> {
        self.0.trust.age().filter(|age| *age < Duration::MAX).map(|age| age.as_secs())
    }

    /// Whether a certificate in one of the forms of `vouch::presented` is a live agent's, of a tenant that is let in and is
    /// the one named, if one is.
    ///
    /// # Errors
    /// Why it is not.
    pub(crate) fn ask(
        &self,
        certificate: &str,
        tenant: Option<&str>,
        tags: &[String],
    ) -> Result<Arc<VerifiedSvid>, NotVouched> {
        let State { trust, own, revoked, .. } = &*self.0;
        if revoked.load(Ordering::SeqCst) {
            return Err(NotVouched::Unknowing("the identity of the agent that is asked is revoked".into()));
        }
        let own = own.get();
        let own = own.ok_or(NotVouched::Unknowing("the agent that is asked has no identity yet".into()))?;
        if !tags.is_empty() {
            return Err(NotVouched::MissingTag("agents know no tags; ask the server"));
        }
        if let Some(why) = trust.withdrawn() {
            return Err(NotVouched::Unknowing(why.into()));
        }
        let named = tenant.map(|named| tenant_of(named, own)).transpose()?;
        let issuers = self.issuers(own)?;
        // Without the lock: whoever writes must not wait for signatures.
        let verified = issuers.verify(certificate, trust.server_now())?;
        let svid = &verified.svid;
        let tenant = svid.spiffe_id.tenant;
        if named.is_some_and(|named| named != tenant) || !self.0.tenants.include(tenant, own.tenant) {
            return Err(NotVouched::OtherTenant);
        }
        let denied = match &*trust.read() {
            Some(state) => state.denies_of(&svid.serial, &svid.spiffe_id),
            None => true,
        };
        if denied { Err(NotVouched::Revoked) } else { Ok(verified) }
    }

    /// The intermediates that are in force. What was verified is forgotten when others are.
    fn issuers(&self, own: &SpiffeId) -> Result<Arc<Issuers>, NotVouched> {
        let State { trust, max_age, .. } = &*self.0;
        if let (Some(max_age), Some(age)) = (max_age, trust.age())
            && age > *max_age
        {
            let text = "the server has not confirmed for longer than max_age what the agent knows";
            return Err(NotVouched::Unknowing(text.into()));
        }
        let state = trust.read();
        let Some(state) = &*state else { return Err(NotVouched::Unknowing(self.nothing_heard().into())) };
        let mut known = self.0.issuers.lock();
        match &*known {
            Some(known) if known.certificates == state.intermediates => Ok(Arc::clone(&known.issuers)),
            _ => {
                let issuers = Arc::new(Issuers::new(own.trust_domain.clone(), &state.intermediates));
                let certificates = state.intermediates.clone();
                *known = Some(KnownIntermediates { certificates, issuers: Arc::clone(&issuers) });
                Ok(issuers)
            }
        }
    }

    fn nothing_heard(&self) -> String {
        match self.0.trust.trouble() {
            Some(trouble) => format!("the agent has heard of nobody to let in: {trouble}"),
            None => "the agent has not yet heard from the server whom to let in".to_owned(),
        }
    }
}

/// The tenant that a question names.
fn tenant_of(named: &str, own: &SpiffeId) -> Result<TenantId, NotVouched> {
    if named == "own" { Ok(own.tenant) } else { named.parse().map_err(|_| NotVouched::TenantName) }
}
