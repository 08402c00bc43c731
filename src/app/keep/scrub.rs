//! Scrubbing: all of the store is read again and again behind what else is done, so that damage is known before the record is
//! needed. A start proves only what nobody may be served without.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::app::{App, Unavailable};
use crate::clock;
use crate::domain::insight::finding::{Finding, Severity};
use crate::domain::insight::finding_code::FindingCode;
use crate::error_chain::chain;
pub use crate::store::CheckedTable;
use crate::store::{Damage, ReadError, Store};

/// Rows that are read from one snapshot.
const STEP: usize = 2_000;
/// How many times as long as a step took it rests after it.
const RESTS: u32 = 3;
/// How long it waits for a store that is being opened anew.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// Smaller files are left as they are.
const COMPACTED_FROM: u64 = 64 << 20;
/// How large a compacted file is, in percent of the octets of its rows: leaves are not full, and there are pages above them.
const FILE_PER_ROWS_PERCENT: u64 = 150;
/// How long the copying rests after each part.
const COMPACTION_RESTS: Duration = Duration::from_millis(20);

/// What was last found amiss with the store, as a clause.
#[derive(Debug, Default)]
pub(crate) struct Scrubbed(Mutex<Option<(FindingCode, String)>>);

impl Scrubbed {
    fn found(&self, damage: Option<&Damage>) {
        if let Some(damage) = damage {
            let error = damage as &dyn std::error::Error;
            tracing::error!(error, "THE STORE IS DAMAGED: keep its file and restore a backup");
        }
        *self.0.lock() = damage.map(|damage| (code(damage), chain(damage)));
    }

    /// What people have to be told of it.
    pub(crate) fn finding(&self) -> Option<Finding> {
        let (code, damage) = self.0.lock().clone()?;
        let hint = "Stop the server, move muster.redb away and keep it, and restore a backup. Whoever is denied is known: that \
                    list was proved when the server started.";
        Some(Finding::new(code, Severity::Critical, format!("The store is damaged: {damage}"), hint))
    }
}

/// Who can rely on nothing that the trail says is told so by a name of its own.
fn code(damage: &Damage) -> FindingCode {
    match damage {
        Damage::Inconsistent { table, .. } if table.starts_with("audit_v") => FindingCode::ChainBroken,
        _ => FindingCode::StoreDamaged,
    }
}

impl App {
    /// What the last look at all of the store has found amiss.
    pub fn damage(&self) -> Option<Finding> {
        self.scrubbed.finding()
    }

    /// Reads all of the store at a quarter of a processor's time and takes note of the first damage.
    pub async fn scrub(self: &Arc<Self>) -> Result<(), Unavailable> {
        let mut proof = Store::begin_proof();
        loop {
            let begun = clock::monotonic();
            let (so_far, step) = self
                .walk(move |app| {
                    let step = app.store.go_on_proving(&mut proof, app.clock.now(), STEP);
                    Ok((proof, step))
                })
                .await?;
            proof = so_far;
            match step {
                Ok(ControlFlow::Continue(())) => tokio::time::sleep(begun.elapsed() * RESTS).await,
                Ok(ControlFlow::Break(())) => {
                    self.scrubbed.found(None);
                    return self.compact_if_worth_it(proof.octets()).await;
                }
                Err(Damage::Unreadable(ReadError::Reopening)) => tokio::time::sleep(AGAIN_AFTER).await,
                Err(damage) => {
                    self.scrubbed.found(Some(&damage));
                    return Ok(());
                }
            }
        }
    }

    /// Compacts the file where that frees half of it or more; `octets`: of all rows.
    async fn compact_if_worth_it(self: &Arc<Self>, octets: u64) -> Result<(), Unavailable> {
        let file = self.store.file_octets();
        let compacted = octets.saturating_mul(FILE_PER_ROWS_PERCENT) / 100;
        if file < COMPACTED_FROM || compacted > file / 2 {
            return Ok(());
        }
        let free = rustix::fs::statvfs(&self.data_dir).map_or(0, |disk| disk.f_bavail * disk.f_frsize);
        if free < file.saturating_mul(2) {
            tracing::info!(
                file,
                free,
                "the store's file could be half as large, but there is no room to write a new one"
            );
            return Ok(());
        }
        let app = Arc::downgrade(self);
        let compacted = self
            .walk(move |app_now| {
                Ok(app_now.store.compact(|| {
                    std::thread::sleep(COMPACTION_RESTS);
                    app.strong_count() > 1
                }))
            })
            .await?;
        match compacted {
            Ok(()) => tracing::info!(
                before = file,
                after = self.store.file_octets(),
                "the store's file was compacted"
            ),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::warn!(error, "the store's file was not compacted; it will be tried again tomorrow");
            }
        }
        Ok(())
    }

    /// Reads all of the store at once and hears of each table that is whole; the first damage ends it.
    pub async fn check(
        self: &Arc<Self>,
        mut report: impl FnMut(CheckedTable) + Send + 'static,
    ) -> Result<Result<(), Damage>, Unavailable> {
        let app = Arc::clone(self);
        let checked = self.readers.run(move || app.store.check(app.clock.now(), &mut report)).await?;
        self.scrubbed.found(checked.as_ref().err());
        Ok(checked)
    }
}
