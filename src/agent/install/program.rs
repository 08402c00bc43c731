//! The program's own file: which version a file on disk is, without running it, and how the running one gets to
//! where a service finds it.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read, Seek};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use crate::domain::version::AgentVersion;
use crate::durable::Unfinished;

/// The running program, also after another one has taken its name.
pub const RUNNING: &str = "/proc/self/exe";
/// For programs.
const EXECUTABLE: u32 = 0o755;

/// Stands in the program's file, between two bytes that are rare in it, so that its version can be read by whoever
/// would rather not run it.
static MARK: &str = concat!("\u{1d}muster-program-version=", env!("CARGO_PKG_VERSION"), "\u{1d}");
const RARE: u8 = 0x1d;
const NAME_LEN: usize = "\u{1d}muster-program-version=".len();
/// Stands in every program of ours, those of before the mark too: a variable's name, cut at its underscores.
const OLD_MARK: [&[u8]; 3] = [b"MUSTER_", b"AGENT_", b"JOIN_"];
/// Most bytes that are looked at in one piece.
const PIECE_MAX: u64 = 64 * 1024;

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProgramKind {
    /// A program of ours; one that does not state its version is older than all that do.
    Muster(AgentVersion),
    Other,
}

/// Looks at a file without running it.
pub fn kind_of(path: &Path) -> io::Result<ProgramKind> {
    let file = File::open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(ProgramKind::Other);
    }
    let mut file = BufReader::with_capacity(1 << 20, file);
    if let Some(version) = stated_version(&mut file)? {
        return Ok(ProgramKind::Muster(version));
    }
    file.rewind()?;
    Ok(if has_old_mark(&mut file)? {
        ProgramKind::Muster(AgentVersion::UNSTATED)
    } else {
        ProgramKind::Other
    })
}

fn stated_version(file: &mut impl BufRead) -> io::Result<Option<AgentVersion>> {
    let name = MARK.as_bytes().get(1..NAME_LEN).unwrap_or_default();
    let mut piece = Vec::new();
    while next_piece(file, RARE, &mut piece)? {
        let stated = piece.strip_prefix(name).and_then(|rest| rest.strip_suffix(&[RARE]));
        let version = stated.map(|stated| AgentVersion::stated(std::str::from_utf8(stated).ok()));
        // The name may stand elsewhere, too, with something else behind it.
        if let Some(version) = version.filter(|version| *version != AgentVersion::UNSTATED) {
            return Ok(Some(version));
        }
    }
    Ok(None)
}

fn has_old_mark(file: &mut impl BufRead) -> io::Result<bool> {
    let mut piece = Vec::new();
    let mut found = 0;
    while next_piece(file, b'_', &mut piece)? {
        found = match OLD_MARK.get(found) {
            Some(part) if found > 0 && piece == *part => found + 1,
            _ => usize::from(OLD_MARK.first().is_some_and(|first| piece.ends_with(first))),
        };
        if found == OLD_MARK.len() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The next bytes up to and with `end`, bounded. False at the end of the file.
fn next_piece(file: &mut impl BufRead, end: u8, piece: &mut Vec<u8>) -> io::Result<bool> {
    piece.clear();
    Ok(file.by_ref().take(PIECE_MAX).read_until(end, piece)? > 0)
}

/// Whether a path names the program that runs.
pub fn is_running(path: &Path) -> bool {
    let file = |path: &Path| fs::metadata(path).map(|found| (found.dev(), found.ino())).ok();
    file(path).is_some_and(|found| Some(found) == file(Path::new(RUNNING)))
}

/// Puts the running program in place of whatever has this name: whole or not at all.
pub fn copy_running(to: &Path) -> io::Result<()> {
    let mut copy = Unfinished::begin_replacing(to)?;
    io::copy(&mut File::open(RUNNING)?, &mut copy)?;
    copy.finish_with_mode(EXECUTABLE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_says_its_version_without_being_run() {
        assert_eq!(kind_of(Path::new(RUNNING)).unwrap(), ProgramKind::Muster(AgentVersion::own()));
        let room = tempfile::tempdir().unwrap();
        let path = room.path().join("muster");
        let check = |content: &[u8], expected: ProgramKind| {
            fs::write(&path, content).unwrap();
            assert_eq!(kind_of(&path).unwrap(), expected, "{:?}", String::from_utf8_lossy(content));
        };
        let stated = |text| ProgramKind::Muster(AgentVersion::stated(Some(text)));
        // Made here, because a literal would be a second mark in this very program.
        let mark = |version| MARK.replace(env!("CARGO_PKG_VERSION"), version).into_bytes();
        check(&[b"\x7fELF \x1d", &mark("0.3.1")[..], b" rest"].concat(), stated("0.3.1"));
        check(&[&mark("none")[..], &mark("0.3.1")].concat(), stated("0.3.1"));
        check(&[&vec![0x41; 200_000][..], &mark("9.0.0-dev")].concat(), stated("9.0.0"));
        // 0.1.0 had no mark.
        check(b"\x7fELF x_MUSTER_MUSTER_AGENT_JOIN_TOKEN\0", ProgramKind::Muster(AgentVersion::UNSTATED));
        check(b"\x7fELF MUSTER_AGENT_TLS_JOIN_", ProgramKind::Other);
        check(b"#!/bin/sh\n# muster-program-version=1.0.0\n", ProgramKind::Other);
        check(b"", ProgramKind::Other);
        assert_eq!(kind_of(room.path()).unwrap(), ProgramKind::Other);
        assert!(kind_of(&room.path().join("none")).is_err());
    }

    #[test]
    fn the_running_program_is_copied_whole() {
        let room = tempfile::tempdir().unwrap();
        let to = room.path().join("muster");
        fs::write(&to, "another one").unwrap();
        copy_running(&to).unwrap();
        assert_eq!(fs::metadata(&to).unwrap().len(), fs::metadata(RUNNING).unwrap().len());
        assert_eq!(fs::metadata(&to).unwrap().mode() & 0o7777, EXECUTABLE);
        assert!(!is_running(&to) && is_running(&std::env::current_exe().unwrap()));
        assert_eq!(fs::read_dir(room.path()).unwrap().count(), 1);
    }
}
