//! The course of the test, from an empty directory to the report.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::Request;
use hyper::body::Bytes;
use tokio::time::timeout;

use crate::agent::run::in_memory::InMemoryAgent;
use crate::cli::control::Control;
use crate::cli::output::error::CliError;
use crate::cli::output::values::Progress;
use crate::cli::selftest::figures::{StepFigures, mib, millis, percentile, rounded};
use crate::cli::selftest::place::Place;
use crate::cli::selftest::report::{DiskFigures, MemoryFigures, ProofOutcome, RotationWays, SelftestReport};
use crate::cli::selftest::server::TrialServer;
use crate::cli::selftest::stages::{self, Contact, Stage};
use crate::clock;
use crate::domain::enroll::credential::Credential;
use crate::domain::network::pin::Pin;
use crate::http::transport::socket;

/// A quarter of all agents is revoked, and no more than so many.
const REVOKED_MAX: usize = 50;
/// A quarter as many enroll while the server is killed, no fewer and no more than so many.
const CAUGHT: (u16, u16) = (4, 200);
/// How long a stage may take, and for each agent besides: ten times what a slow machine needs.
const STAGE_WITHIN: Duration = Duration::from_secs(60);
const AGENT_WITHIN: Duration = Duration::from_millis(40);
/// So many stages there are, for the bound of the whole.
pub(crate) const STAGES: u32 = 9;
/// How long the server may take to answer whether it lives.
const ALIVE_WITHIN: Duration = Duration::from_secs(30);

/// How many more agents enroll while the server is killed.
pub(crate) fn more_at_the_kill(agents: u16) -> u16 {
    (agents / 4).clamp(CAUGHT.0, CAUGHT.1)
}

/// How long one stage may take.
pub(crate) fn stage_bound(agents: u16) -> Duration {
    STAGE_WITHIN + AGENT_WITHIN * u32::from(agents)
}

/// What is found on the way.
#[derive(Debug, Default)]
struct Findings {
    steps: Vec<StepFigures>,
    proofs: Vec<ProofOutcome>,
    ways: RotationWays,
    memory: MemoryFigures,
    disk: DiskFigures,
}

impl Findings {
    /// Takes in a stage and gives its agents on.
    fn take(&mut self, stage: Stage) -> Vec<InMemoryAgent> {
        let Stage { agents, figures, proof, ways } = stage;
        self.steps.push(figures);
        self.proofs.push(proof);
        self.ways.over_session += ways.over_session;
        self.ways.over_https += ways.over_https;
        agents
    }
}

/// Runs the whole test. The server it starts is gone when this returns or is dropped.
pub(crate) async fn try_out(place: &Place, agents: u16) -> Result<SelftestReport, CliError> {
    let begun = clock::monotonic();
    let mut found = Findings::default();
    found.disk.in_memory = place.lies_in_memory();
    let mut syncs = tokio::task::block_in_place(|| place.sync_times()).map_err(|error| {
        CliError::new(format!("cannot write in {}: {error}", place.within().display()))
            .hint("name another directory, with --directory")
    })?;
    syncs.sort_unstable();
    found.disk.sync_p50_ms = percentile(&syncs, 50).map(millis);
    found.disk.sync_p99_ms = percentile(&syncs, 99).map(millis);
    let (mut server, pin) = TrialServer::first_start(place).await?;
    let course = Course { place, bound: stage_bound(agents), pin };
    let came = course.before_the_kill(&mut found, &server, agents).await;
    let (secret, mut revoked, mut others) = came.map_err(|error| server.explain(error))?;
    found.disk.change_log_mib = mib(place.change_log_octets());
    others.extend(course.kill(server, &secret, agents).await?);
    let mut server = course.start_again(&mut found).await?;
    let came = course.after_the_kill(&mut found, &server, &mut revoked, others).await;
    // Their sessions are open while the server stops.
    let _others = came.map_err(|error| server.explain(error))?;
    let stopping = clock::monotonic();
    server.stop().await?;
    found.steps.push(StepFigures::of_one("stop", stopping.elapsed()));
    found.disk.store_mib = mib(place.store_octets());
    let Findings { steps, proofs, ways, memory, disk } = found;
    Ok(SelftestReport {
        passed: proofs.iter().all(|proof| proof.held),
        version: env!("CARGO_PKG_VERSION"),
        agents: agents.into(),
        processors: std::thread::available_parallelism().map_or(1, usize::from),
        directory: place.within().to_string_lossy().into_owned(),
        seconds: rounded(begun.elapsed().as_secs_f64()),
        steps,
        rotations: ways,
        memory,
        disk,
        proofs,
    })
}

/// What does not change on the way.
struct Course<'a> {
    place: &'a Place,
    bound: Duration,
    pin: Pin,
}

/// What others enroll with, those that are revoked, and those that are left.
type Parted = (Arc<Credential>, Vec<InMemoryAgent>, Vec<InMemoryAgent>);

impl Course<'_> {
    async fn before_the_kill(
        &self,
        found: &mut Findings,
        server: &TrialServer,
        count: u16,
    ) -> Result<Parted, CliError> {
        let contact = Contact::of(server, self.pin)?;
        let control = self.control();
        let idle = server.resident_octets();
        let secret = stages::secret(&control).await?;
        let enrolling = stages::enroll(&contact, &secret, count);
        let agents = found.take(self.within("enroll", enrolling).await?);
        let agents = found.take(self.within("connect", stages::connect(&contact, agents)).await?);
        found.memory = memory(idle, server.resident_octets(), agents.len());
        let mut agents = found.take(self.within("rotate", stages::rotate(&contact, agents)).await?);
        let count = (agents.len() / 4).clamp(1, REVOKED_MAX);
        let others = agents.split_off(count.min(agents.len()));
        let mut revoked = agents;
        let revoking = stages::revoke(&contact, &control, &mut revoked, &others);
        let revocations = self.within("revoke", revoking).await?;
        found.steps.extend([revocations.answered, revocations.cut_off]);
        found.proofs.extend(revocations.proofs);
        Ok((secret, revoked, others))
    }

    /// `kill -9` amid enrollments. Those that were answered are as good as any other.
    async fn kill(
        &self,
        server: TrialServer,
        secret: &Arc<Credential>,
        count: u16,
    ) -> Result<Vec<InMemoryAgent>, CliError> {
        let contact = Contact::of(&server, self.pin)?;
        let numbers = count + 1..=count + more_at_the_kill(count);
        let killing = stages::kill_while_enrolling(&contact, secret, numbers, server);
        self.within("kill", killing).await
    }

    /// Another start on what the killed one has left, until the first answer over TLS.
    async fn start_again(&self, found: &mut Findings) -> Result<TrialServer, CliError> {
        let mut progress = Progress::new("Restart");
        progress.show(|| "waiting for the first answer".to_owned());
        let begun = clock::monotonic();
        let mut server = TrialServer::start_again(self.place).await?;
        let alive = async {
            let contact = Contact::of(&server, self.pin)?;
            let request = Request::get("/healthz").body(Full::<Bytes>::default())?;
            let answer = contact.https.https.send(request, ALIVE_WITHIN).await?;
            if answer.status().is_success() {
                return Ok(());
            }
            Err(CliError::new(format!("the server answers {} after kill -9", answer.status())))
        };
        let alive = alive.await;
        alive.map_err(|error| server.explain(error))?;
        found.steps.push(StepFigures::of_one("restart", begun.elapsed()));
        Ok(server)
    }

    async fn after_the_kill(
        &self,
        found: &mut Findings,
        server: &TrialServer,
        revoked: &mut [InMemoryAgent],
        others: Vec<InMemoryAgent>,
    ) -> Result<Vec<InMemoryAgent>, CliError> {
        let contact = Contact::of(server, self.pin)?;
        let others = self.within("storm", stages::storm(&contact, others)).await?;
        let others = found.take(others);
        let control = self.control();
        let remembering = stages::remembered(&contact, &control, revoked, &others);
        found.proofs.extend(self.within("remember", remembering).await?);
        Ok(others)
    }

    /// The operator's way to the server: its socket.
    fn control(&self) -> Control {
        Control::Socket(self.place.data_dir().join(socket::FILE_NAME))
    }

    async fn within<T>(
        &self,
        stage: &str,
        work: impl Future<Output = Result<T, CliError>>,
    ) -> Result<T, CliError> {
        timeout(self.bound, work).await.unwrap_or_else(|_| {
            Err(CliError::new(format!("the step \"{stage}\" was not over after {} s", self.bound.as_secs()))
                .hint("try fewer agents, with --agents, or another disk, with --directory"))
        })
    }
}

fn memory(idle: Option<u64>, live: Option<u64>, sessions: usize) -> MemoryFigures {
    let each =
        |idle: u64, live: u64| rounded(live.saturating_sub(idle) as f64 / 1024.0 / sessions.max(1) as f64);
    MemoryFigures {
        idle_resident_mib: idle.map(mib),
        live_resident_mib: live.map(mib),
        per_session_kib: idle.zip(live).map(|(idle, live)| each(idle, live)),
    }
}
