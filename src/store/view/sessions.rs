//! Sessions, and whether there is anybody at all, as a decision or a query sees them.

use crate::domain::people::session::{Session, SessionKey};
use crate::store::ReadError;
use crate::store::record::{SessionRecord, decode};
use crate::store::rows::{Span, Table};
use crate::store::view::View;

impl View<'_> {
    /// A person's session, be it one that has run out: whoever asks looks at the time.
    pub fn session(&self, key: SessionKey) -> Result<Option<Session>, ReadError> {
        let session: Option<SessionRecord> = self.record(Table::Sessions, key.as_bytes())?;
        Ok(session.map(|session| session.under(key)))
    }

    /// The sessions of all people, those included that have run out.
    pub fn sessions(&self) -> Result<Vec<Session>, ReadError> {
        let table = Table::Sessions;
        let mut sessions = Vec::new();
        self.rows.each(table, &Span::all(), &mut |key, content| {
            sessions.push(decode::<SessionRecord>(table, content)?.under(table.id(key)?));
            Ok(())
        })?;
        Ok(sessions)
    }

    /// Whether there is anybody who could sign in, disabled or not.
    pub fn has_users(&self) -> Result<bool, ReadError> {
        Ok(self.rows.count(Table::Users, &Span::all(), 1)? > 0)
    }
}
