//! Tenants: finding the one that a request means.

use super::{App, Unavailable};
use crate::domain::ids::TenantId;
use crate::domain::tenant::DEFAULT_TENANT;

impl App {
    /// The tenant with this id; the default one when nothing, or its name, is asked for.
    pub fn find_tenant(&self, asked: Option<&str>) -> Result<Option<TenantId>, Unavailable> {
        let found = self.store.read(|view| match asked {
            None | Some(DEFAULT_TENANT) => view.default_tenant().map(Some),
            Some(text) => match text.parse() {
                Ok(id) => Ok(view.tenant(id)?.map(|tenant| tenant.id)),
                Err(_) => Ok(None),
            },
        });
        Ok(found?)
    }

    pub fn default_tenant(&self) -> Result<TenantId, Unavailable> {
        Ok(self.store.read(|view| view.default_tenant())?)
    }
}
