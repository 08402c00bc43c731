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
use crate::store::by_tenant::Kind;
use crate::store::record::{FromDisk, ReportRecord, StoredHost, decode};
use crate::store::rows::{Span, Table};
use crate::store::view::{View, host_serial_key};

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

    /// With its last saved report laid over its row, and whether its identity is denied.
    pub fn host(&self, id: HostId) -> Result<Option<Host>, ReadError> {
        let host: Option<StoredHost> = self.view.record(Table::Hosts, id.as_bytes())?;
        let host = host.map(|host| (host.identity(), host));
        let Some((identity, host)) = host.filter(|(identity, _)| self.has(Some(identity.tenant))) else {
            return Ok(None);
        };
        let revoked_at = self.view.identity_denied(&identity)?;
        let report: Option<ReportRecord> = self.view.record(Table::Reports, id.as_bytes())?;
        Ok(Some(host.overlaid(report, revoked_at)))
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

    /// What the registry says of a certificate, expired and revoked ones included.
    pub fn enrollment(&self, serial: Serial) -> Result<Option<Enrollment>, ReadError> {
        let found: Option<Enrollment> = self.view.record(Table::Enrollments, serial.as_bytes())?;
        Ok(found.filter(|enrollment| self.has(Some(enrollment.tenant))))
    }

    /// Enrollments of a host, newest first.
    pub fn enrollments_of(
        &self,
        host: HostId,
        before: Option<Serial>,
        mut visit: impl FnMut(Enrollment) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let before = before.map(|serial| host_serial_key(host, serial));
        let span = Span::prefix(host.as_bytes()).behind(before, true);
        self.view.rows.scan(Table::EnrollmentsByHost, &span, &mut |key, _| {
            let dangling = || Table::EnrollmentsByHost.dangling(Table::Enrollments);
            let serial = Serial::from_bytes(*key.last_chunk().ok_or_else(dangling)?);
            let enrollment = self.view.any_tenant().enrollment(serial)?.ok_or_else(dangling)?;
            // All certificates of a host belong to its tenant.
            Ok(if self.has(Some(enrollment.tenant)) { visit(enrollment) } else { ControlFlow::Break(()) })
        })
    }

    /// In whatever state; the id alone proves nothing.
    pub fn join_token(&self, id: CredentialId) -> Result<Option<JoinToken>, ReadError> {
        let found: Option<JoinToken> = self.view.record(Table::JoinTokens, id.as_bytes())?;
        Ok(found.filter(|token| self.has(Some(token.tenant))))
    }

    /// Join tokens, newest first.
    pub fn join_tokens(
        &self,
        before: Option<CredentialId>,
        visit: impl FnMut(JoinToken) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        self.each(Kind::JoinToken, before.as_ref().map(CredentialId::as_bytes), true, visit)
    }

    /// In whatever state; the id alone proves nothing.
    pub fn enrollment_secret(&self, id: CredentialId) -> Result<Option<EnrollmentSecret>, ReadError> {
        let found: Option<EnrollmentSecret> = self.view.record(Table::EnrollmentSecrets, id.as_bytes())?;
        Ok(found.filter(|secret| self.has(Some(secret.tenant))))
    }

    /// Enrollment secrets, newest first.
    pub fn enrollment_secrets(
        &self,
        before: Option<CredentialId>,
        visit: impl FnMut(EnrollmentSecret) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        self.each(Kind::EnrollmentSecret, before.as_ref().map(CredentialId::as_bytes), true, visit)
    }

    /// One that is on record, be it expired; those that were revoked are gone.
    pub fn api_token(&self, id: CredentialId) -> Result<Option<ApiToken>, ReadError> {
        let found: Option<ApiToken> = self.view.record(Table::ApiTokens, id.as_bytes())?;
        Ok(found.filter(|token| self.has(token.tenant)))
    }

    /// API tokens, newest first.
    pub fn api_tokens(
        &self,
        before: Option<CredentialId>,
        visit: impl FnMut(ApiToken) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        self.each(Kind::ApiToken, before.as_ref().map(CredentialId::as_bytes), true, visit)
    }

    /// A person, disabled or not.
    pub fn user(&self, id: UserId) -> Result<Option<User>, ReadError> {
        let found: Option<User> = self.view.record(Table::Users, id.as_bytes())?;
        Ok(found.filter(|user| self.has(user.tenant)))
    }

    /// The person who signs in with this name, whatever its case.
    pub fn user_named(&self, name: &Username) -> Result<Option<User>, ReadError> {
        let table = Table::UsersByName;
        let Some(id) = self.view.record(table, name.key().as_bytes())? else { return Ok(None) };
        let user = self.view.any_tenant().user(id)?.ok_or(table.dangling(Table::Users))?;
        Ok(Some(user).filter(|user| self.has(user.tenant)))
    }

    /// Users in the order of their creation, after a given one.
    pub fn users(
        &self,
        after: Option<UserId>,
        visit: impl FnMut(User) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        self.each(Kind::User, after.as_ref().map(UserId::as_bytes), false, visit)
    }

    /// Rows of a kind, behind the one with an id in the order asked for.
    fn each<R: FromDisk>(
        &self,
        kind: Kind,
        behind: Option<&impl AsRef<[u8]>>,
        newest_first: bool,
        mut visit: impl FnMut(R) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let behind = behind.map(AsRef::as_ref);
        let mut visit = |content: &[u8]| Ok(visit(decode(kind.table(), content)?));
        match self.owner {
            Owner::Only(tenant) => self.view.indexed(kind, tenant, behind, newest_first, &mut visit),
            Owner::Anybody => {
                let span = Span::all().behind(behind.map(<[u8]>::to_vec), newest_first);
                self.view.rows.scan(kind.table(), &span, &mut |_, content| visit(content))
            }
        }
    }
}
