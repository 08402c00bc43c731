//! JWT-SVIDs for agents that hold a session: who gets one, for whom it is, and how long it lives.
//!
//! A token leaves no audit record: it says no more than the certificate that asked for it, ends within minutes, and there may
//! be thousands in a second, each of which would be a commit that pushes nothing else out but takes its time. They are
//! counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use data_encoding::HEXLOWER;
use jiff::{SignedDuration, Timestamp};
use parking_lot::{Mutex, RwLock};

use crate::app::pool::Pool;
use crate::app::{Unavailable, entropy};
use crate::ca::jwt::{JwtOrder, JwtSignError, JwtSigner};
use crate::clock;
use crate::domain::fairness::rate::{KEYS_MAX, Rate, RateLimiter, WhenFull};
use crate::domain::identity::deny::AgentRef;
use crate::domain::identity::jwt_issuer::JwtIssuer;
use crate::domain::identity::jwt_keys::{JwtAlg, JwtKeys};
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::{SpiffeId, TrustDomain};
use crate::domain::ids::HostId;

/// Tokens of one identity. Its agent keeps one for each audience.
const PACE: Rate = Rate { burst: 100.0, per_second: 10.0 };
/// Audiences of one token, and characters of each.
const AUDIENCES_MAX: usize = 8;
const AUDIENCE_CHARS_MAX: usize = 256;

/// Choices of the operator about JWT-SVIDs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JwtPolicy {
    /// What the keys that are made from now on sign with.
    pub alg: JwtAlg,
    /// The longest life of a token.
    pub ttl: SignedDuration,
    /// What tokens name as their issuer; none: they name none, and there is no discovery.
    pub issuer: Option<JwtIssuer>,
}

/// How long a JWT-SVID lives at the most, unless the operator chose otherwise.
pub const JWT_SVID_TTL_DEFAULT: SignedDuration = SignedDuration::from_mins(5);

impl Default for JwtPolicy {
    fn default() -> Self {
        Self { alg: JwtAlg::Es256, ttl: JWT_SVID_TTL_DEFAULT, issuer: None }
    }
}

/// Who asks for a token, by the certificate of its connection.
#[derive(Debug, Clone)]
pub struct JwtCaller {
    /// Whom the token names.
    pub identity: AgentRef,
    /// Of the certificate: who verifies tokens can hold it against what is denied.
    pub serial: Serial,
    /// The last second of the certificate, which no token outlives.
    pub not_after: Timestamp,
}

/// A signed token.
#[derive(Debug, Clone)]
pub struct SignedJwt {
    /// JWS compact serialization.
    pub token: String,
    /// From then on it is good no more.
    pub expires_at: Timestamp,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum JwtRefusal {
    /// A token is for somebody (SPIFFE JWT-SVID 3.2).
    #[error("a JWT-SVID names 1 to 8 audiences")]
    Audiences,
    /// They stand in the token as they came.
    #[error("an audience has 1 to 256 characters, none of them a control character")]
    Audience,
    /// More than agents need that keep what they have got.
    #[error("too many JWT-SVIDs; keep one for each audience until half of its life")]
    TooFast,
    /// It has a second left at the most.
    #[error("the certificate has expired; connect with a new one")]
    Expired,
    /// There is no agent CA, or its keys are sealed, or the first key has not been made.
    #[error("the server can't sign JWT-SVIDs yet; its log says why, if that lasts")]
    NoKey,
    /// Its reason is in the log.
    #[error("the server could not sign")]
    Signing(#[source] JwtSignError),
    /// The machine could not answer; not the caller's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

/// Signs tokens, in a pool of its own: they never hold up an enrollment.
#[derive(Debug)]
pub struct JwtSvids {
    policy: JwtPolicy,
    signing: RwLock<Option<Arc<Signing>>>,
    pool: Pool,
    pace: Mutex<RateLimiter<HostId>>,
    signed: AtomicU64,
}

/// The unsealed keys, and what the names in tokens begin with.
#[derive(Debug)]
struct Signing {
    trust_domain: TrustDomain,
    signer: JwtSigner,
}

impl JwtSvids {
    /// Without keys yet.
    pub(crate) fn new(policy: JwtPolicy) -> Self {
        let pace = Mutex::new(RateLimiter::new(PACE, KEYS_MAX, WhenFull::Forget));
        Self { policy, signing: RwLock::default(), pool: Pool::issuing(), pace, signed: AtomicU64::new(0) }
    }

    /// Signs with these keys from now on.
    pub(crate) fn set_signer(&self, trust_domain: TrustDomain, signer: JwtSigner) {
        *self.signing.write() = Some(Arc::new(Signing { trust_domain, signer }));
    }

    /// Signs with none any more.
    pub(crate) fn withdraw_signer(&self) {
        *self.signing.write() = None;
    }

    /// Whether it is these keys that sign.
    pub(crate) fn signs_with(&self, keys: &JwtKeys) -> bool {
        self.signing.read().as_ref().is_some_and(|signing| signing.signer.keys() == keys)
    }

    /// For work that costs as much as signing, such as making a key.
    pub(crate) const fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Tokens that were signed since this process started.
    pub(crate) fn count(&self) -> u64 {
        self.signed.load(Ordering::Relaxed)
    }

    /// Counts a question for a token, whatever is asked: before anything of it is read.
    pub fn take_pace(&self, host: HostId) -> Result<(), JwtRefusal> {
        self.pace.lock().take(host, 1.0, clock::monotonic()).map_err(|_| JwtRefusal::TooFast)
    }

    /// Signs a token for those that it names, for so long, or for as long as tokens may live. Whether the caller may still
    /// speak is asked before and after; that the question was counted, before.
    pub async fn sign(
        &self,
        caller: &JwtCaller,
        audience: Vec<String>,
        ttl: Option<SignedDuration>,
        now: Timestamp,
    ) -> Result<SignedJwt, JwtRefusal> {
        judge(&audience)?;
        let signing = self.signing.read().clone().ok_or(JwtRefusal::NoKey)?;
        let ttl = ttl.unwrap_or(self.policy.ttl).min(self.policy.ttl);
        let expires = now.saturating_add(ttl).unwrap_or(now).min(caller.not_after);
        let expires = Timestamp::from_second(expires.as_second()).unwrap_or(expires);
        if expires <= now {
            return Err(JwtRefusal::Expired);
        }
        let AgentRef { tenant, agent } = caller.identity.clone();
        let id = SpiffeId { trust_domain: signing.trust_domain.clone(), tenant, agent };
        let (serial, issuer) = (caller.serial, self.policy.issuer.clone());
        let jti = HEXLOWER.encode(&entropy::<16>()?);
        let work = move || {
            let issuer = issuer.as_ref().map(JwtIssuer::as_str);
            let order = JwtOrder { id: &id, serial, audience: &audience, issuer, jti, at: now, expires };
            signing.signer.sign(&order)
        };
        match self.pool.run(work).await? {
            Ok(token) => {
                self.signed.fetch_add(1, Ordering::Relaxed);
                Ok(SignedJwt { token, expires_at: expires })
            }
            Err(JwtSignError::NoKey) => Err(JwtRefusal::NoKey),
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a JWT-SVID could not be signed");
                Err(JwtRefusal::Signing(error))
            }
        }
    }
}

fn judge(audience: &[String]) -> Result<(), JwtRefusal> {
    if !(1..=AUDIENCES_MAX).contains(&audience.len()) {
        return Err(JwtRefusal::Audiences);
    }
    let plain = |text: &String| {
        (1..=AUDIENCE_CHARS_MAX).contains(&text.chars().count()) && !text.contains(char::is_control)
    };
    if audience.iter().all(plain) { Ok(()) } else { Err(JwtRefusal::Audience) }
}
