//! Samples of how many hosts are online: what is written takes the place of what is a week older.

use std::ops::ControlFlow;

use crate::domain::ids::TenantId;
use crate::domain::insight::online::{OnlineSample, SAMPLES_KEPT};
use crate::store::ReadError;
use crate::store::apply::Batch;
use crate::store::rows::{Rows, Span, Table};

/// Old ones that go with a new one. A server that was away has more of them, which go with the next ones.
const TAKEN: usize = 8;

impl Batch {
    pub(super) fn online(
        &mut self,
        place: u32,
        samples: &[(TenantId, OnlineSample)],
    ) -> Result<(), ReadError> {
        let table = Table::OnlineSamples;
        for (tenant, OnlineSample { online, in_service }) in samples {
            let key = |place: u32| [tenant.as_bytes().as_slice(), &place.to_be_bytes()].concat();
            self.put(table, &key(place), &(*online, *in_service))?;
            let until = Some(key(place.saturating_sub(SAMPLES_KEPT - 1)));
            let mut old = Vec::new();
            self.scan(table, &Span { until, ..Span::prefix(tenant.as_bytes()) }, &mut |key, _| {
                old.push(key.to_vec());
                Ok(if old.len() < TAKEN { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
            })?;
            old.iter().try_for_each(|key| self.remove(table, key))?;
        }
        Ok(())
    }
}
