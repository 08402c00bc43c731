//! One output: when its files are written, and when its command is run.
//!
//! What it decides by stands on disk (`record`), so that a crash at any moment costs at most a command that is run once
//! more. A change is owed to the command until a run that began after it has been a success.

use std::collections::BTreeSet;
use std::io::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::agent::account::NoSuchAccount;
use crate::agent::outputs::config::{OutputConfig, OutputFormat};
use crate::agent::outputs::difference::{
    Differs, KeepError, WantedLists, hex, lists_in, owed, remember_rights, rights, rights_of_before,
    settings_digest, with_facts_of_before,
};
use crate::agent::outputs::files::denied_json::denied_lines;
use crate::agent::outputs::files::directory::{FileRights, OutputDirectory};
use crate::agent::outputs::files::set::{FileSet, Numbering};
use crate::agent::outputs::on_change::command::{self, CommandError, Order};
use crate::agent::outputs::on_change::pace::{Changed, Pace};
use crate::agent::outputs::record::{OutputRecord, Records, Trouble};
use crate::agent::outputs::source::listen::OutputReport;
use crate::agent::outputs::source::lists::{JudgedLists, trimmed};
use crate::agent::outputs::source::material::{Material, number};
use crate::agent::run::backoff::{Backoff, random_permille};
use crate::clock::{self, Clock};
use crate::error_chain::chain;

/// How often files are looked after although nothing has been heard: links that somebody has removed, old sets.
const LOOK_EVERY: Duration = Duration::from_secs(20);
/// How often owner and group are looked up.
const ACCOUNTS_EVERY: Duration = Duration::from_secs(60);
/// The waits after files could not be written.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// Keeps the files of one output.
#[derive(Debug)]
pub(crate) struct Keeper {
    output: OutputConfig,
    records: Records,
    record: OutputRecord,
    pace: Pace,
    directory: Option<OutputDirectory>,
    /// The lists that are in the directory, DER.
    lists: Vec<Vec<u8>>,
    reports: mpsc::Sender<OutputReport>,
    clock: Arc<dyn Clock>,
    record_lost: bool,
    /// Owner and group as numbers, and when they were asked for.
    found: Option<(FileRights, Instant)>,
    accounts_lost: bool,
}

/// A command that is under way, and what it is told.
struct Run {
    task: JoinHandle<Result<String, CommandError>>,
    identity: String,
    lists: String,
    denied: BTreeSet<String>,
}

impl Keeper {
    pub(crate) fn new(
        output: OutputConfig,
        records: Records,
        reports: mpsc::Sender<OutputReport>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let record = records.read(&output.dir);
        let pace = Pace::new(output.min_interval, owed(&output, &record));
        Self {
            output,
            records,
            record,
            pace,
            directory: None,
            lists: Vec::new(),
            reports,
            clock,
            record_lost: false,
            found: None,
            accounts_lost: false,
        }
    }

    /// Looks after the files until `stop`. `looked` hears when that has been done for the first time.
    pub(crate) async fn keep(
        mut self,
        mut settled: watch::Receiver<Option<Arc<Material>>>,
        looked: mpsc::Sender<()>,
        stop: CancellationToken,
    ) {
        let mut looked = Some(looked);
        let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
        let mut run: Option<Run> = None;
        loop {
            let material = settled.borrow_and_update().clone();
            let material = material.map(|it| tokio::task::block_in_place(|| self.with_facts(it)));
            let mut look_at = clock::monotonic() + LOOK_EVERY;
            if let Some(material) = &material {
                let ok = tokio::task::block_in_place(|| self.look_after(material));
                drop(looked.take());
                if ok {
                    backoff.reset();
                } else {
                    look_at = clock::monotonic() + backoff.wait();
                }
            }
            // Waits for the command or its time until something else is to be looked after.
            loop {
                let due = material.as_ref().and_then(|_| self.pace.due(clock::monotonic()));
                tokio::select! {
                    () = stop.cancelled() => {
                        if let Some(run) = run.take() {
                            self.finish(run, material.as_deref()).await;
                        }
                        return;
                    }
                    changed = settled.changed() => {
                        if changed.is_err() {
                            return;
                        }
                        break;
                    }
                    () = sleep_until(look_at) => break,
                    () = ended(&mut run) => {
                        if let Some(run) = run.take() {
                            self.finish(run, material.as_deref()).await;
                        }
                    }
                    () = sleep_until(due.unwrap_or(look_at)), if due.is_some() => {
                        if let Some(material) = &material {
                            run = self.begin(material, &stop);
                        }
                    }
                }
            }
        }
    }

    /// Writes the files and runs the command, once; whether all of it was a success.
    pub(crate) async fn once(mut self, material: Arc<Material>, stop: &CancellationToken) -> bool {
        let material = &*tokio::task::block_in_place(|| self.with_facts(material));
        if !tokio::task::block_in_place(|| self.look_after(material)) {
            return false;
        }
        if self.pace.due(clock::monotonic()).is_none() {
            return true;
        }
        match self.begin(material, stop) {
            Some(run) => self.finish(run, Some(material)).await,
            None => false,
        }
    }

    fn with_facts(&self, material: Arc<Material>) -> Arc<Material> {
        with_facts_of_before(&material, &self.output.dir).map_or(material, Arc::new)
    }

    /// Whose the files are to be. A directory service that is away or slow holds up no list: what it said last counts.
    fn rights(&mut self) -> Result<FileRights, NoSuchAccount> {
        if let Some((found, asked)) = self.found
            && asked.elapsed() < ACCOUNTS_EVERY
        {
            return Ok(found);
        }
        let found = match rights(&self.output) {
            Ok(found) => {
                self.accounts_lost = false;
                remember_rights(&self.output, &mut self.record, found);
                found
            }
            Err(error) => {
                let before = rights_of_before(&self.output, &self.record);
                if before.is_some() && !std::mem::replace(&mut self.accounts_lost, true) {
                    warn!(dir = %self.output.dir.display(), reason = chain(&error), "files are still given to whom they were given before");
                }
                before.ok_or(error)?
            }
        };
        self.found = Some((found, clock::monotonic()));
        Ok(found)
    }

    /// Brings the files up to date; whether they are.
    fn look_after(&mut self, material: &Material) -> bool {
        let now = self.clock.now();
        match self.write_if_needed(material, now) {
            Ok(written) => {
                let healed = self.record.trouble.take();
                if let Some(healed) = &healed {
                    info!(dir = %self.output.dir.display(), since = %healed.since, "files can be written again");
                }
                if written || healed.is_some() {
                    self.save();
                }
                true
            }
            Err(error) => {
                let what = chain(&error);
                if self.record.trouble.as_ref().is_none_or(|known| known.what != what) {
                    warn!(dir = %self.output.dir.display(), reason = what, "files can't be kept; those that are there stay");
                    self.record.trouble = Some(Trouble { since: now, what });
                    self.save();
                }
                // Who comes to look later opens it anew.
                self.directory = None;
                false
            }
        }
    }

    fn write_if_needed(&mut self, material: &Material, now: Timestamp) -> Result<bool, KeepError> {
        let rights = self.rights()?;
        self.open()?;
        let (lists, lists_changed) = self.lists_of(material, now);
        let differs =
            Differs::of(&self.output, &self.record, self.directory.as_ref(), (material, &lists, rights));
        let mut written = lists_changed;
        if differs.is_any() {
            let set = {
                let numbering = if self.record.numbers.is_empty() {
                    Numbering::First
                } else {
                    Numbering::Next { before: &self.record.numbers, old: &self.lists }
                };
                FileSet::of(&self.output, material, &lists, numbering)?
            };
            // What is there for the first time has not changed, so it takes nothing from the first revocation.
            let first = self.record.set.is_none();
            self.write(material, lists, &set, rights, now)?;
            if self.output.on_change.is_some() {
                let identity = differs.identity || differs.damaged;
                let told = &self.record.on_change.told_denied;
                let denied = material.denied.keys().any(|serial| !told.contains(serial));
                let lists = differs.lists && !first;
                self.pace.note(Changed { identity, lists, denied: lists && denied });
            }
            info!(
                dir = %self.output.dir.display(), identity = differs.identity, lists = differs.lists,
                files = set.files.len(), "files written"
            );
            written = true;
        }
        if let Some(directory) = &self.directory {
            directory.sweep(now)?;
        }
        Ok(written)
    }

    /// The lists that are to be in the directory, and whether there is news of what is wrong with them.
    fn lists_of(&mut self, material: &Material, now: Timestamp) -> (Vec<Vec<u8>>, bool) {
        let wanted = WantedLists::of(material, &self.lists);
        if let JudgedLists::Complete(lists) = &material.lists {
            self.record.lists_until = lists.iter().filter_map(|list| list.next_update).min();
        }
        let known = self.record.lists_trouble.as_ref().map(|trouble| trouble.what.as_str());
        let news = known != wanted.trouble;
        if news {
            self.record.lists_trouble =
                wanted.trouble.map(|what| Trouble { since: now, what: what.to_owned() });
        }
        (wanted.lists, news)
    }

    fn write(
        &mut self,
        material: &Material,
        lists: Vec<Vec<u8>>,
        set: &FileSet,
        rights: FileRights,
        now: Timestamp,
    ) -> Result<(), KeepError> {
        let Some(directory) = &self.directory else { return Ok(()) };
        let name = directory.write(set, rights, now)?;
        let record = &mut self.record;
        record.dir.clone_from(&self.output.dir);
        record.format = self.output.format;
        record.set = Some(name);
        record.visible = set.visible();
        record.written_at = Some(now);
        record.identity_digest = hex(material.identity_digest());
        record.lists_digest = hex(material.lists_digest(&lists));
        record.settings_digest = settings_digest(&self.output, rights);
        record.numbers.clone_from(&set.numbers);
        record.spiffe_id = Some(material.answer.spiffe_id.clone());
        if let Ok((_, leaf)) = X509Certificate::from_der(material.answer.leaf()) {
            record.serial = Some(number(&trimmed(leaf.raw_serial())));
            record.not_after = Timestamp::from_second(leaf.validity().not_after.timestamp()).ok();
        }
        self.lists = lists;
        Ok(())
    }

    /// Opens the directory, unless the one that is open is still the one.
    fn open(&mut self) -> Result<(), KeepError> {
        if self.directory.as_ref().is_some_and(OutputDirectory::is_there) {
            return Ok(());
        }
        self.directory = None;
        let directory = OutputDirectory::open(&self.output.dir)?;
        self.lists = lists_in(&directory);
        self.directory = Some(directory);
        Ok(())
    }

    /// Starts the command. What it is told stands in a file of its own.
    fn begin(&mut self, material: &Material, stop: &CancellationToken) -> Option<Run> {
        let words = self.output.on_change.clone()?;
        let told = &self.record.on_change.told_denied;
        let new = material.denied.iter().filter(|(serial, _)| !told.contains(*serial));
        let lines = denied_lines(new);
        self.pace.begin(clock::monotonic());
        self.record.on_change.last_run_at = Some(self.clock.now());
        let (records, timeout, dir) = (self.records.clone(), self.output.timeout, self.output.dir.clone());
        let stop = stop.clone();
        let task = tokio::task::spawn_blocking(move || {
            let start_failed =
                |source| CommandError::Start { program: words.first().cloned().unwrap_or_default(), source };
            let file = denied_file(&records, &lines).map_err(start_failed)?;
            let order = Order { words, timeout, denied: file.path().to_owned(), dir };
            command::run(&order, &stop)
        });
        Some(Run {
            task,
            identity: self.record.identity_digest.clone(),
            lists: self.record.lists_digest.clone(),
            denied: material.denied.keys().cloned().collect(),
        })
    }

    /// Takes note of how a run has ended, once it has; whether it was a success.
    async fn finish(&mut self, run: Run, material: Option<&Material>) -> bool {
        let ended = run.task.await.unwrap_or_else(|_| Err(CommandError::Stopped("on_change".to_owned())));
        let dir = self.output.dir.display().to_string();
        let now = self.clock.now();
        self.pace.end(ended.is_ok(), clock::monotonic(), random_permille());
        let known = &mut self.record.on_change;
        let success = match ended {
            Ok(said) => {
                info!(dir, said, "on_change has run");
                known.last_success_at = Some(now);
                (known.told_identity, known.told_lists, known.told_denied) =
                    (run.identity, run.lists, run.denied);
                known.failures = 0;
                if known.failure.take().is_some() {
                    self.report(None);
                }
                if let Some(material) = material {
                    tokio::task::block_in_place(|| self.start_numbers_over(material));
                }
                true
            }
            // It is owed to the next start.
            Err(CommandError::Stopped(_)) => false,
            Err(error) => {
                let what = chain(&error);
                let again = self.pace.due(clock::monotonic()).map(|at| at - clock::monotonic());
                warn!(
                    dir,
                    reason = what,
                    retry_in_ms = again.map(|again| again.as_millis()),
                    "on_change has failed"
                );
                known.failures = self.pace.failures();
                let first = known.failure.is_none();
                let since = known.failure.as_ref().map_or(now, |known| known.since);
                known.failure = Some(Trouble { since, what: what.clone() });
                if first {
                    self.report(Some(what));
                }
                false
            }
        };
        tokio::task::block_in_place(|| self.save());
        success
    }

    /// After a success every program has read the newest list by its first name. Unless another one has come meanwhile.
    fn start_numbers_over(&mut self, material: &Material) {
        let started_over =
            self.output.format != OutputFormat::Hashed || self.pace.owes() || self.record.set.is_none();
        if started_over || self.directory.is_none() {
            return;
        }
        let written = self.rights().map_err(KeepError::from).and_then(|rights| {
            let set = FileSet::of(&self.output, material, &self.lists, Numbering::First)?;
            if set.numbers == self.record.numbers {
                return Ok(());
            }
            let now = self.clock.now();
            self.write(material, self.lists.clone(), &set, rights, now)
        });
        if let Err(error) = written {
            warn!(dir = %self.output.dir.display(), reason = chain(&error), "the numbers of lists can't start over");
        }
    }

    fn report(&self, failure: Option<String>) {
        // What is one too many is in the log and in the status all the same.
        let _ = self.reports.try_send(OutputReport { dir: self.output.dir.clone(), failure });
    }

    fn save(&mut self) {
        let saved = self.records.prepare().and_then(|()| self.records.write(&self.record));
        match saved {
            Ok(()) => self.record_lost = false,
            Err(error) if !self.record_lost => {
                self.record_lost = true;
                warn!(dir = %self.output.dir.display(), %error, "what was done can't be remembered, so it is done again after a restart");
            }
            Err(_) => {}
        }
    }
}

/// For its owner alone, and only for as long as the command runs.
fn denied_file(records: &Records, lines: &str) -> std::io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    let builder = builder.prefix("denied-");
    let made = records.place().and_then(|place| builder.tempfile_in(place)).or_else(|_| builder.tempfile());
    let mut file = made.map_err(|error| std::io::Error::from(error.kind()))?;
    file.write_all(lines.as_bytes())?;
    Ok(file)
}

async fn sleep_until(moment: Instant) {
    tokio::time::sleep_until(moment.into()).await;
}

/// Returns when a command that is under way has ended, and leaves the news to whoever takes it.
async fn ended(run: &mut Option<Run>) {
    match run {
        Some(run) => {
            while !run.task.is_finished() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
        None => std::future::pending().await,
    }
}
