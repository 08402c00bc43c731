//! What a store of an older layout is to hold in a newer one.

use std::ops::ControlFlow;

use crate::store::ReadError;
use crate::store::apply::Batch;
use crate::store::record::{DeniedSerialRecord, StoredHost, decode};
use crate::store::rows::{Rows, Span, Table};
use crate::store::view::View;

impl Batch {
    /// Notes with each host which credential let it in.
    pub(crate) fn note_what_let_hosts_in(&mut self) -> Result<(), ReadError> {
        let mut hosts = Vec::new();
        self.each(Table::Hosts, &Span::all(), &mut |_, content| {
            hosts.push(decode::<StoredHost>(Table::Hosts, content)?);
            Ok(())
        })?;
        for host in hosts {
            let mut let_in_by = None;
            View::new(self).any_tenant().enrollments_of(host.id(), None, |enrollment| {
                let_in_by = enrollment.via.let_in_by();
                if let_in_by.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if let Some(by) = let_in_by {
                self.put(Table::Hosts, host.id().as_bytes(), &host.let_in(by))?;
            }
        }
        Ok(())
    }

    /// Notes with each denied serial whose it is.
    pub(crate) fn note_whose_denied_serials_are(&mut self) -> Result<(), ReadError> {
        let mut denied = Vec::new();
        View::new(self).denied_serials(|serial, record| {
            denied.push((serial, record));
            ControlFlow::Continue(())
        })?;
        for (serial, record) in denied {
            let holder = View::new(self).holder_of(serial)?;
            let record = DeniedSerialRecord { holder, ..record };
            self.put(Table::DeniedSerials, serial.as_bytes(), &record)?;
        }
        Ok(())
    }
}
