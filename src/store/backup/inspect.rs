//! Reading a whole backup without restoring it: that every row can be read, that the audit chain holds, and what it is of.
//!
//! Row by row, so it takes neither memory nor disk. What only several rows together can show is for `check`, after a restore.

use std::io::{self, Read};

use jiff::Timestamp;

use super::{Item, read_head, read_item};
use crate::domain::enroll::enrollment::Enrollment;
use crate::domain::enroll::enrollment_secret::EnrollmentSecret;
use crate::domain::enroll::join_token::JoinToken;
use crate::domain::identity::hierarchy::Hierarchy;
use crate::domain::identity::jwt_keys::JwtKeys;
use crate::domain::identity::serial::Serial;
use crate::domain::ids::{HostId, UserId};
use crate::domain::insight::audit::{AuditRecord, ChainHead};
use crate::domain::insight::timeline::HostEvent;
use crate::domain::people::api_token::ApiToken;
use crate::domain::people::tenant::Tenant;
use crate::domain::people::user::User;
use crate::domain::webhook::row::Webhook;
use crate::store::ReadError;
use crate::store::record::{DeniedSerialRecord, FromDisk, ReportRecord, SessionRecord, StoredHost, decode};
use crate::store::restore::{SnapshotReadError, TakeFile, take_file};
use crate::store::rows::Table;
use crate::store::view::meta;

/// What a backup holds that was read to its end.
#[derive(Debug)]
pub struct Inspected {
    /// When it was begun: everything answered before is in it.
    pub created_at: Timestamp,
    /// The version of the program that made it, where it says so.
    pub made_by: Option<String>,
    /// Of all tables together.
    pub rows: u64,
    /// Hosts on record.
    pub hosts: u64,
    /// Certificates on the deny list.
    pub certificates_denied: u64,
    /// Identities on the deny list.
    pub identities_denied: u64,
    /// How far the audit trail has come.
    pub audit_records: u64,
    /// The agent CA; `None` before it was made.
    pub hierarchy: Option<Hierarchy>,
}

/// Reads a backup to its end, and hands on each piece of each file in it.
pub fn inspect(from: &mut impl Read, file: TakeFile<'_>) -> Result<Inspected, SnapshotReadError> {
    let head = read_head(from).map_err(SnapshotReadError::Backup)?;
    let mut inspected = Inspected {
        created_at: head.created_at,
        made_by: head.made_by,
        rows: 0,
        hosts: 0,
        certificates_denied: 0,
        identities_denied: 0,
        audit_records: 0,
        hierarchy: None,
    };
    let mut table = None;
    let mut chain = ChainHead::genesis();
    loop {
        match read_item(from).map_err(SnapshotReadError::Backup)? {
            Item::File { name, piece } => take_file(file, &name, &piece)?,
            Item::Table(name) => {
                let known = Table::ALL.iter().copied().find(|table| table.name() == name);
                table = Some(known.ok_or(SnapshotReadError::UnknownTable(name))?);
            }
            Item::Row { key, content } => {
                let outside =
                    || io::Error::new(io::ErrorKind::InvalidData, "it has a row outside of any table");
                let table = table.ok_or_else(|| SnapshotReadError::Backup(outside()))?;
                inspected.rows += 1;
                inspected.count(table, &key, &content)?;
                if table == Table::Audit {
                    chain = next_in_chain(&chain, &key, &content)?;
                }
            }
            Item::End { rows } if rows == inspected.rows => {
                return Ok(Inspected { audit_records: chain.seq, ..inspected });
            }
            Item::End { rows } => {
                return Err(SnapshotReadError::Count { counted: rows, found: inspected.rows });
            }
        }
    }
}

impl Inspected {
    fn count(&mut self, table: Table, key: &[u8], content: &[u8]) -> Result<(), ReadError> {
        match table {
            Table::Hosts => self.hosts += 1,
            Table::DeniedSerials => self.certificates_denied += 1,
            Table::DeniedIdentities => self.identities_denied += 1,
            Table::Meta if key == meta::HIERARCHY => self.hierarchy = Some(decode(table, content)?),
            _ => {}
        }
        understood(table, key, content)
    }
}

fn next_in_chain(head: &ChainHead, key: &[u8], content: &[u8]) -> Result<ChainHead, SnapshotReadError> {
    let record: AuditRecord = decode(Table::Audit, content)?;
    if record.follows(head) && key == record.seq.to_be_bytes() {
        return Ok(ChainHead { seq: record.seq, hash: record.hash });
    }
    Err(SnapshotReadError::Chain { after: head.seq })
}

/// Whether a row can be read as what its table holds.
fn understood(table: Table, key: &[u8], content: &[u8]) -> Result<(), ReadError> {
    fn as_record<R: FromDisk>(table: Table, content: &[u8]) -> Result<(), ReadError> {
        decode::<R>(table, content).map(|_| ())
    }
    match table {
        Table::Meta => match key {
            meta::SCHEMA => as_record::<u32>(table, content),
            meta::HIERARCHY => as_record::<Hierarchy>(table, content),
            meta::JWT_KEYS => as_record::<JwtKeys>(table, content),
            _ => Ok(()),
        },
        Table::Tenants => as_record::<Tenant>(table, content),
        Table::Hosts => as_record::<StoredHost>(table, content),
        Table::HostsByAgent => as_record::<HostId>(table, content),
        Table::Reports => as_record::<ReportRecord>(table, content),
        Table::Enrollments => as_record::<Enrollment>(table, content),
        Table::LiveKeys => as_record::<Serial>(table, content),
        Table::JoinTokens => as_record::<JoinToken>(table, content),
        Table::EnrollmentSecrets => as_record::<EnrollmentSecret>(table, content),
        Table::DeniedSerials => as_record::<DeniedSerialRecord>(table, content),
        Table::DeniedIdentities => as_record::<Timestamp>(table, content),
        Table::Users => as_record::<User>(table, content),
        Table::UsersByName => as_record::<UserId>(table, content),
        Table::Sessions => as_record::<SessionRecord>(table, content),
        Table::ApiTokens => as_record::<ApiToken>(table, content),
        Table::Webhooks => as_record::<Webhook>(table, content),
        Table::HostEvents | Table::ReportedEvents => as_record::<HostEvent>(table, content),
        Table::EnrollmentsPerDay => as_record::<u64>(table, content),
        Table::OnlineSamples => as_record::<(u32, u32)>(table, content),
        Table::Outages => as_record::<(Timestamp, Timestamp)>(table, content),
        Table::Audit
        | Table::EnrollmentsByHost
        | Table::UsedKeys
        | Table::Returned
        | Table::RecoveryBars
        | Table::Suspended
        | Table::WebhookQueues
        | Table::WebhookEvents
        | Table::Certificates
        | Table::ByTenant
        | Table::OpenJoinTokens
        | Table::AuditByTenant
        | Table::AuditNames => Ok(()),
    }
}
