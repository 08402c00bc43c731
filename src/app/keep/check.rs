//! Checking the store, while it serves or not.

use std::sync::Arc;

use crate::app::{App, Unavailable};
pub use crate::store::{CheckedTable, Damage};

impl App {
    /// Reads all of the store and hears of each table that is whole; the first damage ends it.
    pub async fn check(
        self: &Arc<Self>,
        mut report: impl FnMut(CheckedTable) + Send + 'static,
    ) -> Result<Result<(), Damage>, Unavailable> {
        let app = Arc::clone(self);
        self.readers.run(move || app.store.check(app.clock.now(), &mut report)).await
    }
}
