//! Looking at directories and copying them, as a backup or a thief would.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Every file and directory below `root`.
pub fn below(root: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(root).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(below(&path));
        }
        found.push(path);
    }
    found
}

/// The content of every regular file below `root`, to compare with later.
pub fn contents(root: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let files = below(root).into_iter().filter(|path| std::fs::symlink_metadata(path).unwrap().is_file());
    files.map(|path| (path.clone(), std::fs::read(path).unwrap())).collect()
}

/// Copies a data directory with its modes. The socket of a stopped server is no part of it.
pub fn copy(from: &Path, to: &Path) {
    std::fs::create_dir(to).unwrap();
    std::fs::set_permissions(to, std::fs::metadata(from).unwrap().permissions()).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (kind, target) = (entry.file_type().unwrap(), to.join(entry.file_name()));
        if kind.is_dir() {
            copy(&entry.path(), &target);
        } else if kind.is_file() {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}
