//! Tenants: walls inside one deployment.

use jiff::Timestamp;

use super::ids::TenantId;
use super::label::Label;

/// A tenant's row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tenant {
    pub id: TenantId,
    pub name: Label,
    pub created_at: Timestamp,
}

/// The name of the tenant that exists from the start.
pub const DEFAULT_TENANT: &str = "default";
