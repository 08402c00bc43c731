//! People, sessions and API tokens, as a decision or a query sees them.

use std::ops::ControlFlow;

use crate::domain::ids::{CredentialId, UserId};
use crate::domain::people::api_token::ApiToken;
use crate::domain::people::session::{Session, SessionKey};
use crate::domain::people::user::{User, Username};
use crate::store::ReadError;
use crate::store::record::{ApiTokenRecord, SessionRecord, UserRecord, decode, user_of};
use crate::store::rows::{Span, Table};
use crate::store::view::{View, page};

impl View<'_> {
    pub fn user(&self, id: UserId) -> Result<Option<User>, ReadError> {
        let record: Option<UserRecord> = self.record(Table::Users, id.as_bytes())?;
        record.map(user_of).transpose()
    }

    /// Users in the order of their creation, after a given one.
    pub fn users(
        &self,
        after: Option<UserId>,
        mut visit: impl FnMut(User) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let span = page(after.as_ref().map(UserId::as_bytes), false);
        self.rows.scan(Table::Users, &span, &mut |_, content| {
            Ok(visit(user_of(decode::<UserRecord>(Table::Users, content)?)?))
        })
    }

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

    pub fn api_token(&self, id: CredentialId) -> Result<Option<ApiToken>, ReadError> {
        let record: Option<ApiTokenRecord> = self.record(Table::ApiTokens, id.as_bytes())?;
        Ok(record.map(ApiToken::from))
    }

    /// API tokens, newest first.
    pub fn api_tokens(
        &self,
        before: Option<CredentialId>,
        mut visit: impl FnMut(ApiToken) -> ControlFlow<()>,
    ) -> Result<(), ReadError> {
        let span = page(before.as_ref().map(CredentialId::as_bytes), true);
        self.rows.scan(Table::ApiTokens, &span, &mut |_, content| {
            Ok(visit(decode::<ApiTokenRecord>(Table::ApiTokens, content)?.into()))
        })
    }

    pub fn user_named(&self, name: &Username) -> Result<Option<User>, ReadError> {
        let table = Table::UsersByName;
        let Some(id) = self.record::<UserId>(table, name.key().as_bytes())? else {
            return Ok(None);
        };
        let dangling = ReadError::Dangling { table: table.name(), missing_from: Table::Users.name() };
        let record: UserRecord = self.record(Table::Users, id.as_bytes())?.ok_or(dangling)?;
        user_of(record).map(Some)
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
