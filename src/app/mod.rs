//! Use cases, one file per family of verbs. They look at a consistent view and the time, decide, and hand
//! the store what to write. They know nothing of HTTP, gRPC or the command line.

pub mod admission;
pub mod agent_ca;
pub mod audit;
pub mod caller;
pub mod clones;
pub mod enroll;
pub mod hosts;
pub mod housekeeping;
pub mod issuing;
pub mod outages;
pub mod presence;
pub mod refusals;
pub mod revoke;
pub mod rotate;
pub mod secrets;
pub mod tenants;
pub mod tokens;
pub mod users;

use std::sync::{Arc, PoisonError, RwLock};

use jiff::SignedDuration;

use crate::ca::authority::Authority;
use crate::clock::Clock;
use crate::store::{ReadError, Store, WriteError};
use clones::Suspicions;
use issuing::Pool;
use presence::Presence;
use refusals::RefusalLog;

/// Choices of the operator that use cases obey.
#[derive(Debug, Clone)]
pub struct Policy {
    /// Lifetime of an SVID.
    pub svid_ttl: SignedDuration,
    /// Whether SVIDs may also serve (SPIFFE X509-SVID 4.4).
    pub svid_server_auth: bool,
    /// How long after its expiry the newest SVID of an agent may still rotate.
    pub rotation_grace: SignedDuration,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            svid_ttl: SignedDuration::from_hours(24),
            svid_server_auth: false,
            rotation_grace: SignedDuration::ZERO,
        }
    }
}

/// What all use cases stand on.
#[derive(Debug)]
pub struct App {
    store: Store,
    clock: Arc<dyn Clock>,
    policy: Policy,
    presence: Arc<Presence>,
    /// `None` until the agent CA's issuing key has been unsealed.
    authority: RwLock<Option<Arc<Authority>>>,
    pool: Pool,
    refusals: RefusalLog,
    suspicions: Suspicions,
}

/// The store could not answer, or the machine is out of what it needs. Not the caller's fault.
#[derive(Debug, thiserror::Error)]
pub enum Unavailable {
    #[error("the store cannot be read")]
    Read(#[from] ReadError),
    #[error("the store cannot be written")]
    Write(#[from] WriteError),
    #[error("the work was given up, because the server is stopping")]
    Stopping,
    #[error("the system gave no random bytes")]
    NoRandomness,
}

impl App {
    pub fn new(store: Store, clock: Arc<dyn Clock>, policy: Policy) -> Self {
        Self {
            store,
            clock,
            policy,
            presence: Arc::default(),
            authority: RwLock::default(),
            pool: Pool::default(),
            refusals: RefusalLog::default(),
            suspicions: Suspicions::default(),
        }
    }

    pub const fn store(&self) -> &Store {
        &self.store
    }

    pub fn clock(&self) -> &Arc<dyn Clock> {
        &self.clock
    }

    pub const fn presence(&self) -> &Arc<Presence> {
        &self.presence
    }

    /// Hands over the unsealed issuing key; from now on enrollments and rotations are answered.
    pub fn set_authority(&self, authority: Authority) {
        *self.authority.write().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(authority));
    }

    /// Whether enrollments can be taken: the store answers and takes writes, and the agent CA can sign.
    pub fn can_enroll(&self) -> bool {
        self.store.is_writable() && self.default_tenant().is_ok() && self.authority().is_some()
    }

    pub fn authority(&self) -> Option<Arc<Authority>> {
        self.authority.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Fresh random octets from the system.
pub(crate) fn entropy<const N: usize>() -> Result<[u8; N], Unavailable> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Unavailable::NoRandomness)?;
    Ok(bytes)
}
