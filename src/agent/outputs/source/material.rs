//! What outputs are made of: an answer of the Workload API, and beside it what an agent of ours tells of who is denied.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use zeroize::Zeroizing;

use crate::agent::outputs::source::answer::X509Answer;
use crate::agent::outputs::source::listen::LocalState;
use crate::agent::outputs::source::lists::{JudgedLists, Strangers, judge};
use crate::domain::sha256::sha256;

/// What an agent of ours tells beside the Workload API.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LocalNews {
    /// DER.
    pub intermediates: Vec<Vec<u8>>,
    pub denied: BTreeMap<DeniedNumber, DeniedFacts>,
}

/// A denied serial: lower-case hex, as people see it, without zeros before it.
pub(crate) type DeniedNumber = String;

/// What is known of a denied certificate. A list says nothing of it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DeniedFacts {
    /// The end of the certificate.
    pub until: Option<Timestamp>,
    /// Of one's own tenant.
    pub spiffe_id: Option<String>,
}

/// Everything that files are made of, at one moment.
#[derive(Clone)]
pub(crate) struct Material {
    pub answer: Arc<X509Answer>,
    /// The chain's, then others that are in force. DER.
    pub intermediates: Vec<Vec<u8>>,
    pub lists: JudgedLists,
    pub denied: BTreeMap<DeniedNumber, DeniedFacts>,
    /// The serials of the lists.
    listed: BTreeSet<DeniedNumber>,
    /// Whether an agent of ours has told who is denied.
    told: bool,
    /// Whether it is not known if the provider is an agent of ours.
    untold: bool,
}

impl Material {
    pub(crate) fn compose(answer: Arc<X509Answer>, local: &LocalState, now: Timestamp) -> Self {
        let untold = matches!(local, LocalState::Unknown);
        let local = local.news();
        let mut intermediates = answer.chain.get(1..).unwrap_or_default().to_vec();
        for other in local.map(|local| local.intermediates.as_slice()).unwrap_or_default() {
            if !intermediates.contains(other) {
                intermediates.push(other.clone());
            }
        }
        intermediates.retain(|intermediate| !answer.roots.contains(intermediate));
        let authorities = [&answer.roots[..], &intermediates[..]].concat();
        // An agent of ours names all its intermediates, if it is heard. Until then nobody knows whose list that is.
        let strangers = if untold { Strangers::Perhaps } else { Strangers::LeftOut };
        let lists = judge(&answer.lists, &authorities, strangers, now);
        let mut listed = BTreeSet::new();
        if let JudgedLists::Complete(lists) = &lists {
            // A root's list names intermediates, unless it issues identities itself.
            let by_root = answer.chain.len() < 2;
            let of_agents = lists.iter().filter(|list| by_root || list.issuer >= answer.roots.len());
            listed.extend(of_agents.flat_map(|list| &list.serials).map(|serial| number(serial)));
        }
        let mut denied = local.map(|local| local.denied.clone()).unwrap_or_default();
        for serial in &listed {
            denied.entry(serial.clone()).or_default();
        }
        Self { answer, intermediates, lists, denied, listed, told: local.is_some(), untold }
    }

    /// Whether the provider has neither told who is denied nor said that it tells no such thing.
    pub(crate) const fn is_untold(&self) -> bool {
        self.untold
    }

    /// Whether the two ways on which a revocation comes tell the same of what is new since `before`. The list of a
    /// denied serial follows it within a second.
    pub(crate) fn agrees_since(&self, before: Option<&Self>) -> bool {
        if !self.told || !matches!(self.lists, JudgedLists::Complete(_)) {
            return true;
        }
        let fresh = |serial: &DeniedNumber| before.is_none_or(|before| !before.denied.contains_key(serial));
        self.denied
            .iter()
            .filter(|(serial, _)| fresh(serial))
            .all(|(serial, facts)| facts.until.is_some() && self.listed.contains(serial))
    }

    /// Tells what lists and denied serials are: another one is a change of lists.
    pub(crate) fn lists_digest(&self, lists: &[Vec<u8>]) -> [u8; 32] {
        let mut parts = vec![b"lists".to_vec()];
        parts.extend(lists.iter().cloned());
        for (serial, facts) in &self.denied {
            let until = facts.until.map(Timestamp::as_millisecond);
            parts.push(format!("{serial} {until:?} {:?}", facts.spiffe_id).into_bytes());
        }
        digest_of(&parts)
    }

    /// The same of certificates. The key is the certificate's, so it adds nothing.
    pub(crate) fn identity_digest(&self) -> [u8; 32] {
        let parts = [&self.answer.chain[..], &self.answer.roots[..], &self.intermediates[..]];
        let lengths = parts.map(|part| part.len().to_be_bytes().to_vec());
        digest_of(&[&lengths[..], &parts.concat()[..]].concat())
    }

    pub(crate) fn key(&self) -> &Zeroizing<Vec<u8>> {
        &self.answer.key
    }
}

impl fmt::Debug for Material {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Material").field("answer", &self.answer).finish_non_exhaustive()
    }
}

/// A serial as people see it.
pub(crate) fn number(serial: &[u8]) -> DeniedNumber {
    data_encoding::HEXLOWER.encode(serial)
}

fn digest_of(parts: &[Vec<u8>]) -> [u8; 32] {
    let lengths: Vec<_> = parts.iter().map(|part| part.len().to_be_bytes()).collect();
    let both = lengths.iter().zip(parts).flat_map(|(length, part)| [&length[..], part]);
    sha256(&both.collect::<Vec<_>>())
}
