//! `docs/use/envoy.md`.

use super::account::whole;
use super::harness::backend::Backend;
use super::harness::cast::Cast;
use super::harness::machine::Machine;
use super::harness::unit::{Reload, Unit};
use crate::support::doors::envoy_program;

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
    let binary = envoy_program();
    stage.stand_in("envoy", &format!("exec {} --use-dynamic-base-id \"$@\"", binary.display()));
    let program = stage.root().join("bin/envoy");
    let config = stage.path("/etc/envoy/envoy.yaml");
    let start =
        stage.template(program.to_str().unwrap(), &["--concurrency", "1", "-c", config.to_str().unwrap()]);
    stage.units.add("envoy", Unit::new(Reload::Not, start));
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
        asking.lets_in_live_agents_alone(&cast, &backend).await;
        asking.asks_about_each_request(&cast).await;

        let machine = Machine::new(&cast, &backend).await;
        is_there(&machine, &backend);
        machine.play_blocks(page, &start);
        machine.play(page, &["By files"]);
        machine.lets_in_live_agents_alone(&cast, &backend).await;
        machine.play(page, &["Call as this agent"]);
        machine.calls_as_the_agent().await;
        machine.takes_in_lists(&cast, page).await;
    })
    .await;
}
