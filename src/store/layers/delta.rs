//! What one batch of decisions changes: rows put and rows removed, by table. It is what a frame of the change log carries.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::merge::{Entries, Layer};
use crate::store::rows::{Span, Table};

/// Rows of a table: a value as it goes to disk, or `None` where the row is removed.
type Rows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// Every row at most once, as the batch leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Delta {
    tables: Vec<Rows>,
}

impl Default for Delta {
    fn default() -> Self {
        Self { tables: vec![Rows::new(); Table::ALL.len()] }
    }
}

impl Delta {
    /// `value`: with its checksum, as [`crate::store::rows::protect`] makes it.
    pub(crate) fn put(&mut self, table: Table, key: &[u8], value: Vec<u8>) {
        self.tables[table as usize].insert(key.to_vec(), Some(value));
    }

    pub(crate) fn remove(&mut self, table: Table, key: &[u8]) {
        self.tables[table as usize].insert(key.to_vec(), None);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tables.iter().all(BTreeMap::is_empty)
    }

    /// The tables that have changed, each with its rows in the order of their keys.
    pub(crate) fn tables(&self) -> impl Iterator<Item = (Table, &Rows)> {
        Table::ALL
            .iter()
            .map(|table| (*table, &self.tables[*table as usize]))
            .filter(|(_, rows)| !rows.is_empty())
    }

    /// The same, for those who keep them.
    pub(crate) fn into_tables(self) -> impl Iterator<Item = (Table, Rows)> {
        Table::ALL.iter().copied().zip(self.tables).filter(|(_, rows)| !rows.is_empty())
    }
}

impl Layer for Delta {
    fn entry(&self, table: Table, key: &[u8]) -> Option<Option<&[u8]>> {
        self.tables[table as usize].get(key).map(Option::as_deref)
    }

    fn entries<'l>(&'l self, table: Table, span: &'l Span) -> Entries<'l> {
        let rows = &self.tables[table as usize];
        let Some(until) = span.end() else { return Box::new(std::iter::empty()) };
        let range = rows.range::<[u8], _>((Bound::Included(span.from.as_slice()), until));
        Box::new(range.map(|(key, value)| (key.as_slice(), value.as_deref())))
    }
}
