//! Whether an agent that was let in may still speak.
//!
//! A connection outlives the moment of its handshake: the certificate may be revoked or may expire while
//! it is open. So this is asked for every request, and for every message of a stream. The same goes for how fast it
//! speaks: one pace for each identity, over all its connections and whatever it calls but `SignJwt`, which has a pace of its
//! own.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::status::AgentRefusal;
use crate::clock;
use crate::clock::Clock;
use crate::domain::enroll::enrollment::past_not_after;
use crate::domain::fairness::rate::{KEYS_MAX, Rate, RateLimiter, TooFast, WhenFull};
use crate::domain::identity::deny::DenyList;
use crate::domain::ids::HostId;
use crate::tls::client_verifier::PeerIdentity;

/// Requests and messages of one identity.
const RATE: Rate = Rate { burst: 40.0, per_second: 20.0 };

#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub deny: DenyList,
    pub clock: Arc<dyn Clock>,
    pace: Arc<Mutex<RateLimiter<HostId>>>,
    /// How often somebody was too fast.
    throttled: Arc<AtomicU64>,
}

impl Gate {
    pub(crate) fn new(deny: DenyList, clock: Arc<dyn Clock>) -> Self {
        let pace = Arc::new(Mutex::new(RateLimiter::new(RATE, KEYS_MAX, WhenFull::Forget)));
        Self { deny, clock, pace, throttled: Arc::default() }
    }

    /// The same, counting there who is too fast.
    pub(crate) fn counting(self, throttled: Arc<AtomicU64>) -> Self {
        Self { throttled, ..self }
    }

    /// Whether an agent may be heard once more, which counts.
    pub(crate) fn admit(&self, peer: &PeerIdentity) -> Result<(), AgentRefusal> {
        self.check(peer)?;
        let counted = self.pace.lock().take(peer.host(), 1.0, clock::monotonic());
        counted.map_err(|TooFast(_)| {
            self.throttled.fetch_add(1, Ordering::Relaxed);
            AgentRefusal::TooFast
        })
    }

    pub(crate) fn check(&self, peer: &PeerIdentity) -> Result<(), AgentRefusal> {
        if self.deny.denies(peer.serial(), peer.identity()) {
            return Err(AgentRefusal::Revoked);
        }
        if past_not_after(peer.not_after(), self.clock.now()) {
            return Err(AgentRefusal::Expired);
        }
        Ok(())
    }
}
