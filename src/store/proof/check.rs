//! The proof that a store is whole: every record can be read, and every index agrees with its rows.
//!
//! It looks at what stands in the file, part by part where nobody waits for it: a snapshot that is held for long keeps the file
//! from using pages again.

use std::ops::ControlFlow;

use data_encoding::HEXLOWER;
use jiff::Timestamp;

use crate::domain::enroll::enrollment::Enrollment;
use crate::domain::enroll::enrollment_secret::EnrollmentSecret;
use crate::domain::enroll::join_token::JoinToken;
use crate::domain::host::Host;
use crate::domain::identity::hierarchy::Hierarchy;
use crate::domain::identity::jwt_keys::JwtKeys;
use crate::domain::identity::restore_epoch::{RecoveryBar, RestoreNotice, RolledBack};
use crate::domain::identity::serial::Serial;
use crate::domain::identity::trust_version::TrustVersion;
use crate::domain::insight::audit::{AuditRecord, ChainHead, KnownLoss};
use crate::domain::insight::timeline::HostEvent;
use crate::domain::people::api_token::ApiToken;
use crate::domain::people::tenant::Tenant;
use crate::domain::people::user::User;
use crate::domain::webhook::event::WebhookEvent;
use crate::domain::webhook::row::{Webhook, WebhookQueue};
use crate::domain::withdrawal::StoreId;
use crate::store::ReadError;
use crate::store::layers::snapshot::Snapshot;
use crate::store::record::{
    ClockMarksRecord, DeniedSerialRecord, EpochsRecord, FromDisk, ReportRecord, SessionRecord, StoredHost,
    decode, suspended_of_key,
};
use crate::store::rows::{Rows, Span, Table};
use crate::store::view::retained::KEY_OCTETS;
use crate::store::view::{View, host_serial_key, identity_key, identity_of_key, meta};

/// The first thing found that is not as it must be.
#[derive(Debug, thiserror::Error)]
pub enum Damage {
    /// A row does not match its checksum or can't be understood, or the disk failed.
    #[error(transparent)]
    Unreadable(#[from] ReadError),
    /// Every row can be read, but this one contradicts its key or another row.
    #[error("table {table}, row {row}: {what}")]
    Inconsistent {
        /// The table's name in the file, with its version.
        table: &'static str,
        /// Its key, in lower-case hex.
        row: String,
        /// What is wrong with it, as a clause, without its content.
        what: &'static str,
    },
}

/// A table in which nothing was amiss.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CheckedTable {
    /// The table's name in the file, with its version.
    pub table: &'static str,
    /// How many it has.
    pub rows: u64,
}

/// How far a proof has come.
#[derive(Debug)]
pub struct Proof {
    /// The table, by its place among all.
    table: usize,
    /// The last row of it that was read.
    after: Option<Vec<u8>>,
    /// Rows of it that were read.
    rows: u64,
    /// Where the audit chain has come.
    head: ChainHead,
    /// Octets of all rows that were read, keys and values.
    octets: u64,
}

impl Proof {
    /// From the start.
    pub(crate) fn begin() -> Self {
        Self { table: 0, after: None, rows: 0, head: ChainHead::genesis(), octets: 0 }
    }

    /// How many octets the rows have that were read.
    pub const fn octets(&self) -> u64 {
        self.octets
    }

    /// Reads on, so many rows at most, and reports each table when it is done; whether that was all.
    pub(crate) fn go_on(
        &mut self,
        snapshot: &Snapshot,
        now: Timestamp,
        enough: usize,
        report: &mut dyn FnMut(CheckedTable),
    ) -> Result<ControlFlow<()>, Damage> {
        let mut left = enough;
        while let Some(&table) = Table::ALL.get(self.table) {
            self.go_on_in(table, snapshot, now, &mut left)?;
            if self.after.is_some() {
                return Ok(ControlFlow::Continue(()));
            }
            report(CheckedTable { table: table.name(), rows: self.rows });
            (self.table, self.rows) = (self.table + 1, 0);
        }
        Ok(ControlFlow::Break(()))
    }

    /// Reads on in a table, until it ends or nothing is left of what was to be read.
    fn go_on_in(
        &mut self,
        table: Table,
        snapshot: &Snapshot,
        now: Timestamp,
        left: &mut usize,
    ) -> Result<(), Damage> {
        let mut check = Check { rows: snapshot, now, head: self.head.clone() };
        let mut damage = None;
        let span = Span::all().behind(self.after.take(), false);
        snapshot.scan(table, &span, &mut |key, content| {
            if *left == 0 {
                return Ok(ControlFlow::Break(()));
            }
            *left -= 1;
            self.rows += 1;
            self.octets += u64::try_from(key.len() + content.len()).unwrap_or(0);
            match check.row(table, key, content) {
                Ok(Ok(())) => {
                    if *left == 0 {
                        self.after = Some(key.to_vec());
                    }
                    Ok(ControlFlow::Continue(()))
                }
                Ok(Err(what)) => {
                    let row = HEXLOWER.encode(key);
                    damage = Some(Damage::Inconsistent { table: table.name(), row, what });
                    Ok(ControlFlow::Break(()))
                }
                Err(error) => Err(error),
            }
        })?;
        self.head = check.head;
        damage.map_or(Ok(()), Err)
    }
}

/// What nobody may be served without, beside the deny list: who decides, and by which CA.
const VITAL: [Table; 4] = [Table::Meta, Table::Tenants, Table::Users, Table::UsersByName];

/// Reads what has to be whole before anything is served.
pub(crate) fn check_vital(snapshot: &Snapshot) -> Result<(), Damage> {
    for table in VITAL {
        // The clock decides what certificates need, and nothing here.
        Proof::begin().go_on_in(table, snapshot, Timestamp::UNIX_EPOCH, &mut usize::MAX.clone())?;
    }
    View::new(snapshot).denials(drop)?;
    Ok(())
}

/// Reads everything, and reports each table when it is done.
pub(crate) fn check(
    snapshot: &Snapshot,
    now: Timestamp,
    report: &mut dyn FnMut(CheckedTable),
) -> Result<(), Damage> {
    Proof::begin().go_on(snapshot, now, usize::MAX, report).map(|_| ())
}

struct Check<'r> {
    rows: &'r Snapshot,
    now: Timestamp,
    head: ChainHead,
}

/// What is wrong with a row that can be read.
type Finding = Result<(), &'static str>;

fn demand(holds: bool, otherwise: &'static str) -> Finding {
    if holds { Ok(()) } else { Err(otherwise) }
}

fn readable<R: FromDisk>(table: Table, content: &[u8]) -> Result<Finding, ReadError> {
    decode::<R>(table, content).map(|_| Ok(()))
}

const OTHER_ENROLLMENT: &str = "the index names another enrollment, or none";

impl<'r> Check<'r> {
    const fn view(&self) -> View<'r> {
        View::new(self.rows)
    }

    fn row(&mut self, table: Table, key: &[u8], content: &[u8]) -> Result<Finding, ReadError> {
        let any = self.view().any_tenant();
        match table {
            Table::Meta => self.meta(key, content),
            Table::Tenants => readable::<Tenant>(table, content),
            Table::Hosts => self.host(key, &decode(table, content)?),
            Table::HostsByAgent => {
                let host = any.host(decode(table, content)?)?;
                let is_its = |host: Host| identity_key(&host.identity()) == key;
                Ok(demand(host.is_some_and(is_its), "the index names another host, or none"))
            }
            Table::Reports => {
                decode::<ReportRecord>(table, content)?;
                let host = self.rows.get(Table::Hosts, key)?;
                Ok(demand(host.is_some(), "it reports on a host that is not there"))
            }
            Table::Enrollments => self.enrollment(key, &decode(table, content)?),
            Table::EnrollmentsByHost => {
                let enrollment = self.enrollment_at(key.get(16..).unwrap_or_default())?;
                let is_its = |enrollment: Enrollment| {
                    key.starts_with(enrollment.host.as_bytes()) && content == enrollment.spki.as_bytes()
                };
                Ok(demand(enrollment.is_some_and(is_its), OTHER_ENROLLMENT))
            }
            Table::Certificates => {
                Ok(demand(self.enrollment_at(key)?.is_some(), "it belongs to no enrollment"))
            }
            Table::UsedKeys => {
                let host = self.rows.get(Table::Hosts, key.get(..16).unwrap_or_default())?;
                if host.is_none() {
                    return Ok(Err("it is of a host that is not there"));
                }
                Ok(demand(content.len().is_multiple_of(KEY_OCTETS), "it holds a part of a key"))
            }
            Table::LiveKeys => {
                let enrollment = any.enrollment(decode(table, content)?)?;
                let is_its = |enrollment: Enrollment| enrollment.spki.as_bytes() == key;
                Ok(demand(enrollment.is_some_and(is_its), OTHER_ENROLLMENT))
            }
            Table::JoinTokens => readable::<JoinToken>(table, content),
            Table::EnrollmentSecrets => readable::<EnrollmentSecret>(table, content),
            Table::DeniedSerials => {
                decode::<DeniedSerialRecord>(table, content)?;
                let revoked =
                    self.enrollment_at(key)?.is_none_or(|enrollment| enrollment.revocation.is_some());
                Ok(demand(revoked, "it denies a certificate that is not on record as revoked"))
            }
            Table::DeniedIdentities => {
                decode::<Timestamp>(table, content)?;
                Ok(demand(identity_of_key(key).is_some(), "it names no identity"))
            }
            Table::Users => self.user(key, &decode(table, content)?),
            Table::UsersByName => {
                let user = any.user(decode(table, content)?)?;
                let is_its = |user: User| user.username.key().as_bytes() == key;
                Ok(demand(user.is_some_and(is_its), "the index names another user, or none"))
            }
            Table::Sessions => readable::<SessionRecord>(table, content),
            Table::ApiTokens => readable::<ApiToken>(table, content),
            Table::Webhooks => readable::<Webhook>(table, content),
            Table::WebhookQueues => readable::<WebhookQueue>(table, content),
            Table::WebhookEvents => readable::<WebhookEvent>(table, content),
            Table::HostEvents | Table::ReportedEvents => readable::<HostEvent>(table, content),
            Table::EnrollmentsPerDay => readable::<u64>(table, content),
            Table::OnlineSamples => readable::<(u32, u32)>(table, content),
            Table::Outages => readable::<(Timestamp, Timestamp)>(table, content),
            Table::ByTenant | Table::OpenJoinTokens | Table::AuditByTenant | Table::AuditNames => {
                self.view().index_finding(table, key, content)
            }
            Table::Returned => readable::<Timestamp>(table, content),
            Table::RecoveryBars => {
                decode::<RecoveryBar>(table, content)?;
                Ok(demand(identity_of_key(key).is_some(), "it names no identity"))
            }
            Table::Suspended => {
                decode::<Timestamp>(table, content)?;
                Ok(demand(suspended_of_key(key).is_some(), "it names nothing that can be suspended"))
            }
            Table::Audit => {
                let record: AuditRecord = decode(table, content)?;
                let follows = record.follows(&self.head) && key == record.seq.to_be_bytes();
                self.head = ChainHead { seq: record.seq, hash: record.hash };
                Ok(demand(follows, "it does not continue the audit chain"))
            }
        }
    }

    fn meta(&self, key: &[u8], content: &[u8]) -> Result<Finding, ReadError> {
        let table = Table::Meta;
        match key {
            meta::SCHEMA => readable::<u32>(table, content),
            meta::HIERARCHY => readable::<Hierarchy>(table, content),
            meta::JWT_KEYS => readable::<JwtKeys>(table, content),
            meta::BUNDLE_SEQUENCE => readable::<u64>(table, content),
            meta::BACKED_UP | meta::BACKED_UP_BY_ITSELF => readable::<Timestamp>(table, content),
            meta::ALIVE | meta::WEBHOOKS_LOOKED_AT => readable::<Timestamp>(table, content),
            meta::CLOCK_MARKS => readable::<ClockMarksRecord>(table, content),
            meta::AUDIT_LOSS => readable::<KnownLoss>(table, content),
            meta::TRUST_VERSION => readable::<TrustVersion>(table, content),
            meta::TRUST_JUDGED_AT => readable::<Timestamp>(table, content),
            meta::STORE_ID => readable::<StoreId>(table, content),
            meta::RESTORE_EPOCHS => readable::<EpochsRecord>(table, content),
            meta::ROLLED_BACK => readable::<RolledBack>(table, content),
            meta::RESTORE_NOTICE => readable::<RestoreNotice>(table, content),
            meta::DEFAULT_TENANT => {
                let known = self.view().has_tenant(decode(table, content)?)?;
                Ok(demand(known, "the default tenant is not there"))
            }
            _ => Ok(Ok(())),
        }
    }

    fn host(&self, key: &[u8], host: &StoredHost) -> Result<Finding, ReadError> {
        if key != host.id().as_bytes() {
            return Ok(Err("it stands under another id"));
        }
        let indexed = self.view().record(Table::HostsByAgent, &identity_key(&host.identity()))?;
        Ok(demand(indexed == Some(host.id()), "the index of agents does not lead to it"))
    }

    fn enrollment(&self, key: &[u8], enrollment: &Enrollment) -> Result<Finding, ReadError> {
        if key != enrollment.serial.as_bytes() {
            return Ok(Err("it stands under another serial"));
        }
        let by_host = host_serial_key(enrollment.host, enrollment.serial);
        if self.rows.get(Table::EnrollmentsByHost, &by_host)?.is_none() {
            return Ok(Err("the index of hosts does not lead to it"));
        }
        if enrollment.expired(self.now) {
            return Ok(Ok(()));
        }
        if self.rows.get(Table::Certificates, key)?.is_none() {
            return Ok(Err("its certificate is missing"));
        }
        if self.rows.get(Table::LiveKeys, enrollment.spki.as_bytes())?.is_none() {
            return Ok(Err("the index of keys does not lead to it"));
        }
        let denied = enrollment.revocation.is_none() || self.view().serial_denied(enrollment.serial)?;
        Ok(demand(denied, "it is revoked, but not denied"))
    }

    fn user(&self, key: &[u8], user: &User) -> Result<Finding, ReadError> {
        if key != user.id.as_bytes() {
            return Ok(Err("it stands under another id"));
        }
        let indexed = self.view().any_tenant().user_named(&user.username)?;
        Ok(demand(indexed.is_some_and(|named| named.id == user.id), "the index of names does not lead to it"))
    }

    fn enrollment_at(&self, serial: &[u8]) -> Result<Option<Enrollment>, ReadError> {
        let Ok(serial) = serial.try_into() else { return Ok(None) };
        self.view().any_tenant().enrollment(Serial::from_bytes(serial))
    }
}

#[cfg(test)]
mod tests {
    use redb::{Database, ReadableDatabase};

    use super::*;
    use crate::domain::ids::{HostId, UserId};
    use crate::store::opening::open;
    use crate::store::record::encode;
    use crate::store::rows::protect;

    fn store() -> Database {
        let backend = redb::backends::InMemoryBackend::new();
        let database = redb::Builder::new().create_with_backend(backend).unwrap();
        open::initialise(&database, Timestamp::UNIX_EPOCH).unwrap();
        database
    }

    fn checked(database: &Database) -> Result<usize, Damage> {
        let mut tables = 0;
        let snapshot = Snapshot::of_file(database.begin_read().unwrap());
        check(&snapshot, Timestamp::UNIX_EPOCH, &mut |_| tables += 1)?;
        Ok(tables)
    }

    #[test]
    fn an_index_that_leads_nowhere_is_found() {
        assert_eq!(checked(&store()).unwrap(), Table::ALL.len());
        let host = HostId::from_bytes([1; 16]);
        let serial = Serial::from_bytes([2; 16]);
        let user = UserId::from_bytes([3; 16]);
        for (table, key, content) in [
            (Table::HostsByAgent, [[4; 16].as_slice(), b"web-1"].concat(), encode(&host)),
            (Table::EnrollmentsByHost, host_serial_key(host, serial), vec![5; 32]),
            (Table::Certificates, serial.as_bytes().to_vec(), vec![6; 300]),
            (Table::LiveKeys, vec![7; 32], encode(&serial)),
            (Table::UsersByName, b"ada".to_vec(), encode(&user)),
            (Table::DeniedIdentities, vec![8; 3], encode(&Timestamp::UNIX_EPOCH)),
            (Table::Hosts, host.as_bytes().to_vec(), b"{}".to_vec()),
            (Table::Audit, 1_u64.to_be_bytes().to_vec(), b"null".to_vec()),
        ] {
            let database = store();
            let transaction = database.begin_write().unwrap();
            let value = protect(table, &key, &content);
            transaction.open_table(table.definition()).unwrap().insert(&key[..], &value[..]).unwrap();
            transaction.commit().unwrap();
            let damage = checked(&database).unwrap_err().to_string();
            assert!(damage.contains(table.name()), "{damage}");
        }
    }
}
