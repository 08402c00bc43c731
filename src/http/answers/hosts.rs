//! Hosts, their certificates and their timelines: what goes over the wire, made from what the use cases answer.

use crate::api::encoding::word::Word;
use crate::api::hosts::{EnrollmentItem, HostCredential, HostEventItem, HostItem};
use crate::api::words::{CredentialWord, HostStatus, IssuedVia};
use crate::app::insight::fleet::HostNow;
use crate::app::issue::hosts::{CredentialNow, HostDetail};
use crate::domain::enroll::enrollment::{Enrollment, LetInBy, Via};
use crate::domain::identity::spiffe::{SpiffeId, TrustDomain};
use crate::domain::insight::timeline::{HostEvent, TimelineEntry};

impl From<CredentialNow> for HostCredential {
    fn from(credential: CredentialNow) -> Self {
        Self {
            kind: Word::Known(match credential.by {
                LetInBy::Token { .. } => CredentialWord::Token,
                LetInBy::Secret { .. } => CredentialWord::Secret,
            }),
            id: credential.by.id().to_string(),
            name: credential.name.map(|name| name.to_string()),
            state: credential.state.into(),
        }
    }
}

impl HostItem {
    pub(crate) fn new(detail: HostDetail, trust_domain: Option<&TrustDomain>) -> Self {
        let HostDetail { now: HostNow { host, online }, credential, taken_by_retention } = detail;
        let state = host.state();
        let spiffe_id = trust_domain.cloned().map(|trust_domain| {
            SpiffeId { trust_domain, tenant: host.tenant, agent: host.agent.clone() }.to_string()
        });
        Self {
            id: host.id.to_string(),
            agent_id: host.agent.to_string(),
            tenant_id: host.tenant.to_string(),
            spiffe_id,
            hostname: host.facts.hostname,
            os: host.facts.os,
            arch: host.facts.arch,
            ips: host.facts.ips,
            machine_id: host.facts.machine_id,
            agent_version: host.facts.agent_version,
            status: Word::Known(if online { HostStatus::Online } else { HostStatus::Offline }),
            state: state.into(),
            first_enrolled_at: host.first_enrolled_at,
            last_seen: host.last_seen,
            decommissioned_at: host.decommissioned_at,
            revoked_at: host.revoked_at,
            credential: credential.map(HostCredential::from),
            svid_not_after: host.svid_not_after,
            svid_issued_at: host.newest_serial.made_at(),
            flags: host.flags.into_iter().map(Word::Known).collect(),
            tags: host.marks.tags.into_iter().map(|tag| tag.to_string()).collect(),
            note: host.marks.note.map(|note| note.to_string()),
            certificates_taken_by_retention: taken_by_retention,
        }
    }
}

impl From<Enrollment> for EnrollmentItem {
    fn from(enrollment: Enrollment) -> Self {
        let revocation = enrollment.revocation;
        Self {
            serial: enrollment.serial.to_string(),
            host_id: enrollment.host.to_string(),
            tenant_id: enrollment.tenant.to_string(),
            via: Word::Known(match enrollment.via {
                Via::Token { .. } => IssuedVia::Token,
                Via::Secret { .. } => IssuedVia::Secret,
                Via::Rotation { .. } => IssuedVia::Rotation,
            }),
            credential_id: enrollment.via.credential().map(|id| id.to_string()),
            issued_at: enrollment.issued_at,
            not_before: enrollment.not_before,
            not_after: enrollment.not_after,
            peer: enrollment.peer,
            revoked: revocation.is_some(),
            revoked_at: revocation.map(|r| r.at),
            reason: revocation.map(|r| r.reason.into()),
        }
    }
}

impl From<TimelineEntry> for HostEventItem {
    fn from(TimelineEntry { key, source, event }: TimelineEntry) -> Self {
        let HostEvent { at, kind, detail } = event;
        Self { id: key.to_string(), at, kind, source: source.into(), detail }
    }
}
