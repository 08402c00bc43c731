//! Writing: every change, with the indexes that follow from it.

use redb::WriteTransaction;

use super::change::Change;
use super::record::{
    EnrollmentRecord, EnrollmentSecretRecord, FactsRecord, HierarchyRecord, HostRecord, JoinTokenRecord,
    ReportRecord, TenantRecord, UserRecord, encode,
};
use super::rows::{self, Rows, Span, Table, Visit, protect};
use super::view::{View, host_serial_key, identity_key, meta};
use super::{Published, ReadError};
use crate::domain::audit::{AuditEvent, ChainHead};
use crate::domain::deny::{DenyChange, Identity};
use crate::domain::enrollment::Enrollment;
use crate::domain::tenant::Tenant;

type OpenTable<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

/// The tables of one write transaction, opened together: decisions read them, changes write them.
pub(super) struct Batch<'t> {
    tables: Vec<OpenTable<'t>>,
    chain: ChainHead,
    published: Published,
}

impl Rows for Batch<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        rows::get(table, self.table(table), key)
    }

    fn scan(&self, table: Table, span: &Span, visit: Visit<'_>) -> Result<(), ReadError> {
        rows::scan(table, self.table(table), span, visit)
    }

    fn last_key(&self, table: Table) -> Result<Option<Vec<u8>>, ReadError> {
        rows::last_key(table, self.table(table))
    }
}

impl<'t> Batch<'t> {
    /// Opens all tables, creating those that a new store lacks.
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, ReadError> {
        let open = |table: &Table| transaction.open_table(table.definition()).map_err(|e| table.error(e));
        let tables = Table::ALL.iter().map(open).collect::<Result<_, _>>()?;
        let mut batch = Self { tables, chain: ChainHead::genesis(), published: Published::default() };
        batch.chain = View::new(&batch).audit_head()?;
        Ok(batch)
    }

    /// What the rest of the process must learn once this batch is committed.
    pub(super) fn into_published(self) -> Published {
        self.published
    }

    pub(super) fn apply(&mut self, change: Change, now: jiff::Timestamp) -> Result<(), ReadError> {
        match change {
            Change::PutHierarchy(hierarchy) => {
                self.put(Table::Meta, meta::HIERARCHY, &HierarchyRecord::from(&hierarchy))
            }
            Change::PutHost(host) => {
                let identity = Identity { tenant: host.tenant, agent: host.agent.clone() };
                self.put(Table::HostsByAgent, &identity_key(&identity), &host.id)?;
                self.put(Table::Hosts, host.id.as_bytes(), &HostRecord::from(&host))
            }
            Change::RecordEnrollment { enrollment, certificate } => self.record(&enrollment, &certificate),
            Change::RevokeEnrollment { mut enrollment, revocation } => {
                enrollment.revocation = Some(revocation);
                self.put(
                    Table::Enrollments,
                    enrollment.serial.as_bytes(),
                    &EnrollmentRecord::from(&enrollment),
                )?;
                self.put(Table::DeniedSerials, enrollment.serial.as_bytes(), &enrollment.not_after)?;
                let (serial, not_after) = (enrollment.serial, enrollment.not_after);
                self.published.deny.push(DenyChange::Serial { serial, not_after });
                Ok(())
            }
            Change::DenyIdentity { identity, since } => {
                self.put(Table::DeniedIdentities, &identity_key(&identity), &since)?;
                self.published.deny.push(DenyChange::Identity(identity));
                Ok(())
            }
            Change::PutJoinToken(token) => {
                self.put(Table::JoinTokens, token.id.as_bytes(), &JoinTokenRecord::from(&token))
            }
            Change::PutEnrollmentSecret(secret) => {
                let record = EnrollmentSecretRecord::from(&secret);
                self.put(Table::EnrollmentSecrets, secret.id.as_bytes(), &record)
            }
            Change::PutUser(user) => {
                self.put(Table::UsersByName, user.username.as_str().as_bytes(), &user.id)?;
                self.put(Table::Users, user.id.as_bytes(), &UserRecord::from(&user))
            }
            Change::SaveReport { host, at, facts, newest_shown } => {
                let record = ReportRecord { at, facts: facts.as_ref().map(FactsRecord::from), newest_shown };
                self.put(Table::Reports, host.as_bytes(), &record)
            }
            Change::ForgetExpired { keys, certificates, denied } => {
                for key in keys {
                    self.remove(Table::LiveKeys, key.as_bytes())?;
                }
                for serial in certificates {
                    self.remove(Table::Certificates, serial.as_bytes())?;
                }
                for serial in denied {
                    self.remove(Table::DeniedSerials, serial.as_bytes())?;
                }
                Ok(())
            }
            Change::Alive => self.put(Table::Meta, meta::ALIVE, &now),
            Change::RecordOutage(outage) => {
                let key = outage.from.as_millisecond().to_be_bytes();
                self.put(Table::Outages, &key, &(outage.from, outage.until))
            }
            Change::Audit(event) => self.audit(event, now),
        }
    }

    /// Writes what a store has from its first moment.
    pub(super) fn first_rows(&mut self, default_tenant: &Tenant, schema: u32) -> Result<(), ReadError> {
        self.put(Table::Tenants, default_tenant.id.as_bytes(), &TenantRecord::from(default_tenant))?;
        self.put(Table::Meta, meta::DEFAULT_TENANT, &default_tenant.id)?;
        self.put(Table::Meta, meta::SCHEMA, &schema)
    }

    fn record(&mut self, enrollment: &Enrollment, certificate: &[u8]) -> Result<(), ReadError> {
        let serial = enrollment.serial.as_bytes();
        self.put(Table::Enrollments, serial, &EnrollmentRecord::from(enrollment))?;
        self.put(Table::LiveKeys, enrollment.spki.as_bytes(), &enrollment.serial)?;
        let by_host = host_serial_key(enrollment.host, enrollment.serial);
        self.insert(Table::EnrollmentsByHost, &by_host, enrollment.spki.as_bytes())?;
        self.insert(Table::Certificates, serial, certificate)
    }

    fn audit(&mut self, event: AuditEvent, now: jiff::Timestamp) -> Result<(), ReadError> {
        let record = self.chain.link(now, event);
        self.put(Table::Audit, &record.seq.to_be_bytes(), &record)
    }

    fn put(&mut self, table: Table, key: &[u8], record: &impl serde::Serialize) -> Result<(), ReadError> {
        self.insert(table, key, &encode(record))
    }

    fn insert(&mut self, table: Table, key: &[u8], content: &[u8]) -> Result<(), ReadError> {
        let value = protect(table, key, content);
        self.tables[table as usize].insert(key, value.as_slice()).map_err(|e| table.error(e))?;
        Ok(())
    }

    fn remove(&mut self, table: Table, key: &[u8]) -> Result<(), ReadError> {
        self.tables[table as usize].remove(key).map_err(|e| table.error(e))?;
        Ok(())
    }

    fn table(&self, table: Table) -> &OpenTable<'t> {
        &self.tables[table as usize]
    }
}
