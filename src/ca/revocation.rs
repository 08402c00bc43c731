//! The revocation of an intermediate: a new one takes its place, and the root's list names it.
//!
//! Whoever has its key could sign certificates for anybody. Relying parties refuse all of them once the list is published; our own
//! doors let in what is on record, so the agents themselves come back for another certificate.

use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::ca_certificate::CaCertificate;
use super::envelope::Envelope;
use super::hierarchy::{self, CertificateSummary, DamagedCertificate, RenewError, SignedIntermediate};
use super::parse::revocation_list;
use super::parse::validity::Validity;
use super::root::change::{RootStanding, standing};
use crate::domain::identity::hierarchy::{Hierarchy, IntermediateRevocation, WaitingList};
use crate::domain::identity::serial::Serial;

/// Fewest digits by which an intermediate is known.
const DIGITS_MIN: usize = 8;

/// Why an intermediate can't be revoked.
#[derive(Debug, thiserror::Error)]
pub enum RevokeIntermediateError {
    #[error(
        "an intermediate is named by its serial or its SHA-256, or by the first {DIGITS_MIN} digits of one at least"
    )]
    NotAnId,
    #[error(
        "no intermediate of this agent CA has a serial or a SHA-256 that begins like this; 'muster agent-ca show' lists them"
    )]
    Unknown,
    #[error(
        "more than one intermediate has a serial or a SHA-256 that begins like this; give more of its digits"
    )]
    Ambiguous,
    #[error("this intermediate was revoked at {at}")]
    Already { at: Timestamp },
    #[error(
        "this intermediate was revoked at {at}, and relying parties are told when its agents have rotated; with --now they are told at once"
    )]
    Waits { at: Timestamp },
    #[error("this intermediate is not revoked")]
    NotRevoked,
    #[error("this intermediate expired at {not_after}; nobody believes it any more")]
    Expired { not_after: Timestamp },
    #[error(transparent)]
    Damaged(#[from] DamagedCertificate),
    #[error("the root's revocation list does not name the intermediate that is to be revoked")]
    NotNamed,
    #[error(transparent)]
    Renewing(#[from] RenewError),
}

/// The intermediate that is meant by the beginning of its serial or of its SHA-256, as `openssl` or `agent-ca show` print them.
fn named(hierarchy: &Hierarchy, id: &str) -> Result<CertificateSummary, RevokeIntermediateError> {
    let digits = id.replace(':', "").to_ascii_lowercase();
    if digits.len() < DIGITS_MIN || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err(RevokeIntermediateError::NotAnId);
    }
    let meant =
        |it: &CertificateSummary| it.serial.starts_with(&digits) || it.fingerprint.starts_with(&digits);
    let summaries = hierarchy::describe(hierarchy)?;
    let mut meant =
        summaries.into_iter().filter(|it| it.role == hierarchy::CaRole::Intermediate && meant(it));
    let found = meant.next().ok_or(RevokeIntermediateError::Unknown)?;
    if meant.next().is_some() {
        return Err(RevokeIntermediateError::Ambiguous);
    }
    Ok(found)
}

/// One that can be revoked.
pub fn find(hierarchy: &Hierarchy, id: &str, now: Timestamp) -> Result<Serial, RevokeIntermediateError> {
    let found = named(hierarchy, id)?;
    let serial = found.serial.parse().map_err(|_| DamagedCertificate)?;
    match found.revocation {
        Some(IntermediateRevocation { at, published: true }) if is_named(hierarchy, serial) => {
            return Err(RevokeIntermediateError::Already { at });
        }
        // After a restore the root's list may lack it, and is made again like this.
        Some(IntermediateRevocation { published: true, .. }) | None => {}
        Some(IntermediateRevocation { at, .. }) => return Err(RevokeIntermediateError::Waits { at }),
    }
    if found.not_after < now {
        return Err(RevokeIntermediateError::Expired { not_after: found.not_after });
    }
    Ok(serial)
}

/// Whether a root's list names an intermediate, be it one that waits.
fn is_named(hierarchy: &Hierarchy, serial: Serial) -> bool {
    let roots: Vec<_> = hierarchy.roots.iter().filter_map(|root| CaCertificate::read(root).ok()).collect();
    let waiting = hierarchy.waiting_lists.iter().map(|waiting| &waiting.list);
    let mut lists = waiting.chain(&hierarchy.root_lists);
    lists.any(|list| {
        let read = roots.iter().find_map(|root| revocation_list::read_of(list, root).ok());
        read.is_some_and(|read| read.revoked.iter().any(|(named, ..)| *named == serial))
    })
}

/// The serials of all intermediates. Relying parties find those that are revoked on the root's list, in their time.
pub fn serials(hierarchy: &Hierarchy) -> Vec<Serial> {
    hierarchy.intermediates.iter().filter_map(|it| serial_of(&it.certificate)).collect()
}

/// The intermediates that are not revoked, each by its serial.
pub fn unrevoked(hierarchy: &Hierarchy) -> Vec<Serial> {
    let unrevoked = hierarchy.intermediates.iter().filter(|it| it.revocation.is_none());
    unrevoked.filter_map(|it| serial_of(&it.certificate)).collect()
}

/// The hierarchy with these intermediates revoked, whose serials are denied: it is older than their revocation. The root's list
/// lacks them until the root signs another; nobody is told of them from now on.
#[must_use]
pub fn revoked_again(hierarchy: &Hierarchy, denied: &[Serial], now: Timestamp) -> Hierarchy {
    let mut after = hierarchy.clone();
    for intermediate in &mut after.intermediates {
        if serial_of(&intermediate.certificate).is_some_and(|serial| denied.contains(&serial)) {
            intermediate.revocation = Some(IntermediateRevocation { at: now, published: true });
        }
    }
    after
}

/// One that is revoked, and that the root's published list does not name yet.
pub fn find_waiting(hierarchy: &Hierarchy, id: &str) -> Result<CertificateSummary, RevokeIntermediateError> {
    let found = named(hierarchy, id)?;
    match found.revocation {
        Some(IntermediateRevocation { published: false, .. }) => Ok(found),
        Some(IntermediateRevocation { at, .. }) => Err(RevokeIntermediateError::Already { at }),
        None => Err(RevokeIntermediateError::NotRevoked),
    }
}

/// Takes over a new intermediate that issues at once, and the list that names the old one: published by then at the latest;
/// none: at once.
pub fn accept(
    hierarchy: &Hierarchy,
    signed: SignedIntermediate,
    sealed_key: Vec<u8>,
    revoked: Serial,
    publish_by: Option<Timestamp>,
    envelope: &Envelope,
    now: Timestamp,
) -> Result<Hierarchy, RevokeIntermediateError> {
    let (mut after, accepted) = hierarchy::take(hierarchy, signed, sealed_key, now, envelope, now)?;
    // Only the root that issues has another intermediate that does.
    match standing(hierarchy, &accepted.root.der) {
        RootStanding::Issues => {}
        RootStanding::Prepared => {
            if let Some(new) = after.intermediates.last_mut() {
                (new.held, new.issuing_from) = (true, None);
            }
        }
        RootStanding::Retiring => {
            after.intermediates.pop();
        }
    }
    if !accepted.read.revoked.iter().any(|(serial, ..)| *serial == revoked) {
        return Err(RevokeIntermediateError::NotNamed);
    }
    for intermediate in &mut after.intermediates {
        if serial_of(&intermediate.certificate) == Some(revoked) {
            let published = intermediate.revocation_is_published();
            intermediate.revocation = Some(IntermediateRevocation { at: now, published });
        }
    }
    // Another revocation that waits is on this list, too. Its agents have no less time than they were promised at the most.
    let waiting = after.waiting_lists.iter().find(|waiting| accepted.is_of_root(&waiting.list));
    let promised = waiting.map(|waiting| waiting.publish_by);
    after.waiting_lists.retain(|waiting| !accepted.is_of_root(&waiting.list));
    let publish_by = publish_by.map_or(now, |by| promised.map_or(by, |promised| by.min(promised)));
    after.waiting_lists.push(WaitingList { list: accepted.list, publish_by });
    if publish_by <= now {
        after = published(&after);
    }
    Ok(after)
}

/// The hierarchy with every list that waits in the place of the one before.
#[must_use]
pub fn published(hierarchy: &Hierarchy) -> Hierarchy {
    let mut after = hierarchy.clone();
    let roots: Vec<_> = hierarchy.roots.iter().filter_map(|root| CaCertificate::read(root).ok()).collect();
    for WaitingList { list, .. } in std::mem::take(&mut after.waiting_lists) {
        let Some((root, read)) =
            roots.iter().find_map(|root| Some((root, revocation_list::read_of(&list, root).ok()?)))
        else {
            continue;
        };
        after.root_lists.retain(|other| revocation_list::read_of(other, root).is_err());
        after.root_lists.push(list);
        for intermediate in &mut after.intermediates {
            let serial = serial_of(&intermediate.certificate);
            let named = read.revoked.iter().any(|(named, ..)| Some(*named) == serial);
            if let Some(revocation) = intermediate.revocation.as_mut().filter(|_| named) {
                revocation.published = true;
            }
        }
    }
    after
}

fn serial_of(certificate: &[u8]) -> Option<Serial> {
    CaCertificate::read(certificate).ok()?.serial
}

/// The intermediates that relying parties refuse, to be asked what they have signed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RefusedIssuers(Vec<(Vec<u8>, Timestamp)>);

impl RefusedIssuers {
    pub fn of(hierarchy: &Hierarchy) -> Self {
        let refused = hierarchy.intermediates.iter().filter(|it| it.revocation_is_published());
        let name = |certificate: &[u8]| Some(CaCertificate::read(certificate).ok()?.name);
        let named = refused.filter_map(|it| Some((name(&it.certificate)?, it.revocation?.at)));
        Self(named.collect())
    }

    /// When the last of them was revoked.
    pub fn newest(&self) -> Option<Timestamp> {
        self.0.iter().map(|(_, at)| *at).max()
    }

    /// The serial of a certificate that one of them has signed, its last second, and when its issuer was revoked.
    pub fn have_signed(&self, leaf: &[u8]) -> Option<(Serial, Timestamp, Timestamp)> {
        let (_, leaf) = X509Certificate::from_der(leaf).ok()?;
        let (_, at) = self.0.iter().find(|(name, _)| name == leaf.issuer().as_raw())?;
        let serial = Serial::from_der_integer(leaf.raw_serial()).ok()?;
        Some((serial, Validity::read(&leaf).ok()?.not_after, *at))
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::ca::authority::{Authority, IssueError, SvidOrder};
    use crate::ca::hierarchy::{read_root_key, request, sign};
    use crate::ca::testing::{Ca, csr, now, order};
    use crate::domain::identity::hierarchy::RootTask;

    fn revoke(ca: &Ca, hierarchy: &Hierarchy, serial: Serial, publish_by: Option<Timestamp>) -> Hierarchy {
        let request = request(hierarchy, &ca.envelope, RootTask::Revoke(serial), None).unwrap();
        let key = read_root_key(ca.root_key_pem.as_bytes()).unwrap();
        let signed = sign(&request, &key, now()).unwrap();
        accept(hierarchy, signed, request.sealed_key, serial, publish_by, &ca.envelope, now()).unwrap()
    }

    fn root_entries(hierarchy: &Hierarchy) -> usize {
        let root = CaCertificate::read(&hierarchy.roots[0]).unwrap();
        revocation_list::read_of(&hierarchy.root_lists[0], &root).unwrap().revoked.len()
    }

    fn serial(hierarchy: &Hierarchy, place: usize) -> Serial {
        serial_of(&hierarchy.intermediates[place].certificate).unwrap()
    }

    #[test]
    fn an_intermediate_is_known_by_the_beginning_of_its_serial_or_fingerprint() {
        let ca = Ca::new();
        let summary = hierarchy::describe(&ca.hierarchy).unwrap().remove(1);
        let expected = serial(&ca.hierarchy, 0);
        let capitals = summary.fingerprint.to_uppercase();
        let pairs: Vec<_> = capitals.as_bytes().chunks(2).collect();
        let colons = String::from_utf8(pairs.join(&b':')).unwrap();
        for id in [&summary.serial, &summary.fingerprint, &summary.serial[..8], &colons] {
            assert_eq!(find(&ca.hierarchy, id, now()).unwrap(), expected, "{id}");
        }
        for (id, why) in [
            ("", "first 8 digits"),
            (&summary.serial[..7], "first 8 digits"),
            ("not hex digits", "first 8 digits"),
            ("ffffffffff", "'muster agent-ca show'"),
            // A root is none.
            (&hierarchy::describe(&ca.hierarchy).unwrap()[0].fingerprint, "no intermediate"),
        ] {
            let error = find(&ca.hierarchy, id, now()).unwrap_err().to_string();
            assert!(error.contains(why), "{id}: {error}");
        }
        let later = now() + SignedDuration::from_hours(24 * 400);
        assert!(matches!(
            find(&ca.hierarchy, &summary.serial, later),
            Err(RevokeIntermediateError::Expired { .. })
        ));
        let mut twice = ca.hierarchy;
        twice.intermediates.push(twice.intermediates[0].clone());
        assert!(matches!(find(&twice, &summary.serial, now()), Err(RevokeIntermediateError::Ambiguous)));
    }

    #[test]
    fn a_revocation_waits_is_published_once_and_never_undone() {
        let ca = Ca::new();
        let first = serial(&ca.hierarchy, 0);
        let by = now() + SignedDuration::from_mins(10);
        let waiting = revoke(&ca, &ca.hierarchy, first, Some(by));
        assert_eq!((root_entries(&waiting), waiting.believed().count()), (0, 2));
        assert!(matches!(
            find(&waiting, &first.to_string(), now()),
            Err(RevokeIntermediateError::Waits { .. })
        ));
        assert_eq!(find_waiting(&waiting, &first.to_string()).unwrap().serial, first.to_string());
        let error = find_waiting(&waiting, &serial(&waiting, 1).to_string()).unwrap_err();
        assert!(matches!(error, RevokeIntermediateError::NotRevoked), "{error}");
        let authority = Authority::open(&waiting, &ca.envelope).unwrap();
        let signer = authority.issue(&csr().0, &order("web-1")).unwrap();
        assert_eq!(RefusedIssuers::of(&waiting).have_signed(&signer.der), None);

        // A renewal while it waits publishes nothing before its time, and loses nothing.
        let request = request(&waiting, &ca.envelope, RootTask::Renew, None).unwrap();
        let key = read_root_key(ca.root_key_pem.as_bytes()).unwrap();
        let signed = sign(&request, &key, now()).unwrap();
        let renewed =
            hierarchy::accept(&waiting, signed, request.sealed_key, by, &ca.envelope, now()).unwrap();
        assert_eq!((root_entries(&renewed), renewed.waiting_lists[0].publish_by), (0, by));
        let after = published(&renewed);
        assert_eq!((root_entries(&after), after.waiting_lists.len(), after.believed().count()), (1, 0, 2));
        for error in [
            find(&after, &first.to_string(), now()).unwrap_err(),
            find_waiting(&after, &first.to_string()).unwrap_err(),
        ] {
            assert!(matches!(error, RevokeIntermediateError::Already { .. }), "{error}");
        }

        // A second one at once takes the first one along.
        let both = revoke(&ca, &waiting, serial(&waiting, 1), None);
        assert_eq!((root_entries(&both), both.believed().count()), (2, 1));
        let old = ca.authority.issue(&csr().0, &order("web-1")).unwrap();
        let (_, not_after, at) = RefusedIssuers::of(&both).have_signed(&old.der).unwrap();
        assert_eq!((not_after, at), (old.not_after, now()));
    }

    #[test]
    fn what_a_restored_store_forgot_is_revoked_again_and_the_root_s_list_can_follow() {
        let ca = Ca::new();
        let first = serial(&ca.hierarchy, 0);
        assert_eq!(unrevoked(&ca.hierarchy), [first]);
        assert_eq!(revoked_again(&ca.hierarchy, &[], now()), ca.hierarchy);
        let again = revoked_again(&ca.hierarchy, &[first], now());
        assert_eq!((unrevoked(&again).len(), again.believed().count(), root_entries(&again)), (0, 0, 0));
        let error = Authority::open(&again, &ca.envelope).unwrap().issue(&csr().0, &order("a")).unwrap_err();
        assert!(matches!(error, IssueError::IntermediateRevoked), "{error}");
        // Its revocation stays in force while the list that names it waits.
        assert_eq!(find(&again, &first.to_string(), now()).unwrap(), first);
        let named = revoke(&ca, &again, first, Some(now() + SignedDuration::from_mins(10)));
        assert_eq!(named.believed().count(), 1);
        assert!(find(&named, &first.to_string(), now()).is_err());
        assert_eq!(root_entries(&published(&named)), 1);
    }

    #[test]
    fn what_is_revoked_never_issues_again() {
        let ca = Ca::new();
        let later = now() + SignedDuration::from_hours(24);
        let request = request(&ca.hierarchy, &ca.envelope, RootTask::Renew, None).unwrap();
        let key = read_root_key(ca.root_key_pem.as_bytes()).unwrap();
        let signed = sign(&request, &key, now()).unwrap();
        let waiting =
            hierarchy::accept(&ca.hierarchy, signed, request.sealed_key, later, &ca.envelope, now()).unwrap();
        // The one that waits is revoked before it ever issued.
        let revoked = revoke(&ca, &waiting, serial(&waiting, 1), None);
        let authority = Authority::open(&revoked, &ca.envelope).unwrap();
        let newest = crate::pem::certificate(&revoked.intermediates[2].certificate);
        assert_eq!(authority.intermediate_pem(now()), newest);
        assert_eq!(authority.intermediate_pem(later), newest);
        assert_eq!(authority.next_begins(now()), None);
        let mut all = revoked;
        for intermediate in &mut all.intermediates {
            intermediate.revocation = Some(IntermediateRevocation { at: now(), published: true });
        }
        let authority = Authority::open(&all, &ca.envelope).unwrap();
        let order = SvidOrder { at: later, ..order("web-1") };
        let error = authority.issue(&csr().0, &order).unwrap_err();
        assert!(matches!(error, IssueError::IntermediateRevoked), "{error}");
    }
}
