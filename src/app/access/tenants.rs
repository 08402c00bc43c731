//! Tenants: finding the one that a request means, listing and creating them.

use crate::app::access::caller::Caller;
use crate::app::{App, Unavailable, entropy};
use crate::domain::ids::TenantId;
use crate::domain::insight::audit_action::AuditAction;
use crate::domain::label::Label;
use crate::domain::people::tenant::{DEFAULT_TENANT, Tenant};
use crate::store::{Change, Verdict};

/// What is said of a tenant that is not there, or not for this caller. A constant, because the command line has
/// another hint for it than for what else is not found.
pub const NO_TENANT: &str = "There is no such tenant.";

/// Why no tenant was created.
#[derive(Debug, thiserror::Error)]
pub enum TenantError {
    /// Some tenant has exactly this name.
    #[error("there is a tenant of this name already")]
    Taken,
    /// The store or the machine could not answer; not the caller's fault.
    #[error(transparent)]
    Unavailable(#[from] Unavailable),
}

impl App {
    /// The tenant that a request works in: the caller's own, or for those who see all of them the one asked
    /// for, by its id or its name, else the default one. `None` when it asks for one that is not there, or not for this caller.
    pub fn tenant_for(&self, caller: &Caller, asked: Option<&str>) -> Result<Option<TenantId>, Unavailable> {
        self.query(|view| {
            let asked = match asked {
                None => return caller.tenant().map_or_else(|| view.default_tenant(), Ok).map(Some),
                Some(DEFAULT_TENANT) => Some(view.default_tenant()?),
                Some(text) => match text.parse() {
                    Ok(id) => view.has_tenant(id)?.then_some(id),
                    Err(_) => {
                        let tenants = view.tenants()?;
                        tenants.iter().find(|tenant| tenant.name.as_str() == text).map(|tenant| tenant.id)
                    }
                },
            };
            Ok(asked.filter(|id| caller.tenant().is_none_or(|own| own == *id)))
        })
    }

    /// The tenant that is there from the start, and that is meant where none is named.
    pub fn default_tenant(&self) -> Result<TenantId, Unavailable> {
        self.query(|view| view.default_tenant())
    }

    /// The tenants that a caller may see, in the order of their creation: at most `limit` of those after `after`.
    pub fn tenants(
        &self,
        caller: &Caller,
        after: Option<TenantId>,
        limit: usize,
    ) -> Result<Vec<Tenant>, Unavailable> {
        let mut tenants = self.query(|view| view.tenants())?;
        tenants.retain(|tenant| {
            caller.tenant().is_none_or(|own| own == tenant.id) && after.is_none_or(|after| tenant.id > after)
        });
        tenants.truncate(limit);
        Ok(tenants)
    }

    /// Creates a tenant, which has nothing yet. Its name is unique in the deployment.
    pub async fn create_tenant(&self, caller: &Caller, name: Label) -> Result<Tenant, TenantError> {
        let now = self.clock.now();
        let tenant = Tenant { id: TenantId::new(now, entropy()?), name, created_at: now };
        let mut event = caller.event(AuditAction::TenantCreate, Some(tenant.id), tenant.id);
        event.detail.insert("name", tenant.name.to_string());
        self.decide(move |view, _| {
            if view.tenants()?.iter().any(|other| other.name == tenant.name) {
                return Ok(Verdict::refuse(TenantError::Taken));
            }
            let changes = vec![Change::PutTenant(tenant.clone()), Change::Audit(event)];
            Ok(Verdict::accept(tenant, changes))
        })
        .await
    }
}
