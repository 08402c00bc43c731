//! One view of several layers: of each row the newest says what it is, and the file is below them all.

use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};

use redb::{AccessGuard, ReadableTable};

use crate::store::ReadError;
use crate::store::rows::{Span, Table, range};

/// Rows of a layer in the order of their keys: a value as it goes to disk, or `None` where the row is removed.
pub(crate) type Entries<'l> = Box<dyn DoubleEndedIterator<Item = (&'l [u8], Option<&'l [u8]>)> + 'l>;

/// Changes that stand above the file.
pub(crate) trait Layer {
    /// What it says of a row; `None` where it says nothing.
    fn entry(&self, table: Table, key: &[u8]) -> Option<Option<&[u8]>>;
    fn entries<'l>(&'l self, table: Table, span: &'l Span) -> Entries<'l>;
}

/// A value, and whether it was just read from disk, where anything can have become of it.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Value<'v> {
    OfLayer(&'v [u8]),
    OfFile(&'v [u8]),
}

/// What is done with each row.
pub(crate) type VisitRow<'v> = &'v mut dyn FnMut(&[u8], Value<'_>) -> Result<ControlFlow<()>, ReadError>;

type Guard<'t> = AccessGuard<'t, &'static [u8]>;

/// Reads from the file. redb takes a page for what it was written as, and may panic on one that makes no sense: that is damage,
/// and nobody's bug.
pub(crate) fn guarded<T>(table: Table, read: impl FnOnce() -> Result<T, ReadError>) -> Result<T, ReadError> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err(table.damaged()))
}

/// The rows of a span, from the newest layer first to the file last.
pub(crate) fn walk(
    layers: &[&dyn Layer],
    file: &impl ReadableTable<&'static [u8], &'static [u8]>,
    table: Table,
    span: &Span,
    visit: VisitRow<'_>,
) -> Result<(), ReadError> {
    let Some(mut rows) = guarded(table, || range(table, file, span))? else { return Ok(()) };
    let mut next_of_file = || -> Result<Option<(Guard<'_>, Guard<'_>)>, ReadError> {
        guarded(table, || {
            let row = if span.newest_first { rows.next_back() } else { rows.next() };
            row.transpose().map_err(|e| table.error(e))
        })
    };
    let mut layers: Vec<Head<'_>> = layers
        .iter()
        .map(|layer| Head::new(layer.entries(table, span), span.newest_first))
        .filter(|head| head.next.is_some())
        .collect();
    let mut of_file = next_of_file()?;
    loop {
        let key_of_file = of_file.as_ref().map(|(key, _)| key.value());
        let keys = layers.iter().filter_map(|head| -> Option<&[u8]> { head.key() }).chain(key_of_file);
        let Some(first) = (if span.newest_first { keys.max() } else { keys.min() }) else { return Ok(()) };
        // The layers stand in the order of their age.
        let newest = layers.iter().filter_map(|head| head.next).find(|(key, _)| *key == first);
        let flow = match (newest, &of_file) {
            (Some((key, Some(value))), _) => visit(key, Value::OfLayer(value))?,
            (Some((_, None)), _) | (None, None) => ControlFlow::Continue(()),
            (None, Some((key, value))) => visit(key.value(), Value::OfFile(value.value()))?,
        };
        if flow.is_break() {
            return Ok(());
        }
        let in_file = key_of_file == Some(first);
        layers.iter_mut().filter(|head| head.key() == Some(first)).for_each(Head::advance);
        if in_file {
            of_file = next_of_file()?;
        }
    }
}

/// A layer's rows, and the next of them.
struct Head<'l> {
    entries: Entries<'l>,
    newest_first: bool,
    next: Option<(&'l [u8], Option<&'l [u8]>)>,
}

impl<'l> Head<'l> {
    fn new(entries: Entries<'l>, newest_first: bool) -> Self {
        let mut head = Self { entries, newest_first, next: None };
        head.advance();
        head
    }

    fn key(&self) -> Option<&'l [u8]> {
        self.next.map(|(key, _)| key)
    }

    fn advance(&mut self) {
        self.next = if self.newest_first { self.entries.next_back() } else { self.entries.next() };
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use proptest::prelude::*;
    use redb::{Database, ReadableDatabase};

    use crate::store::layers::checkpoint::commit_delta;
    use crate::store::layers::delta::Delta;
    use crate::store::layers::overlay::Overlay;
    use crate::store::layers::snapshot::{FileView, Snapshot};
    use crate::store::rows::{Rows, Span, Table, protect};

    const TABLE: Table = Table::Hosts;

    /// What a layer changes: of few keys each, so that layers say different things of one.
    fn changes() -> impl Strategy<Value = BTreeMap<Vec<u8>, Option<u8>>> {
        let key = proptest::collection::vec(0..4_u8, 0..3);
        proptest::collection::btree_map(key, any::<Option<u8>>(), 0..12)
    }

    fn delta(changes: &BTreeMap<Vec<u8>, Option<u8>>) -> Delta {
        let mut delta = Delta::default();
        for (key, value) in changes {
            match value {
                Some(value) => delta.put(TABLE, key, protect(TABLE, key, &[*value])),
                None => delta.remove(TABLE, key),
            }
        }
        delta
    }

    fn overlay(changes: &BTreeMap<Vec<u8>, Option<u8>>) -> Arc<Overlay> {
        let mut overlay = Overlay::default();
        overlay.apply(delta(changes));
        Arc::new(overlay)
    }

    fn scanned(rows: &dyn Rows, span: &Span) -> Vec<(Vec<u8>, u8)> {
        let mut found = Vec::new();
        rows.each(TABLE, span, &mut |key, content| {
            found.push((key.to_vec(), content[0]));
            Ok(())
        })
        .unwrap();
        found
    }

    proptest! {
        #[test]
        fn layers_above_a_file_read_as_one_table(
            layers in proptest::array::uniform4(changes()),
            from in proptest::collection::vec(0..4_u8, 0..3),
            until in proptest::option::of(proptest::collection::vec(0..4_u8, 0..3)),
            newest_first in any::<bool>(),
            enough in 0..5_usize,
        ) {
            let backend = redb::backends::InMemoryBackend::new();
            let database = Database::builder().create_with_backend(backend).unwrap();
            let [file, closed, open, batch] = &layers;
            let mut in_file = delta(file);
            // So that there is a table.
            in_file.put(TABLE, b"zz", protect(TABLE, b"zz", &[1]));
            commit_delta(&database, &in_file).unwrap();
            let overlays = vec![overlay(open), overlay(closed)];
            let snapshot = Snapshot::new(Arc::new(FileView::new(database.begin_read().unwrap())), overlays);
            let top = delta(batch);
            let rows = snapshot.below(&top);
            let mut model = BTreeMap::from([(b"zz".to_vec(), 1)]);
            for (key, value) in layers.iter().flatten() {
                match value {
                    Some(value) => model.insert(key.clone(), *value),
                    None => model.remove(key),
                };
            }
            let inside = |key: &Vec<u8>| *key >= from && until.as_ref().is_none_or(|until| key < until);
            let mut expected: Vec<_> = model.iter().filter(|(key, _)| inside(key)).map(|(k, v)| (k.clone(), *v)).collect();
            let span = Span { from: from.clone(), until: until.clone(), newest_first };
            prop_assert_eq!(rows.count(TABLE, &span, enough).unwrap(), expected.len().min(enough));
            if newest_first {
                expected.reverse();
            }
            prop_assert_eq!(scanned(&rows, &span), expected);
            prop_assert_eq!(rows.last_key(TABLE).unwrap(), model.keys().next_back().cloned());
            for key in layers.iter().flat_map(BTreeMap::keys) {
                let content = rows.get(TABLE, key).unwrap().map(|content| content[0]);
                prop_assert_eq!(content, model.get(key).copied());
            }
        }
    }
}
