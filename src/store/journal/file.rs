//! The revocation journal: an append-only file beside the database, which outlives it.
//!
//! Whoever puts an older copy of the database in place, by a restore or by hand, would bring revoked agents
//! back. So every step of the deny list is also a line of this file. At every opening the two are compared, and
//! what one lacks it learns from the other. Only of those lines that were written last, at once, some may be
//! damaged, because only that can be the work of a crash. Between those lines stand marks of how far the audit trail
//! has come; most of them are dropped when there are many.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::OFlags;

use crate::domain::identity::deny::Denial;
use crate::domain::insight::audit::{ChainHead, MissingRecords};
use crate::domain::withdrawal::StoreId;
use crate::durable;
use crate::store::ReadError;
use crate::store::journal::audit_checkpoints::Marks;
use crate::store::journal::comparison::Comparison;
use crate::store::journal::facts::{JournalFacts, Spare, Withdrawn};
use crate::store::journal::line::{Line, Written};
use crate::store::view::View;

/// No line of ours comes near this many octets.
const LINE_MAX: u64 = 4096;

/// How the name of a journal begins that is being written anew.
const UNFINISHED: &str = ".revocations.";

/// Marks of the audit trail that a journal may hold; beyond, it is written anew with those that are kept.
const MARKS_MAX: usize = 1024;

/// Why the journal can't be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// It could not be opened, read or written, or is a symbolic link.
    #[error("cannot use the revocation journal {}", path.display())]
    Io {
        /// The journal's.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A line is not as it was written, and no crash explains it, because something was begun to be written
    /// behind it.
    #[error(
        "the revocation journal {} is damaged at line {line}; move it away if the store beside it is the newest \
         one, and it is written anew",
        path.display()
    )]
    Damaged {
        /// The journal's.
        path: PathBuf,
        /// Counted from 1.
        line: u64,
    },
    /// A directory or a FIFO, say, has its name.
    #[error("{} is not a regular file, so it cannot be the revocation journal", .0.display())]
    NotAFile(PathBuf),
    /// The open file may end in half a line, or its new version may lose its name in a crash. It has to be opened
    /// anew before anything else is written.
    #[error("the revocation journal {} is in doubt", path.display())]
    InDoubt {
        /// The journal's.
        path: PathBuf,
        /// Why it could not be put right.
        source: io::Error,
    },
    /// Whatever it denies and takes away concerns somebody else.
    #[error("the revocation journal {} is another store's; move it away", .0.display())]
    Foreign(PathBuf),
    /// The store beside it could not be read.
    #[error("cannot compare the revocation journal with the store")]
    Read(#[from] ReadError),
}

/// The open journal.
#[derive(Debug)]
pub(crate) struct Journal {
    path: PathBuf,
    file: File,
    marks: Marks,
    facts: JournalFacts,
    /// With more lines of marks and of what later lines supersede it is written anew.
    marks_max: usize,
}

/// What a journal knows and the database beside it does not.
#[derive(Debug)]
pub struct OnlyInJournal {
    /// What is still of use.
    pub denials: Vec<Denial>,
    /// What the audit trail once had and lacks now, as far as the journal was told.
    pub records: Option<MissingRecords>,
    /// What else was taken from somebody.
    pub withdrawn: Withdrawn,
    /// The last sign of life of the server that wrote it.
    pub last_sign: Option<Timestamp>,
    /// Which store it belongs to; `None` in one of before.
    pub store: Option<StoreId>,
    /// The last sign of life of a server in the time that the store has lost.
    pub alive_then: Option<Timestamp>,
    /// Whether it knows of records beyond the end of the store's audit trail.
    pub goes_on: bool,
}

impl Journal {
    /// Opens the journal, creating it if there is none, and writes into it what only the database knows.
    /// Returns with it what only the journal knows. `fresh`: for a store that has no id, if the journal has none either.
    pub(crate) fn open(
        path: &Path,
        view: &View<'_>,
        fresh: StoreId,
        now: Timestamp,
    ) -> Result<(Self, OnlyInJournal), JournalError> {
        let (file, created) = open_file(path, true).map_err(|source| io_error(path, source))?;
        // Its name may be as new as the file, or have been given anew by a process that died before this.
        let named = File::open(parent(path)).and_then(|directory| directory.sync_all());
        named.map_err(|source| io_error(path, source))?;
        if let Err(error) = durable::sweep_named(parent(path), UNFINISHED) {
            tracing::warn!(%error, "what was left of an earlier revocation journal cannot be removed");
        }
        let mut comparison = Comparison::begin(view, now)?;
        let mut journal = Self::read_to_its_end(path, file, |denial| comparison.journal_says(denial))?;
        let known = view.store_id()?;
        if journal.facts.store.is_some_and(|store| known.is_some_and(|known| known != store)) {
            return Err(JournalError::Foreign(path.to_owned()));
        }
        let (unwritten, denials) = comparison.end();
        if created && !unwritten.is_empty() {
            tracing::warn!(
                journal = %path.display(),
                "THE REVOCATION JOURNAL WAS MISSING; it is written anew from the store. If the store is an older \
                 copy, revocations since then are lost"
            );
        }
        let only_there = OnlyInJournal::of(denials, &journal.marks, &journal.facts, view, now)?;
        let store = journal.facts.store.or(known).unwrap_or(fresh);
        let mut lines: Vec<_> = unwritten.into_iter().map(Line::Denial).collect();
        if journal.facts.store.is_none() {
            lines.insert(0, Line::Store(store));
        }
        lines.extend(journal.facts.lacks(view)?.into_iter().map(|it| Line::Withdrawal(it, now)));
        journal.append_lines(lines, None)?;
        Ok((journal, OnlyInJournal { store: Some(store), ..only_there }))
    }

    /// From now on this is how far the trail had come, whatever the journal said before. A journal that is not
    /// there is made at the next opening.
    pub(crate) fn rebase(path: &Path, head: &ChainHead) -> Result<(), JournalError> {
        let file = match open_file(path, false) {
            Ok((file, _)) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(source) => return Err(io_error(path, source)),
        };
        Self::read_to_its_end(path, file, |_| Ok(()))?.append(&[], Some(head))
    }

    /// Reads all of it, and cuts off what a crash has left half-written.
    fn read_to_its_end(
        path: &Path,
        file: File,
        mut visit: impl FnMut(Denial) -> Result<(), ReadError>,
    ) -> Result<Self, JournalError> {
        let io = |source| io_error(path, source);
        if !file.metadata().map_err(io)?.is_file() {
            return Err(JournalError::NotAFile(path.to_owned()));
        }
        let (mut marks, mut facts) = (Marks::default(), JournalFacts::default());
        let mut later: u64 = 0;
        let torn = read(path, &file, |_, line| match line {
            Some(line) => {
                facts.add(&line);
                match line {
                    Line::Denial(denial) => visit(denial)?,
                    Line::Mark(mark) => marks.add(mark),
                    Line::Store(_) | Line::Alive(_) | Line::Withdrawal(..) => {}
                }
                Ok(())
            }
            None => {
                later += 1;
                Ok(())
            }
        })?;
        if later > 0 {
            tracing::warn!(
                journal = %path.display(),
                lines = later,
                "the revocation journal has lines that only a newer version of muster understands; they stay, and \
                 have no effect"
            );
        }
        if let Some(whole) = torn {
            tracing::warn!(
                journal = %path.display(),
                "the end of the revocation journal was not written whole; it is cut off"
            );
            file.set_len(whole).and_then(|()| file.sync_data()).map_err(io)?;
        }
        Ok(Self { path: path.to_owned(), file, marks, facts, marks_max: MARKS_MAX })
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds lines, on disk when this returns: denials, and how far the audit trail has come.
    pub(crate) fn append(
        &mut self,
        denials: &[Denial],
        head: Option<&ChainHead>,
    ) -> Result<(), JournalError> {
        self.append_lines(denials.iter().cloned().map(Line::Denial).collect(), head)
    }

    /// The same for lines of any kind.
    pub(crate) fn append_lines(
        &mut self,
        mut lines: Vec<Line>,
        head: Option<&ChainHead>,
    ) -> Result<(), JournalError> {
        let mark = head.filter(|head| head.seq > 0 && Some(*head) != self.marks.last());
        lines.extend(mark.cloned().map(Line::Mark));
        if lines.is_empty() {
            return Ok(());
        }
        let text: String = lines.iter().enumerate().map(|(nth, line)| line.to_text(nth)).collect();
        self.write(&text)?;
        lines.iter().for_each(|line| self.facts.add(line));
        if let Some(mark) = mark {
            self.marks.add(mark.clone());
        }
        if self.marks.lines + self.facts.spare <= self.marks_max {
            return Ok(());
        }
        match self.drop_old_marks() {
            Ok(directory) => {
                self.marks_max = MARKS_MAX + self.facts.spare;
                directory.sync_all().map_err(|source| self.in_doubt(source))
            }
            Err(error) => {
                // It is as good as before, only longer. A full disk must not have it written anew with every line.
                self.marks_max = self.marks.lines + self.facts.spare + MARKS_MAX;
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    journal = %self.path.display(),
                    "old marks stay in the revocation journal"
                );
                Ok(())
            }
        }
    }

    /// Half of what can't be written would be damage to whatever is written behind it.
    fn write(&mut self, lines: &str) -> Result<(), JournalError> {
        let before = self.file.metadata().map_err(|source| io_error(&self.path, source))?.len();
        let written = self.file.write_all(lines.as_bytes()).and_then(|()| self.file.sync_data());
        written.map_err(|source| match self.file.set_len(before) {
            Ok(()) => io_error(&self.path, source),
            Err(source) => self.in_doubt(source),
        })
    }

    fn in_doubt(&self, source: io::Error) -> JournalError {
        JournalError::InDoubt { path: self.path.clone(), source }
    }

    /// Writes the journal anew with the marks that are kept, and gives it its name once it is whole. Until then
    /// nothing has changed; from then on lines go into the new file, and the directory that is returned is yet to
    /// be synced.
    fn drop_old_marks(&mut self) -> Result<File, JournalError> {
        let io = |source| io_error(&self.path, source);
        // Whatever has to be opened is open before the name changes hands.
        let directory = File::open(parent(&self.path)).map_err(io)?;
        let fresh = tempfile::Builder::new()
            .prefix(UNFINISHED)
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .tempfile_in(parent(&self.path))
            .map_err(io)?;
        let appending = open_file(fresh.path(), false).map_err(io)?.0;
        let mut kept = self.marks.kept().peekable();
        let mut spare = Spare::of(&self.facts);
        let mut writer = BufWriter::new(fresh.as_file());
        let mut failed = None;
        read(&self.path, &File::open(&self.path).map_err(io)?, |octets, line| {
            let later = line;
            if let Some(Line::Mark(mark)) = &later
                && kept.next_if_eq(&mark).is_none()
            {
                return Ok(());
            }
            if let Some(line) = &later
                && !spare.keeps(line)
            {
                return Ok(());
            }
            if let Err(error) = writer.write_all(octets) {
                failed.get_or_insert(error);
            }
            Ok(())
        })?;
        drop(kept);
        let spare = spare.kept();
        failed.map_or(Ok(()), Err).and_then(|()| writer.flush()).map_err(io)?;
        drop(writer);
        fresh.as_file().sync_all().map_err(io)?;
        fresh.persist(&self.path).map_err(|error| io(error.error))?;
        self.file = appending;
        self.marks.only_kept();
        self.facts.spare = spare;
        Ok(directory)
    }
}

fn parent(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

fn io_error(path: &Path, source: io::Error) -> JournalError {
    JournalError::Io { path: path.to_owned(), source }
}

/// What a journal knows that the database does not, without touching the journal; `None` when there is none. `lost`: the
/// time of which the database knows nothing.
pub(crate) fn unknown_to(
    view: &View<'_>,
    path: &Path,
    lost: (Timestamp, Timestamp),
    now: Timestamp,
) -> Result<Option<OnlyInJournal>, JournalError> {
    let io = |source| io_error(path, source);
    let file = match OpenOptions::new().read(true).custom_flags(FLAGS.bits().cast_signed()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io(error)),
    };
    if !file.metadata().map_err(io)?.is_file() {
        return Err(JournalError::NotAFile(path.to_owned()));
    }
    let (mut comparison, mut marks) = (Comparison::begin(view, now)?, Marks::default());
    let mut facts = JournalFacts::asking(lost);
    read(path, &file, |_, line| {
        let Some(line) = line else { return Ok(()) };
        facts.add(&line);
        match line {
            Line::Denial(denial) => comparison.journal_says(denial)?,
            Line::Mark(mark) => marks.add(mark),
            Line::Store(_) | Line::Alive(_) | Line::Withdrawal(..) => {}
        }
        Ok(())
    })?;
    let foreign = match (facts.store, view.store_id()?) {
        (Some(journal), Some(store)) => journal != store,
        // One of before says only how far the trail had come.
        _ => !marks.may_be_of(view)?,
    };
    if foreign {
        return Err(JournalError::Foreign(path.to_owned()));
    }
    let (_, denials) = comparison.end();
    Ok(Some(OnlyInJournal::of(denials, &marks, &facts, view, now)?))
}

impl OnlyInJournal {
    /// Whether the journal knows of a time that the store has lost.
    pub const fn reaches_beyond(&self) -> bool {
        let lacks = !self.denials.is_empty() || !self.withdrawn.is_empty();
        self.goes_on || self.alive_then.is_some() || lacks
    }

    fn of(
        denials: Vec<Denial>,
        marks: &Marks,
        facts: &JournalFacts,
        view: &View<'_>,
        now: Timestamp,
    ) -> Result<Self, ReadError> {
        Ok(Self {
            denials,
            records: marks.missing_from(view)?,
            withdrawn: facts.withdrawn_from(view, now)?,
            last_sign: facts.last_sign(now),
            store: facts.store,
            alive_then: facts.alive_then(),
            goes_on: marks.last().map(|last| last.seq) > Some(view.audit_end()?),
        })
    }
}

/// Reads every line; one of a kind that only a newer version knows is visited as `None`. When a crash has left what
/// was written last damaged, says how many octets before the damage are whole.
///
/// A power cut may lose the middle of what was written at once and keep its end. So there is damage that is not the
/// work of a crash only where something was begun to be written behind it.
fn read(
    path: &Path,
    file: &File,
    mut visit: impl FnMut(&[u8], Option<Line>) -> Result<(), ReadError>,
) -> Result<Option<u64>, JournalError> {
    let io = |source| io_error(path, source);
    let mut reader = BufReader::new(file);
    let (mut number, mut offset) = (0, 0);
    let mut damage = None;
    let mut line = Vec::new();
    loop {
        line.clear();
        let length = reader.by_ref().take(LINE_MAX).read_until(b'\n', &mut line).map_err(io)?;
        if length == 0 {
            return Ok(damage.map(|_| offset));
        }
        number += 1;
        match (Line::read(&line), damage) {
            (Ok(Written { line: said, .. }), None) => {
                visit(&line, said)?;
                offset += length as u64;
            }
            (Err(_), None) => damage = Some(number),
            (Ok(Written { continues: false, .. }), Some(line)) => {
                return Err(JournalError::Damaged { path: path.to_owned(), line });
            }
            (_, Some(_)) => {}
        }
    }
}

/// Links are not followed, and a FIFO does not hold us up.
const FLAGS: OFlags = OFlags::NOFOLLOW.union(OFlags::NONBLOCK);

/// Opens the file, or creates it for its owner alone; whether it was created.
fn open_file(path: &Path, create: bool) -> io::Result<(File, bool)> {
    let mut options = OpenOptions::new();
    options.read(true).append(true).mode(0o600).custom_flags(FLAGS.bits().cast_signed());
    match options.open(path) {
        Ok(file) => Ok((file, false)),
        Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
            Ok((options.create_new(true).open(path)?, true))
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::enroll::enrollment::RevocationReason;
    use crate::domain::identity::deny::AgentRef;
    use crate::domain::identity::serial::Serial;
    use crate::domain::ids::{CredentialId, TenantId};
    use crate::domain::withdrawal::Withdrawal;

    fn denials() -> Vec<Denial> {
        let identity =
            |agent: &str| AgentRef { tenant: TenantId::from_bytes([7; 16]), agent: agent.parse().unwrap() };
        let at = Timestamp::from_second(1_790_000_000).unwrap();
        let reason = RevocationReason::Revoked;
        vec![
            Denial::Serial { serial: Serial::new(at, [1; 10]), not_after: at, since: at, reason },
            Denial::Identity { identity: identity("a"), since: at },
            Denial::Lifted { identity: identity("b"), at },
        ]
    }

    /// What is read from a journal with these octets in it.
    fn read_from(content: &[u8]) -> (Result<Option<u64>, JournalError>, Vec<Denial>) {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(content).unwrap();
        let mut found = Vec::new();
        let cut = read(file.path(), &file.reopen().unwrap(), |_, line| {
            if let Some(Line::Denial(denial)) = line {
                found.push(denial);
            }
            Ok(())
        });
        (cut, found)
    }

    fn lines() -> Vec<u8> {
        let lines = denials().into_iter().map(|denial| Line::Denial(denial).to_text(0));
        lines.collect::<String>().into_bytes()
    }

    /// Where the last line begins.
    fn last_line(lines: &[u8]) -> usize {
        lines[..lines.len() - 1].iter().rposition(|byte| *byte == b'\n').unwrap() + 1
    }

    #[test]
    fn lines_are_json_and_read_back() {
        let lines = lines();
        for line in std::str::from_utf8(&lines).unwrap().lines() {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            assert!(value["sum"].is_string() && value["kind"].is_string(), "{line}");
        }
        let (cut, found) = read_from(&lines);
        assert_eq!((cut.unwrap(), found), (None, denials()));
    }

    #[test]
    fn a_torn_last_line_is_told_apart() {
        let whole = lines();
        let last = last_line(&whole);
        for length in last + 1..whole.len() {
            let (cut, found) = read_from(&whole[..length]);
            assert_eq!((cut.unwrap(), &found[..]), (Some(last as u64), &denials()[..2]), "cut at {length}");
        }
    }

    #[test]
    fn damage_before_the_last_line_is_refused() {
        let whole = lines();
        for at in 0..last_line(&whole) - 1 {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x11;
            let (cut, _) = read_from(&damaged);
            assert!(matches!(cut, Err(JournalError::Damaged { .. })), "flipped at {at}");
        }
    }

    #[test]
    fn a_hole_in_what_was_written_last_is_told_apart() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("revocations.log");
        let mut journal = opened(&path).0;
        let size = || usize::try_from(std::fs::metadata(&path).unwrap().len()).unwrap();
        journal.append(&denials()[..1], Some(&mark(1))).unwrap();
        let before = size();
        journal.append(&denials(), Some(&mark(2))).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for begin in before..whole.len() {
            for end in [begin + 1, begin + 100, whole.len() - 1] {
                let mut holed = whole.clone();
                let end = end.min(whole.len());
                holed.get_mut(begin..end).unwrap_or_default().fill(0);
                let (cut, found) = read_from(&holed);
                match cut.unwrap() {
                    Some(cut) => assert!((before..=begin).contains(&usize::try_from(cut).unwrap())),
                    None => assert_eq!((begin, holed), (end, whole.clone()), "there was no hole"),
                }
                let expected = [&denials()[..1], &denials()].concat();
                assert!(!found.is_empty() && expected.starts_with(&found));
            }
        }
        // Once something is written behind it, a hole is damage.
        journal.append(&[], Some(&mark(3))).unwrap();
        let mut holed = std::fs::read(&path).unwrap();
        holed[before + 10..before + 20].fill(0);
        assert!(matches!(read_from(&holed).0, Err(JournalError::Damaged { line: 3, .. })));
    }

    fn mark(seq: u64) -> ChainHead {
        ChainHead { seq, hash: format!("{seq:064x}") }
    }

    fn opened(path: &Path) -> (Journal, Vec<Denial>) {
        let mut found = Vec::new();
        let journal = Journal::read_to_its_end(path, open_file(path, true).unwrap().0, |denial| {
            found.push(denial);
            Ok(())
        });
        (journal.unwrap(), found)
    }

    #[test]
    fn marks_are_dropped_when_there_are_many_and_denials_never() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("revocations.log");
        let mut journal = opened(&path).0;
        let size = || std::fs::metadata(&path).unwrap().len();
        let mut longest = 0;
        for seq in 1..3 * MARKS_MAX as u64 {
            let denials = if seq % 500 == 0 { denials() } else { Vec::new() };
            journal.append(&denials, Some(&mark(seq))).unwrap();
            journal.append(&[], Some(&mark(seq))).unwrap();
            longest = longest.max(size());
        }
        assert!(longest < 200 * (MARKS_MAX as u64 + 100), "{longest}");
        let (again, found) = opened(&path);
        assert_eq!(found, std::iter::repeat_n(denials(), 6).flatten().collect::<Vec<_>>());
        assert_eq!(again.marks.last(), Some(&mark(3 * MARKS_MAX as u64 - 1)));
        assert_eq!(again.marks.lines, journal.marks.lines);
        let names = std::fs::read_dir(directory.path()).unwrap().count();
        assert_eq!(names, 1, "nothing is left beside it");
    }

    #[test]
    fn of_what_later_lines_supersede_the_last_stays_and_what_was_taken_for_good_all_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("revocations.log");
        let mut journal = opened(&path).0;
        let at = |second: u32| Timestamp::from_second(1_790_000_000 + i64::from(second)).unwrap();
        let id = |number: u32| CredentialId::new(at(number), [0; 4]);
        let last = 3 * u32::try_from(MARKS_MAX).unwrap();
        for number in 1..=last {
            let uses = Withdrawal::SecretUses { id: id(number % 2), uses: number };
            let mut lines = vec![Line::Alive(at(number)), Line::Withdrawal(uses, at(number))];
            if number % 1_000 == 0 {
                lines.push(Line::Withdrawal(Withdrawal::ApiToken(id(number)), at(number)));
            }
            journal.append_lines(lines, None).unwrap();
        }
        let lines = std::fs::read_to_string(&path).unwrap();
        assert!(lines.lines().count() < MARKS_MAX + 100, "{}", lines.lines().count());
        let again = opened(&path).0;
        assert_eq!(again.facts.spare, journal.facts.spare);
        assert_eq!(again.facts.last_sign(at(last)), Some(at(last)));
        for number in [last - 1, last] {
            let kept = format!("\"id\":\"{}\",\"uses\":{number}", id(number % 2));
            assert_eq!(lines.matches(&kept).count(), 1, "{kept}");
        }
        assert_eq!(lines.matches("api_token_revoked").count(), 3);
    }

    #[test]
    fn what_is_written_after_the_name_has_changed_hands_is_in_the_file_of_that_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("revocations.log");
        let mut journal = opened(&path).0;
        for seq in 1..100 {
            journal.append(&[], Some(&mark(seq))).unwrap();
        }
        // The directory is not synced, as when that fails.
        drop(journal.drop_old_marks().unwrap());
        let lines = journal.marks.lines;
        journal.append(&denials(), Some(&mark(100))).unwrap();
        let (again, found) = opened(&path);
        assert_eq!((found, again.marks.last()), (denials(), Some(&mark(100))));
        assert_eq!((again.marks.lines, journal.marks.lines), (lines + 1, lines + 1));
        assert!(lines < 99, "{lines}");
    }

    #[test]
    fn a_journal_that_cannot_be_written_anew_is_not_tried_again_with_every_line() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("revocations.log");
        let mut journal = opened(&path).0;
        // There is nothing of that name to read from, and so nothing to write anew.
        std::fs::remove_file(&path).unwrap();
        let mut tried = Vec::new();
        for seq in 1..3 * MARKS_MAX as u64 {
            let before = journal.marks_max;
            journal.append(&[], Some(&mark(seq))).unwrap();
            if journal.marks_max != before {
                tried.push(seq);
            }
        }
        assert_eq!(tried, [MARKS_MAX as u64 + 1, 2 * MARKS_MAX as u64 + 2]);
    }

    #[test]
    fn lines_of_a_newer_version_are_skipped_and_kept() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("revocations.log");
        let rest = r#""kind":"moon_phase","phase":"full"}"#;
        let newer = format!("{{\"sum\":\"{}\",{rest}\n", crate::store::journal::line::sum(rest));
        std::fs::write(&path, [newer.as_bytes(), &lines()].concat()).unwrap();
        let (mut journal, found) = opened(&path);
        assert_eq!(found, denials());
        journal.append(&[], Some(&mark(1))).unwrap();
        journal.drop_old_marks().unwrap();
        assert!(std::fs::read_to_string(&path).unwrap().starts_with(&newer));
        assert_eq!(opened(&path).1, denials());
        // A kind that we know and can't make sense of is damage: skipping it might let somebody in.
        let rest = r#""kind":"serial","serial":"full"}"#;
        let odd = format!("{{\"sum\":\"{}\",{rest}\n", crate::store::journal::line::sum(rest));
        let (read, _) = read_from(&[odd.as_bytes(), &lines()].concat());
        assert!(matches!(read, Err(JournalError::Damaged { line: 1, .. })), "{read:?}");
    }

    #[test]
    fn a_new_beginning_is_marked_behind_a_torn_line_too() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("revocations.log");
        Journal::rebase(&path, &mark(7)).unwrap();
        assert!(!path.exists());
        let lines = lines();
        std::fs::write(&path, &lines[..lines.len() - 5]).unwrap();
        Journal::rebase(&path, &mark(7)).unwrap();
        let (journal, found) = opened(&path);
        assert_eq!((journal.marks.last(), found.len()), (Some(&mark(7)), 2));
    }
}
