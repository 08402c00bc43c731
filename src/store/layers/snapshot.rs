//! Snapshot: a consistent view of everything that was promised before it was taken, in the file or above it.

use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};

use redb::{ReadOnlyTable, ReadTransaction};

use super::merge::{Layer, Value, VisitRow, guarded, walk};
use super::overlay::Overlay;
use crate::store::ReadError;
use crate::store::rows::{Rows, Span, Table, Visit, content, verified};

type OpenTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// The file as it was at a moment. As long as it is there, the file can't use again what was written over since.
pub(crate) struct FileView {
    transaction: ReadTransaction,
    /// Opened when they are first read.
    tables: Vec<OnceLock<OpenTable>>,
}

impl std::fmt::Debug for FileView {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a view of the file")
    }
}

impl FileView {
    pub(crate) fn new(transaction: ReadTransaction) -> Self {
        Self { transaction, tables: Table::ALL.iter().map(|_| OnceLock::new()).collect() }
    }

    fn open(&self, table: Table) -> Result<&OpenTable, ReadError> {
        let place = &self.tables[table as usize];
        if let Some(open) = place.get() {
            return Ok(open);
        }
        let open =
            guarded(table, || self.transaction.open_table(table.definition()).map_err(|e| table.error(e)))?;
        Ok(place.get_or_init(|| open))
    }
}

/// Short-lived, for the sake of the file below it.
pub(crate) struct Snapshot {
    file: Arc<FileView>,
    /// Newest first.
    overlays: Vec<Arc<Overlay>>,
}

impl Snapshot {
    /// What is in the file.
    pub(crate) fn of_file(transaction: ReadTransaction) -> Self {
        Self::new(Arc::new(FileView::new(transaction)), Vec::new())
    }

    /// What is in the file, and in overlays above it, newest first.
    pub(crate) fn new(file: Arc<FileView>, mut overlays: Vec<Arc<Overlay>>) -> Self {
        overlays.retain(|overlay| !overlay.is_empty());
        Self { file, overlays }
    }

    fn layers<'l>(&'l self, top: Option<&'l dyn Layer>) -> Vec<&'l dyn Layer> {
        top.into_iter().chain(self.overlays.iter().map(|overlay| &**overlay as &dyn Layer)).collect()
    }

    /// The same with another layer on top.
    pub(crate) const fn below<'l>(&'l self, top: &'l dyn Layer) -> Topped<'l> {
        Topped { snapshot: self, top: Some(top) }
    }

    const fn bare(&self) -> Topped<'_> {
        Topped { snapshot: self, top: None }
    }
}

/// A snapshot, and what a batch has decided since it was taken.
pub(crate) struct Topped<'l> {
    snapshot: &'l Snapshot,
    top: Option<&'l dyn Layer>,
}

impl Topped<'_> {
    fn walk(&self, table: Table, span: &Span, visit: VisitRow<'_>) -> Result<(), ReadError> {
        walk(&self.snapshot.layers(self.top), self.snapshot.file.open(table)?, table, span, visit)
    }
}

impl Rows for Topped<'_> {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        let overlays = self.snapshot.overlays.iter().map(|overlay| overlay.entry(table, key));
        let said =
            self.top.map(|top| top.entry(table, key)).into_iter().chain(overlays).find_map(|said| said);
        if let Some(value) = said {
            return Ok(value.map(|value| content(value).to_vec()));
        }
        let open = self.snapshot.file.open(table)?;
        guarded(table, || {
            let Some(value) = open.get(key).map_err(|e| table.error(e))? else { return Ok(None) };
            Ok(Some(verified(table, key, value.value())?.to_vec()))
        })
    }

    fn scan(&self, table: Table, span: &Span, visit: Visit<'_>) -> Result<(), ReadError> {
        self.walk(table, span, &mut |key, value| match value {
            Value::OfLayer(value) => visit(key, content(value)),
            Value::OfFile(value) => visit(key, verified(table, key, value)?),
        })
    }

    fn last_key(&self, table: Table) -> Result<Option<Vec<u8>>, ReadError> {
        let mut last = None;
        self.walk(table, &Span::all().newest_first(), &mut |key, _| {
            last = Some(key.to_vec());
            Ok(ControlFlow::Break(()))
        })?;
        Ok(last)
    }

    fn count(&self, table: Table, span: &Span, enough: usize) -> Result<usize, ReadError> {
        let mut counted = 0;
        if enough == 0 {
            return Ok(0);
        }
        self.walk(table, span, &mut |_, _| {
            counted += 1;
            Ok(if counted < enough { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
        })?;
        Ok(counted)
    }
}

impl Rows for Snapshot {
    fn get(&self, table: Table, key: &[u8]) -> Result<Option<Vec<u8>>, ReadError> {
        self.bare().get(table, key)
    }

    fn scan(&self, table: Table, span: &Span, visit: Visit<'_>) -> Result<(), ReadError> {
        self.bare().scan(table, span, visit)
    }

    fn last_key(&self, table: Table) -> Result<Option<Vec<u8>>, ReadError> {
        self.bare().last_key(table)
    }

    fn count(&self, table: Table, span: &Span, enough: usize) -> Result<usize, ReadError> {
        self.bare().count(table, span, enough)
    }
}
