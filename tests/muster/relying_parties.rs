//! nginx, HAProxy, PostgreSQL and Envoy with the lists that they have fetched: they let in exactly the agents that are not
//! revoked, through a renewal, a revoked intermediate, and days without the server.

use std::fs;
use std::path::{Path, PathBuf};

use jiff::{SignedDuration, Timestamp};

use crate::support::cli::{Output, openssl, program_with};
use crate::support::client::Client;
use crate::support::clock::Clock;
use crate::support::doors::{Door, Program, later};
use crate::support::fleet::named_host;
use crate::support::grpc::{Connection, Session};
use crate::support::identity::Identity;
use crate::support::judges::{Agent, entries, fetch, judged};
use crate::support::server::Server;
use crate::support::wait::{PATIENCE, until_answered};

fn root_key(server: &Server) -> String {
    fs::read_to_string(server.file("root-key.pem")).unwrap()
}

fn agent_ca(server: &Server, arguments: &[&str]) -> Output {
    let command = [&["agent-ca"], arguments].concat();
    tokio::task::block_in_place(|| server.cli(&command).stdin(&root_key(server)).run()).ok()
}

async fn revoked(server: &Server, name: &str) -> Agent {
    let agent = Agent::enroll(server, name).await;
    tokio::task::block_in_place(|| server.revoke(name));
    agent
}

/// Fetches the lists, once each intermediate's has so many entries.
async fn fetch_with(server: &Server, count: usize) {
    until_answered("every revocation is on every list", async || {
        let lists = fetch(server).await;
        let (_root, intermediates) = lists.split_last().unwrap();
        intermediates.iter().all(|list| entries(list) == count).then_some(())
    })
    .await;
}

async fn assert_lets_in(program: Program, server: &Server, good: &[&Agent], bad: &[&Agent], when: &str) {
    let room = server.room();
    tokio::task::block_in_place(|| {
        let door = Door::open(program, room, 0);
        for (agents, expected) in [(good, true), (bad, false)] {
            for agent in agents {
                assert_eq!(door.lets_in(agent, room), expected, "{program:?} {when}: {}", agent.name);
            }
        }
    });
}

/// Before, during and after a renewal under live agents, with revoked ones on each side, and after a revoked intermediate.
async fn lets_in_exactly_the_unrevoked(program: Program) {
    let server = Server::quickstart();
    let (old, old_bad) = (Agent::enroll(&server, "old").await, revoked(&server, "old-bad").await);
    let mut connection = old.identity.peer(&server).connect().await.unwrap();
    let session = connection.session().await.unwrap();
    fetch_with(&server, 1).await;
    assert_lets_in(program, &server, &[&old], &[&old_bad], "before").await;

    agent_ca(&server, &["renew"]);
    let waiting = Agent::enroll(&server, "waiting").await;
    fetch_with(&server, 1).await;
    assert_lets_in(program, &server, &[&old, &waiting], &[&old_bad], "while the new one waits").await;

    agent_ca(&server, &["renew", "--now"]);
    let (new, new_bad) = (Agent::enroll(&server, "new").await, revoked(&server, "new-bad").await);
    fetch_with(&server, 2).await;
    assert_lets_in(program, &server, &[&old, &waiting, &new], &[&old_bad, &new_bad], "with two in force")
        .await;

    // The one that issues is revoked; what it signed is refused when the list is out, and nobody else.
    let issuing = agent_ca(&server, &["show", "--json"]).json();
    let issuing = issuing["certificates"][2]["sha256"].as_str().unwrap().to_owned();
    agent_ca(&server, &["revoke-intermediate", "--now", &issuing]);
    let rotated = Agent::with(&server, "rotated", new.identity.rotate(&server.http()).await);
    // Two agents were revoked; what the new one signed that is not is `new`.
    fetch_with(&server, 3).await;
    let good = [&old, &waiting, &rotated];
    assert_lets_in(program, &server, &good, &[&old_bad, &new_bad, &new], "after a revocation").await;
    drop(session);
}

#[tokio::test(flavor = "multi_thread")]
async fn nginx_lets_in_exactly_the_unrevoked() {
    lets_in_exactly_the_unrevoked(Program::Nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_lets_in_exactly_the_unrevoked() {
    lets_in_exactly_the_unrevoked(Program::HaProxy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgresql_lets_in_exactly_the_unrevoked() {
    lets_in_exactly_the_unrevoked(Program::PostgreSql).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_lets_in_exactly_the_unrevoked() {
    lets_in_exactly_the_unrevoked(Program::Envoy).await;
}

/// An agent in session.
struct Live {
    agent: Agent,
    session: Session,
    _connection: Connection,
}

impl Live {
    async fn begin(server: &Server, agent: Agent) -> Self {
        let mut connection = agent.identity.peer(server).connect().await.unwrap();
        let session = connection.session().await.unwrap();
        Self { agent, session, _connection: connection }
    }

    /// Its session has never ended: it reports and is answered.
    async fn goes_on(&mut self) {
        self.session.report().await;
        let answer = self.session.next(PATIENCE).await;
        assert!(matches!(answer, Ok(Some(_))), "{}: {answer:?}", self.agent.name);
    }

    /// It takes a certificate from whoever issues now, and goes on with it.
    async fn rotates(self, server: &Server) -> Self {
        let identity = self.agent.identity.rotate(&server.http()).await;
        Self::begin(server, Agent::with(server, &self.agent.name, identity)).await
    }
}

/// The agents whom verifiers judge one by one, and servers by a sample: of a side, so many.
const SAMPLE: usize = 3;

async fn each_is_judged(server: &Server, live: &[Live], revoked: &[&Agent], when: &str) {
    let good: Vec<&Agent> = live.iter().map(|live| &live.agent).collect();
    fetch_with(server, revoked.len()).await;
    judged(server, &good, revoked).await;
    let sample = [&good[..SAMPLE], &good[good.len() - SAMPLE..]].concat();
    for program in [Program::Nginx, Program::HaProxy, Program::PostgreSql, Program::Envoy] {
        assert_lets_in(program, server, &sample, revoked, when).await;
    }
}

/// `renew --now` under fifty live agents, two revoked on each side, at every verifier and every server.
#[tokio::test(flavor = "multi_thread")]
async fn fifty_live_agents_come_through_a_renewal_and_the_revoked_stay_out() {
    let server = Server::quickstart();
    let operator = Client::admin(&server).await;
    let enrolled = async |name: String| {
        let identity = named_host(&operator, "", &name).await;
        Agent::with(&server, &name, identity)
    };
    let mut live = Vec::new();
    for number in 0..50 {
        live.push(Live::begin(&server, enrolled(format!("live-{number}")).await).await);
    }
    let old_bad = [revoked(&server, "old-bad").await, enrolled("old-worse".to_owned()).await];
    each_is_judged(&server, &live, &[&old_bad[0]], "before").await;

    agent_ca(&server, &["renew"]);
    for agent in &mut live {
        agent.goes_on().await;
    }
    each_is_judged(&server, &live, &[&old_bad[0]], "while the new one waits").await;

    agent_ca(&server, &["renew", "--now"]);
    for agent in &mut live {
        agent.goes_on().await;
    }
    // Half of them rotate. Of the old one's agents one is revoked when it issues no more.
    let mut two_sides: Vec<Live> = live.drain(..25).collect();
    for agent in live {
        two_sides.push(agent.rotates(&server).await);
    }
    let issuer = |agent: &Agent| agent.identity.chain_der().remove(1);
    let issuers: std::collections::BTreeSet<_> = two_sides.iter().map(|live| issuer(&live.agent)).collect();
    assert_eq!(issuers.len(), 2);
    tokio::task::block_in_place(|| server.revoke("old-worse"));
    let new_bad = [revoked(&server, "new-bad").await, revoked(&server, "new-worse").await];
    assert!(old_bad.iter().all(|agent| issuer(agent) == issuer(&two_sides[0].agent)));
    assert!(new_bad.iter().all(|agent| issuer(agent) == issuer(&two_sides[49].agent)));
    for agent in &mut two_sides {
        agent.goes_on().await;
    }
    let bad: Vec<&Agent> = old_bad.iter().chain(&new_bad).collect();
    each_is_judged(&server, &two_sides, &bad, "with two in force").await;
    for agent in &mut two_sides {
        agent.goes_on().await;
    }
}

const DAY: i64 = 86_400;

/// The server is away for an SVID's lifetime less a minute: whoever's certificate is good is let in by what was fetched before.
#[tokio::test(flavor = "multi_thread")]
async fn nobody_is_refused_because_the_server_is_away() {
    for (lifetime, seconds) in [("24h", DAY), ("7d", 7 * DAY)] {
        let mut server = Server::quickstart_with(&[("MUSTER_SVID_TTL", lifetime)]);
        let bad = revoked(&server, "bad").await;
        fetch_with(&server, 1).await;
        let good = Agent::enroll(&server, "good").await;
        server.stop();
        let room = server.room();
        let at = (Timestamp::now() + SignedDuration::from_secs(seconds - 60)).as_second();
        judged_at(&good, room, at, true);
        judged_at(&bad, room, at, false);
        for program in [Program::Nginx, Program::HaProxy, Program::PostgreSql] {
            tokio::task::block_in_place(|| {
                // To the same moment, however long the others took.
                let door = Door::open(program, room, at - Timestamp::now().as_second());
                assert!(door.lets_in(&good, room), "{program:?}, {lifetime}");
                assert!(!door.lets_in(&bad, room), "{program:?}, {lifetime}");
            });
        }
        // They did look at the time: when the lists are over, nobody is let in.
        let far = (Timestamp::now() + SignedDuration::from_secs(2 * seconds + DAY)).as_second();
        judged_at(&good, room, far, false);
    }
}

/// OpenSSL and GnuTLS at a moment, by what lies in a directory.
fn judged_at(agent: &Agent, fetched: &Path, at: i64, let_in: bool) {
    let of = |part: &str| agent.room.join(format!("{}{part}", agent.name)).to_str().unwrap().to_owned();
    let (leaf, intermediate, chain) = (of(".pem"), of(".intermediate.pem"), of(".chain.pem"));
    let moment = at.to_string();
    let by_openssl = ["verify", "-crl_check_all", "-x509_strict", "-attime", &moment, "-CAfile", "root.pem"];
    let by_openssl = openssl(
        fetched,
        &[&by_openssl[..], &["-CRLfile", "crl.pem", "-untrusted", &intermediate, &leaf]].concat(),
    );
    let by_gnutls =
        ["--verify", "--load-ca-certificate", "root.pem", "--load-crl", "crl.pem", "--infile", &chain];
    let ahead = (at - Timestamp::now().as_second()).to_string();
    let library = agent.room.join("ahead.so");
    let library = if library.exists() { library } else { later(&agent.room) };
    let clock = [("LD_PRELOAD", library.to_str().unwrap()), ("AHEAD_SECONDS", &ahead)];
    let by_gnutls = program_with("certtool", fetched, &by_gnutls, &clock);
    for judged in [by_openssl, by_gnutls] {
        assert_eq!(judged.code == Some(0), let_in, "{} at {moment}: {judged}", agent.name);
    }
}

/// What a relying party has that fetches once a day, in a directory of its own.
async fn fetched_into(server: &Server, name: &str) -> PathBuf {
    fetch(server).await;
    let room = server.room().join(name);
    fs::create_dir(&room).unwrap();
    for file in ["root.pem", "crl.pem"] {
        fs::copy(server.room().join(file), room.join(file)).unwrap();
    }
    room
}

/// Two relying parties that fetch once a day, just before the renewal and half a day after it, over the days around the change:
/// every agent that holds a certificate in force is let in at every hour.
#[tokio::test(flavor = "multi_thread")]
async fn who_fetches_once_a_day_refuses_nobody_through_a_renewal() {
    let clock = Clock::new();
    let server = Server::quickstart_with(&clock.env());
    let begins = Timestamp::now();
    let at = |hour: i64| begins + SignedDuration::from_hours(hour);
    let mut agents: Vec<(i64, Agent)> = Vec::new();
    let mut parties = [None, None];
    let mut issuers = std::collections::BTreeSet::new();
    for hour in (0..=54).step_by(3) {
        clock.set_off(SignedDuration::from_hours(hour));
        for (party, first) in [(0, 0), (1, 12)] {
            if hour % 24 == first {
                // Lists are made within seconds of a step of the clock.
                until_answered("the lists are of this hour", async || {
                    fetch(&server).await;
                    let list = fs::read(server.room().join("crl.pem")).unwrap();
                    made_at(&list).filter(|made| *made >= at(hour).as_second() - 60)
                })
                .await;
                parties[party] = Some(fetched_into(&server, &format!("{party}-{hour}")).await);
            }
        }
        let name = format!("agent-{hour}");
        let agent = Agent::with(&server, &name, Identity::enroll(&server, &name).await);
        issuers.insert(agent.identity.field("intermediate"));
        agents.push((hour, agent));
        agents.retain(|(since, _)| hour - since < 24);
        for fetched in parties.iter().flatten() {
            for (_, agent) in &agents {
                // As the server's clock says now: the test itself takes its time.
                let moment = Timestamp::now() + SignedDuration::from_hours(hour);
                judged_at(agent, fetched, moment.as_second(), true);
            }
        }
        if hour == 0 {
            let key = root_key(&server);
            let command = server.cli(&["agent-ca", "renew"]).stdin(&key);
            let [preload, file] = clock.env();
            tokio::task::block_in_place(|| command.env(preload.0, preload.1).env(file.0, file.1).run().ok());
        }
    }
    assert_eq!(issuers.len(), 2, "the new one has taken over meanwhile");
}

/// When the first of some lists was made.
fn made_at(pem: &[u8]) -> Option<i64> {
    use x509_parser::prelude::{CertificateRevocationList, FromDer};
    let block = x509_parser::pem::Pem::iter_from_buffer(pem).next()?.ok()?;
    let list = CertificateRevocationList::from_der(&block.contents).ok()?.1;
    // It says that it is five minutes older, for clocks that are behind.
    Some(list.last_update().timestamp() + 300)
}
