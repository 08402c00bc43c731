//! Connections of agents that are open now, and how a revocation ends them.
//!
//! Found by serial and by identity, never by looking at all of them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::Arc;

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;

use crate::domain::identity::deny::{AgentRef, DenyChange};
use crate::domain::identity::serial::Serial;
use crate::tls::client_verifier::PeerIdentity;

/// Most connections of one identity at a time. An agent needs one, and two while it rotates; the rest is
/// room for connections that died without a word, which keep-alive finds within 40 s. At the bound the
/// newest is refused, so that a copied key can't push its owner out.
pub const CONNECTIONS_PER_IDENTITY_MAX: usize = 8;

/// The agent has as many connections open as one identity may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the agent has {CONNECTIONS_PER_IDENTITY_MAX} connections open already")]
pub struct TooManyConnections;

/// A shared handle; clones see the same connections.
#[derive(Debug, Clone, Default)]
pub struct LivePeers(Arc<Mutex<Table>>);

#[derive(Debug, Default)]
struct Table {
    serials: HashMap<Serial, Vec<Open>>,
    identities: HashMap<AgentRef, Vec<Open>>,
    count: usize,
    /// Distinguishes connections of the same agent.
    next_number: u64,
}

#[derive(Debug, Clone)]
struct Open {
    number: u64,
    revoked: CancellationToken,
}

impl LivePeers {
    /// Enters an open connection by the certificate that it shows; it is listed until the returned value is dropped.
    pub fn enter(&self, serial: Serial, identity: &AgentRef) -> Result<LiveEntry, TooManyConnections> {
        let mut table = self.0.lock();
        let Table { serials, identities, count, next_number } = &mut *table;
        let of_identity = identities.entry(identity.clone()).or_default();
        if of_identity.len() >= CONNECTIONS_PER_IDENTITY_MAX {
            return Err(TooManyConnections);
        }
        let open = Open { number: *next_number, revoked: CancellationToken::new() };
        *next_number += 1;
        *count += 1;
        of_identity.push(open.clone());
        serials.entry(serial).or_default().push(open.clone());
        Ok(LiveEntry { serial, identity: identity.clone(), open, peers: self.clone() })
    }

    /// Ends the connections that these changes deny, before it returns. May be called from any thread.
    pub fn end(&self, changes: &[DenyChange]) {
        let mut ended = Vec::new();
        {
            let table = self.0.lock();
            for change in changes {
                let hit = match change {
                    DenyChange::Serial { serial, .. } => table.serials.get(serial),
                    DenyChange::Identity(identity) => table.identities.get(identity),
                    DenyChange::LiftIdentity(_) | DenyChange::Forget(_) => None,
                };
                ended.extend(hit.into_iter().flatten().map(|open| open.revoked.clone()));
            }
        }
        // Wakes tasks, so it is done without the lock.
        for revoked in ended {
            revoked.cancel();
        }
    }

    /// Whether a connection is open that shows a certificate made before a moment.
    pub fn any_made_before(&self, moment: Timestamp) -> bool {
        self.0.lock().serials.keys().any(|serial| serial.made_at() < moment)
    }

    /// How many connections are open.
    pub fn count(&self) -> usize {
        self.0.lock().count
    }
}

/// An open connection that a revocation of what it shows would end.
#[derive(Debug)]
pub struct LiveEntry {
    serial: Serial,
    identity: AgentRef,
    open: Open,
    peers: LivePeers,
}

/// An open connection of an agent.
#[derive(Debug)]
pub struct LivePeer {
    peer: PeerIdentity,
    entry: LiveEntry,
}

impl LiveEntry {
    /// The same, of the agent that was admitted by what it shows.
    pub const fn of(self, peer: PeerIdentity) -> LivePeer {
        LivePeer { peer, entry: self }
    }
}

impl LivePeer {
    pub const fn identity(&self) -> &PeerIdentity {
        &self.peer
    }

    /// Cancelled when the agent's certificate or identity is revoked.
    pub const fn revoked(&self) -> &CancellationToken {
        &self.entry.open.revoked
    }
}

impl Drop for LiveEntry {
    fn drop(&mut self) {
        let mut table = self.peers.0.lock();
        table.count -= 1;
        forget(&mut table.serials, self.serial, self.open.number);
        forget(&mut table.identities, self.identity.clone(), self.open.number);
    }
}

fn forget<K: Hash + Eq>(map: &mut HashMap<K, Vec<Open>>, key: K, number: u64) {
    let Entry::Occupied(mut entry) = map.entry(key) else { return };
    entry.get_mut().retain(|open| open.number != number);
    if entry.get().is_empty() {
        entry.remove();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tls::client_verifier::ShownSvid;
    use crate::tls::server_config::grpc_config;
    use crate::tls::specimens::{
        Recorded, ServerFiles, SpecimenCa, agent, handshake, identity, serial, svid_params, verifier,
    };

    fn register(peers: &LivePeers, peer: PeerIdentity) -> Result<LivePeer, TooManyConnections> {
        Ok(peers.enter(peer.serial(), peer.identity())?.of(peer))
    }

    /// Peers as handshakes prove them.
    struct Fleet {
        ca: SpecimenCa,
        files: ServerFiles,
        registry: Arc<Recorded>,
    }

    impl Fleet {
        fn new() -> Self {
            Self { ca: SpecimenCa::new(), files: ServerFiles::new(), registry: Arc::default() }
        }

        fn peer(&self, name: &str, serial: Serial) -> PeerIdentity {
            self.registry.record(serial);
            let verifier = verifier(&self.ca, &self.registry);
            let server = grpc_config(self.files.live(), Arc::clone(&verifier));
            let client = self.files.client(Some(self.ca.issue(&svid_params(&agent(name), serial))));
            let (connection, _) = handshake(&server, &client).unwrap();
            verifier.admit(ShownSvid::of_connection(&connection, &verifier).unwrap()).unwrap()
        }
    }

    #[test]
    fn a_revocation_ends_what_it_names_and_nothing_else() {
        let fleet = Fleet::new();
        let peers = LivePeers::default();
        let (old, new, other) = (serial(1), serial(2), serial(3));
        let a_old = register(&peers, fleet.peer("a", old)).unwrap();
        let a_new = register(&peers, fleet.peer("a", new)).unwrap();
        let b = register(&peers, fleet.peer("b", other)).unwrap();
        assert_eq!(peers.count(), 3);
        let ended = || [&a_old, &a_new, &b].map(|peer| peer.revoked().is_cancelled());

        peers.end(&[DenyChange::LiftIdentity(identity(&agent("b")))]);
        assert_eq!(ended(), [false; 3]);
        let change = [DenyChange::Serial { serial: old, not_after: Timestamp::MAX }];
        std::thread::scope(|scope| scope.spawn(|| peers.end(&change)).join().unwrap());
        assert_eq!(ended(), [true, false, false]);
        peers.end(&[DenyChange::Identity(identity(&agent("a")))]);
        assert_eq!(ended(), [true, true, false]);

        drop((a_old, a_new));
        assert_eq!(peers.count(), 1);
        drop(b);
        let table = peers.0.lock();
        assert!(table.serials.is_empty() && table.identities.is_empty());
    }

    #[test]
    fn connections_of_one_identity_are_bounded() {
        let fleet = Fleet::new();
        let peers = LivePeers::default();
        let peer = fleet.peer("a", serial(1));
        let mut held: Vec<_> =
            (0..CONNECTIONS_PER_IDENTITY_MAX).map(|_| register(&peers, peer.clone()).unwrap()).collect();
        assert_eq!(register(&peers, peer.clone()).unwrap_err(), TooManyConnections);
        let _other = register(&peers, fleet.peer("b", serial(2))).unwrap();
        held.pop();
        register(&peers, peer).unwrap();
    }
}
