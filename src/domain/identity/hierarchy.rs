//! The agent CA as it is stored: certificates in the clear, the issuing keys sealed.

use jiff::{SignedDuration, Timestamp};

use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::TrustDomain;
use crate::domain::sha256::sha256;

/// Root certificates and the intermediates below them. Never holds a key in the clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hierarchy {
    /// What every SPIFFE ID begins with.
    pub trust_domain: TrustDomain,
    /// DER; the trust anchors of every SVID.
    pub roots: Vec<Vec<u8>>,
    /// The newest published revocation list of each root that has signed one, DER.
    pub root_lists: Vec<Vec<u8>>,
    /// Lists that roots have signed and that agents in session still have time to rotate before.
    pub waiting_lists: Vec<WaitingList>,
    /// Oldest first; of those whose time has come and that are not revoked, the last one issues. Older ones stay.
    pub intermediates: Vec<Intermediate>,
    /// Which lifetimes the SVIDs may have that are still out.
    pub svid_lifetimes: Vec<SvidLifetime>,
    /// That another root takes the place of the one before. It is the last of the roots.
    pub root_change: Option<RootChange>,
    /// What a root was asked to sign elsewhere, and what has not come back.
    pub open_request: Option<OpenRootRequest>,
}

/// How far another root has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RootChange {
    /// Since when it is public.
    pub prepared_at: Timestamp,
    /// Since when it is the one that issues.
    pub activated_at: Option<Timestamp>,
}

/// What a root is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RootTask {
    /// Another intermediate.
    Renew,
    /// Another one, and a list that names this one.
    Revoke(Serial),
    /// To come into being, with an intermediate and a list.
    Prepare,
}

/// A request that has gone to where the root key is. There is one at a time: a newer one takes its place.
#[derive(Clone, PartialEq, Eq)]
pub struct OpenRootRequest {
    /// SHA-256 of the request, which its answer names.
    pub digest: Vec<u8>,
    /// What it asks for.
    pub task: RootTask,
    /// Whether what comes of it is to be in force at once.
    pub now: bool,
    /// When it was made.
    pub made_at: Timestamp,
    /// The key that it is for, sealed.
    pub sealed_key: Vec<u8>,
}

/// A root's next revocation list: signed, and not published yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WaitingList {
    /// DER.
    pub list: Vec<u8>,
    /// When it is published at the latest.
    pub publish_by: Timestamp,
}

/// An intermediate CA certificate and its private key, sealed with the envelope.
#[derive(Clone, PartialEq, Eq)]
pub struct Intermediate {
    /// DER.
    pub certificate: Vec<u8>,
    /// PKCS#8 DER inside an age file; none once the key is destroyed.
    pub sealed_key: Option<Vec<u8>>,
    /// From when on it issues; none: from its own beginning. Relying parties that fetch now and then get to know it, and its
    /// revocation list, before they meet what it signed.
    pub issuing_from: Option<Timestamp>,
    /// That it was revoked, if it was: it issues no more, whatever comes.
    pub revocation: Option<IntermediateRevocation>,
    /// The revocation list that it signed last, DER, made just before its key was destroyed.
    pub last_list: Option<Vec<u8>>,
    /// Whether it is a prepared root's: it issues nothing until that root is activated.
    pub held: bool,
}

/// That an intermediate was revoked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IntermediateRevocation {
    /// When.
    pub at: Timestamp,
    /// Whether the root's list that names it is published. Until then relying parties believe what it signed.
    pub published: bool,
}

/// A lifetime that SVIDs were given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SvidLifetime {
    /// From a certificate's issue to its end.
    pub lifetime: SignedDuration,
    /// When the last of them has expired; none: they are being issued.
    pub out_until: Option<Timestamp>,
}

impl Hierarchy {
    /// Those whose certificates relying parties are to believe.
    pub fn believed(&self) -> impl Iterator<Item = &Intermediate> {
        let told = |it: &&Intermediate| !it.revocation_is_published() && !it.is_over();
        self.intermediates.iter().filter(told)
    }

    /// The root whose intermediates issue.
    pub fn issuing_root(&self) -> Option<&Vec<u8>> {
        match self.root_change {
            Some(RootChange { activated_at: None, .. }) => self.roots.iter().rev().nth(1),
            _ => self.roots.last(),
        }
    }

    /// Takes note that SVIDs are given this lifetime from now on, and no other. Whether that is news.
    pub fn note_svid_lifetime(&mut self, lifetime: SignedDuration, now: Timestamp) -> bool {
        let before = self.svid_lifetimes.clone();
        for other in self.svid_lifetimes.iter_mut().filter(|other| other.lifetime != lifetime) {
            let last_expires = now.saturating_add(other.lifetime).unwrap_or(Timestamp::MAX);
            other.out_until.get_or_insert(last_expires);
        }
        self.svid_lifetimes.retain(|other| {
            other.lifetime != lifetime && other.out_until.is_none_or(|out_until| out_until >= now)
        });
        self.svid_lifetimes.push(SvidLifetime { lifetime, out_until: None });
        self.svid_lifetimes != before
    }

    /// The longest lifetime of the SVIDs that are still out.
    pub fn longest_svid_lifetime(&self, now: Timestamp) -> SignedDuration {
        let still_out =
            self.svid_lifetimes.iter().filter(|known| known.out_until.is_none_or(|until| until >= now));
        still_out.map(|known| known.lifetime).max().unwrap_or_default()
    }
}

impl Intermediate {
    /// Whether it has expired beyond doubt: it has neither a key nor a list that somebody might still ask for.
    pub const fn is_over(&self) -> bool {
        self.sealed_key.is_none() && self.last_list.is_none()
    }

    /// Whether relying parties refuse what it signed.
    pub const fn revocation_is_published(&self) -> bool {
        matches!(self.revocation, Some(IntermediateRevocation { published: true, .. }))
    }
}

impl std::fmt::Debug for OpenRootRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OpenRootRequest")
            .field("task", &self.task)
            .field("made_at", &self.made_at)
            .finish_non_exhaustive()
    }
}

impl std::fmt::Debug for Intermediate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Intermediate").finish_non_exhaustive()
    }
}

/// By what an agent says which roots it knows: SHA-256 over the SHA-256 of each root, in the order of those: the same roots have the same digest, however they are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BundleDigest([u8; 32]);

impl BundleDigest {
    /// Of roots in DER.
    pub fn of<R: AsRef<[u8]>>(roots: &[R]) -> Self {
        let mut each: Vec<_> = roots.iter().map(|root| sha256(&[root.as_ref()])).collect();
        each.sort_unstable();
        each.dedup();
        Self(sha256(&each.iter().map(|digest| &digest[..]).collect::<Vec<_>>()))
    }

    /// As it was told or kept; none where it is no digest.
    pub fn from_octets(octets: &[u8]) -> Option<Self> {
        Some(Self(octets.try_into().ok()?))
    }

    /// The digest.
    pub const fn as_octets(&self) -> &[u8; 32] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_of_the_roots_makes_no_difference_and_each_root_does() {
        let digest = |roots: &[&[u8]]| BundleDigest::of(roots);
        assert_eq!(digest(&[b"one", b"two"]), digest(&[b"two", b"one", b"two"]));
        assert_ne!(digest(&[b"one", b"two"]), digest(&[b"onetwo"]));
        assert_ne!(digest(&[b"one"]), digest(&[b"one", b"two"]));
        let one = digest(&[b"one"]);
        assert_eq!(BundleDigest::from_octets(one.as_octets()), Some(one));
        assert_eq!(BundleDigest::from_octets(b"short"), None);
    }

    #[test]
    fn a_shortened_lifetime_counts_until_the_last_long_one_is_over() {
        let hours = SignedDuration::from_hours;
        let at = |hour: i64| Timestamp::from_second(1_790_000_000 + hour * 3600).unwrap();
        let mut hierarchy = Hierarchy {
            trust_domain: "muster".parse().unwrap(),
            roots: Vec::new(),
            root_lists: Vec::new(),
            waiting_lists: Vec::new(),
            intermediates: Vec::new(),
            svid_lifetimes: Vec::new(),
            root_change: None,
            open_request: None,
        };
        assert_eq!(hierarchy.longest_svid_lifetime(at(0)), hours(0));
        assert!(hierarchy.note_svid_lifetime(hours(168), at(0)));
        assert!(!hierarchy.note_svid_lifetime(hours(168), at(1)), "the same as before is no news");
        assert!(hierarchy.note_svid_lifetime(hours(24), at(10)));
        for (hour, longest) in [(10, 168), (178, 168), (179, 24)] {
            assert_eq!(hierarchy.longest_svid_lifetime(at(hour)), hours(longest), "hour {hour}");
        }
        // A restart in between shortens nothing, and what is over is forgotten.
        assert!(!hierarchy.note_svid_lifetime(hours(24), at(20)));
        assert_eq!(hierarchy.longest_svid_lifetime(at(178)), hours(168));
        assert!(hierarchy.note_svid_lifetime(hours(24), at(179)));
        assert_eq!(hierarchy.svid_lifetimes.len(), 1);
    }
}
