//! What retention takes off the record, and what of it stays: which keys a host has used, eight octets of each hash.

use std::ops::ControlFlow;

use crate::domain::enroll::enrollment::SpkiHash;
use crate::domain::identity::serial::Serial;
use crate::domain::ids::HostId;
use crate::domain::insight::timeline::EventKey;
use crate::store::ReadError;
use crate::store::apply::Batch;
use crate::store::rows::{Rows, Span, Table};
use crate::store::view::retained::KEY_OCTETS;
use crate::store::view::{View, host_serial_key};

/// Most octets of a row of used keys. It is written anew with each of them.
const ROW_MAX: usize = 1_024;

impl Batch {
    pub(super) fn take_enrollments(&mut self, serials: &[Serial]) -> Result<(), ReadError> {
        for serial in serials {
            let Some(enrollment) = View::new(self).any_tenant().enrollment(*serial)? else { continue };
            self.forget_key(&enrollment)?;
            self.remove(Table::Enrollments, serial.as_bytes())?;
            self.remove(Table::Certificates, serial.as_bytes())?;
            self.remove(Table::EnrollmentsByHost, &host_serial_key(enrollment.host, *serial))?;
            self.remember_key(enrollment.host, enrollment.spki)?;
        }
        Ok(())
    }

    pub(super) fn take_reported(&mut self, events: &[(HostId, EventKey)]) -> Result<(), ReadError> {
        events.iter().try_for_each(|(host, EventKey(key))| {
            self.remove(Table::ReportedEvents, &[host.as_bytes().as_slice(), key].concat())
        })
    }

    fn remember_key(&mut self, host: HostId, key: SpkiHash) -> Result<(), ReadError> {
        let table = Table::UsedKeys;
        let mut last = None;
        self.scan(table, &Span::prefix(host.as_bytes()).newest_first(), &mut |place, content| {
            last = Some((place.to_vec(), content.to_vec()));
            Ok(ControlFlow::Break(()))
        })?;
        let (place, mut content) = match last {
            Some((place, content)) if content.len() < ROW_MAX => (place, content),
            Some((place, _)) => {
                let number = place.last_chunk().copied().map_or(0, u32::from_be_bytes);
                (row_key(host, number.saturating_add(1)), Vec::new())
            }
            None => (row_key(host, 0), Vec::new()),
        };
        content.extend_from_slice(&key.as_bytes()[..KEY_OCTETS]);
        self.insert(table, &place, &content)
    }
}

fn row_key(host: HostId, number: u32) -> Vec<u8> {
    [host.as_bytes().as_slice(), &number.to_be_bytes()].concat()
}
