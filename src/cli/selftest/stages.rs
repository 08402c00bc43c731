//! What agents do in each stage of the test, how long it took them, and what it proves.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::agent::connect::dial::Dialer;
use crate::agent::enroll::requests::{EnrollmentClient, ServerRefusal};
use crate::agent::run::backoff::Backoff;
use crate::agent::run::in_memory::{InMemoryAgent, RotatedOver};
use crate::agent::run::session::Ended;
use crate::api::credentials::{CreatedSecret, SecretBody};
use crate::api::hosts::HostItem;
use crate::cli::control::{Call, Control, escape};
use crate::cli::output::error::CliError;
use crate::cli::output::values::Progress;
use crate::cli::selftest::crowd::crowd;
use crate::cli::selftest::figures::{AtATime, StepFigures};
use crate::cli::selftest::report::{ProofOutcome, RotationWays};
use crate::cli::selftest::server::TrialServer;
use crate::clock;
use crate::domain::enroll::credential::{Credential, CredentialKind};
use crate::domain::host::HostFacts;
use crate::domain::network::host_port::HostPort;
use crate::domain::network::pin::Pin;
use crate::error_chain::chain;
use crate::tls::server_verifier::Trust;

/// Agents that enroll and rotate at the same time: what the figures of others are given for.
const ASKING: usize = 16;
/// Agents that open a session at the same time.
const ATTACHING: usize = 64;
/// The same when all come back at once: more wait in line than a server that has just started takes handshakes of.
pub(crate) const COMING_BACK: u16 = 512;
/// How often one of them tries, and the waits between.
const ATTEMPTS_MAX: usize = 20;
const AGAIN: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
/// How long the stream of a revoked agent may stay open.
const END_WITHIN: Duration = Duration::from_secs(10);

/// Where the server is and how it is known.
#[derive(Debug)]
pub(crate) struct Contact {
    trust: Trust,
    pub(crate) https: EnrollmentClient,
    grpc: HostPort,
}

/// An agent and how it fared.
type Fared<T> = (InMemoryAgent, Result<T, String>, Duration);

/// What a stage leaves: the agents that go on, what it took, and what it proved.
pub(crate) struct Stage {
    pub(crate) agents: Vec<InMemoryAgent>,
    pub(crate) figures: StepFigures,
    pub(crate) proof: ProofOutcome,
    pub(crate) ways: RotationWays,
}

impl Contact {
    pub(crate) fn of(server: &TrialServer, pin: Pin) -> Result<Arc<Self>, CliError> {
        let trust = Trust::Pin(pin);
        // Without a proxy: the server is on this machine.
        let https = EnrollmentClient::new(server.https.clone(), &trust, &Arc::<Dialer>::default())?;
        Ok(Arc::new(Self { trust, https, grpc: server.grpc.clone() }))
    }
}

/// What everybody enrolls with.
pub(crate) async fn secret(control: &Control) -> Result<Arc<Credential>, CliError> {
    let body = SecretBody {
        name: "selftest".to_owned(),
        max_uses: None,
        ttl_seconds: None,
        tags: Vec::new(),
        from: Vec::new(),
    };
    let created: CreatedSecret =
        control.call(Call::post("/v1/enrollment-secrets").body(&body)).await?.read()?;
    let secret = Credential::parse(CredentialKind::EnrollmentSecret, &created.secret);
    secret.map(Arc::new).ok_or_else(|| CliError::new("the server's secret is none"))
}

/// Everybody enrolls.
pub(crate) async fn enroll(
    contact: &Arc<Contact>,
    secret: &Arc<Credential>,
    count: u16,
) -> Result<Stage, CliError> {
    let begun = clock::monotonic();
    let done = crowd("Enroll", ASKING, (1..=count).collect(), |number| {
        let (contact, secret) = (Arc::clone(contact), Arc::clone(secret));
        async move {
            let begun = clock::monotonic();
            let agent = InMemoryAgent::enroll(&contact.https, &secret, machine(number)).await;
            (agent.map_err(|error| chain(&error)), begun.elapsed())
        }
    })
    .await?;
    let took = begun.elapsed();
    let (mut agents, mut times, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for (agent, time) in done {
        match agent {
            Ok(agent) => {
                agents.push(agent);
                times.push(time);
                found.push(Ok(()));
            }
            Err(why) => found.push(Err(why)),
        }
    }
    if agents.len() < 2 {
        let why = found.into_iter().find_map(Result::err).unwrap_or_default();
        return Err(CliError::new(format!("no agent could enroll: {why}")));
    }
    let figures = StepFigures::of_many("enroll", AtATime(ASKING), took, times);
    let proof = ProofOutcome::of("enrolled", "every agent was given an identity", found);
    Ok(Stage { agents, figures, proof, ways: RotationWays::default() })
}

/// The server is killed while more agents enroll. Those that have their answer by then go on.
pub(crate) async fn kill_while_enrolling(
    contact: &Arc<Contact>,
    secret: &Arc<Credential>,
    numbers: RangeInclusive<u16>,
    server: TrialServer,
) -> Result<Vec<InMemoryAgent>, CliError> {
    let (half, answered) = (numbers.len().div_ceil(2), Arc::new(AtomicUsize::new(0)));
    let (now, gone) = (CancellationToken::new(), CancellationToken::new());
    let enrolling = crowd("Kill", ASKING, numbers.collect(), |number| {
        let (contact, secret, answered) = (Arc::clone(contact), Arc::clone(secret), Arc::clone(&answered));
        let (now, gone) = (now.clone(), gone.clone());
        async move {
            if gone.is_cancelled() {
                return None;
            }
            let agent = InMemoryAgent::enroll(&contact.https, &secret, machine(number)).await.ok()?;
            if answered.fetch_add(1, Ordering::Relaxed) + 1 == half {
                now.cancel();
            }
            Some(agent)
        }
    });
    let killing = async {
        // Where none is answered there is nothing to wait for.
        let _ = timeout(END_WITHIN, now.cancelled()).await;
        server.kill();
        gone.cancel();
    };
    let (enrolled, ()) = tokio::join!(enrolling, killing);
    Ok(enrolled?.into_iter().flatten().collect())
}

/// Everybody opens a session.
pub(crate) async fn connect(contact: &Arc<Contact>, agents: Vec<InMemoryAgent>) -> Result<Stage, CliError> {
    let begun = clock::monotonic();
    let done = crowd("Connect", ATTACHING, agents, |mut agent| {
        let contact = Arc::clone(contact);
        async move {
            let begun = clock::monotonic();
            let attended = agent.attend(&contact.grpc, &contact.trust).await;
            (agent, attended.map_err(|ended| ended.reason().to_owned()), begun.elapsed())
        }
    })
    .await?;
    let what = ("connect", AtATime(ATTACHING), begun.elapsed());
    Ok(stage(what, ("let_in", "every agent was let in with its identity"), done, |()| None))
}

/// Everybody gets another key and certificate.
pub(crate) async fn rotate(contact: &Arc<Contact>, agents: Vec<InMemoryAgent>) -> Result<Stage, CliError> {
    let begun = clock::monotonic();
    let done = crowd("Rotate", ASKING, agents, |mut agent| {
        let contact = Arc::clone(contact);
        async move {
            let begun = clock::monotonic();
            let rotated = agent.rotate(&contact.trust, &contact.https).await;
            (agent, rotated.map_err(|error| chain(&error)), begun.elapsed())
        }
    })
    .await?;
    let what = ("rotate", AtATime(ASKING), begun.elapsed());
    Ok(stage(what, ("rotated", "every agent rotated to another key"), done, Some))
}

/// Everybody comes back at once to a server that has lost them, with a session and a rotation, and again until that goes well.
pub(crate) async fn storm(contact: &Arc<Contact>, agents: Vec<InMemoryAgent>) -> Result<Stage, CliError> {
    let begun = clock::monotonic();
    let done =
        crowd("Storm", COMING_BACK.into(), agents, |agent| come_back(Arc::clone(contact), agent, begun))
            .await?;
    let what = ("storm", AtATime(COMING_BACK.into()), begun.elapsed());
    Ok(stage(what, ("came_back", "every agent left came back and rotated"), done, Some))
}

/// How long that took counts from the moment at which all came.
async fn come_back(contact: Arc<Contact>, mut agent: InMemoryAgent, begun: Instant) -> Fared<RotatedOver> {
    let mut backoff = Backoff::new(AGAIN.0, AGAIN.1);
    let mut attempt = 1;
    loop {
        let back = match agent.attend(&contact.grpc, &contact.trust).await {
            Ok(()) => agent.rotate(&contact.trust, &contact.https).await.map_err(|error| chain(&error)),
            Err(ended) => Err(ended.reason().to_owned()),
        };
        if back.is_ok() || attempt >= ATTEMPTS_MAX {
            return (agent, back, begun.elapsed());
        }
        attempt += 1;
        sleep(backoff.wait()).await;
    }
}

fn stage<T>(
    (step, at_a_time, took): (&'static str, AtATime, Duration),
    (proof, what): (&'static str, &'static str),
    done: Vec<Fared<T>>,
    way: impl Fn(T) -> Option<RotatedOver>,
) -> Stage {
    let (mut agents, mut times, mut found) = (Vec::new(), Vec::new(), Vec::new());
    let mut ways = RotationWays::default();
    for (agent, fared, time) in done {
        found.push(match fared {
            Ok(fared) => {
                match way(fared) {
                    Some(RotatedOver::Session) => ways.over_session += 1,
                    Some(RotatedOver::Https) => ways.over_https += 1,
                    None => {}
                }
                times.push(time);
                Ok(())
            }
            Err(why) => Err(format!("{}: {why}", agent.agent_id())),
        });
        agents.push(agent);
    }
    let figures = StepFigures::of_many(step, at_a_time, took, times);
    Stage { agents, figures, proof: ProofOutcome::of(proof, what, found), ways }
}

/// What revoking some has come to.
pub(crate) struct Revocations {
    /// Until the operator has the answer.
    pub(crate) answered: StepFigures,
    /// From the answer to the end of the stream. None where that ended before.
    pub(crate) cut_off: StepFigures,
    pub(crate) proofs: [ProofOutcome; 3],
}

/// These are revoked one after the other while the others stay.
pub(crate) async fn revoke(
    contact: &Contact,
    control: &Control,
    revoked: &mut [InMemoryAgent],
    others: &[InMemoryAgent],
) -> Result<Revocations, CliError> {
    let mut progress = Progress::new("Revoke");
    let (mut answers, mut ends) = (Vec::new(), Vec::new());
    let (mut ended_all, mut refused_all) = (Vec::new(), Vec::new());
    let total = revoked.len();
    for agent in revoked.iter_mut() {
        progress.show(|| format!("{} of {total}", answers.len()));
        let name = agent.agent_id().to_string();
        let path = format!("/v1/agents/{}/revoke", escape(&name));
        let begun = clock::monotonic();
        let answered = async {
            control.call(Call::post(&path)).await?;
            Ok::<_, CliError>(begun.elapsed())
        };
        let ended = async { (agent.session_end().await, begun.elapsed()) };
        let (answered, ended) = tokio::join!(answered, timeout(END_WITHIN, ended));
        let answered = answered?;
        answers.push(answered);
        ended_all.push(match ended {
            Ok((Some(Ended::PerhapsRefused(_)), at)) => {
                ends.push(at.saturating_sub(answered));
                Ok(())
            }
            Ok((Some(otherwise), _)) => Err(format!("{name}: {}", otherwise.reason())),
            Ok((None, _)) => Err(format!("{name} had no session")),
            Err(_) => Err(format!("{name} still had its session after {} s", END_WITHIN.as_secs())),
        });
        refused_all.push(refused_at_the_door(contact, agent).await);
    }
    let stayed = others.iter().map(|agent| {
        if agent.attends() { Ok(()) } else { Err(format!("{} lost its session", agent.agent_id())) }
    });
    Ok(Revocations {
        answered: StepFigures::of_many("revoke", AtATime(1), answers.iter().sum(), answers),
        cut_off: StepFigures {
            per_second: None,
            ..StepFigures::of_many("cut off", AtATime(1), ends.iter().sum(), ends)
        },
        proofs: [
            ProofOutcome::of("streams_ended", "a revoked agent's session ends at once", ended_all),
            ProofOutcome::of("handshakes_refused", "its next handshake is refused", refused_all),
            ProofOutcome::of("others_stayed", "no other agent lost its session", stayed),
        ],
    })
}

/// Whether the server turns an agent away, and not only fails to let it in.
async fn refused_at_the_door(contact: &Contact, agent: &mut InMemoryAgent) -> Result<(), String> {
    match agent.attend(&contact.grpc, &contact.trust).await {
        Err(Ended::PerhapsRefused(_)) => Ok(()),
        Err(otherwise) => {
            Err(format!("{} was not refused, it failed: {}", agent.agent_id(), otherwise.reason()))
        }
        Ok(()) => Err(format!("{} was let in", agent.agent_id())),
    }
}

/// What a server that was killed must still know: who enrolled, and who is revoked.
pub(crate) async fn remembered(
    contact: &Contact,
    control: &Control,
    revoked: &mut [InMemoryAgent],
    others: &[InMemoryAgent],
) -> Result<[ProofOutcome; 2], CliError> {
    let mut hosts = BTreeMap::new();
    let pages = control.pages(Call::get("/v1/hosts"), usize::MAX, |page| {
        for host in page {
            let HostItem { agent_id, revoked_at, .. } = serde_json::from_value(host)?;
            hosts.insert(agent_id, revoked_at);
        }
        Ok(())
    });
    pages.await?;
    let on_record = |agent: &InMemoryAgent| hosts.get(&agent.agent_id().to_string());
    let enrolled: Vec<_> = revoked
        .iter()
        .chain(others)
        .map(|agent| {
            on_record(agent).map(drop).ok_or_else(|| format!("{} is not on record", agent.agent_id()))
        })
        .collect();
    let mut out = Vec::new();
    for agent in revoked {
        let stands = match on_record(agent) {
            Some(Some(_)) => Ok(()),
            _ => Err(format!("{} is on record without its revocation", agent.agent_id())),
        };
        let refused = refused_at_the_door(contact, agent).await;
        let verdict = match agent.rotate(&contact.trust, &contact.https).await {
            Err(error) if error.refusal().is_some_and(ServerRefusal::is_revocation) => Ok(()),
            Err(error) => Err(format!("{} was not refused, it failed: {}", agent.agent_id(), chain(&error))),
            Ok(_) => Err(format!("{} was given another certificate", agent.agent_id())),
        };
        out.push(stands.and(refused).and(verdict));
    }
    Ok([
        ProofOutcome::of("enrollments_kept", "kill -9: every acknowledged enrollment is there", enrolled),
        ProofOutcome::of("revocations_kept", "kill -9: every revoked agent stays out", out),
    ])
}

/// What an agent says of its machine, which does not exist.
fn machine(number: u16) -> HostFacts {
    let name = format!("selftest-{number:04}");
    let [high, low] = number.to_be_bytes();
    // Private Use IPv4 (RFC 1918).
    let address = IpAddr::V4(Ipv4Addr::new(10, 0, high, low));
    HostFacts::bounded(
        [&name, "Linux", "x86_64", &format!("{number:032x}"), env!("CARGO_PKG_VERSION")],
        [address],
    )
}
