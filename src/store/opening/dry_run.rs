//! A store's file opened as if for writing, with every write kept in memory: what opening would find, and would do,
//! without a change to the file.
//!
//! redb writes when it opens a file for writing: it marks it as open, and mends what a crash has left. A file that
//! is refused must stay as it was found, so that whoever looks into it sees the damage and not what became of it.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::ops::Bound;
use std::path::Path;

use parking_lot::RwLock;
use redb::backends::FileBackend;
use redb::{BackendError, DatabaseError, StorageBackend};

/// The unit in which writes are kept, in octets. Any would do; this is redb's own.
const PAGE: usize = 4096;

type Page = Box<[u8; PAGE]>;

/// Reads from a file, under the locks that an opening for writing takes, and writes nothing.
#[derive(Debug)]
pub(crate) struct Rehearsal {
    file: FileBackend,
    kept: RwLock<Kept>,
}

#[derive(Debug)]
struct Kept {
    len: u64,
    /// How much of the file itself still counts.
    of_file: u64,
    written: HashMap<u64, Page>,
}

impl Rehearsal {
    pub(crate) fn of(path: &Path) -> Result<Self, DatabaseError> {
        // Writing is for the locks: a file that is only read can't be locked against other writers.
        let file: File = OpenOptions::new().read(true).write(true).open(path)?;
        let len = file.metadata()?.len();
        let kept = RwLock::new(Kept { len, of_file: len, written: HashMap::new() });
        Ok(Self { file: FileBackend::new(file)?, kept })
    }

    /// The file's own octets of a page, zeros where it has none.
    fn of_file(&self, kept: &Kept, number: u64) -> io::Result<Page> {
        let mut page = Box::new([0; PAGE]);
        let start = number.saturating_mul(PAGE as u64);
        let there = kept.of_file.saturating_sub(start).min(PAGE as u64);
        let there = usize::try_from(there).unwrap_or(PAGE);
        if let Some(there) = page.get_mut(..there).filter(|there| !there.is_empty()) {
            self.file.read(start, there)?;
        }
        Ok(page)
    }
}

/// The parts of a stretch of octets, page by page: page, where in it, where in the stretch.
fn parts(offset: u64, length: usize) -> impl Iterator<Item = (u64, usize, std::ops::Range<usize>)> {
    let mut done = 0;
    std::iter::from_fn(move || {
        let left = length.checked_sub(done).filter(|left| *left > 0)?;
        let at = offset.checked_add(done as u64)?;
        let within = usize::try_from(at % PAGE as u64).ok()?;
        let here = left.min(PAGE - within);
        let part = done..done + here;
        done += here;
        Some((at / PAGE as u64, within, part))
    })
}

impl StorageBackend for Rehearsal {
    fn len(&self) -> io::Result<u64> {
        Ok(self.kept.read().len)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let kept = self.kept.read();
        if offset.checked_add(out.len() as u64).is_none_or(|end| end > kept.len) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        for (number, within, part) in parts(offset, out.len()) {
            let read;
            let page = match kept.written.get(&number) {
                Some(page) => page,
                None => {
                    read = self.of_file(&kept, number)?;
                    &read
                }
            };
            let length = part.len();
            out[part].copy_from_slice(&page[within..within + length]);
        }
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut kept = self.kept.write();
        if len < kept.len {
            kept.of_file = kept.of_file.min(len);
            kept.written.retain(|number, _| number.saturating_mul(PAGE as u64) < len);
            let within = usize::try_from(len % PAGE as u64).unwrap_or(0);
            if let Some(last) = kept.written.get_mut(&(len / PAGE as u64)) {
                last[within..].fill(0);
            }
        }
        kept.len = len;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut kept = self.kept.write();
        for (number, within, part) in parts(offset, data.len()) {
            if !kept.written.contains_key(&number) {
                let page = self.of_file(&kept, number)?;
                kept.written.insert(number, page);
            }
            let length = part.len();
            if let Some(page) = kept.written.get_mut(&number) {
                page[within..within + length].copy_from_slice(&data[part]);
            }
        }
        kept.len = kept.len.max(offset.saturating_add(data.len() as u64));
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_behaves_like_a_file_and_leaves_the_file_alone() {
        let content: Vec<u8> = (0..3 * PAGE + 100).map(|i| u8::try_from(i % 251).unwrap()).collect();
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &content).unwrap();
        let rehearsal = Rehearsal::of(file.path()).unwrap();
        let mut model = content.clone();
        let whole = |rehearsal: &Rehearsal| {
            let mut read = vec![0; usize::try_from(rehearsal.len().unwrap()).unwrap()];
            rehearsal.read(0, &mut read).unwrap();
            read
        };
        assert_eq!(whole(&rehearsal), model);
        for (offset, length) in [(0, 1), (PAGE - 3, 10), (2 * PAGE, PAGE), (3 * PAGE + 90, 10)] {
            rehearsal.write(offset as u64, &vec![7; length]).unwrap();
            model[offset..offset + length].fill(7);
            assert_eq!(whole(&rehearsal), model, "{offset}");
        }
        for len in [5 * PAGE, 2 * PAGE + 5, 100, 4 * PAGE + 1] {
            rehearsal.set_len(len as u64).unwrap();
            model.resize(len, 0);
            assert_eq!(whole(&rehearsal), model, "{len}");
        }
        let mut part = [0; 6];
        rehearsal.read(97, &mut part).unwrap();
        assert_eq!(part[..], model[97..103]);
        assert!(rehearsal.read(4 * PAGE as u64, &mut part).is_err(), "behind the end");
        assert!(rehearsal.read(u64::MAX, &mut part).is_err());
        assert_eq!(std::fs::read(file.path()).unwrap(), content);
    }
}
