//! Root works in a data directory that belongs to the server's user, as with `DynamicUser=`: what root's command
//! makes there must be the server's afterwards, or the server can't open its own store.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, Gid, Uid, chownat};

use super::error::CliError;

/// Gives what root has made in a data directory to the directory's owner. Does nothing for others than root.
pub(super) fn hand_over(data_dir: &Path) -> Result<(), CliError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let given = fs::symlink_metadata(data_dir).and_then(|directory| match directory.uid() {
        0 => Ok(()),
        _ => give(data_dir, &directory),
    });
    given.map_err(|error| {
        CliError::new(format!("cannot give the files in {} to its owner: {error}", data_dir.display()))
    })
}

fn give(directory: &Path, owner: &fs::Metadata) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let found = fs::symlink_metadata(entry.path())?;
        // A second name may be the owner's trick to get a file of root's from elsewhere.
        if found.is_file() && found.nlink() > 1 {
            continue;
        }
        if found.uid() == 0 {
            let (user, group) = (Uid::from_raw(owner.uid()), Gid::from_raw(owner.gid()));
            chownat(CWD, entry.path(), Some(user), Some(group), AtFlags::SYMLINK_NOFOLLOW)?;
        }
        if found.is_dir() {
            give(&entry.path(), owner)?;
        }
    }
    Ok(())
}
