//! Whether an agent that was let in may still speak.
//!
//! A connection outlives the moment of its handshake: the certificate may be revoked or may expire while
//! it is open. So this is asked for every request, and for every message of a stream. The same goes for how fast it
//! speaks: one pace for each identity, over all its connections and whatever it calls.

use std::sync::Arc;

use super::status::AgentRefusal;
use crate::app::access::pace::Pace;
use crate::clock::Clock;
use crate::domain::enroll::enrollment::past_not_after;
use crate::domain::identity::deny::DenyList;
use crate::domain::ids::HostId;
use crate::tls::client_verifier::PeerIdentity;

/// Requests and messages per second of one identity in the long run, and how many at once.
const PER_SECOND: f64 = 20.0;
const AT_ONCE: f64 = 40.0;

#[derive(Debug, Clone)]
pub(crate) struct Gate {
    pub deny: DenyList,
    pub clock: Arc<dyn Clock>,
    pace: Arc<Pace<HostId>>,
}

impl Gate {
    pub(crate) fn new(deny: DenyList, clock: Arc<dyn Clock>) -> Self {
        Self { deny, clock, pace: Arc::new(Pace::new(AT_ONCE)) }
    }

    /// Whether an agent may be heard once more, which counts.
    pub(crate) fn admit(&self, peer: &PeerIdentity) -> Result<(), AgentRefusal> {
        self.check(peer)?;
        if self.pace.allow(peer.host(), 1.0, PER_SECOND) { Ok(()) } else { Err(AgentRefusal::TooFast) }
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
