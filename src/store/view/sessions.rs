//! Sessions, and whether there is anybody at all, as a decision or a query sees them.

use std::ops::ControlFlow;

use crate::domain::people::session::{Session, SessionKey};
use crate::store::ReadError;
use crate::store::record::{SessionRecord, decode};
use crate::store::rows::{Span, Table};
use crate::store::view::View;

impl View<'_> {
    pub fn session(&self, key: SessionKey) -> Result<Option<Session>, ReadError> {
        let record: Option<SessionRecord> = self.record(Table::Sessions, key.as_bytes())?;
        Ok(record.map(|record| record.with(key)))
    }

    pub fn sessions(&self) -> Result<Vec<Session>, ReadError> {
        let table = Table::Sessions;
        let mut sessions = Vec::new();
        self.rows.scan(table, &Span::all(), &mut |key, content| {
            let damaged = ReadError::Checksum { table: table.name() };
            let key = SessionKey::from_bytes(key.try_into().map_err(|_| damaged)?);
            sessions.push(decode::<SessionRecord>(table, content)?.with(key));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(sessions)
    }

    pub fn has_users(&self) -> Result<bool, ReadError> {
        let mut any = false;
        self.rows.scan(Table::Users, &Span::all(), &mut |_, _| {
            any = true;
            Ok(ControlFlow::Break(()))
        })?;
        Ok(any)
    }
}
