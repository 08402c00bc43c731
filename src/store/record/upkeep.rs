//! The CA, the clock's marks, denials and what is known of losses, as they lie on disk.

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

use crate::domain::enroll::enrollment::RevocationReason;
use crate::domain::identity::clock_marks::{ClockMark, ClockMarks};
use crate::domain::identity::hierarchy::{Hierarchy, Intermediate};
use crate::domain::identity::spiffe::TrustDomain;
use crate::domain::insight::audit::{ChainHead, KnownLoss, MissingRecords};
use crate::store::record::encoding::Base64;

#[derive(Serialize, Deserialize)]
pub(crate) struct HierarchyRecord {
    trust_domain: TrustDomain,
    roots: Vec<Base64>,
    intermediates: Vec<IntermediateRecord>,
}

#[derive(Serialize, Deserialize)]
pub(crate) struct IntermediateRecord {
    certificate: Base64,
    sealed_key: Base64,
}

impl From<&Hierarchy> for HierarchyRecord {
    fn from(hierarchy: &Hierarchy) -> Self {
        let intermediate = |i: &Intermediate| IntermediateRecord {
            certificate: Base64(i.certificate.clone()),
            sealed_key: Base64(i.sealed_key.clone()),
        };
        Self {
            trust_domain: hierarchy.trust_domain.clone(),
            roots: hierarchy.roots.iter().cloned().map(Base64).collect(),
            intermediates: hierarchy.intermediates.iter().map(intermediate).collect(),
        }
    }
}

impl From<HierarchyRecord> for Hierarchy {
    fn from(record: HierarchyRecord) -> Self {
        let intermediate =
            |i: IntermediateRecord| Intermediate { certificate: i.certificate.0, sealed_key: i.sealed_key.0 };
        Self {
            trust_domain: record.trust_domain,
            roots: record.roots.into_iter().map(|root| root.0).collect(),
            intermediates: record.intermediates.into_iter().map(intermediate).collect(),
        }
    }
}

/// Why and until when a serial is denied.
#[derive(Serialize, Deserialize)]
pub(crate) struct DeniedSerialRecord {
    pub(crate) not_after: Timestamp,
    pub(crate) since: Timestamp,
    pub(crate) reason: RevocationReason,
}

/// What the wall clock has shown while the server ran; times that it ran are in milliseconds.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct ClockMarksRecord {
    ran: i64,
    marks: Vec<(Timestamp, i64)>,
}

impl From<&ClockMarks> for ClockMarksRecord {
    fn from(clock: &ClockMarks) -> Self {
        let millis = |ran: SignedDuration| i64::try_from(ran.as_millis()).unwrap_or(i64::MAX);
        let marks = clock.marks.iter().map(|mark| (mark.shown, millis(mark.ran))).collect();
        Self { ran: millis(clock.ran), marks }
    }
}

impl From<ClockMarksRecord> for ClockMarks {
    fn from(record: ClockMarksRecord) -> Self {
        let mark = |(shown, ran)| ClockMark { shown, ran: SignedDuration::from_millis(ran) };
        Self {
            ran: SignedDuration::from_millis(record.ran),
            marks: record.marks.into_iter().map(mark).collect(),
        }
    }
}

/// What the audit trail was last found to have lost.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct LossRecord {
    after: Option<u64>,
    seen: HeadRecord,
    stated: Option<HeadRecord>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct HeadRecord {
    seq: u64,
    hash: String,
}

impl From<ChainHead> for HeadRecord {
    fn from(ChainHead { seq, hash }: ChainHead) -> Self {
        Self { seq, hash }
    }
}

impl From<HeadRecord> for ChainHead {
    fn from(HeadRecord { seq, hash }: HeadRecord) -> Self {
        Self { seq, hash }
    }
}

impl From<KnownLoss> for LossRecord {
    fn from(loss: KnownLoss) -> Self {
        let KnownLoss { missing: MissingRecords { after, seen }, stated } = loss;
        Self { after, seen: seen.into(), stated: stated.map(HeadRecord::from) }
    }
}

impl From<LossRecord> for KnownLoss {
    fn from(record: LossRecord) -> Self {
        let LossRecord { after, seen, stated } = record;
        Self { missing: MissingRecords { after, seen: seen.into() }, stated: stated.map(ChainHead::from) }
    }
}
