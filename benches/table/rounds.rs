//! The rounds: in each, every scenario is run against one server, then against the other.

use muster::grpc::proto::agent_service_client::AgentServiceClient;
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::Settings;
use crate::bare::Bare;
use crate::contender::Contender;
use crate::load::account::Run;
use crate::load::closed_loop::CLIENTS;
use crate::load::dial::Dial;
use crate::load::machines::Host;
use crate::load::renewals;
use crate::load::server::Server;
use crate::machine::Machine;
use crate::outcome::{Figures, Outcome, Round};
use crate::report::Report;
use crate::scenario::Scenario;

/// Renewals of one round: each needs a connection of its own, which is there before the clock starts.
const RENEWALS: usize = 2_000;
/// Agents that connect at the same time.
const CONNECTING: usize = 16;

pub async fn run(settings: &Settings) -> Report {
    let mut machine = Machine::look();
    let (bare, server) = (Bare::start(), Server::first_start(&settings.binary));
    let (mut ceiling, mut muster) = (Contender::bare(&bare), Contender::muster(&server));
    let mut rounds = Scenario::ALL.map(|scenario| (scenario, Vec::new()));
    for number in 1..=settings.rounds {
        for (scenario, rounds) in &mut rounds {
            let (scenario, phase) = (*scenario, settings.phase);
            let (bare, muster) = match scenario {
                Scenario::Enrollment(connections) => {
                    let bare = ceiling.enroll(connections, phase).await;
                    (Some(bare), muster.enroll(connections, phase).await)
                }
                Scenario::Rotation(connections) => {
                    let bare = ceiling.rotate(connections, phase).await;
                    (Some(bare), muster.rotate(connections, phase).await)
                }
                Scenario::Renewal => {
                    let clients = connected(&server, &muster.renewing(RENEWALS)).await;
                    (None, renewals::run(muster.counted(), &clients, phase).await)
                }
            };
            let round = Round { bare: bare.as_ref().map(Figures::of), muster: Figures::of(&muster) };
            tell(number, scenario, &[bare.as_ref(), Some(&muster)]);
            rounds.push(round);
        }
    }
    machine.look_again();
    Report {
        machine,
        rounds: settings.rounds,
        phase_s: settings.phase.as_secs(),
        clients: CLIENTS,
        outcomes: rounds.into_iter().map(|(scenario, rounds)| Outcome::of(scenario, rounds)).collect(),
    }
}

/// Progress, beside the table.
fn tell(number: u32, scenario: Scenario, runs: &[Option<&Run>]) {
    let rates = runs.iter().flatten().map(|run| format!("{:.0}/s", run.spent.rate(run.times.count())));
    eprintln!("round {number}: {}: {}", scenario.title(), rates.collect::<Vec<_>>().join(" and "));
}

async fn connected(server: &Server, hosts: &[Host]) -> Vec<AgentServiceClient<Channel>> {
    let (mut connecting, mut clients) = (JoinSet::new(), Vec::new());
    for host in hosts {
        if connecting.len() >= CONNECTING {
            clients.extend(connecting.join_next().await);
        }
        let dial = Dial::new(server, host);
        connecting.spawn(async move { dial.connect().await });
    }
    clients.extend(connecting.join_all().await.into_iter().map(Ok));
    clients.into_iter().map(|client| client.expect("it does not panic")).collect()
}
