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
use crate::grpc::proto::{Denied, TrustUpdate};

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
        let TrustUpdate { roots, intermediates, denied, lists, denied_ids, .. } = message;
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
        if self.denied.len() > DENIED_MAX || self.denied_ids.len() > DENIED_MAX {
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
