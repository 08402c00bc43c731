//! Rows that belong to somebody: hosts, certificates, credentials, people. Whoever reads one says whose it may be, and
//! somebody else's is not there.

use std::ops::ControlFlow;

use crate::domain::enroll::enrollment::Enrollment;
use crate::domain::enroll::enrollment_secret::EnrollmentSecret;
use crate::domain::enroll::join_token::JoinToken;
use crate::domain::host::Host;
use crate::domain::identity::serial::Serial;
use crate::domain::ids::{CredentialId, HostId, TenantId, UserId};
use crate::domain::insight::timeline::{EventKey, TimelineEntry};
use crate::domain::people::api_token::ApiToken;
use crate::domain::people::user::{User, Username};
use crate::store::ReadError;
use crate::store::by_tenant::{Kind, VisitContent};
use crate::store::record::{
    ApiTokenRecord, EnrollmentRecord, EnrollmentSecretRecord, HostRecord, JoinTokenRecord, ReportRecord,
    UserRecord, decode, user_of,
};
use crate::store::rows::{Span, Table};
use crate::store::view::{View, host_serial_key, page};

/// Whose rows are there.
#[derive(Debug, Clone, Copy)]
enum Owner {
    Anybody,
    /// A tenant; `None`: rows that belong to none.
    Only(Option<TenantId>),
}

/// The rows of one owner, or of all.
#[derive(Debug, Clone, Copy)]
pub struct TenantRows<'r> {
    view: View<'r>,
    owner: Owner,
}

impl<'r> View<'r> {
    /// The rows of one tenant.
    pub const fn tenant(&self, tenant: TenantId) -> TenantRows<'r> {
        TenantRows { view: *self, owner: Owner::Only(Some(tenant)) }
    }

    /// The rows that belong to no tenant: people and API tokens that see all of them.
    pub const fn no_tenant(&self) -> TenantRows<'r> {
        TenantRows { view: *self, owner: Owner::Only(None) }
    }

    /// The rows of all tenants and of none, for what crosses tenants on purpose: a proof that names its own row, or the
    /// deployment's upkeep.
    pub const fn any_tenant(&self) -> TenantRows<'r> {
        TenantRows { view: *self, owner: Owner::Anybody }
    }

    /// The rows that a caller may see who is confined to this tenant; `None`: a caller who sees all of them.
    pub fn within(&self, tenant: Option<TenantId>) -> TenantRows<'r> {
        tenant.map_or_else(|| self.any_tenant(), |tenant| self.tenant(tenant))
    }
}

impl TenantRows<'_> {
    fn has(&self, tenant: Option<TenantId>) -> bool {
        match self.owner {
            Owner::Anybody => true,
            Owner::Only(owner) => owner == tenant,
        }
    }

    pub fn host(&self, id: HostId) -> Result<Option<Host>, ReadError> {
        let Some(record) = self.view.record::<HostRecord>(Table::Hosts, id.as_bytes())? else {
            return Ok(None);
        };
        let revoked_at = self.view.identity_denied(&record.identity())?;
        let report = self.view.record::<ReportRecord>(Table::Reports, id.as_bytes())?;
        Ok(Some(record.with(report, revoked_at)).filter(|host| self.has(Some(host.tenant))))
    }

    /// A host's timeline, newest first, before a given entry: what the server knows and what the agent has
    /// reported, by time.
    pub fn host_events(
        &self,
        host: HostId,
        before: Option<EventKey>,
        limit: usize,
    ) -> Result<Vec<TimelineEntry>, ReadError> {
        // Events do not say whose they are.
        if matches!(self.owner, Owner::Only(_)) && self.host(host)?.is_none() {
            return Ok(Vec::new());
        }
        self.view.host_events(host, before, limit)
    }

    pub fn enrollment(&self, serial: Serial) -> Result<Option<Enrollment>, ReadError> {
        let record: Option<EnrollmentRecord> = self.view.record(Table::Enrollments, serial.as_bytes())?;
        Ok(record.map(Enrollment::from).filter(|enrollment| self.has(Some(enrollment.tenant))))
    }

    /// Enrollments of a host, newest first.
    pub fn enrollments_of(
        &self,
        host: HostId,
        before: Option<Serial>,
        mut visit: impl FnMut(Enrollment) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let table = Table::EnrollmentsByHost;
        let mut span = Span::prefix(host.as_bytes()).newest_first();
        if let Some(serial) = before {
            span.until = Some(host_serial_key(host, serial));
        }
        self.view.rows.scan(table, &span, &mut |key, _| {
            let dangling =
                ReadError::Dangling { table: table.name(), missing_from: Table::Enrollments.name() };
            let Some(serial) = key.last_chunk().map(|bytes| Serial::from_bytes(*bytes)) else {
                return Err(dangling);
            };
            let enrollment = self.view.any_tenant().enrollment(serial)?.ok_or(dangling)?;
            // All certificates of a host belong to its tenant.
            Ok(if self.has(Some(enrollment.tenant)) { visit(enrollment) } else { ControlFlow::Break(()) })
        })
    }

    pub fn join_token(&self, id: CredentialId) -> Result<Option<JoinToken>, ReadError> {
        let record: Option<JoinTokenRecord> = self.view.record(Table::JoinTokens, id.as_bytes())?;
        Ok(record.map(JoinToken::from).filter(|token| self.has(Some(token.tenant))))
    }

    /// Join tokens, newest first.
    pub fn join_tokens(
        &self,
        before: Option<CredentialId>,
        mut visit: impl FnMut(JoinToken) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let before = before.as_ref().map(|id| id.as_bytes().as_slice());
        self.each(Kind::JoinToken, before, true, &mut |content| {
            Ok(visit(decode::<JoinTokenRecord>(Table::JoinTokens, content)?.into()))
        })
    }

    pub fn enrollment_secret(&self, id: CredentialId) -> Result<Option<EnrollmentSecret>, ReadError> {
        let record: Option<EnrollmentSecretRecord> =
            self.view.record(Table::EnrollmentSecrets, id.as_bytes())?;
        Ok(record.map(EnrollmentSecret::from).filter(|secret| self.has(Some(secret.tenant))))
    }

    /// Enrollment secrets, newest first.
    pub fn enrollment_secrets(
        &self,
        before: Option<CredentialId>,
        mut visit: impl FnMut(EnrollmentSecret) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let before = before.as_ref().map(|id| id.as_bytes().as_slice());
        self.each(Kind::EnrollmentSecret, before, true, &mut |content| {
            Ok(visit(decode::<EnrollmentSecretRecord>(Table::EnrollmentSecrets, content)?.into()))
        })
    }

    pub fn api_token(&self, id: CredentialId) -> Result<Option<ApiToken>, ReadError> {
        let record: Option<ApiTokenRecord> = self.view.record(Table::ApiTokens, id.as_bytes())?;
        Ok(record.map(ApiToken::from).filter(|token| self.has(token.tenant)))
    }

    /// API tokens, newest first.
    pub fn api_tokens(
        &self,
        before: Option<CredentialId>,
        mut visit: impl FnMut(ApiToken) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let before = before.as_ref().map(|id| id.as_bytes().as_slice());
        self.each(Kind::ApiToken, before, true, &mut |content| {
            Ok(visit(decode::<ApiTokenRecord>(Table::ApiTokens, content)?.into()))
        })
    }

    pub fn user(&self, id: UserId) -> Result<Option<User>, ReadError> {
        let record: Option<UserRecord> = self.view.record(Table::Users, id.as_bytes())?;
        let user = record.map(user_of).transpose()?;
        Ok(user.filter(|user| self.has(user.tenant)))
    }

    pub fn user_named(&self, name: &Username) -> Result<Option<User>, ReadError> {
        let table = Table::UsersByName;
        let Some(id) = self.view.record::<UserId>(table, name.key().as_bytes())? else {
            return Ok(None);
        };
        let dangling = ReadError::Dangling { table: table.name(), missing_from: Table::Users.name() };
        let user = self.view.any_tenant().user(id)?.ok_or(dangling)?;
        Ok(Some(user).filter(|user| self.has(user.tenant)))
    }

    /// Users in the order of their creation, after a given one.
    pub fn users(
        &self,
        after: Option<UserId>,
        mut visit: impl FnMut(User) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let after = after.as_ref().map(|id| id.as_bytes().as_slice());
        self.each(Kind::User, after, false, &mut |content| {
            Ok(visit(user_of(decode::<UserRecord>(Table::Users, content)?)?))
        })
    }

    /// Rows of a kind, behind the one with an id in the order asked for.
    fn each(
        &self,
        kind: Kind,
        behind: Option<&[u8]>,
        newest_first: bool,
        visit: VisitContent<'_>,
    ) -> Result<(), ReadError> {
        match self.owner {
            Owner::Only(tenant) => self.view.indexed(kind, tenant, behind, newest_first, visit),
            Owner::Anybody => {
                self.view
                    .rows
                    .scan(kind.table(), &page(behind, newest_first), &mut |_, content| visit(content))
            }
        }
    }
}
