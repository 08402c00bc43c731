//! The place where a replica lies: octets under names, each written once, in a folder or an object store.

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutMode, PutOptions, PutPayload};
use tokio::sync::mpsc;

use super::s3;
use crate::domain::replicas::{ReplicaPlace, ReplicaSettings};

/// What takes longer than this has failed.
const WITHIN: Duration = Duration::from_secs(30);
/// The longest content that is read as one: the longest frame, sealed.
const CONTENT_MAX: u64 = 96 << 20;
/// Octets that are sent at once of what is long.
pub const PART: usize = 8 << 20;

/// Why the place could not be read or written. The text holds no credentials.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    /// Nothing like a folder is there.
    #[error("there is no folder {}; is the disk mounted?", .0.display())]
    NoFolder(PathBuf),
    /// A setting of it can't be used.
    #[error("{0}")]
    Settings(String),
    /// It did not answer.
    #[error("it did not answer within {} s", WITHIN.as_secs())]
    Silent,
    /// What it said.
    #[error("it does not take or give '{name}'")]
    Refused {
        /// What was to be written or read.
        name: String,
        /// What the library says.
        source: object_store::Error,
    },
    /// Longer than anything of ours.
    #[error("'{0}' is too long to be one of ours")]
    TooLong(String),
}

/// What came of giving something a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    Done,
    /// It has been given to something before, which stays.
    Taken,
}

/// An open place.
#[derive(Clone)]
pub struct OpenPlace {
    store: Arc<dyn ObjectStore>,
    prefix: String,
    shown: String,
}

impl fmt::Debug for OpenPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Place").field(&self.shown).finish()
    }
}

impl OpenPlace {
    /// Reads no more than what is needed to know where it is. A folder is made where its parent is there. Blocking.
    pub fn open(settings: &ReplicaSettings, make: bool) -> Result<Self, PlaceError> {
        let shown = settings.place.to_string();
        let (store, prefix): (Arc<dyn ObjectStore>, _) = match &settings.place {
            ReplicaPlace::Folder(path) => {
                if make && !path.is_dir() {
                    // Without its parent this fails, as it should: the disk is not mounted.
                    let _ = std::fs::create_dir(path);
                }
                if !path.is_dir() {
                    return Err(PlaceError::NoFolder(path.clone()));
                }
                let folder = LocalFileSystem::new_with_prefix(path)
                    .map_err(|source| PlaceError::Refused { name: shown.clone(), source })?;
                (Arc::new(folder.with_fsync(true)), String::new())
            }
            ReplicaPlace::Bucket { bucket, prefix } => {
                (Arc::new(s3::open(settings, bucket)?), prefix.clone())
            }
        };
        Ok(Self { store, prefix, shown })
    }

    fn path(&self, name: &str) -> Path {
        if self.prefix.is_empty() { Path::from(name) } else { Path::from(format!("{}/{name}", self.prefix)) }
    }

    fn name(&self, path: &Path) -> Option<String> {
        let text = path.as_ref();
        if self.prefix.is_empty() {
            return Some(text.to_owned());
        }
        Some(text.strip_prefix(self.prefix.as_str())?.strip_prefix('/')?.to_owned())
    }

    /// Gives octets a name that nothing has yet; they are there for good when this returns.
    pub async fn create(&self, name: &str, octets: Vec<u8>) -> Result<Put, PlaceError> {
        let options = PutOptions { mode: PutMode::Create, ..PutOptions::default() };
        let path = self.path(name);
        let put = self.store.put_opts(&path, PutPayload::from(octets), options);
        match within(put).await? {
            Ok(_) => Ok(Put::Done),
            Err(object_store::Error::AlreadyExists { .. } | object_store::Error::Precondition { .. }) => {
                Ok(Put::Taken)
            }
            Err(source) => Err(PlaceError::Refused { name: name.to_owned(), source }),
        }
    }

    /// What has a name; `None` where nothing has.
    pub async fn get(&self, name: &str) -> Result<Option<Vec<u8>>, PlaceError> {
        let refused = |source| PlaceError::Refused { name: name.to_owned(), source };
        let path = self.path(name);
        let got = match within(self.store.get(&path)).await? {
            Ok(got) if got.meta.size > CONTENT_MAX => return Err(PlaceError::TooLong(name.to_owned())),
            Ok(got) => got,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(refused(source)),
        };
        Ok(Some(within(got.bytes()).await?.map_err(refused)?.to_vec()))
    }

    /// The names below a folder, in their order.
    pub async fn names(&self, folder: &str) -> Result<Vec<String>, PlaceError> {
        let mut listed = self.store.list(Some(&self.path(folder)));
        let mut names = Vec::new();
        while let Some(found) = within(listed.next()).await? {
            let found = found.map_err(|source| PlaceError::Refused { name: folder.to_owned(), source })?;
            // What a crash has left half-written in a folder has another ending.
            names.extend(self.name(&found.location).filter(|name| !name.contains('#')));
        }
        names.sort_unstable();
        Ok(names)
    }

    /// The folders right below one, in their order; `None`: below no folder.
    pub async fn folders(&self, folder: Option<&str>) -> Result<Vec<String>, PlaceError> {
        let prefix = match folder {
            Some(folder) => Some(self.path(folder)),
            None if self.prefix.is_empty() => None,
            None => Some(Path::from(self.prefix.as_str())),
        };
        let listed = within(self.store.list_with_delimiter(prefix.as_ref())).await?;
        let refused = |source| PlaceError::Refused { name: folder.unwrap_or_default().to_owned(), source };
        let mut folders: Vec<String> =
            listed.map_err(refused)?.common_prefixes.iter().filter_map(|path| self.name(path)).collect();
        folders.sort_unstable();
        Ok(folders)
    }

    /// Takes a name away, if something has it.
    pub async fn delete(&self, name: &str) -> Result<(), PlaceError> {
        let path = self.path(name);
        match within(self.store.delete(&path)).await? {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(PlaceError::Refused { name: name.to_owned(), source }),
        }
    }

    /// Begins something long under a name of its own, which it gets at its end.
    pub fn upload(&self, name: String) -> Upload<'_> {
        Upload { place: self, name, begun: None, first: Vec::new() }
    }

    /// Reads something long, part by part, from another thread than the runtime's. `None` where nothing has the name.
    pub async fn reader(&self, name: &str) -> Result<Option<PartReader>, PlaceError> {
        let refused = |source| PlaceError::Refused { name: name.to_owned(), source };
        let path = self.path(name);
        let got = match within(self.store.get(&path)).await? {
            Ok(got) => got,
            Err(object_store::Error::NotFound { .. }) => return Ok(None),
            Err(source) => return Err(refused(source)),
        };
        let (parts, receiver) = mpsc::channel(4);
        let mut stream = got.into_stream();
        tokio::spawn(async move {
            loop {
                let part = match tokio::time::timeout(WITHIN, stream.next()).await {
                    Ok(None) => return,
                    Ok(Some(Ok(part))) => Ok(part.to_vec()),
                    Ok(Some(Err(error))) => Err(io::Error::other(error)),
                    Err(_) => Err(io::ErrorKind::TimedOut.into()),
                };
                let failed = part.is_err();
                if parts.send(part).await.is_err() || failed {
                    return;
                }
            }
        });
        Ok(Some(PartReader { parts: receiver, unread: Vec::new(), from: 0 }))
    }
}

async fn within<T>(asked: impl Future<Output = T>) -> Result<T, PlaceError> {
    tokio::time::timeout(WITHIN, asked).await.map_err(|_| PlaceError::Silent)
}

/// Something long that is being written. It is there when it is finished, and not before.
pub struct Upload<'p> {
    place: &'p OpenPlace,
    name: String,
    begun: Option<Box<dyn MultipartUpload>>,
    /// What is short goes in one piece.
    first: Vec<u8>,
}

impl fmt::Debug for Upload<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Upload").field(&self.name).finish()
    }
}

impl Upload<'_> {
    fn refused(&self) -> impl FnOnce(object_store::Error) -> PlaceError + use<> {
        let name = self.name.clone();
        move |source| PlaceError::Refused { name, source }
    }

    /// Adds a part; all but the last are [`PART`] octets.
    pub async fn part(&mut self, part: Vec<u8>) -> Result<(), PlaceError> {
        if self.begun.is_none() {
            if self.first.is_empty() {
                self.first = part;
                return Ok(());
            }
            let path = self.place.path(&self.name);
            let begun = within(self.place.store.put_multipart(&path)).await?.map_err(self.refused())?;
            self.begun = Some(begun);
            let first = std::mem::take(&mut self.first);
            self.send(first).await?;
        }
        self.send(part).await
    }

    async fn send(&mut self, part: Vec<u8>) -> Result<(), PlaceError> {
        let refused = self.refused();
        let Some(begun) = &mut self.begun else { return Ok(()) };
        within(begun.put_part(PutPayload::from(part))).await?.map_err(refused)
    }

    /// Gives it its name.
    pub async fn finish(mut self) -> Result<(), PlaceError> {
        let refused = self.refused();
        match &mut self.begun {
            Some(begun) => within(begun.complete()).await?.map(drop).map_err(refused),
            None => {
                let (path, first) = (self.place.path(&self.name), std::mem::take(&mut self.first));
                within(self.place.store.put(&path, PutPayload::from(first))).await?.map(drop).map_err(refused)
            }
        }
    }

    /// Leaves nothing of it, as far as that can be done.
    pub async fn give_up(mut self) {
        if let Some(begun) = &mut self.begun {
            let _ = within(begun.abort()).await;
        }
    }
}

/// What comes in parts, as one. It blocks.
#[derive(Debug)]
pub struct PartReader {
    parts: mpsc::Receiver<io::Result<Vec<u8>>>,
    unread: Vec<u8>,
    from: usize,
}

impl Read for PartReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.from >= self.unread.len() {
            match self.parts.blocking_recv() {
                None => return Ok(0),
                Some(part) => (self.unread, self.from) = (part?, 0),
            }
        }
        let unread = self.unread.get(self.from..).unwrap_or_default();
        let ready = unread.len().min(buffer.len());
        buffer.get_mut(..ready).unwrap_or_default().copy_from_slice(unread.get(..ready).unwrap_or_default());
        self.from += ready;
        Ok(ready)
    }
}
