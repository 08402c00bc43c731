//! Overlay: the changes of many batches, each row as the last of them left it. Snapshots of it cost nothing, so readers keep
//! the one that they began with while the writer goes on.

use std::ops::Bound;
use std::sync::Arc;

use rpds::RedBlackTreeMapSync;

use super::delta::Delta;
use super::merge::{Entries, Layer};
use crate::store::rows::{Span, Table};

type Rows = RedBlackTreeMapSync<Box<[u8]>, Option<Arc<[u8]>>>;

/// What a row costs beside its key and its value, in octets.
const ROW_OVERHEAD: usize = 128;

/// Clones share what has not changed since.
#[derive(Debug, Clone)]
pub(crate) struct Overlay {
    tables: Vec<Rows>,
    octets: usize,
}

impl Default for Overlay {
    fn default() -> Self {
        Self { tables: vec![Rows::new_sync(); Table::ALL.len()], octets: 0 }
    }
}

impl Overlay {
    pub(crate) fn apply(&mut self, delta: Delta) {
        for (table, rows) in delta.into_tables() {
            let held = &mut self.tables[table as usize];
            for (key, value) in rows {
                // What is written over is not counted back: the log has it twice, too.
                self.octets += key.len() + value.as_ref().map_or(0, Vec::len) + ROW_OVERHEAD;
                held.insert_mut(key.into(), value.map(Arc::from));
            }
        }
    }

    /// About how much memory, and so how much of the log.
    pub(crate) const fn octets(&self) -> usize {
        self.octets
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.tables.iter().all(RedBlackTreeMapSync::is_empty)
    }

    /// Each table that has changed, with its rows in the order of their keys.
    pub(crate) fn tables(
        &self,
    ) -> impl Iterator<Item = (Table, impl Iterator<Item = (&[u8], Option<&[u8]>)>)> {
        let changed = Table::ALL.iter().map(|table| (*table, &self.tables[*table as usize]));
        changed
            .filter(|(_, rows)| !rows.is_empty())
            .map(|(table, rows)| (table, rows.iter().map(|(key, value)| (&**key, value.as_deref()))))
    }
}

impl Layer for Overlay {
    fn entry(&self, table: Table, key: &[u8]) -> Option<Option<&[u8]>> {
        self.tables[table as usize].get(key).map(Option::as_deref)
    }

    fn entries<'l>(&'l self, table: Table, span: &'l Span) -> Entries<'l> {
        let rows = &self.tables[table as usize];
        let Some(until) = span.end().filter(|_| !rows.is_empty()) else {
            return Box::new(std::iter::empty());
        };
        let range = rows.range::<[u8], _>((Bound::Included(span.from.as_slice()), until));
        Box::new(range.map(|(key, value)| (&**key, value.as_deref())))
    }
}
