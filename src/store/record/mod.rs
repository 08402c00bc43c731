//! The shapes that go to disk: JSON with named fields, so that a field can be added without a migration.
//! Domain values convert both ways, written out.

mod encoding;
mod enroll;
pub(crate) mod host;
mod people;
mod upkeep;

pub(crate) use encoding::{decode, encode};
pub(crate) use enroll::{EnrollmentRecord, EnrollmentSecretRecord, JoinTokenRecord};
pub(crate) use host::{FactsRecord, HostEventRecord, HostRecord, ReportRecord};
pub(crate) use people::{ApiTokenRecord, SessionRecord, TenantRecord, UserRecord, user_of};
pub(crate) use upkeep::{ClockMarksRecord, DeniedSerialRecord, HierarchyRecord, LossRecord};
