//! `docs/use/stunnel.md`.

use std::fs;
use std::net::TcpStream;

use rustix::process::Signal;
use serde_json::json;

use super::guest::{ByCommand, Papers, is_refused_by_a_list, its_issuer_is_revoked, lists_are_fetched};
use super::resumption::Resumption;
use crate::support::ports::free_port;
use crate::support::process::Process;
use crate::support::wait::{PATIENCE, until};
use crate::use_pages::account::whole;
use crate::use_pages::harness::backend::{Backend, WELCOME};
use crate::use_pages::harness::cast::{Cast, Visitor, enrolled};
use crate::use_pages::harness::entrance::Entrance;
use crate::use_pages::harness::machine::Machine;
use crate::use_pages::harness::stage::EXAMPLE_TENANT;
use crate::use_pages::harness::unit::{Reload, Unit};
use crate::use_pages::renewal::{one_is_revoked, two_in_force};

/// The names of our agents, as the page has it: the server is started with it before it has a tenant.
const SUFFIX: &str = "01a20522-87ef-71c3-91b1-d6df30adc77e.identities.muster.example.org";

/// Redis on a port of its own, and stunnel as Debian's units run it.
fn is_there(Machine { stage, door, calls }: &Machine) -> u16 {
    let redis = free_port();
    stage.say(&SUFFIX.replace(SUFFIX.split('.').next().unwrap(), EXAMPLE_TENANT), SUFFIX);
    stage.say("127.0.0.1:6379", format!("127.0.0.1:{redis}"));
    stage.say("accept = 6380", format!("accept = 127.0.0.1:{}", door.port));
    stage.say("app.example.org:6380", format!("localhost:{}", door.port));
    stage.say("127.0.0.1:6390", format!("127.0.0.1:{calls}"));
    let port = redis.to_string();
    let start = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"];
    let unit = Unit::new(Reload::Not, stage.template("redis-server", &start));
    let unit = unit.ready(move || TcpStream::connect(("127.0.0.1", redis)).is_ok());
    stage.units.add("redis", unit);
    for (name, port) in [("redis", door.port), ("call", *calls)] {
        let config = stage.path(&format!("/etc/stunnel/{name}.conf"));
        let start = stage.template("stunnel4", &[config.to_str().unwrap()]);
        let unit = Unit::new(Reload::By(Signal::HUP), start);
        let unit = unit.ready(move || TcpStream::connect(("127.0.0.1", port)).is_ok());
        stage.units.add(&format!("stunnel@{name}"), unit);
    }
    // The server of this test has the setting already.
    stage.units.add("muster", Unit::new(Reload::Not, stage.template("sleep", &["1000"])));
    tokio::task::block_in_place(|| stage.units.obey("start redis")).unwrap();
    let greeted = stage.shell(&format!("redis-cli -p {redis} SET greeting '{WELCOME}'"));
    assert!(greeted.stdout.contains("OK"), "{greeted:?}");
    redis
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-use"]
async fn stunnel_as_its_page_sets_it_up() {
    whole("stunnel", async |page| {
        let named = format!("default={SUFFIX}");
        let cast = Cast::assemble_with(&[("MUSTER_SVID_DNS_SUFFIX", &named)]).await;
        let machine = Machine::new(&cast, &Backend::start().await).await;
        let behind = is_there(&machine);
        machine.play_blocks(page, &page.preface());
        machine.play(page, &["By files"]);
        let (stage, port) = (&machine.stage, machine.door.port);
        let connect = |papers: Option<&Papers>| {
            let trusted = stage.path("/etc/ssl/certs/ca-certificates.crt");
            let own = Papers::options(papers, "--cert", "--key");
            format!("timeout 20 redis-cli -h localhost -p {port} --tls --cacert {} {own}", trusted.display())
        };
        let redis =
            ByCommand { stage, lines: |papers: Option<&Papers>| format!("{} GET greeting", connect(papers)) };
        redis.opens_for(&cast.good).await;
        redis.lets_in(&[&cast.later]).await;
        redis.keeps_out(&cast.outsiders()).await;
        // What keeps tenants apart is that nobody can be called so.
        let query = format!("?tenant={}", cast.theirs);
        let name = json!({"agent_id": format!("a.{SUFFIX}")});
        let refused = cast.operator.post(&format!("/v1/agents/enroll-tokens{query}"), &name).await;
        assert!(refused.status == 400 || refused.status == 422, "{refused}");
        let lookalike = enrolled(&cast.operator, &query, "web-1.identities.muster.example.org").await;
        redis.keeps_out(&[&Visitor::new("another tenant's agent with a DNS name as id", &lookalike)]).await;

        machine.play(page, &["Call as this agent"]);
        let called = || stage.shell(&format!("redis-cli -p {} GET greeting", machine.calls)).stdout;
        tokio::task::block_in_place(|| {
            until("a call as the agent", || called().contains(WELCOME).then_some(()));
        });

        let renewed = two_in_force(&cast, &redis).await;
        let sessions = Resumption::of(&cast.later, stage, port, "");
        assert!(sessions.resumed().is_empty(), "{:?}", sessions.resumed());
        let lines = format!("{{ echo PING; cat; }} | {}", connect(Papers::of(&cast.later, stage).as_ref()));
        let standing = Process::start(stage.command("sh").args(["-c", &lines]));
        assert!(standing.stdout.wait_for_line(PATIENCE, |line| line == "PONG").is_some());
        // Who counts is one of them.
        let connected = || stage.shell(&format!("redis-cli -p {behind} CLIENT LIST")).stdout.lines().count();
        assert_eq!(connected(), 2);
        machine.play(page, &["After a revocation"]);
        one_is_revoked(&cast, &renewed, &redis).await;
        tokio::task::block_in_place(|| {
            until("the standing connection is gone", || (connected() == 1).then_some(()));
        });
        drop(standing);

        its_issuer_is_revoked(&cast, &redis).await;
        redis.opens_for(&renewed.good).await;
        redis.keeps_out(&[&cast.good, &cast.forged, &cast.later, &renewed.later]).await;
        // With lists that were fetched from the server, the revoked one's names each of its agents.
        let fetched = lists_are_fetched(&cast, stage).await;
        let place = stage.path("/etc/stunnel/redis.conf");
        let usual = format!("CRLpath = {}", stage.path("/etc/stunnel/muster/crl.d").display());
        let lines = fs::read_to_string(&place).unwrap();
        assert!(lines.contains(&usual), "{lines}");
        fs::write(&place, lines.replace(&usual, &format!("CRLfile = {}", fetched.display()))).unwrap();
        tokio::task::block_in_place(|| {
            stage.units.obey("restart stunnel@redis").unwrap();
            is_refused_by_a_list(&cast.good, stage, port);
        });
        redis.opens_for(&renewed.good).await;
        redis.keeps_out(&[&cast.good, &cast.later, &renewed.later]).await;
    })
    .await;
}
