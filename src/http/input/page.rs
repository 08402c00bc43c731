//! Paging of lists: `limit` and `cursor` in, `items` and `next_cursor` out.

use std::fmt::Display;
use std::str::FromStr;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::api::page::Page;
use crate::app::insight::fleet::HostCursor;
use crate::domain::identity::serial::Serial;
use crate::domain::ids::{CredentialId, TenantId, UserId, WebhookId};
use crate::domain::insight::timeline::EventKey;
use crate::domain::people::session::SessionId;
use crate::http::Shared;
use crate::http::input::extract::Params;
use crate::http::openapi::describe::Input;
use crate::http::openapi::operation::Operation;
use crate::http::problem::Problem;

/// Most items on a page, and how many there are when nobody asks.
const LIMIT_MAX: i64 = 500;

const LIMIT_DEFAULT: i64 = 100;

/// The query of a plain list.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct ListParams {
    /// The tenant to look at, for callers who see all of them.
    pub(crate) tenant: Option<String>,
    /// Items on a page.
    #[schemars(range(min = 1, max = 500))]
    pub(crate) limit: Option<i64>,
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

/// The query of a list that has no tenant to choose.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(crate) struct PageParams {
    /// Items on a page.
    #[schemars(range(min = 1, max = 500))]
    pub(crate) limit: Option<i64>,
    /// `next_cursor` of the page before.
    pub(crate) cursor: Option<String>,
}

/// The part of a list's query that says which page.
pub(crate) trait PageQuery {
    fn limit(&self) -> Option<i64>;
    fn cursor(&self) -> Option<&str>;
}

macro_rules! page_query {
    ($($params:ty)*) => {
        $(
            impl $crate::http::input::page::PageQuery for $params {
                fn limit(&self) -> Option<i64> {
                    self.limit
                }

                fn cursor(&self) -> Option<&str> {
                    self.cursor.as_deref()
                }
            }
        )*
    };
}
pub(crate) use page_query;

page_query!(ListParams PageParams);

/// What a list is in the order of: the key of the last item of a page is where the next one begins.
pub(crate) trait CursorKey: FromStr {
    /// What it looks like, as a regular expression (ECMA 262).
    const PATTERN: &'static str;
}

macro_rules! cursor_keys {
    ($($key:ty = $pattern:expr;)*) => {
        $(
            impl CursorKey for $key {
                const PATTERN: &'static str = $pattern;
            }
        )*
    };
}

const UUID: &str = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";

cursor_keys! {
    // What the list is sorted by stands in front.
    HostCursor =
        "^([hse][.][A-Za-z0-9_-]*[.])?[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$";
    TenantId = UUID;
    UserId = UUID;
    WebhookId = UUID;
    CredentialId = "^[a-z2-7]{16}$";
    Serial = "^[0-9a-f]{32}$";
    SessionId = "^[0-9a-f]{32}$";
    EventKey = "^[0-9a-f]{24}$";
    u64 = "^[0-9]{1,18}$";
}

/// A list's query, and which page it asks for.
#[derive(Debug)]
pub(crate) struct ListRequest<K, Q = ListParams> {
    pub(crate) query: Q,
    /// Behind which item the page begins.
    pub(crate) after: Option<K>,
    pub(crate) limit: usize,
}

impl<K: CursorKey, Q: PageQuery + DeserializeOwned> FromRequestParts<Shared> for ListRequest<K, Q> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, shared: &Shared) -> Result<Self, Problem> {
        let Params(query) = Params::<Q>::from_request_parts(parts, shared).await?;
        Ok(Self { limit: limit(query.limit())?, after: cursor(query.cursor())?, query })
    }
}

impl<K: CursorKey, Q: JsonSchema> Input for ListRequest<K, Q> {
    fn describe(operation: &mut Operation) {
        operation.query::<Q>();
        operation.cursor = K::PATTERN;
    }
}

impl<K: Copy + Display, Q> ListRequest<K, Q> {
    /// How many rows to read: one more than the page has, which tells whether there is another page.
    pub(crate) const fn rows(&self) -> usize {
        self.limit + 1
    }

    /// The page, of rows that were read one further.
    pub(crate) fn page<R, T>(
        &self,
        mut rows: Vec<R>,
        key: impl Fn(&R) -> K,
        item: impl Fn(R) -> T,
    ) -> axum::Json<Page<T>> {
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let next_cursor = if more { rows.last().map(|last| key(last).to_string()) } else { None };
        axum::Json(Page { items: rows.into_iter().map(item).collect(), next_cursor })
    }
}

/// How many items to put on a page.
fn limit(asked: Option<i64>) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(LIMIT_DEFAULT);
    usize::try_from(limit)
        .ok()
        .filter(|_| (1..=LIMIT_MAX).contains(&limit))
        .ok_or_else(|| Problem::bad_request(format!("'limit' is a whole number from 1 to {LIMIT_MAX}.")))
}

/// Where a page starts: the key of the last item of the page before.
fn cursor<K: FromStr>(asked: Option<&str>) -> Result<Option<K>, Problem> {
    let broken = || Problem::bad_request("This 'cursor' is not one that this list has given out.");
    asked.map(|text| text.parse().map_err(|_| broken())).transpose()
}

#[cfg(test)]
mod tests {
    use std::fmt::{Debug, Display};
    use std::str::FromStr;

    use super::*;
    use crate::app::insight::fleet::HostCursor;
    use crate::domain::identity::serial::Serial;
    use crate::domain::ids::{CredentialId, HostId, UserId};
    use crate::domain::insight::timeline::EventKey;
    use crate::domain::testing::Dice;

    /// A cursor is refused, or means a place that can be named again.
    fn check<K: FromStr + Display + PartialEq + Debug>(good: &str, dice: &mut Dice) {
        assert!(cursor::<K>(Some(good)).is_ok_and(|key| key.is_some()), "{good}");
        for _ in 0..4_000 {
            let mutated = dice.mutate_text(good);
            if let Ok(Some(key)) = cursor::<K>(Some(&mutated)) {
                let named = key.to_string();
                assert_eq!(cursor::<K>(Some(&named)).unwrap(), Some(key), "{mutated}");
            }
        }
    }

    #[test]
    fn no_cursor_does_harm() {
        let mut dice = Dice::new(20_261_125);
        check::<HostId>("01890000-0000-7000-8000-000000000001", &mut dice);
        for sorted in ["", "h.d2ViLTE.", "h..", "s..", "s.1790000000123.", "e.-1.", "e.1790000000123."] {
            check::<HostCursor>(&format!("{sorted}01890000-0000-7000-8000-000000000001"), &mut dice);
        }
        check::<UserId>("01890000-0000-7000-8000-000000000001", &mut dice);
        check::<CredentialId>(&CredentialId::from_bytes([7; 10]).to_string(), &mut dice);
        check::<Serial>(&"0a".repeat(16), &mut dice);
        check::<EventKey>(&EventKey([9; 12]).to_string(), &mut dice);
        check::<u64>("18446744073709551615", &mut dice);
        assert_eq!(cursor::<u64>(None), Ok(None));
    }
}
