//! The change log's directory: segments of a few MiB, made whole before they are used, so that a frame is one write and one
//! sync and changes nothing but what is in the file.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;

const EXTENSION: &str = ".frames";
/// Octets of zeros that are written at once.
const ZEROS: usize = 1 << 20;

/// What holds the segments, each known by the number of its first frame.
pub(crate) trait Segments: Send + std::fmt::Debug {
    /// What it is called.
    fn path(&self) -> &Path;
    /// Those that are there, in the order of their numbers.
    fn list(&self) -> io::Result<Vec<u64>>;
    fn read(&self, segment: u64) -> io::Result<Vec<u8>>;
    /// Makes one of so many octets, zeros, there for good when this returns.
    fn create(&mut self, segment: u64, octets: u64) -> io::Result<()>;
    /// Gives one another number, for good, and says how long it is. What is in it stays.
    fn recycle(&mut self, segment: u64, becomes: u64) -> io::Result<u64>;
    /// Writes into one, on disk when this returns.
    fn write(&mut self, segment: u64, offset: u64, octets: &[u8]) -> io::Result<()>;
    fn remove(&mut self, segment: u64) -> io::Result<()>;
    /// Removes what is left, once no segment is.
    fn close(&mut self) -> io::Result<()>;
    /// Gives all of it another name, as it is, and says which.
    fn set_aside(&mut self) -> io::Result<PathBuf>;
}

/// Real files.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    /// The one that is written to.
    open: Option<(u64, File)>,
}

impl Directory {
    pub(crate) const fn new(path: PathBuf) -> Self {
        Self { path, open: None }
    }

    fn name(&self, segment: u64) -> PathBuf {
        self.path.join(format!("{segment:020}{EXTENSION}"))
    }

    fn parent(&self) -> &Path {
        match self.path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        }
    }

    fn sync(&self) -> io::Result<()> {
        File::open(&self.path)?.sync_all()
    }

    fn make(&self) -> io::Result<()> {
        match DirBuilder::new().mode(0o700).create(&self.path) {
            Ok(()) => File::open(self.parent())?.sync_all(),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// Links are not followed.
fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.write(true).mode(0o600).custom_flags(OFlags::NOFOLLOW.bits().cast_signed());
    options
}

impl Segments for Directory {
    fn path(&self) -> &Path {
        &self.path
    }

    fn list(&self) -> io::Result<Vec<u64>> {
        let entries = match std::fs::read_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let mut segments = Vec::new();
        for entry in entries {
            let name = entry?.file_name();
            let number: Option<u64> = name
                .to_str()
                .and_then(|name| name.strip_suffix(EXTENSION))
                .and_then(|name| name.parse().ok());
            segments.extend(number);
        }
        segments.sort_unstable();
        Ok(segments)
    }

    fn read(&self, segment: u64) -> io::Result<Vec<u8>> {
        std::fs::read(self.name(segment))
    }

    fn create(&mut self, segment: u64, octets: u64) -> io::Result<()> {
        self.make()?;
        let name = self.name(segment);
        let file = options().create_new(true).open(&name)?;
        let zeros = vec![0; ZEROS];
        let mut written = 0;
        let filled = loop {
            let here = zeros.len().min(usize::try_from(octets - written).unwrap_or(ZEROS));
            if here == 0 {
                break file.sync_all().and_then(|()| self.sync());
            }
            if let Err(error) = file.write_all_at(&zeros[..here], written) {
                break Err(error);
            }
            written += here as u64;
        };
        if let Err(error) = filled {
            // On a full disk the next try needs the room.
            let _ = std::fs::remove_file(&name);
            return Err(error);
        }
        self.open = Some((segment, file));
        Ok(())
    }

    fn recycle(&mut self, segment: u64, becomes: u64) -> io::Result<u64> {
        let name = self.name(becomes);
        std::fs::rename(self.name(segment), &name)?;
        self.sync()?;
        let file = options().open(&name)?;
        let octets = file.metadata()?.len();
        self.open = Some((becomes, file));
        Ok(octets)
    }

    fn write(&mut self, segment: u64, offset: u64, octets: &[u8]) -> io::Result<()> {
        let file = match &self.open {
            Some((open, file)) if *open == segment => file,
            _ => &self.open.insert((segment, options().open(self.name(segment))?)).1,
        };
        file.write_all_at(octets, offset)?;
        file.sync_data()
    }

    fn remove(&mut self, segment: u64) -> io::Result<()> {
        if self.open.as_ref().is_some_and(|(open, _)| *open == segment) {
            self.open = None;
        }
        std::fs::remove_file(self.name(segment))
    }

    fn close(&mut self) -> io::Result<()> {
        self.open = None;
        match std::fs::remove_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            removed => removed,
        }
    }

    fn set_aside(&mut self) -> io::Result<PathBuf> {
        self.open = None;
        let name = self.path.file_name().unwrap_or_default().to_os_string();
        let mut number = 1_u32;
        loop {
            let mut aside = name.clone();
            aside.push(format!(".aside-{number}"));
            let aside = self.path.with_file_name(aside);
            if aside.symlink_metadata().is_err() {
                std::fs::rename(&self.path, &aside)?;
                File::open(self.parent())?.sync_all()?;
                return Ok(aside);
            }
            number += 1;
        }
    }
}
