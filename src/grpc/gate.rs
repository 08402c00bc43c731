//! Whether an agent that was let in may still speak.
//!
//! A connection outlives the moment of its handshake: the certificate may be revoked or may expire while
//! it is open. So this is asked for every request, and for every message of a stream.

use std::sync::Arc;

use crate::clock::Clock;
use crate::domain::deny::DenyList;
use crate::domain::enrollment::past_not_after;
use crate::tls::peer::PeerIdentity;

use super::status::Refused;

#[derive(Debug, Clone)]
pub(super) struct Gate {
    pub deny: DenyList,
    pub clock: Arc<dyn Clock>,
}

impl Gate {
    pub(super) fn check(&self, peer: &PeerIdentity) -> Result<(), Refused> {
        if self.deny.denies(peer.serial(), peer.identity()) {
            return Err(Refused::Revoked);
        }
        if past_not_after(peer.not_after(), self.clock.now()) {
            return Err(Refused::Expired);
        }
        Ok(())
    }
}
