//! Shipping: frames from the tap of the change log go out as segments, with snapshots between them, to one replica.
//!
//! Nothing that happens here holds anybody up but whoever waits for a replica on purpose. What fails is tried again, with the very
//! octets that may have arrived. A name that somebody else has taken ends it: two servers never write one history.

mod connecting;
mod making;

use std::io::{self, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use aws_lc_rs::rand;
use data_encoding::HEXLOWER;
use jiff::Timestamp;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use connecting::probe;
use making::make_snapshot;

use super::data_key::DataKeyError;
use super::history::{self, HistoryError, ReplicaHistory};
use super::layout::{self, SnapshotName};
use super::place::{OpenPlace, PlaceError, Put};
use super::segment::{
    DataKey, NamedFile, SegmentDigest, SegmentEntry, SegmentHead, SegmentNumber, SnapshotEntry, digest_of,
};
use super::state::{LastWritten, StateFile};
use super::status::ReplicaStatus;
use crate::ca::envelope::Envelope;
use crate::clock;
use crate::domain::replicas::{ReplicaSettings, ReplicaState};
use crate::domain::withdrawal::StoreId;
use crate::error_chain::chain;
use crate::store::{FramePlace, FrameTap, Unbroken};

/// Octets of frames in one segment, unless one frame has more.
const SEGMENT_MAX: usize = 4 << 20;
/// How often `tls/` is looked at.
const FILES_LOOKED_AT: Duration = Duration::from_secs(5);
/// How often a name is written twice.
const PROBED: Duration = Duration::from_secs(24 * 3600);
/// What failed is tried again after this, then after twice as long, up to the last.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// A snapshot that failed while changes arrive is tried again after this.
const SNAPSHOT_AGAIN: Duration = Duration::from_secs(600);
/// How long the end of a server waits for what is still to be sent.
const AT_THE_END: Duration = Duration::from_secs(5);

/// What a server has to give.
pub trait FrameSource: Send + Sync + 'static {
    /// Which store it is.
    fn store(&self) -> Result<StoreId, String>;
    /// In which term it writes.
    fn term(&self) -> u64;
    /// What seals.
    fn envelope(&self) -> Result<Envelope, String>;
    /// What agents trust the server by, as it is now.
    fn files(&self) -> Result<Vec<NamedFile>, String>;
    /// Writes a sealed backup, and says where in the log it is. Blocking and long.
    fn snapshot(&self, to: &mut dyn Write) -> Result<FramePlace, String>;
    /// By the server's clock.
    fn now(&self) -> Timestamp;
}

/// Why nothing was sent.
#[derive(Debug, thiserror::Error)]
enum ShipError {
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    ReplicaHistory(#[from] HistoryError),
    #[error(transparent)]
    Key(#[from] DataKeyError),
    #[error("{0}")]
    Source(String),
    #[error("{0}")]
    Final(&'static str, ReplicaState),
    #[error(
        "nothing is left there of what this server has written; mount it, or begin anew: stop the server and remove \
         replicas.json from its data directory"
    )]
    Gone,
    #[error("what this server has written cannot be noted in its data directory")]
    State(#[source] io::Error),
    #[error("a segment could not be sealed")]
    Seal,
}

const UNSAFE: ShipError = ShipError::Final(
    "it lets one name be written twice, so nothing would keep two servers apart; use a folder on a file system with hard links, or an \
     object store that honours If-None-Match",
    ReplicaState::Unsafe,
);
const OTHER_STORE: ShipError = ShipError::Final(
    "it is another deployment's replica; set another address for this one",
    ReplicaState::Foreign,
);
const NOT_OURS: ShipError = ShipError::Final(
    "it holds a history that this store did not write: the store was restored or put back, or another server writes there. Nothing \
     of it is touched; set another address for this server's replica",
    ReplicaState::Foreign,
);
const TAKEN: ShipError = ShipError::Final(
    "another server writes there: a segment has the name that was this server's next. Nothing is written any more; stop one of \
     the two, or set another address",
    ReplicaState::Foreign,
);
const LATER_TERM: ShipError = ShipError::Final(
    "it has a later term than this server: another one was promoted. Stop this one",
    ReplicaState::Foreign,
);

/// One replica that is written.
pub struct Shipping {
    /// Which follower of the tap it is.
    pub follower: usize,
    /// What is set.
    pub settings: ReplicaSettings,
    /// Where frames come from.
    pub tap: Arc<FrameTap>,
    /// Everything else.
    pub source: Arc<dyn FrameSource>,
    /// What is remembered of it.
    pub state: StateFile,
    /// What others are told.
    pub status: Arc<ReplicaStatus>,
}

impl std::fmt::Debug for Shipping {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shipping").field("settings", &self.settings).finish_non_exhaustive()
    }
}

/// What is known of the replica while it is written.
struct Link {
    place: OpenPlace,
    store: StoreId,
    term: u64,
    key: (u32, DataKey),
    /// The last segment there; 0 before the first.
    segment: u64,
    digest: SegmentDigest,
    /// The last frame there.
    frame: u64,
    at: Option<Timestamp>,
    /// `None`: frames are missing, and a snapshot has to stand for them.
    unbroken: Option<Unbroken>,
    files: Option<Vec<NamedFile>>,
    snapshot_at: Option<Timestamp>,
    /// One that failed is not tried again before.
    snapshot_again: Option<Instant>,
    /// LastWritten, and perhaps arrived.
    pending: Option<Pending>,
    making: Option<Making>,
}

/// A segment on its way.
struct Pending {
    octets: Vec<u8>,
    digest: SegmentDigest,
    then: After,
}

/// What is so once it has arrived.
#[derive(Default)]
struct After {
    frame: Option<(u64, Timestamp)>,
    files: Option<Vec<NamedFile>>,
    snapshot: Option<(SnapshotEntry, Option<Unbroken>)>,
}

/// A snapshot that is being made.
struct Making {
    task: JoinHandle<Result<SnapshotEntry, ShipError>>,
    /// What goes on from it, where frames before it are missing.
    anew: Option<Unbroken>,
}

impl Shipping {
    /// Ships on a thread of its own, so that a disk that does not answer takes nothing of the server's.
    pub fn start(self, ending: CancellationToken) -> io::Result<std::thread::JoinHandle<()>> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .max_blocking_threads(8)
            .thread_name("replica-io")
            .build()?;
        std::thread::Builder::new().name("replica".to_owned()).spawn(move || {
            runtime.block_on(self.run(ending));
            runtime.shutdown_background();
        })
    }

    async fn run(self, ending: CancellationToken) {
        let mut wait = AGAIN.0;
        let mut link: Option<Link> = None;
        loop {
            let shipped = tokio::select! {
                shipped = self.ship(&mut link, &mut wait) => shipped,
                () = ending.cancelled() => {
                    self.send_the_rest(link.as_mut()).await;
                    return;
                }
            };
            let Err(error) = shipped else { continue };
            let state = match &error {
                ShipError::Final(_, state) => *state,
                _ => ReplicaState::Behind,
            };
            self.failed(&error, state);
            if state.is_final() {
                // Nobody goes on from here but the operator. What waits for it is told.
                self.tap.taken(self.follower, u64::MAX);
                ending.cancelled().await;
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = ending.cancelled() => {
                    self.send_the_rest(link.as_mut()).await;
                    return;
                }
            }
            wait = (wait * 2).min(AGAIN.1);
        }
    }

    fn failed(&self, error: &ShipError, state: ReplicaState) {
        let why = chain(error);
        let url = self.settings.place.to_string();
        if !self.status.turns(state, Some(why.clone()), self.source.now()) {
            return;
        }
        if state.is_final() {
            tracing::error!(replica = url, "NOTHING IS WRITTEN TO A REPLICA ANY MORE: {why}");
        } else {
            tracing::warn!(replica = url, why, "a replica does not take what is written; it is tried again");
        }
    }

    /// What a server that ends has not sent yet, if that is quickly done.
    async fn send_the_rest(&self, link: Option<&mut Link>) {
        let Some(link) = link else { return };
        let sending = async {
            loop {
                if let Some(making) = link.making.take_if(|making| making.anew.is_none()) {
                    making.task.abort();
                }
                if !self.send_next(link, false).await.unwrap_or(false) {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(AT_THE_END, sending).await;
        // What has been given up on may arrive all the same.
        let next = link.pending.as_ref().map(|pending| pending.digest);
        self.remember(link, next.as_ref(), true).unwrap_or_else(|error| {
            tracing::warn!(
                error = &error as &dyn std::error::Error,
                "what was sent to a replica is not noted"
            );
        });
    }

    /// Ships until something fails.
    async fn ship(&self, link: &mut Option<Link>, wait: &mut Duration) -> Result<(), ShipError> {
        let link = match link {
            Some(link) => link,
            None => link.insert(self.connect().await?),
        };
        let (mut heads, mut hurries) = (self.tap.heads(), self.tap.hurries());
        // Whoever is fenced by it asks it while nothing changes.
        let ask_after = self.settings.fence.map_or(Duration::MAX, |fence| fence.unsigned_abs() / 4);
        let mut probed = clock::monotonic();
        let mut files_due = clock::monotonic();
        // The rest of the time is for the way there.
        let every = self.settings.every.unsigned_abs() / 2;
        loop {
            heads.borrow_and_update();
            let look = clock::monotonic() >= files_due;
            if look {
                files_due = clock::monotonic() + FILES_LOOKED_AT;
            }
            self.begin_snapshot(link)?;
            while self.send_next(link, look).await? {}
            if self.status.silent_for() >= ask_after {
                let asked = history::descriptor(&link.place).await?;
                if asked != Some(link.store) {
                    return Err(ShipError::Gone);
                }
                self.status.answers();
            }
            *wait = AGAIN.0;
            if link.making.as_ref().is_none_or(|making| making.anew.is_none())
                && self.status.turns(ReplicaState::Following, None, self.source.now())
            {
                tracing::info!(replica = %self.settings.place, "a replica takes what is written");
            }
            if probed.elapsed() >= PROBED {
                probe(&link.place, self.source.now()).await?;
                probed = clock::monotonic();
            }
            // The first change waits for others, so that there are not too many segments.
            let waiting_for_snapshot = link.making.is_some();
            tokio::select! {
                _ = heads.changed() => {
                    // Somebody may be waiting already.
                    let _ = tokio::time::timeout(every, hurries.changed()).await;
                }
                () = tokio::time::sleep(FILES_LOOKED_AT.min(ask_after)) => {}
                () = tokio::time::sleep(Duration::from_millis(50)), if waiting_for_snapshot => {}
            }
        }
    }

    /// Begins a snapshot if one is due, or has to stand for what is missing.
    fn begin_snapshot(&self, link: &mut Link) -> Result<(), ShipError> {
        let now = self.source.now();
        let due = link.snapshot_at.is_none_or(|at| now.duration_since(at) >= self.settings.snapshot_every);
        let failed = link.snapshot_again.is_some_and(|again| clock::monotonic() < again);
        let waits = link.making.is_some() || link.pending.is_some() || (failed && link.unbroken.is_some());
        if waits || (link.unbroken.is_some() && !due) {
            return Ok(());
        }
        let anew = link.unbroken.is_none().then(|| self.tap.unbroken());
        if anew.is_some() {
            self.tap.taken(self.follower, self.tap.head().number);
        }
        let mut random = [0; 8];
        rand::fill(&mut random).map_err(|_| ShipError::Seal)?;
        let name = SnapshotName::new(link.term, now, link.segment, random);
        let making = make_snapshot(link.place.clone(), Arc::clone(&self.source), name, anew.is_some());
        link.making = Some(Making { task: tokio::spawn(making), anew });
        Ok(())
    }

    /// Sends the next segment; whether there was one.
    async fn send_next(&self, link: &mut Link, look_at_files: bool) -> Result<bool, ShipError> {
        if link.pending.is_none() {
            link.pending = self.next(link, look_at_files).await?;
        }
        // It stays until it is known to have arrived, whatever happens to this future: it may arrive all the same.
        let Some(Pending { octets, digest, .. }) = &link.pending else { return Ok(false) };
        let (octets, digest) = (octets.clone(), *digest);
        let at = SegmentNumber { term: link.term, number: link.segment + 1 };
        self.remember(link, Some(&digest), false).map_err(ShipError::State)?;
        if link.place.create(&layout::segment(at), octets).await? == Put::Taken {
            // An answer of before was lost, or somebody else was first.
            let there = link.place.get(&layout::segment(at)).await?;
            if there.is_none_or(|there| digest_of(&there) != digest) {
                return Err(TAKEN);
            }
        }
        let Some(pending) = link.pending.take() else { return Ok(false) };
        let Pending { octets, digest, then } = pending;
        (link.segment, link.digest) = (at.number, digest);
        if let Some((snapshot, anew)) = then.snapshot {
            link.snapshot_at = Some(snapshot.at);
            self.status.has_snapshot(snapshot.at);
            if anew.is_some() {
                (link.unbroken, link.frame, link.at) = (anew, snapshot.place.number, Some(snapshot.at));
            }
            self.drop_old(link).await;
        }
        if let Some((frame, at)) = then.frame {
            (link.frame, link.at) = (frame, Some(at));
        }
        link.files = then.files.or_else(|| link.files.take());
        self.tap.taken(self.follower, link.frame);
        self.status.answers();
        self.status.has(link.frame, link.at, octets.len());
        Ok(true)
    }

    /// What there is to send.
    async fn next(&self, link: &mut Link, look_at_files: bool) -> Result<Option<Pending>, ShipError> {
        let (mut entries, mut then) = (Vec::new(), After::default());
        if let Some(making) = link.making.take_if(|making| making.task.is_finished()) {
            let ended = making.task.await;
            let made = ended.unwrap_or_else(|_| Err(ShipError::Source("a snapshot failed".to_owned())));
            match made {
                Ok(made) => {
                    entries.push(SegmentEntry::Snapshot(made.clone()));
                    then.snapshot = Some((made, making.anew));
                }
                Err(error) if making.anew.is_some() => return Err(error),
                Err(error) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(error, replica = %self.settings.place, "a snapshot failed; changes go on arriving");
                    link.snapshot_again = Some(clock::monotonic() + SNAPSHOT_AGAIN);
                }
            }
        }
        if look_at_files || link.files.is_none() {
            let files = self.source.files().map_err(ShipError::Source)?;
            if link.files.as_ref() != Some(&files) {
                entries.push(SegmentEntry::Files { at: self.source.now(), files: files.clone() });
                then.files = Some(files);
            }
        }
        // Frames follow the snapshot that stands for those before.
        if then.snapshot.as_ref().is_none_or(|(_, anew)| anew.is_none())
            && let Some(unbroken) = link.unbroken
        {
            match self.tap.after(link.frame, unbroken, SEGMENT_MAX) {
                Some(frames) => {
                    then.frame = frames.last().map(|frame| (frame.number, frame.at));
                    entries.extend(frames.iter().map(|frame| SegmentEntry::Frame((**frame).clone())));
                }
                None => {
                    tracing::warn!(
                        replica = %self.settings.place,
                        "a replica has fallen too far behind for single changes; it goes on from a snapshot"
                    );
                    link.unbroken = None;
                    if let Some(making) = link.making.take() {
                        making.task.abort();
                    }
                    self.begin_snapshot(link)?;
                }
            }
        }
        if entries.is_empty() {
            return Ok(None);
        }
        let at = SegmentNumber { term: link.term, number: link.segment + 1 };
        let (number, key) = &link.key;
        let head = SegmentHead { store: link.store, at, key: *number, previous: link.digest };
        let octets = head.seal(&entries, key).ok_or(ShipError::Seal)?;
        let digest = digest_of(&octets);
        Ok(Some(Pending { octets, digest, then }))
    }

    fn remember(&self, link: &Link, next: Option<&SegmentDigest>, synced: bool) -> io::Result<()> {
        let written = LastWritten {
            term: link.term,
            segment: link.segment,
            sha256: HEXLOWER.encode(&link.digest),
            next: next.map(|next| HEXLOWER.encode(next)),
            at_ms: link.at.map_or(0, |at| at.as_millisecond()),
        };
        self.state.write(&self.settings.place.to_string(), written, synced)
    }

    /// Takes away what nobody can want any more: everything before the newest snapshot that is old enough. What fails is tried again
    /// after the next snapshot.
    async fn drop_old(&self, link: &Link) {
        let dropping = async {
            let until = self.source.now() - self.settings.keep;
            let envelope = Arc::new(self.source.envelope().map_err(ShipError::Source)?);
            let history = ReplicaHistory::open(link.place.clone(), envelope).await?;
            let snapshots = history.snapshots(link.term).await?;
            let mut base = None;
            for snapshot in snapshots.iter().rev().filter(|it| it.at <= until) {
                // What opens with an envelope of before counts for as long as it is kept.
                if matches!(history.is_named(link.term, snapshot).await, Ok(true) | Err(HistoryError::Key(_)))
                {
                    base = Some(snapshot.clone());
                    break;
                }
            }
            let Some(base) = base else { return Ok(()) };
            for snapshot in snapshots.iter().filter(|it| **it < base) {
                link.place.delete(&snapshot.name).await?;
            }
            for folder in link.place.folders(Some(&layout::segments(link.term))).await? {
                if layout::first_in_folder(&folder).is_none_or(|first| first > base.after) {
                    return Ok(());
                }
                let mut names = link.place.names(&folder).await?;
                names.retain(|name| layout::segment_number(name).is_some_and(|it| it <= base.after));
                for name in names {
                    link.place.delete(&name).await?;
                }
            }
            Ok::<(), ShipError>(())
        };
        if let Err(error) = dropping.await {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, replica = %self.settings.place, "what is too old stays in a replica");
        }
    }
}
