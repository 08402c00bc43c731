//! Rows by tenant: indexes that lead from a tenant to its own credentials, people and audit records, so that a list
//! of one tenant never walks what others have, and its audit records are counted in the tenant.

use std::ops::ControlFlow;

use jiff::Timestamp;

use super::ReadError;
use super::apply::Batch;
use super::record::decode;
use super::rows::{Rows, Span, Table};
use super::view::View;
use crate::domain::enroll::enrollment_secret::EnrollmentSecret;
use crate::domain::enroll::join_token::JoinToken;
use crate::domain::ids::{CredentialId, HostId, TenantId};
use crate::domain::insight::audit::AuditRecord;
use crate::domain::people::api_token::ApiToken;
use crate::domain::people::user::User;

/// Expired entries of the index of open join tokens that go with each new token.
const SWEPT_AT_ONCE: usize = 16;

/// What a row of [`Table::ByTenant`] leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    JoinToken = 1,
    EnrollmentSecret = 2,
    ApiToken = 3,
    User = 4,
}

impl Kind {
    const ALL: [Self; 4] = [Self::JoinToken, Self::EnrollmentSecret, Self::ApiToken, Self::User];

    pub(super) const fn table(self) -> Table {
        match self {
            Self::JoinToken => Table::JoinTokens,
            Self::EnrollmentSecret => Table::EnrollmentSecrets,
            Self::ApiToken => Table::ApiTokens,
            Self::User => Table::Users,
        }
    }

    /// Whose a row is. All of it is read: nothing may lead to a row that nobody could read then.
    fn owner(self, content: &[u8]) -> Result<Option<TenantId>, ReadError> {
        let table = self.table();
        Ok(match self {
            Self::JoinToken => Some(decode::<JoinToken>(table, content)?.tenant),
            Self::EnrollmentSecret => Some(decode::<EnrollmentSecret>(table, content)?.tenant),
            Self::ApiToken => decode::<ApiToken>(table, content)?.tenant,
            Self::User => decode::<User>(table, content)?.tenant,
        })
    }

    fn of(octet: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == octet)
    }
}

/// What belongs to no tenant stands under an id that no tenant has.
const NO_TENANT: [u8; 16] = [0; 16];

fn prefix(kind: Kind, tenant: Option<TenantId>) -> Vec<u8> {
    let tenant = tenant.as_ref().map_or(&NO_TENANT, TenantId::as_bytes);
    [&[kind as u8], tenant.as_slice()].concat()
}

fn key(kind: Kind, tenant: Option<TenantId>, id: &[u8]) -> Vec<u8> {
    [prefix(kind, tenant).as_slice(), id].concat()
}

/// Where a join token stands as long as it is neither used nor voided, by the moment when it expires.
fn open_key(token: &JoinToken) -> Vec<u8> {
    let end = millis(token.expires_at);
    [token.tenant.as_bytes().as_slice(), &end, token.id.as_bytes()].concat()
}

fn millis(at: Timestamp) -> [u8; 8] {
    u64::try_from(at.as_millisecond()).unwrap_or(0).to_be_bytes()
}

const fn is_open(token: &JoinToken) -> bool {
    token.used_at.is_none() && token.voided_at.is_none()
}

fn audit_key(tenant: TenantId, seq: u64) -> Vec<u8> {
    [tenant.as_bytes().as_slice(), &seq.to_be_bytes()].concat()
}

/// The number that ends a key.
fn last_number(key: &[u8]) -> Option<u64> {
    key.last_chunk().map(|octets| u64::from_be_bytes(*octets))
}

/// An audit record with its number among those of its tenant.
#[derive(Debug, Clone)]
pub struct Numbered {
    /// As it stands in the chain, with its number among the records of everybody.
    pub record: AuditRecord,
    /// Counted from 1 in the order of the chain, so that it tells nothing of what other tenants do.
    pub in_tenant: u64,
}

/// What is done with the content of each row of a kind.
pub(super) type VisitContent<'v> = &'v mut dyn FnMut(&[u8]) -> Result<ControlFlow<()>, ReadError>;

impl View<'_> {
    /// Rows of a kind that belong to a tenant, or to none, behind the one with an id in the order asked for.
    pub(super) fn indexed(
        &self,
        kind: Kind,
        tenant: Option<TenantId>,
        behind: Option<&[u8]>,
        newest_first: bool,
        visit: VisitContent<'_>,
    ) -> Result<(), ReadError> {
        let prefix = prefix(kind, tenant);
        let behind = behind.map(|id| [prefix.as_slice(), id].concat());
        let span = Span::prefix(&prefix).behind(behind, newest_first);
        let table = kind.table();
        self.rows.scan(Table::ByTenant, &span, &mut |key, _| {
            let id = key.get(prefix.len()..).unwrap_or_default();
            visit(&self.rows.get(table, id)?.ok_or(Table::ByTenant.dangling(table))?)
        })
    }

    /// How many of a tenant's join tokens are open; whoever asks for no more than `enough` gets no more.
    pub fn open_join_tokens(
        &self,
        tenant: TenantId,
        now: Timestamp,
        enough: usize,
    ) -> Result<usize, ReadError> {
        let mut span = Span::prefix(tenant.as_bytes());
        // What has expired by now stands before that.
        span.from.extend(millis(now));
        span.from.extend([u8::MAX; 10]);
        self.rows.count(Table::OpenJoinTokens, &span, enough)
    }

    /// Audit records of a tenant, behind the one with this number among them in the order asked for.
    pub fn audit_of(
        &self,
        tenant: TenantId,
        behind: Option<u64>,
        newest_first: bool,
        mut visit: impl FnMut(Numbered) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let behind = behind.map(|number| audit_key(tenant, number));
        let span = Span::prefix(tenant.as_bytes()).behind(behind, newest_first);
        self.rows.scan(Table::AuditByTenant, &span, &mut |key, content| {
            let dangling = || Table::AuditByTenant.dangling(Table::Audit);
            let in_tenant = last_number(key).ok_or_else(dangling)?;
            let seq = last_number(content).ok_or_else(dangling)?;
            let record = self.audit_record(seq)?.ok_or_else(dangling)?;
            Ok(visit(Numbered { record, in_tenant }))
        })
    }

    /// The number of a tenant's newest audit record among them; 0 when there is none.
    pub fn audit_end_of(&self, tenant: TenantId) -> Result<u64, ReadError> {
        let mut end = 0;
        let newest_first = Span::prefix(tenant.as_bytes()).newest_first();
        self.rows.scan(Table::AuditByTenant, &newest_first, &mut |key, _| {
            end = last_number(key).unwrap_or(0);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(end)
    }

    /// What is wrong with a row of one of the indexes, if anything.
    pub(crate) fn index_finding(
        &self,
        table: Table,
        key: &[u8],
        content: &[u8],
    ) -> Result<Result<(), &'static str>, ReadError> {
        let leads_there = match table {
            Table::ByTenant => {
                let kind = key.first().and_then(|octet| Kind::of(*octet));
                let id = key.get(1 + NO_TENANT.len()..).unwrap_or_default();
                let row = kind.map(|kind| self.rows.get(kind.table(), id)).transpose()?.flatten();
                match kind.zip(row) {
                    Some((kind, row)) => super::by_tenant::key(kind, kind.owner(&row)?, id) == key,
                    None => false,
                }
            }
            Table::OpenJoinTokens => {
                let id = key.last_chunk().map(|id| CredentialId::from_bytes(*id));
                let token = id.map(|id| self.any_tenant().join_token(id)).transpose()?.flatten();
                token.is_some_and(|token| is_open(&token) && open_key(&token) == key)
            }
            Table::AuditByTenant => {
                let record = last_number(content).map(|seq| self.audit_record(seq)).transpose()?.flatten();
                let tenant = record.and_then(|record| tenant_of_record(&record));
                tenant.is_some_and(|tenant| key.starts_with(tenant.as_bytes()))
            }
            Table::AuditNames => {
                last_number(key).map(|seq| self.audit_record(seq)).transpose()?.flatten().is_some()
            }
            _ => true,
        };
        Ok(if leads_there { Ok(()) } else { Err("the index names another row, or none") })
    }
}

fn tenant_of_record(record: &AuditRecord) -> Option<TenantId> {
    record.tenant_id.as_ref()?.parse().ok()
}

impl Batch {
    /// Notes whose a row is.
    pub(super) fn index(&mut self, kind: Kind, tenant: Option<TenantId>, id: &[u8]) -> Result<(), ReadError> {
        self.insert(Table::ByTenant, &key(kind, tenant, id), &[])
    }

    /// Notes whose a join token is, and whether it is open.
    pub(crate) fn index_join_token(&mut self, token: &JoinToken, now: Timestamp) -> Result<(), ReadError> {
        self.index(Kind::JoinToken, Some(token.tenant), token.id.as_bytes())?;
        if !is_open(token) {
            return self.remove(Table::OpenJoinTokens, &open_key(token));
        }
        self.insert(Table::OpenJoinTokens, &open_key(token), &[])?;
        self.sweep_open_join_tokens(token.tenant, now)
    }

    /// Drops some of the entries of tokens that have expired: for each that comes, more than one goes.
    fn sweep_open_join_tokens(&mut self, tenant: TenantId, now: Timestamp) -> Result<(), ReadError> {
        let mut span = Span::prefix(tenant.as_bytes());
        span.until = Some([tenant.as_bytes().as_slice(), &millis(now)].concat());
        let mut expired = Vec::new();
        self.scan(Table::OpenJoinTokens, &span, &mut |key, _| {
            expired.push(key.to_vec());
            let enough = expired.len() >= SWEPT_AT_ONCE;
            Ok(if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        })?;
        expired.iter().try_for_each(|key| self.remove(Table::OpenJoinTokens, key))
    }

    /// To be called before the token goes.
    pub(crate) fn forget_api_token(&mut self, id: CredentialId) -> Result<(), ReadError> {
        match View::new(self).any_tenant().api_token(id)? {
            Some(token) => self.remove(Table::ByTenant, &key(Kind::ApiToken, token.tenant, id.as_bytes())),
            None => Ok(()),
        }
    }

    /// To be called before the row is written, because a person may come to another tenant.
    pub(crate) fn index_user(&mut self, user: &User) -> Result<(), ReadError> {
        let before =
            View::new(self).any_tenant().user(user.id)?.filter(|before| before.tenant != user.tenant);
        if let Some(before) = before {
            self.remove(Table::ByTenant, &key(Kind::User, before.tenant, before.id.as_bytes()))?;
        }
        self.index(Kind::User, user.tenant, user.id.as_bytes())
    }

    /// Gives an audit record its number in its tenant, and notes whose names it has.
    pub(crate) fn index_audit(
        &mut self,
        record: &AuditRecord,
        host: Option<HostId>,
    ) -> Result<(), ReadError> {
        if let Some(tenant) = tenant_of_record(record) {
            let in_tenant = View::new(self).audit_end_of(tenant)? + 1;
            let key = audit_key(tenant, in_tenant);
            self.insert(Table::AuditByTenant, &key, &record.seq.to_be_bytes())?;
        }
        if let Some(host) = host {
            let key = [host.as_bytes().as_slice(), &record.seq.to_be_bytes()].concat();
            self.insert(Table::AuditNames, &key, &[])?;
        }
        Ok(())
    }

    /// Destroys a host's names in the audit trail. The chain covers their salted hashes, which stay.
    pub(crate) fn destroy_names(&mut self, host: HostId) -> Result<(), ReadError> {
        for key in self.keys(Table::AuditNames, &Span::prefix(host.as_bytes()))? {
            let seq = last_number(&key).unwrap_or(0);
            if let Some(mut record) = View::new(self).audit_record(seq)? {
                for name in record.names.values_mut() {
                    name.destroy();
                }
                self.put(Table::Audit, &seq.to_be_bytes(), &record)?;
            }
            self.remove(Table::AuditNames, &key)?;
        }
        Ok(())
    }

    /// Builds the indexes of a store that has none.
    pub(crate) fn index_everything(&mut self) -> Result<(), ReadError> {
        for kind in Kind::ALL {
            let mut keys = Vec::new();
            self.each(kind.table(), &Span::all(), &mut |id, content| {
                keys.push(key(kind, kind.owner(content)?, id));
                Ok(())
            })?;
            keys.iter().try_for_each(|key| self.insert(Table::ByTenant, key, &[]))?;
        }
        let mut open = Vec::new();
        self.each(Table::JoinTokens, &Span::all(), &mut |_, content| {
            let token = decode(Table::JoinTokens, content)?;
            open.extend(is_open(&token).then(|| open_key(&token)));
            Ok(())
        })?;
        open.iter().try_for_each(|key| self.insert(Table::OpenJoinTokens, key, &[]))?;
        self.number_audit()
    }

    /// Numbers every audit record in its tenant.
    fn number_audit(&mut self) -> Result<(), ReadError> {
        let mut numbers = std::collections::HashMap::<TenantId, u64>::new();
        let mut rows = Vec::new();
        self.each(Table::Audit, &Span::all(), &mut |_, content| {
            let record: AuditRecord = decode(Table::Audit, content)?;
            if let Some(tenant) = tenant_of_record(&record) {
                let number = numbers.entry(tenant).or_default();
                *number += 1;
                rows.push((audit_key(tenant, *number), record.seq.to_be_bytes()));
            }
            Ok(())
        })?;
        rows.iter().try_for_each(|(key, seq)| self.insert(Table::AuditByTenant, key, seq))
    }
}

#[cfg(test)]
mod tests {
    use redb::ReadableDatabase;

    use super::*;
    use crate::domain::enroll::credential::{Credential, CredentialKind};
    use crate::store::change::Change;
    use crate::store::layers::snapshot::Snapshot;
    use crate::store::opening::open;
    use crate::store::view::tenant::TenantRows;

    fn token(number: u8, tenant: TenantId, end: i64) -> JoinToken {
        let id = CredentialId::from_bytes([number; 10]);
        JoinToken {
            id,
            hash: Credential::new(CredentialKind::JoinToken, id, zeroize::Zeroizing::new([1; 32])).hash(),
            tenant,
            agent: None,
            name: None,
            created_at: Timestamp::UNIX_EPOCH,
            expires_at: Timestamp::from_second(end).unwrap(),
            used_at: None,
            voided_at: None,
            tags: std::collections::BTreeSet::new(),
        }
    }

    #[test]
    fn a_row_of_another_tenant_is_not_there() {
        let database =
            redb::Builder::new().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        open::initialise(&database, Timestamp::UNIX_EPOCH).unwrap();
        let [own, other] = [1, 2].map(|octet| TenantId::from_bytes([octet; 16]));
        let api_token = |number: u8, tenant| {
            let id = CredentialId::from_bytes([number; 10]);
            Change::PutApiToken(ApiToken {
                id,
                hash: Credential::new(CredentialKind::ApiToken, id, zeroize::Zeroizing::new([1; 32])).hash(),
                name: "ci".parse().unwrap(),
                permissions: std::collections::BTreeSet::new(),
                tenant,
                maker: crate::domain::people::api_token::Maker::Local,
                parent: None,
                created_at: Timestamp::UNIX_EPOCH,
                expires_at: None,
            })
        };
        let join_token = Change::PutJoinToken(token(1, own, 100));
        let mut changes = [join_token, api_token(2, Some(own)), api_token(3, None)].into_iter();
        let now = Timestamp::UNIX_EPOCH;
        open::write(&database, |batch| changes.try_for_each(|change| batch.apply(change, now))).unwrap();
        let snapshot = Snapshot::of_file(database.begin_read().unwrap());
        let view = View::new(&snapshot);
        let check = |rows: TenantRows<'_>, expected: [bool; 3]| {
            let [join, own, nobodys] = [1, 2, 3].map(|number| CredentialId::from_bytes([number; 10]));
            let api = |id| rows.api_token(id).unwrap().is_some();
            assert_eq!(
                [rows.join_token(join).unwrap().is_some(), api(own), api(nobodys)],
                expected,
                "{rows:?}"
            );
            let mut listed = Vec::new();
            let list = rows.api_tokens(None, |token| {
                listed.push(token.id);
                ControlFlow::Continue(())
            });
            list.unwrap();
            assert_eq!([listed.contains(&own), listed.contains(&nobodys)], expected[1..], "{rows:?}");
        };
        check(view.tenant(own), [true, true, false]);
        check(view.tenant(other), [false, false, false]);
        check(view.no_tenant(), [false, false, true]);
        check(view.any_tenant(), [true, true, true]);
        check(view.within(Some(own)), [true, true, false]);
        check(view.within(None), [true, true, true]);
    }

    #[test]
    fn a_list_of_one_tenant_never_comes_across_what_others_have() {
        let database =
            redb::Builder::new().create_with_backend(redb::backends::InMemoryBackend::new()).unwrap();
        open::initialise(&database, Timestamp::UNIX_EPOCH).unwrap();
        let [own, other] = [1, 2].map(|octet| TenantId::from_bytes([octet; 16]));
        let write = |changes: Vec<Change>, now: Timestamp| {
            let mut changes = changes.into_iter();
            open::write(&database, |batch| changes.try_for_each(|change| batch.apply(change, now))).unwrap();
        };
        let at = |second| Timestamp::from_second(second).unwrap();
        let puts = [(1, own, 100), (2, other, 100), (3, own, 200), (4, other, 100), (5, own, 300)];
        write(puts.map(|(n, tenant, end)| Change::PutJoinToken(token(n, tenant, end))).into(), at(0));
        let void = JoinToken { voided_at: Some(at(1)), ..token(5, own, 300) };
        write(vec![Change::PutJoinToken(void)], at(1));
        // Whoever reads a row of the other tenant finds it damaged.
        let transaction = database.begin_write().unwrap();
        for number in [2, 4] {
            let mut table = transaction.open_table(Table::JoinTokens.definition()).unwrap();
            table.insert([number; 10].as_slice(), b"damaged!".as_slice()).unwrap();
        }
        transaction.commit().unwrap();
        let snapshot = Snapshot::of_file(database.begin_read().unwrap());
        let view = View::new(&snapshot);
        let list = |tenant, before| {
            let mut ids = Vec::new();
            let listed = view.tenant(tenant).join_tokens(before, |token| {
                ids.push(token.id.as_bytes()[0]);
                ControlFlow::Continue(())
            });
            listed.map(|()| ids)
        };
        assert_eq!(list(own, None).unwrap(), [5, 3, 1]);
        assert_eq!(list(own, Some(CredentialId::from_bytes([3; 10]))).unwrap(), [1]);
        assert!(list(other, None).is_err());
        let open = |tenant, second, enough| view.open_join_tokens(tenant, at(second), enough).unwrap();
        assert_eq!((open(own, 0, 9), open(own, 99, 9), open(own, 100, 9), open(own, 200, 9)), (2, 2, 1, 0));
        assert_eq!((open(other, 0, 9), open(other, 0, 1)), (2, 1), "enough is enough");
    }
}
