//! Files that hold secrets: the one rule about who may have access to them, and the one reader.
//!
//! A secret is ours or root's, and not for others. A group may read what root owns, for that is how root hands a
//! secret to a service: Debian's `ssl-cert`, the `fsGroup` of Kubernetes, systemd's credentials, whose group bits are
//! the mask of an access control list. That we could open it says that we are in that group. Nobody else may write.
//!
//! The file that was opened is judged, never its path, which somebody could exchange meanwhile; and no error holds
//! anything of the content.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::shell::quoted;

const ROOT: u32 = 0;

/// Why a secret is not taken from a file. The advice is a command that helps.
#[derive(Debug, thiserror::Error)]
pub enum SecretFileError {
    #[error("{} can't be read", .path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not a regular file", .path.display())]
    NotAFile { path: PathBuf },
    #[error("{} is longer than {max} bytes", .path.display())]
    TooLong { path: PathBuf, max: u64 },
    #[error("{} is not text", .path.display())]
    NotText { path: PathBuf },
    #[error("{} is open to other users (mode {mode:04o}); run: {advice}", .path.display())]
    Exposed { path: PathBuf, mode: u32, advice: String },
    #[error("{} belongs to uid {owner}, who could replace it; run: chown {ours} {} && chmod 600 {}", .path.display(), quoted(.path), quoted(.path))]
    ForeignOwner { path: PathBuf, owner: u32, ours: u32 },
}

/// Whether a symbolic link in the place of the file is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Links {
    /// For paths that an operator names: certificate tools and Kubernetes point at the present file with a link.
    Follow,
    /// For names of ours in a directory that may belong to somebody less trusted than we are.
    Refuse,
}

/// Who the reader is, and whom else it trusts with the file.
#[derive(Debug, Clone, Copy)]
pub struct SecretReader<'a> {
    /// Where systemd puts the unit's credentials. It guards them by that directory, whatever their modes are.
    pub credentials: Option<&'a Path>,
    pub links: Links,
}

impl<'a> SecretReader<'a> {
    /// For a path that an operator names.
    pub const fn named() -> Self {
        Self { credentials: None, links: Links::Follow }
    }

    /// For a name of ours in a directory of ours.
    pub const fn inside() -> Self {
        Self { credentials: None, links: Links::Refuse }
    }

    pub const fn credentials(self, credentials: Option<&'a Path>) -> Self {
        Self { credentials, ..self }
    }

    /// The content of a secret file of at most `max` octets.
    pub fn read(self, path: &Path, max: u64) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
        let guarded = self.credentials.is_some_and(|directory| path.starts_with(directory));
        self.read_if(path, max, |file| if guarded { Ok(()) } else { check(path, file) })
    }

    /// The same of a file whose access the caller judges.
    pub fn read_if<E: From<SecretFileError>>(
        self,
        path: &Path,
        max: u64,
        judge: impl FnOnce(&Metadata) -> Result<(), E>,
    ) -> Result<Zeroizing<Vec<u8>>, E> {
        let (file, metadata) = self.open(path)?;
        judge(&metadata)?;
        Ok(content(path, file, &metadata, max)?)
    }

    /// The same as text, without the byte-order mark that some editors put before it.
    pub fn read_text(self, path: &Path, max: u64) -> Result<Zeroizing<String>, SecretFileError> {
        text(path, &self.read(path, max)?)
    }

    /// The same of a file that may be open to others, because whoever hands it out leaves no choice; also whether
    /// it is. Docker's and Kubernetes' secrets are readable by everybody in their container.
    pub fn read_text_of_anybody(
        self,
        path: &Path,
        max: u64,
    ) -> Result<(Zeroizing<String>, Option<SecretFileError>), SecretFileError> {
        let (file, metadata) = self.open(path)?;
        let exposed = check(path, &metadata).err();
        Ok((text(path, &content(path, file, &metadata, max)?)?, exposed))
    }

    fn open(self, path: &Path) -> Result<(File, Metadata), SecretFileError> {
        let failed = |source| SecretFileError::Read { path: path.to_owned(), source };
        // A FIFO without a writer must not hold anybody up.
        let mut flags = OFlags::NONBLOCK | OFlags::NOCTTY;
        if self.links == Links::Refuse {
            flags |= OFlags::NOFOLLOW;
        }
        let file = OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open(path);
        let file = file.map_err(failed)?;
        let metadata = file.metadata().map_err(failed)?;
        if !metadata.is_file() {
            return Err(SecretFileError::NotAFile { path: path.to_owned() });
        }
        Ok((file, metadata))
    }
}

/// Text of a secret as it is typed or piped in, without the byte-order mark that some shells and editors put before it.
pub fn without_mark(text: &str) -> &str {
    text.strip_prefix('\u{feff}').unwrap_or(text)
}

/// Whether nobody else has access to a secret in such a file.
pub fn check(path: &Path, file: &Metadata) -> Result<(), SecretFileError> {
    let (owner, ours) = (file.uid(), rustix::process::geteuid().as_raw());
    if owner != ours && owner != ROOT && !(ours == ROOT && is_of_its_directory(path, file)) {
        return Err(SecretFileError::ForeignOwner { path: path.to_owned(), owner, ours });
    }
    check_mode(path, file)
}

/// The same, leaving the owner to the caller.
pub fn check_mode(path: &Path, file: &Metadata) -> Result<(), SecretFileError> {
    let mode = file.mode() & 0o7777;
    let forbidden = if a_group_may_read(file) { 0o037 } else { 0o077 };
    if mode & forbidden == 0 {
        return Ok(());
    }
    Err(SecretFileError::Exposed { path: path.to_owned(), mode, advice: advice(path, file) })
}

/// A group may read what root owns. Of root's own group only those profit who are root or were let in by a list.
fn a_group_may_read(file: &Metadata) -> bool {
    file.uid() == ROOT && (file.gid() != ROOT || !rustix::process::geteuid().is_root())
}

/// What helps and does not lock out: who reads as a member of root's group would lose the file by `chmod 600`.
fn advice(path: &Path, file: &Metadata) -> String {
    let group_reads = a_group_may_read(file) && file.mode() & 0o040 != 0;
    format!("chmod {} {}", if group_reads { "640" } else { "600" }, quoted(path))
}

/// Root, in a directory of the server's user or in one that root has given to the server's group, takes what is that
/// user's, who could replace it anyway.
fn is_of_its_directory(path: &Path, file: &Metadata) -> bool {
    let Some(directory) = path.parent().and_then(|directory| directory.metadata().ok()) else {
        return false;
    };
    let given = directory.uid() == ROOT && directory.mode() & 0o022 == 0o020 && directory.gid() == file.gid();
    directory.uid() == file.uid() || given
}

fn content(
    path: &Path,
    file: File,
    metadata: &Metadata,
    max: u64,
) -> Result<Zeroizing<Vec<u8>>, SecretFileError> {
    let too_long = || SecretFileError::TooLong { path: path.to_owned(), max };
    if metadata.len() > max {
        return Err(too_long());
    }
    // Room for all of it from the start: a buffer that grows leaves copies of a secret behind.
    let room = usize::try_from(metadata.len()).map_err(|_| too_long())? + 1;
    let mut content = Zeroizing::new(Vec::with_capacity(room));
    let read = file.take(max + 1).read_to_end(&mut content);
    read.map_err(|source| SecretFileError::Read { path: path.to_owned(), source })?;
    if content.len() as u64 > max { Err(too_long()) } else { Ok(content) }
}

fn text(path: &Path, content: &[u8]) -> Result<Zeroizing<String>, SecretFileError> {
    match std::str::from_utf8(content) {
        Ok(text) => Ok(Zeroizing::new(without_mark(text).to_owned())),
        Err(_) => Err(SecretFileError::NotText { path: path.to_owned() }),
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::{PermissionsExt, chown, symlink};

    use super::*;

    fn file(mode: u32) -> (tempfile::TempDir, PathBuf) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("it's secret");
        fs::write(&path, "\u{feff}hunter2\n").unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        (directory, path)
    }

    fn read(path: &Path) -> Result<String, SecretFileError> {
        SecretReader::named().read_text(path, 64).map(|text| text.to_string())
    }

    #[test]
    fn the_advice_of_a_refusal_helps() {
        for mode in [0o604, 0o620, 0o602, 0o610, 0o644, 0o666, 0o777] {
            let (_directory, path) = file(mode);
            let error = read(&path).unwrap_err();
            assert!(matches!(error, SecretFileError::Exposed { .. }), "{mode:o}: {error}");
            let text = error.to_string();
            let command = text.split_once("; run: ").unwrap().1;
            assert!(std::process::Command::new("sh").args(["-c", command]).status().unwrap().success());
            assert_eq!(read(&path).unwrap(), "hunter2\n", "{command}");
            assert!(!text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn a_group_reads_what_root_owns() {
        let (_directory, path) = file(0o640);
        // Only root can give files away.
        if chown(&path, Some(0), Some(4321)).is_err() {
            return;
        }
        assert_eq!(read(&path).unwrap(), "hunter2\n");
        fs::set_permissions(&path, Permissions::from_mode(0o644)).unwrap();
        let text = read(&path).unwrap_err().to_string();
        assert!(text.contains("chmod 640 "), "the group keeps what it has: {text}");
        fs::set_permissions(&path, Permissions::from_mode(0o660)).unwrap();
        assert!(read(&path).is_err(), "nobody else may write");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        chown(&path, Some(4321), Some(4321)).unwrap();
        assert!(matches!(read(&path), Err(SecretFileError::ForeignOwner { owner: 4321, .. })));
        chown(path.parent().unwrap(), Some(4321), None).unwrap();
        assert!(matches!(read(&path), Err(SecretFileError::Exposed { .. })), "its owner is no root");
        fs::set_permissions(&path, Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read(&path).unwrap(), "hunter2\n", "root works in the directory of another user");
    }

    #[test]
    fn links_are_followed_only_where_an_operator_names_them() {
        let (directory, path) = file(0o600);
        let link = directory.path().join("link");
        symlink(&path, &link).unwrap();
        assert_eq!(read(&link).unwrap(), "hunter2\n");
        assert!(matches!(SecretReader::inside().read_text(&link, 64), Err(SecretFileError::Read { .. })));
    }

    #[test]
    fn what_is_no_secret_is_refused() {
        let (directory, path) = file(0o600);
        assert!(matches!(SecretReader::named().read(&path, 4), Err(SecretFileError::TooLong { max: 4, .. })));
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(matches!(read(&path), Err(SecretFileError::NotText { .. })));
        assert!(matches!(read(directory.path()), Err(SecretFileError::NotAFile { .. })));
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(matches!(read(&fifo), Err(SecretFileError::NotAFile { .. })));
    }

    #[test]
    fn what_others_hand_out_is_read_and_its_mode_is_told() {
        let (_directory, path) = file(0o444);
        let (text, exposed) = SecretReader::named().read_text_of_anybody(&path, 64).unwrap();
        assert_eq!(*text, "hunter2\n");
        assert!(matches!(exposed, Some(SecretFileError::Exposed { mode: 0o444, .. })));
    }
}
