//! Tables and rows as bytes: the one list of tables, and the checksum that every record carries.
//!
//! redb does not verify page checksums when it reads, so a flipped bit would come back as data. Every value
//! therefore starts with eight octets of SHA-256 over its table, key and content.

use std::ops::{Bound, ControlFlow};

use redb::{ReadableTable, TableDefinition};

use super::ReadError;
use crate::domain::sha256::sha256;

/// Declares the tables once; opening, migration, backup and checks all walk the same list.
macro_rules! tables {
    ($(#[$of:meta])* pub(crate) enum $tables:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$of])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub(crate) enum $tables {
            $($(#[$doc])* $variant,)*
        }

        impl $tables {
            pub(crate) const ALL: &'static [Self] = &[$(Self::$variant,)*];

            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }
        }
    };
}

tables! {
    /// A table. Keys and values are bytes; names carry the version of their records.
    pub(crate) enum Table {
        /// text → schema version, trust domain and other single facts
        Meta = "meta_v1",
        /// tenant id → tenant
        Tenants = "tenants_v1",
        /// host id → host
        Hosts = "hosts_v1",
        /// tenant id, agent id → host id
        HostsByAgent = "hosts_by_agent_v1",
        /// host id → last report
        Reports = "reports_v1",
        /// serial → enrollment
        Enrollments = "enrollments_v1",
        /// host id, serial → SPKI hash
        EnrollmentsByHost = "enrollments_by_host_v1",
        /// serial → certificate DER, kept while the certificate can still be presented
        Certificates = "certificates_v1",
        /// host id, number → eight octets each of the hashes of keys whose enrollments retention has taken
        UsedKeys = "used_keys_v1",
        /// SPKI hash → serial of the unexpired certificate that holds the key
        LiveKeys = "live_keys_v1",
        /// credential id → join token
        JoinTokens = "join_tokens_v1",
        /// credential id → enrollment secret
        EnrollmentSecrets = "enrollment_secrets_v1",
        /// serial → last valid second, since when and why
        DeniedSerials = "denied_serials_v1",
        /// tenant id, agent id → since when
        DeniedIdentities = "denied_identities_v1",
        /// user id → user
        Users = "users_v1",
        /// username → user id
        UsersByName = "users_by_name_v1",
        /// hash of a session's token → session
        Sessions = "sessions_v1",
        /// credential id → API token
        ApiTokens = "api_tokens_v1",
        /// webhook id → webhook
        Webhooks = "webhooks_v1",
        /// webhook id → how its queue stands
        WebhookQueues = "webhook_queues_v1",
        /// webhook id, number → event that waits
        WebhookEvents = "webhook_events_v1",
        /// host id, event key → entry of the host's timeline
        HostEvents = "host_events_v1",
        /// host id, event key → entry that the host's agent has reported; apart, so that it never displaces the others
        ReportedEvents = "reported_events_v1",
        /// tenant id, day → enrollments on that day
        EnrollmentsPerDay = "enrollments_per_day_v1",
        /// tenant id, five minutes → how many of its hosts were online, and how many it had
        OnlineSamples = "online_samples_v1",
        /// start of an outage (Unix milliseconds) → its end
        Outages = "outages_v1",
        /// host id, serial → when the store was restored: SVIDs with which hosts got certificates in a restore epoch
        Returned = "returned_v1",
        /// tenant id, agent id → which SVIDs that are on no record never come back
        RecoveryBars = "recovery_bars_v1",
        /// kind, id → since when a credential or a password is suspended
        Suspended = "suspended_v1",
        /// sequence number → audit record
        Audit = "audit_v1",
        /// kind, tenant id (zeros: none), id → nothing: which credentials and people a tenant has
        ByTenant = "by_tenant_v1",
        /// tenant id, end (Unix milliseconds), credential id → nothing: join tokens that are neither used nor voided
        OpenJoinTokens = "open_join_tokens_v1",
        /// tenant id, number among its audit records → sequence number
        AuditByTenant = "audit_by_tenant_v1",
        /// host id, sequence number → nothing: audit records that have a host's name
        AuditNames = "audit_names_v1",
    }
}

impl Table {
    pub(crate) const fn definition(self) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
        TableDefinition::new(self.name())
    }

    pub(crate) fn error(self, error: impl Into<redb::Error>) -> ReadError {
        ReadError::Table { table: self.name(), source: Box::new(error.into()) }
    }

    pub(crate) const fn damaged(self) -> ReadError {
        ReadError::Checksum { table: self.name() }
    }

    /// A row leads to one of another table that is not there.
    pub(crate) const fn dangling(self, missing_from: Self) -> ReadError {
        ReadError::Dangling { table: self.name(), missing_from: missing_from.name() }
    }

    /// The id that a key of this table is.
    pub(crate) fn id<const N: usize, T: From<[u8; N]>>(self, key: &[u8]) -> Result<T, ReadError> {
        <[u8; N]>::try_from(key).map(T::from).map_err(|_| self.damaged())
    }
}

const CHECKSUM: usize = 8;

fn checksum(table: Table, key: &[u8], content: &[u8]) -> [u8; CHECKSUM] {
    let length = u32::try_from(key.len()).unwrap_or(u32::MAX).to_be_bytes();
    let whole = sha256(&[table.name().as_bytes(), &[0], &length, key, content]);
    let mut sum = [0; CHECKSUM];
    sum.copy_from_slice(&whole[..CHECKSUM]);
    sum
}

/// A value as it goes to disk.
pub(crate) fn protect(table: Table, key: &[u8], content: &[u8]) -> Vec<u8> {
    [checksum(table, key, content).as_slice(), content].concat()
}

/// The content of a value that was made or proved by this process.
pub(crate) fn content(value: &[u8]) -> &[u8] {
    value.get(CHECKSUM..).unwrap_or_default()
}

/// The content of a value read from disk, if it is what was written.
pub(crate) fn verified<'a>(table: Table, key: &[u8], value: &'a [u8]) -> Result<&'a [u8], ReadError> {
    let (sum, content) = value.split_at_checked(CHECKSUM).ok_or(table.damaged())?;
    if sum == checksum(table, key, content) { Ok(content) } else { Err(table.damaged()) }
}

/// What a scan does with each row.
pub(crate) type Visit<'v> = &'v mut dyn FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>, ReadError>;

/// The same where it never stops by itself.
pub(crate) type VisitAll<'v> = &'v mut dyn FnMut(&[u8], &[u8]) -> Result<(), ReadError>;

/// Which rows to scan: keys from `from` (inclusive) up to `until` (exclusive).
#[derive(Debug, Clone)]
pub(crate) struct Span {
    pub from: Vec<u8>,
    pub until: Option<Vec<u8>>,
    pub newest_first: bool,
}

impl Span {
    pub(crate) fn all() -> Self {
        Self { from: Vec::new(), until: None, newest_first: false }
    }

    /// Every key that starts with `prefix`.
    pub(crate) fn prefix(prefix: &[u8]) -> Self {
        Self { from: prefix.to_vec(), until: after_prefix(prefix), newest_first: false }
    }

    pub(crate) fn newest_first(self) -> Self {
        Self { newest_first: true, ..self }
    }

    /// Where it ends; `None` when it has no keys.
    pub(crate) fn end(&self) -> Option<Bound<&[u8]>> {
        match &self.until {
            Some(until) if *until <= self.from => None,
            Some(until) => Some(Bound::Excluded(until)),
            None => Some(Bound::Unbounded),
        }
    }

    /// The part that a page of a list covers: behind a key of the span, in the list's direction.
    pub(crate) fn behind(mut self, key: Option<Vec<u8>>, newest_first: bool) -> Self {
        self.newest_first = newest_first;
        match key {
            Some(key) if newest_first => self.until = Some(key),
            // The next possible key: the same octets with a zero behind them.
            Some(key) => self.from = [key, vec![0]].concat(),
            None => {}
        }
        self
    }
}

/// The first key after all keys that start with `prefix`; `None` when there is no such key.
fn after_prefix(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut next = prefix.to_vec();
    while let Some(last) = next.pop() {
        if last < u8::MAX {
            next.push(last + 1);
            return Some(next);
        }
    }
    None
}

/// Rows that can be read: a snapshot, or what a batch of decisions has made of one.
pub(crate) trait Rows {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError>;
    fn scan(&self, table: Table, span: &Span, visit: Visit<'_>) -> Result<(), ReadError>;
    /// Scans to the end of the span.
    fn each(&self, table: Table, span: &Span, visit: VisitAll<'_>) -> Result<(), ReadError> {
        self.scan(table, span, &mut |key, content| visit(key, content).map(ControlFlow::Continue))
    }
    /// The highest key, without a look at its value.
    fn last_key(&self, table: Table) -> Result<Option<Vec<u8>>, ReadError>;
    /// How many rows there are, up to `enough`, without a look at their values.
    fn count(&self, table: Table, span: &Span, enough: usize) -> Result<usize, ReadError>;
}

/// Rows of a table, one after the other.
type Range<'t> = redb::Range<'t, &'static [u8], &'static [u8]>;

/// The rows of a span in the file; `None` when it can't have any.
pub(crate) fn range<'t>(
    table: Table,
    open: &'t impl ReadableTable<&'static [u8], &'static [u8]>,
    span: &Span,
) -> Result<Option<Range<'t>>, ReadError> {
    let from = span.from.as_slice();
    let range = match &span.until {
        Some(until) if until.as_slice() <= from => return Ok(None),
        Some(until) => open.range(from..until.as_slice()),
        None => open.range(from..),
    };
    range.map(Some).map_err(|e| table.error(e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_is_noticed_anywhere() {
        let value = protect(Table::Hosts, b"key", b"content");
        assert!(verified(Table::Hosts, b"key", &value).is_ok());
        assert!(verified(Table::Hosts, b"kez", &value).is_err(), "a value under another key");
        assert!(verified(Table::Tenants, b"key", &value).is_err(), "a value in another table");
        for bit in 0..value.len() * 8 {
            let mut damaged = value.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(verified(Table::Hosts, b"key", &damaged).is_err(), "bit {bit}");
        }
        for length in 0..value.len() {
            assert!(verified(Table::Hosts, b"key", &value[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn prefixes_end_where_the_next_one_starts() {
        let cases: [(&[u8], Option<&[u8]>); 4] =
            [(b"a", Some(b"b")), (b"a\xff", Some(b"b")), (b"\xff\xff", None), (b"", None)];
        for (prefix, expected) in cases {
            assert_eq!(after_prefix(prefix).as_deref(), expected, "{prefix:?}");
        }
    }
}
