//! `docs/use/envoy.md`.

use tokio::net::TcpStream;

use super::account::whole;
use super::harness::backend::Backend;
use super::harness::cast::Cast;
use super::harness::door::Ca;
use super::harness::entrance::Entrance;
use super::harness::machine::Machine;
use super::harness::page::Page;
use super::harness::posing::Poser;
use super::harness::unit::{Reload, Unit};
use crate::support::doors::envoy_program;
use crate::support::wait::until_answered;

/// Envoy, which starts with the page's configuration.
pub fn is_there(Machine { stage, door, calls }: &Machine, backend: &Backend) {
    let port = |port: u16| format!("address: 127.0.0.1, port_value: {port}");
    stage.say(&port(8080), port(backend.port));
    stage.say(&port(8081), port(*calls));
    stage.say("address: 0.0.0.0, port_value: 443", format!("address: 127.0.0.1, port_value: {}", door.port));
    stage.say(
        "address: app.example.org, port_value: 443",
        format!("address: 127.0.0.1, port_value: {}", door.port),
    );
    // So that a test sees the end of it.
    stage.say("max_connection_duration: 600s", "max_connection_duration: 3s");
    let binary = envoy_program();
    stage.stand_in("envoy", &format!("exec {} --use-dynamic-base-id \"$@\"", binary.display()));
    let program = stage.root().join("bin/envoy");
    let config = stage.path("/etc/envoy/envoy.yaml");
    let start =
        stage.template(program.to_str().unwrap(), &["--concurrency", "1", "-c", config.to_str().unwrap()]);
    stage.units.add("envoy", Unit::new(Reload::Not, start));
}

/// Certificates that let their agents serve, too.
pub const SERVING: [(&str, &str); 1] = [("MUSTER_SVID_SERVER_AUTH", "true")];

/// A machine whose Envoy serves with the agent's certificate. Callers of the tests look at no server's.
pub async fn by_secret_discovery(cast: &Cast, backend: &Backend, page: &Page) -> Machine {
    let mut machine = Machine::new(cast, backend).await;
    machine.door.ca = Ca::Any;
    is_there(&machine, backend);
    machine.play_blocks(page, &page.preface());
    machine.play(page, &["By secret discovery"]);
    machine
}

/// From another machine, calls reach the agent that the page names, and nobody else who stands at its port hears a word.
async fn calls_one_agent_alone(called: &Machine, cast: &Cast, backend: &Backend, page: &Page) {
    let mut caller = Machine::new(cast, backend).await;
    caller.door.ca = Ca::Any;
    is_there(&caller, backend);
    let at = format!("address: 127.0.0.1, port_value: {}", called.door.port);
    caller.stage.say("address: app.example.org, port_value: 443", at);
    caller.play_blocks(page, &page.preface());
    caller.play(page, &["By secret discovery", "Call by secret discovery"]);
    caller.calls_as_the_agent().await;
    let unit = |machine: &Machine, line: &str| {
        tokio::task::block_in_place(|| machine.stage.units.obey(line)).unwrap();
    };
    unit(called, "stop envoy");
    for who in [&cast.good, &cast.namesake, &cast.revoked, &cast.foreign, &cast.expired] {
        let poser = Poser::at(called.door.port, who).await;
        assert_eq!(caller.call().await, 503, "{}", who.name);
        let (callers, heard) = poser.leave().await;
        assert!(callers > 0 && heard.is_empty(), "{} has heard of {callers}: {heard}", who.name);
    }
    unit(called, "start envoy");
    caller.calls_as_the_agent().await;
    // It goes on serving with a certificate that is revoked now. Who calls has a connection of before, so it begins anew.
    cast.revoke("app-1").await;
    let refused = async || {
        unit(&caller, "restart envoy");
        caller.door.opens_for(&cast.good).await;
        (caller.call().await == 503).then_some(())
    };
    until_answered("a revoked agent is not called any more", refused).await;
    called.door.lets_in(&[&cast.good]).await;
}

/// Before the agent has given the secrets, nobody is let in.
async fn nobody_comes_in_without_secrets(machine: &Machine, cast: &Cast) {
    let unit = |line: &str| {
        tokio::task::block_in_place(|| machine.stage.units.obey(line)).unwrap();
    };
    unit("stop muster-agent");
    unit("restart envoy");
    // It listens when it has waited for them for a while.
    let listens = async || TcpStream::connect(("127.0.0.1", machine.door.port)).await.ok();
    until_answered("Envoy listens", listens).await;
    let everybody = [&cast.good, &cast.sooner, &cast.nobody, &cast.namesake, &cast.revoked];
    machine.door.keeps_out(&everybody).await;
    unit("start muster-agent");
    machine.door.opens_for(&cast.good).await;
    machine.door.keeps_out(&cast.outsiders()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn envoy_as_its_page_sets_it_up() {
    whole("envoy", async |page| {
        let (cast, backend) = (Cast::assemble().await, Backend::start().await);
        let start = page.preface();
        let asking = Machine::new(&cast, &backend).await;
        is_there(&asking, &backend);
        asking.play_blocks(page, &start);
        asking.play(page, &["Ask the agent"]);
        assert!(asking.lets_in_live_agents_alone(&cast, &backend).await, "Envoy speaks HTTP/2");
        asking.asks_about_each_request(&cast).await;

        let machine = Machine::new(&cast, &backend).await;
        is_there(&machine, &backend);
        machine.play_blocks(page, &start);
        machine.play(page, &["By files"]);
        assert!(machine.lets_in_live_agents_alone(&cast, &backend).await, "Envoy speaks HTTP/2");
        machine.play(page, &["Call as this agent"]);
        machine.calls_as_the_agent().await;
        let mut standing = machine.door.caller(&cast.later).connect().await.unwrap();
        assert!(standing.ask(&[]).await.is_let_in());
        machine.takes_in_lists(&cast, page).await;
        standing.comes_to_an_end().await;
        drop(machine);

        let cast = Cast::assemble_with(&SERVING).await;
        let machine = by_secret_discovery(&cast, &backend, page).await;
        assert!(machine.lets_in_live_agents_alone(&cast, &backend).await, "Envoy speaks HTTP/2");
        let mut standing = machine.door.caller(&cast.later).connect().await.unwrap();
        assert!(standing.ask(&[]).await.is_let_in());
        machine.takes_in_lists(&cast, page).await;
        standing.comes_to_an_end().await;
        nobody_comes_in_without_secrets(&machine, &cast).await;
        calls_one_agent_alone(&machine, &cast, &backend, page).await;
    })
    .await;
}
