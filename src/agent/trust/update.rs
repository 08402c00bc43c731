//! A trust update as the server tells it: read strictly, in pieces, and taken as a whole or not at all.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use jiff::Timestamp;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;
use x509_parser::revocation_list::CertificateRevocationList;

use crate::agent::trust::state::DeniedSerial;
use crate::domain::identity::serial::Serial;
use crate::domain::identity::spiffe::SpiffeId;
use crate::grpc::proto::{BarredId, Denied, TrustUpdate};

/// Longest epoch that is read; real ones are 32 hex digits.
const EPOCH_OCTETS_MAX: usize = 64;
/// Most roots, and most intermediates.
const CERTIFICATES_MAX: usize = 64;
const CERTIFICATE_OCTETS_MAX: usize = 16 * 1024;
/// Most lists: one for each issuer.
const LISTS_MAX: usize = 2 * CERTIFICATES_MAX;
/// Octets of all lists together. One entry is about 40 octets.
const LISTS_OCTETS_MAX: usize = 64 << 20;
/// Most denied serials, and most denied ids, that are kept.
pub(crate) const DENIED_MAX: usize = 500_000;

/// Why an update was not taken. Nothing has changed then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum TrustUpdateError {
    #[error("its epoch is none")]
    Epoch,
    #[error("its version is none")]
    Version,
    #[error("its pieces don't belong together")]
    Pieces,
    #[error("it is a snapshot without a root")]
    NoRoot,
    #[error("a certificate in it can't be read")]
    Certificate,
    #[error("a revocation list in it can't be read")]
    List,
    #[error("a denied serial in it can't be read")]
    Denied,
    #[error("it has more than this agent holds")]
    TooMuch,
    #[error("it changes what this agent doesn't have")]
    NoBase,
}

/// An update that was read and is complete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct WholeUpdate {
    pub epoch: String,
    pub version: u64,
    pub snapshot: bool,
    pub roots: Vec<Vec<u8>>,
    pub intermediates: Vec<Vec<u8>>,
    pub denied: HashMap<Serial, DeniedSerial>,
    pub denied_ids: HashSet<[u8; 32]>,
    pub barred: HashMap<[u8; 32], Timestamp>,
    pub lists: Vec<Vec<u8>>,
}

/// Puts the pieces of updates together.
#[derive(Debug, Default)]
pub(crate) struct UpdateReader {
    pending: Option<WholeUpdate>,
}

impl UpdateReader {
    /// The update that ends with this message; `None` while it goes on. After an error what came of it is forgotten.
    pub(crate) fn take(&mut self, message: TrustUpdate) -> Result<Option<WholeUpdate>, TrustUpdateError> {
        let TrustUpdate { epoch, version, snapshot, more, .. } = &message;
        let (version, snapshot, more) = (*version, *snapshot, *more);
        let mut whole = match self.pending.take() {
            None => {
                if epoch.is_empty() || epoch.len() > EPOCH_OCTETS_MAX || !epoch.bytes().all(legal) {
                    return Err(TrustUpdateError::Epoch);
                }
                if version == 0 {
                    return Err(TrustUpdateError::Version);
                }
                WholeUpdate { epoch: epoch.clone(), version, snapshot, ..WholeUpdate::default() }
            }
            Some(begun) if (&begun.epoch, begun.version, begun.snapshot) == (epoch, version, snapshot) => {
                begun
            }
            Some(_) => return Err(TrustUpdateError::Pieces),
        };
        whole.add(message)?;
        if more {
            self.pending = Some(whole);
            return Ok(None);
        }
        if whole.snapshot && whole.roots.is_empty() {
            return Err(TrustUpdateError::NoRoot);
        }
        Ok(Some(whole))
    }
}

const fn legal(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || octet == b'-'
}

impl WholeUpdate {
    fn add(&mut self, message: TrustUpdate) -> Result<(), TrustUpdateError> {
        let TrustUpdate { roots, intermediates, denied, lists, denied_ids, barred, .. } = message;
        for (held, more) in [(&mut self.roots, roots), (&mut self.intermediates, intermediates)] {
            if held.len() + more.len() > CERTIFICATES_MAX {
                return Err(TrustUpdateError::TooMuch);
            }
            if !more.iter().all(|der| is_certificate(der)) {
                return Err(TrustUpdateError::Certificate);
            }
            held.extend(more);
        }
        let octets: usize = self.lists.iter().chain(&lists).map(Vec::len).sum();
        if self.lists.len() + lists.len() > LISTS_MAX || octets > LISTS_OCTETS_MAX {
            return Err(TrustUpdateError::TooMuch);
        }
        if !lists.iter().all(|der| is_list(der)) {
            return Err(TrustUpdateError::List);
        }
        self.lists.extend(lists);
        for denied in denied {
            let (serial, denied) = read_denied(denied)?;
            merge(&mut self.denied, serial, denied);
        }
        for id in denied_ids {
            self.denied_ids.insert(id.try_into().map_err(|_| TrustUpdateError::Denied)?);
        }
        for BarredId { id, made_before_ms } in barred {
            let id = id.try_into().map_err(|_| TrustUpdateError::Denied)?;
            let before = Timestamp::from_millisecond(made_before_ms).map_err(|_| TrustUpdateError::Denied)?;
            self.barred.insert(id, before);
        }
        if self.denied.len().max(self.denied_ids.len()).max(self.barred.len()) > DENIED_MAX {
            return Err(TrustUpdateError::TooMuch);
        }
        Ok(())
    }
}

/// What is known of a denied serial is never made less: the later end counts, and a name stays.
pub(crate) fn merge(held: &mut HashMap<Serial, DeniedSerial>, serial: Serial, more: DeniedSerial) {
    match held.entry(serial) {
        Entry::Vacant(entry) => {
            entry.insert(more);
        }
        Entry::Occupied(mut entry) => {
            let known = entry.get_mut();
            known.until = known.until.max(more.until);
            if more.spiffe_id.is_some() {
                known.spiffe_id = more.spiffe_id;
            }
        }
    }
}

fn is_certificate(der: &[u8]) -> bool {
    der.len() <= CERTIFICATE_OCTETS_MAX && matches!(X509Certificate::from_der(der), Ok(([], _)))
}

fn is_list(der: &[u8]) -> bool {
    matches!(CertificateRevocationList::from_der(der), Ok(([], _)))
}

fn read_denied(denied: Denied) -> Result<(Serial, DeniedSerial), TrustUpdateError> {
    let Denied { serial, until_ms, spiffe_id } = denied;
    let serial: [u8; 16] = serial.try_into().map_err(|_| TrustUpdateError::Denied)?;
    let until = Timestamp::from_millisecond(until_ms).map_err(|_| TrustUpdateError::Denied)?;
    let spiffe_id: Option<SpiffeId> = match spiffe_id.as_str() {
        "" => None,
        text => Some(text.parse().map_err(|_| TrustUpdateError::Denied)?),
    };
    Ok((Serial::from_bytes(serial), DeniedSerial { until, spiffe_id }))
}

#[cfg(test)]
pub(crate) mod tests {
    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, IsCa, Issuer, KeyIdMethod,
        KeyPair, KeyUsagePurpose, SerialNumber, date_time_ymd,
    };

    use super::*;

    /// A root and a list of its own.
    pub(crate) fn authority() -> (Vec<u8>, Vec<u8>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let root = params.self_signed(&key).unwrap().der().to_vec();
        let list = CertificateRevocationListParams {
            this_update: date_time_ymd(2026, 1, 1),
            next_update: date_time_ymd(2027, 1, 1),
            crl_number: SerialNumber::from(1u64),
            issuing_distribution_point: None,
            revoked_certs: Vec::new(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = list.signed_by(&Issuer::from_params(&params, &key)).unwrap();
        (root, list.der().to_vec())
    }

    pub(crate) fn serial(number: u8) -> Serial {
        Serial::from_bytes([number; 16])
    }

    pub(crate) fn denied(number: u8, until_ms: i64, spiffe_id: &str) -> Denied {
        Denied { serial: vec![number; 16], until_ms, spiffe_id: spiffe_id.to_owned() }
    }

    fn barred(octets: usize, made_before_ms: i64) -> BarredId {
        BarredId { id: vec![0; octets], made_before_ms }
    }

    pub(crate) fn update(version: u64, denied: Vec<Denied>) -> TrustUpdate {
        TrustUpdate { epoch: "e1".to_owned(), version, denied, ..TrustUpdate::default() }
    }

    #[test]
    fn hostile_updates_are_refused() {
        let (root, list) = authority();
        let whole = update(7, Vec::new());
        let cut = |der: &[u8]| der[..der.len() - 1].to_vec();
        let longer = |der: &[u8]| [der, &[0]].concat();
        let with = |change: &dyn Fn(&mut TrustUpdate)| {
            let mut update = whole.clone();
            change(&mut update);
            update
        };
        let cases: Vec<(&str, TrustUpdate, TrustUpdateError)> = vec![
            ("no epoch", with(&|u| u.epoch.clear()), TrustUpdateError::Epoch),
            ("a long epoch", with(&|u| u.epoch = "e".repeat(65)), TrustUpdateError::Epoch),
            ("an epoch with a line end", with(&|u| u.epoch = "e\n".to_owned()), TrustUpdateError::Epoch),
            ("version zero", with(&|u| u.version = 0), TrustUpdateError::Version),
            ("a snapshot without a root", with(&|u| u.snapshot = true), TrustUpdateError::NoRoot),
            ("an empty root", with(&|u| u.roots = vec![Vec::new()]), TrustUpdateError::Certificate),
            ("a cut root", with(&|u| u.roots = vec![cut(&root)]), TrustUpdateError::Certificate),
            ("a root and more", with(&|u| u.roots = vec![longer(&root)]), TrustUpdateError::Certificate),
            (
                "a list as an intermediate",
                with(&|u| u.intermediates = vec![list.clone()]),
                TrustUpdateError::Certificate,
            ),
            ("roots without end", with(&|u| u.roots = vec![root.clone(); 65]), TrustUpdateError::TooMuch),
            ("a cut list", with(&|u| u.lists = vec![cut(&list)]), TrustUpdateError::List),
            ("a list and more", with(&|u| u.lists = vec![longer(&list)]), TrustUpdateError::List),
            ("lists without end", with(&|u| u.lists = vec![list.clone(); 129]), TrustUpdateError::TooMuch),
            ("a list of 65 MiB", with(&|u| u.lists = vec![vec![0; 65 << 20]]), TrustUpdateError::TooMuch),
            (
                "a short serial",
                with(&|u| u.denied = vec![Denied { serial: vec![1; 15], ..denied(1, 0, "") }]),
                TrustUpdateError::Denied,
            ),
            (
                "a long serial",
                with(&|u| u.denied = vec![Denied { serial: vec![1; 17], ..denied(1, 0, "") }]),
                TrustUpdateError::Denied,
            ),
            (
                "an end beyond time",
                with(&|u| u.denied = vec![denied(1, i64::MAX, "")]),
                TrustUpdateError::Denied,
            ),
            (
                "an end before time",
                with(&|u| u.denied = vec![denied(1, i64::MIN, "")]),
                TrustUpdateError::Denied,
            ),
            (
                "a foreign id",
                with(&|u| u.denied = vec![denied(1, 0, "spiffe://x/y")]),
                TrustUpdateError::Denied,
            ),
            ("a short hash", with(&|u| u.denied_ids = vec![vec![0; 31]]), TrustUpdateError::Denied),
            (
                "a short hash that is barred",
                with(&|u| u.barred = vec![barred(31, 0)]),
                TrustUpdateError::Denied,
            ),
            (
                "barred beyond time",
                with(&|u| u.barred = vec![barred(32, i64::MAX)]),
                TrustUpdateError::Denied,
            ),
        ];
        for (what, update, error) in cases {
            assert_eq!(UpdateReader::default().take(update).unwrap_err(), error, "{what}");
        }
        let crowd = |begin: u32| {
            let one =
                |n: u32| Denied { serial: [&[0; 12][..], &n.to_be_bytes()].concat(), ..denied(1, 0, "") };
            let denied = (begin..begin + 250_001).map(one).collect();
            TrustUpdate { more: true, ..update(7, denied) }
        };
        let mut reader = UpdateReader::default();
        assert_eq!(reader.take(crowd(0)), Ok(None));
        assert_eq!(reader.take(crowd(250_001)), Err(TrustUpdateError::TooMuch));
    }

    #[test]
    fn pieces_belong_together_or_count_as_none() {
        let (root, list) = authority();
        let first = TrustUpdate {
            snapshot: true,
            more: true,
            roots: vec![root.clone()],
            ..update(7, vec![denied(1, 5, "")])
        };
        let last = TrustUpdate { more: false, roots: Vec::new(), lists: vec![list.clone()], ..first.clone() };
        let mut reader = UpdateReader::default();
        assert_eq!(reader.take(first.clone()), Ok(None));
        let whole = reader.take(last.clone()).unwrap().unwrap();
        assert_eq!((whole.roots, whole.lists, whole.denied.len()), (vec![root], vec![list], 1));
        for other in [
            TrustUpdate { epoch: "e2".to_owned(), ..last.clone() },
            TrustUpdate { version: 8, ..last.clone() },
            TrustUpdate { snapshot: false, ..last.clone() },
        ] {
            assert_eq!(reader.take(first.clone()), Ok(None));
            assert_eq!(reader.take(other), Err(TrustUpdateError::Pieces));
            // The end of what was given up is no snapshot of its own.
            assert_eq!(reader.take(last.clone()), Err(TrustUpdateError::NoRoot));
        }
    }
}
