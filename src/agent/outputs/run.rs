//! `muster agent outputs`: one listener, and a keeper for each output.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::{fs, io};

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::info;

use crate::agent::outputs::config::OutputsConfig;
use crate::agent::outputs::keeper::Keeper;
use crate::agent::outputs::record::Records;
use crate::agent::outputs::settled::settle;
use crate::agent::outputs::source::listen::{Heard, OutputReport, REPORTS_MAX, listen};
use crate::agent::outputs::source::material::Material;
use crate::agent::run::readiness::{Notify, Readiness};
use crate::clock::Clock;

/// How long a first look at all outputs may hold up those who wait for this service.
const READY_WITHIN: Duration = Duration::from_secs(30);
/// How long the provider may take where files are to be written once.
const ONCE_WITHIN: Duration = Duration::from_secs(30);
/// A file that a command was told by, and that a crash has left, is older than any run.
const LEFT_BEHIND: Duration = Duration::from_secs(2 * 3600);

/// Why files could not be written once.
#[derive(Debug, thiserror::Error)]
pub enum OnceError {
    #[error("the Workload API gave nothing within {} s: {trouble}", ONCE_WITHIN.as_secs())]
    NothingHeard { trouble: String },
    #[error("{failed} of {all} outputs could not be brought up to date; the log says why")]
    Failed { failed: usize, all: usize },
    #[error("it was told to stop")]
    Stopped,
}

impl OnceError {
    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NothingHeard { .. } => {
                "check that the agent runs with workload_api.socket set, that `socket` names it, and that this user is in its group"
            }
            Self::Failed { .. } => "`muster agent outputs --check` says what is wrong",
            Self::Stopped => "start it again",
        }
    }
}

/// What comes from the provider, for as long as this is there.
pub(crate) struct Provider {
    pub heard: watch::Receiver<Heard>,
    pub settled: watch::Receiver<Option<Arc<Material>>>,
    pub reports: mpsc::Sender<OutputReport>,
    _tasks: JoinSet<()>,
}

impl Provider {
    pub(crate) fn listen_to(socket: &Path, clock: &Arc<dyn Clock>) -> Self {
        let (hear, heard) = watch::channel(Heard::default());
        let (set, settled) = watch::channel(None);
        let (reports, to_report) = mpsc::channel(REPORTS_MAX);
        let mut tasks = JoinSet::new();
        tasks.spawn(listen(socket.to_owned(), hear, to_report));
        tasks.spawn(settle(heard.clone(), set, Arc::clone(clock)));
        Self { heard, settled, reports, _tasks: tasks }
    }

    /// What files are made of, once it is there.
    pub(crate) async fn first(&mut self, within: Duration) -> Result<Arc<Material>, String> {
        let first = timeout(within, self.settled.wait_for(Option::is_some)).await;
        let material = first.ok().and_then(Result::ok).and_then(|material| material.clone());
        material.ok_or_else(|| {
            let trouble = self.heard.borrow().trouble.clone();
            trouble.unwrap_or_else(|| "it has not answered".to_owned())
        })
    }
}

/// Keeps every output until `stop`.
pub async fn keep(config: OutputsConfig, clock: Arc<dyn Clock>, stop: CancellationToken, tell: Notify) {
    let records = Records::of(&config);
    sweep(&records, clock.as_ref());
    let provider = Provider::listen_to(&config.socket, &clock);
    info!(socket = %config.socket.display(), outputs = config.outputs.len(), state = records.place().ok().map(|place| place.display().to_string()), "keeping files");
    let (looked, mut all_looked) = mpsc::channel(1);
    let mut keepers = JoinSet::new();
    for output in config.outputs {
        let keeper = Keeper::new(output, records.clone(), provider.reports.clone(), Arc::clone(&clock));
        keepers.spawn(keeper.keep(provider.settled.clone(), looked.clone(), stop.clone()));
    }
    drop(looked);
    tokio::select! {
        // Nobody sends: the channel closes when every keeper has looked once.
        _ = timeout(READY_WITHIN, all_looked.recv()) => tell(Readiness::Ready),
        () = stop.cancelled() => {}
    }
    while keepers.join_next().await.is_some() {}
    info!("files are no longer kept; they stay as they are");
}

/// Brings every output up to date, and ends.
pub async fn once(
    config: OutputsConfig,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> Result<(), OnceError> {
    let records = Records::of(&config);
    let mut provider = Provider::listen_to(&config.socket, &clock);
    let first = tokio::select! {
        first = provider.first(ONCE_WITHIN) => first,
        () = stop.cancelled() => return Err(OnceError::Stopped),
    };
    let material = first.map_err(|trouble| OnceError::NothingHeard { trouble })?;
    let all = config.outputs.len();
    let mut keepers = JoinSet::new();
    for output in config.outputs {
        let keeper = Keeper::new(output, records.clone(), provider.reports.clone(), Arc::clone(&clock));
        let (material, stop) = (Arc::clone(&material), stop.clone());
        keepers.spawn(async move { keeper.once(material, &stop).await });
    }
    let mut failed = 0;
    while let Some(kept) = keepers.join_next().await {
        failed += usize::from(!kept.unwrap_or_default());
    }
    if failed == 0 { Ok(()) } else { Err(OnceError::Failed { failed, all }) }
}

/// Removes what commands were told by before a crash.
fn sweep(records: &Records, clock: &dyn Clock) {
    let swept = || -> io::Result<()> {
        for entry in fs::read_dir(records.place()?)? {
            let entry = entry?;
            let made = jiff::Timestamp::try_from(entry.metadata()?.modified()?).map_err(io::Error::other)?;
            let age = Duration::try_from(clock.now().duration_since(made)).unwrap_or_default();
            if entry.file_name().as_encoded_bytes().starts_with(b"denied-") && age > LEFT_BEHIND {
                fs::remove_file(entry.path())?;
            }
        }
        Ok(())
    };
    // What can't be removed does no harm.
    let _ = swept();
}
