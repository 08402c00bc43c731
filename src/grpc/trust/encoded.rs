//! Trust updates as bytes: encoded once, and cut into messages for each watcher without copying.
//!
//! A protobuf message is its fields one after the other, so a message is made of a head of its own (epoch, version, flags) and
//! of fields that all watchers share.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::ops::Range;

use hyper::body::Bytes;
use prost::Message;

use crate::app::trust::log::{DeniedCertificate, DeniedIdentities, TrustBundle};
use crate::domain::identity::deny::AgentRef;
use crate::domain::identity::spiffe::{SpiffeId, TrustDomain};
use crate::domain::identity::trust_version::TrustVersion;
use crate::domain::ids::TenantId;
use crate::domain::sha256::sha256;
use crate::grpc::proto::{BarredId, Denied, TrustUpdate};

/// Largest message, but for a list that is larger than that.
pub(super) const MESSAGE_MAX: usize = 1 << 20;
/// Left free in it for its head.
const HEAD_ROOM: usize = 128;
/// How far apart those places are at the most where denied serials may be cut.
const CUT_EVERY: usize = 32 * 1024;
/// Up to so many octets, a message is copied into one piece: that is cheaper than to send several.
const COPIED_MAX: usize = 4 * 1024;
/// A gRPC message begins with a flag and its length.
const PREFIX: usize = 5;

/// Fields of denied serials, one after the other, and between which of them they may be cut.
#[derive(Debug, Default)]
struct Fields {
    bytes: Bytes,
    cuts: Vec<usize>,
}

/// Denied serials as all tenants are told them: each learns the SPIFFE ids of its own.
#[derive(Debug, Default)]
pub(super) struct EncodedDenied {
    /// Serials and ends alone, sorted by tenant.
    plain: Fields,
    /// The same with SPIFFE ids, of those that have one.
    named: Fields,
    /// Where those of a tenant are in either.
    of_tenant: HashMap<TenantId, (Range<usize>, Range<usize>)>,
}

impl EncodedDenied {
    /// `trust_domain`: of the SPIFFE ids.
    pub(super) fn new(mut denied: Vec<DeniedCertificate>, trust_domain: Option<&TrustDomain>) -> Self {
        denied.sort_unstable_by_key(|denied| {
            (denied.holder.as_ref().map(|holder| holder.tenant), denied.serial)
        });
        let (mut plain, mut named) = (Writer::default(), Writer::default());
        let mut of_tenant: HashMap<TenantId, (Range<usize>, Range<usize>)> = HashMap::new();
        for DeniedCertificate { serial, until, holder } in denied {
            let mut entry = Denied {
                serial: serial.as_bytes().to_vec(),
                until_ms: until.as_millisecond(),
                spiffe_id: String::new(),
            };
            let at = plain.bytes.len();
            entry = plain.write(entry);
            let (Some(holder), Some(trust_domain)) = (holder, trust_domain) else { continue };
            let begun = named.bytes.len();
            let trust_domain = trust_domain.clone();
            entry.spiffe_id =
                SpiffeId { trust_domain, tenant: holder.tenant, agent: holder.agent }.to_string();
            named.write(entry);
            let ranges = of_tenant.entry(holder.tenant).or_insert((at..at, begun..begun));
            ranges.0.end = plain.bytes.len();
            ranges.1.end = named.bytes.len();
        }
        Self { plain: plain.into(), named: named.into(), of_tenant }
    }

    /// What one tenant is told, in parts that may be cut.
    fn parts(&self, tenant: TenantId) -> Vec<(&Fields, Range<usize>)> {
        let end = self.plain.bytes.len();
        let Some((plain, named)) = self.of_tenant.get(&tenant) else { return vec![(&self.plain, 0..end)] };
        vec![(&self.plain, 0..plain.start), (&self.named, named.clone()), (&self.plain, plain.end..end)]
    }
}

#[derive(Default)]
struct Writer {
    bytes: Vec<u8>,
    cuts: Vec<usize>,
}

impl Writer {
    fn write(&mut self, denied: Denied) -> Denied {
        if self.bytes.len() >= self.cuts.last().unwrap_or(&0) + CUT_EVERY {
            self.cuts.push(self.bytes.len());
        }
        let mut update = TrustUpdate { denied: vec![denied], ..TrustUpdate::default() };
        append(&mut self.bytes, &update);
        update.denied.pop().unwrap_or_default()
    }
}

impl From<Writer> for Fields {
    fn from(Writer { bytes, cuts }: Writer) -> Self {
        Self { bytes: bytes.into(), cuts }
    }
}

fn append(bytes: &mut Vec<u8>, update: &TrustUpdate) {
    // The only error is a buffer without room, and a vector grows.
    let _ = update.encode(bytes);
}

/// The fields of a bundle.
pub(super) fn bundle(bundle: &TrustBundle) -> Bytes {
    let TrustBundle { roots, intermediates, .. } = bundle;
    let update =
        TrustUpdate { roots: roots.clone(), intermediates: intermediates.clone(), ..TrustUpdate::default() };
    update.encode_to_vec().into()
}

/// Identities in one piece of what is told: 32 octets for each, and a few more.
const IDENTITIES_AT_ONCE: usize = 16_384;

/// The fields of denied identities, in pieces that a message has room for. They are hashed, so that nobody learns of another
/// tenant's.
pub(super) fn identities(identities: &DeniedIdentities, trust_domain: Option<&TrustDomain>) -> Vec<Bytes> {
    let Some(trust_domain) = trust_domain else { return Vec::new() };
    let hash = |AgentRef { tenant, agent }: &AgentRef| {
        let id = SpiffeId { trust_domain: trust_domain.clone(), tenant: *tenant, agent: agent.clone() };
        sha256(&[id.to_string().as_bytes()]).to_vec()
    };
    let denied = identities
        .denied
        .chunks(IDENTITIES_AT_ONCE)
        .map(|some| TrustUpdate { denied_ids: some.iter().map(hash).collect(), ..TrustUpdate::default() });
    let barred = identities.barred.chunks(IDENTITIES_AT_ONCE).map(|some| TrustUpdate {
        barred: some
            .iter()
            .map(|(id, before)| BarredId { id: hash(id), made_before_ms: before.as_millisecond() })
            .collect(),
        ..TrustUpdate::default()
    });
    denied.chain(barred).map(|update| update.encode_to_vec().into()).collect()
}

/// The fields of revocation lists, each for itself.
pub(super) fn lists(lists: &[Vec<u8>]) -> Vec<Bytes> {
    let one = |list: &Vec<u8>| TrustUpdate { lists: vec![list.clone()], ..TrustUpdate::default() };
    lists.iter().map(|list| one(list).encode_to_vec().into()).collect()
}

/// One update for one watcher, put together from shared fields, as messages of at most a certain size.
#[derive(Debug)]
pub(super) struct UpdateWriter {
    version: TrustVersion,
    snapshot: bool,
    /// Messages that are full.
    full: Vec<Vec<Bytes>>,
    /// The one that is being filled, and its octets.
    filling: Vec<Bytes>,
    octets: usize,
}

impl UpdateWriter {
    pub(super) const fn new(version: TrustVersion, snapshot: bool) -> Self {
        Self { version, snapshot, full: Vec::new(), filling: Vec::new(), octets: 0 }
    }

    /// Adds fields that are not cut.
    pub(super) fn add(&mut self, fields: Bytes) {
        if self.octets > 0 && self.octets + fields.len() > MESSAGE_MAX - HEAD_ROOM {
            self.close();
        }
        self.octets += fields.len();
        self.filling.extend(Some(fields).filter(|fields| !fields.is_empty()));
    }

    /// Adds the denied serials as a tenant is told them.
    pub(super) fn add_denied(&mut self, denied: &EncodedDenied, tenant: TenantId) {
        for (fields, Range { mut start, end }) in denied.parts(tenant) {
            while start < end {
                let reach = start + (MESSAGE_MAX - HEAD_ROOM - self.octets.min(MESSAGE_MAX - HEAD_ROOM));
                let stop = if reach >= end {
                    end
                } else {
                    let cuts = fields.cuts.partition_point(|cut| *cut <= reach);
                    fields.cuts[..cuts].last().copied().filter(|cut| *cut > start).unwrap_or(start)
                };
                if stop == start && self.octets == 0 {
                    // Cuts are closer to each other than a message is long, so this does not happen.
                    self.add(fields.bytes.slice(start..end));
                    break;
                }
                if stop > start {
                    self.octets += stop - start;
                    self.filling.push(fields.bytes.slice(start..stop));
                }
                if stop < end {
                    self.close();
                }
                start = stop;
            }
        }
    }

    fn close(&mut self) {
        self.full.push(std::mem::take(&mut self.filling));
        self.octets = 0;
    }

    /// The messages as they are sent.
    pub(super) fn finish(mut self) -> VecDeque<Bytes> {
        self.close();
        let mut pieces = VecDeque::new();
        let last = self.full.len() - 1;
        for (number, fields) in self.full.into_iter().enumerate() {
            let head = TrustUpdate {
                epoch: self.version.epoch.to_string(),
                version: self.version.number,
                snapshot: self.snapshot,
                more: number < last,
                ..TrustUpdate::default()
            };
            let octets = head.encoded_len() + fields.iter().map(Bytes::len).sum::<usize>();
            let mut begun = Vec::with_capacity(PREFIX + head.encoded_len() + COPIED_MAX.min(octets));
            begun.push(0);
            // Lists are bounded by what is denied; four billion octets are a hundred million entries.
            begun.extend(u32::try_from(octets).unwrap_or(u32::MAX).to_be_bytes());
            append(&mut begun, &head);
            if octets <= COPIED_MAX {
                fields.iter().for_each(|fields| begun.extend_from_slice(fields));
                pieces.push_back(begun.into());
            } else {
                pieces.push_back(begun.into());
                pieces.extend(fields);
            }
        }
        pieces
    }
}

#[cfg(test)]
pub(super) mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::domain::identity::serial::Serial;
    use crate::domain::identity::trust_version::TrustEpoch;

    pub(in crate::grpc::trust) fn version(number: u64) -> TrustVersion {
        TrustVersion { epoch: TrustEpoch::from_bytes([7; 16]), number }
    }

    pub(in crate::grpc::trust) fn tenant(number: u8) -> TenantId {
        TenantId::from_bytes([number; 16])
    }

    pub(in crate::grpc::trust) fn denied(number: u32, tenant: Option<TenantId>) -> DeniedCertificate {
        let serial: [u8; 16] = [&[1; 12][..], &number.to_be_bytes()].concat().try_into().unwrap();
        let holder = tenant.map(|tenant| AgentRef { tenant, agent: format!("a-{number}").parse().unwrap() });
        let until = Timestamp::from_second(i64::from(number) + 1_000_000_000).unwrap();
        DeniedCertificate { serial: Serial::from_bytes(serial), until, holder }
    }

    /// The messages of an update as a client reads them.
    pub(in crate::grpc::trust) fn messages(pieces: &VecDeque<Bytes>) -> Vec<TrustUpdate> {
        let all: Vec<u8> = pieces.iter().flat_map(|piece| piece.iter().copied()).collect();
        let mut rest = all.as_slice();
        let mut read = Vec::new();
        while let [0, a, b, c, d, more @ ..] = rest {
            let length = u32::from_be_bytes([*a, *b, *c, *d]) as usize;
            assert!(length <= MESSAGE_MAX, "{length} octets");
            read.push(TrustUpdate::decode(&more[..length]).unwrap());
            rest = &more[length..];
        }
        assert!(rest.is_empty());
        read
    }

    fn told(denied: &EncodedDenied, to: TenantId) -> Vec<TrustUpdate> {
        let mut update = UpdateWriter::new(version(3), true);
        update.add(vec![].into());
        update.add_denied(denied, to);
        messages(&update.finish())
    }

    #[test]
    fn each_tenant_learns_the_names_of_its_own_and_every_serial_once() {
        let domain = "muster".parse().unwrap();
        let tenants = [None, Some(tenant(1)), Some(tenant(2)), Some(tenant(3))];
        for count in [0, 1, 2, 9, 70_000] {
            let all: Vec<_> = (0..count).map(|n| denied(n, tenants[n as usize % 4])).collect();
            let encoded = EncodedDenied::new(all, Some(&domain));
            for (number, watcher) in [(1, tenant(1)), (2, tenant(2)), (3, tenant(3)), (9, tenant(9))] {
                let updates = told(&encoded, watcher);
                assert!(count < 70_000 || updates.len() > 1);
                let (last, before) = updates.split_last().unwrap();
                assert!(!last.more && before.iter().all(|update| update.more));
                assert!(updates.iter().all(|update| update.snapshot && update.version == 3));
                let mut seen: Vec<_> = updates.into_iter().flat_map(|update| update.denied).collect();
                seen.sort_unstable_by_key(|denied| denied.serial.clone());
                assert_eq!(seen.len(), count as usize);
                for (n, denied) in seen.iter().enumerate() {
                    let expected = if n % 4 == number {
                        format!("spiffe://muster/tenant/{watcher}/agent/a-{n}")
                    } else {
                        String::new()
                    };
                    assert_eq!(denied.spiffe_id, expected, "{n} for {watcher}");
                    assert_eq!(denied.until_ms, (n as i64 + 1_000_000_000) * 1000);
                }
            }
        }
    }

    #[test]
    fn a_list_is_never_cut_and_may_be_larger_than_a_message() {
        let lists = [vec![1; 600_000], vec![2; 600_000], vec![3; 2 << 20], vec![4; 10]];
        let mut update = UpdateWriter::new(version(3), false);
        super::lists(&lists).into_iter().for_each(|list| update.add(list));
        let pieces = update.finish();
        let sizes: Vec<usize> = pieces.iter().map(Bytes::len).collect();
        assert!(sizes.iter().any(|size| *size > 2 << 20), "{sizes:?}");
        let mut filled = UpdateWriter::new(version(3), false);
        super::lists(&lists[..2]).into_iter().for_each(|list| filled.add(list));
        let read: Vec<_> = messages(&filled.finish()).into_iter().flat_map(|update| update.lists).collect();
        assert_eq!(read, lists[..2]);
    }
}
