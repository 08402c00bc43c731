//! Paging of lists: `limit` and `cursor` in, `items` and `next_cursor` out.

use schemars::JsonSchema;
use serde::Deserialize;

pub(crate) use crate::api::page::Page;
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

/// How many items to put on a page.
pub(crate) fn limit(asked: Option<i64>) -> Result<usize, Problem> {
    let limit = asked.unwrap_or(LIMIT_DEFAULT);
    usize::try_from(limit)
        .ok()
        .filter(|_| (1..=LIMIT_MAX).contains(&limit))
        .ok_or_else(|| Problem::bad_request(format!("'limit' is a whole number from 1 to {LIMIT_MAX}.")))
}

/// Where a page starts: the key of the last item of the page before.
pub(crate) fn cursor<K: std::str::FromStr>(asked: Option<&str>) -> Result<Option<K>, Problem> {
    let broken = || Problem::bad_request("This 'cursor' is not one that this list has given out.");
    asked.map(|text| text.parse().map_err(|_| broken())).transpose()
}

impl<T> Page<T> {
    /// A page whose end is already known.
    pub(crate) const fn of(items: Vec<T>, next_cursor: Option<String>) -> Self {
        Self { items, next_cursor }
    }

    /// Cuts a list that was read one item further than its page.
    pub(crate) fn new<R>(
        mut rows: Vec<R>,
        limit: usize,
        key: impl Fn(&R) -> String,
        item: impl Fn(R) -> T,
    ) -> Self {
        let more = rows.len() > limit;
        rows.truncate(limit);
        let next_cursor = if more { rows.last().map(key) } else { None };
        Self { items: rows.into_iter().map(item).collect(), next_cursor }
    }
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
