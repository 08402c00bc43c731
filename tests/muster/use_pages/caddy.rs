//! `docs/use/caddy.md`.

use super::account::whole;
use super::harness::backend::Backend;
use super::harness::cast::Cast;
use super::harness::entrance::Entrance;
use super::harness::machine::Machine;
use super::harness::unit::{Reload, Unit};

/// Caddy with nothing to serve, as a distribution sets it up.
fn is_there(Machine { stage, door, calls, .. }: &Machine) {
    // Everything but TLS on one port and the way out is Caddy's usual, and would be everybody's on this machine.
    let options = "{\n    auto_https disable_redirects\n    persist_config off\n}\n";
    let site = format!("{options}https://app.example.org:{} {{\n    bind 127.0.0.1\n", door.port);
    stage.say("app.example.org {\n    tls", site + "    tls");
    stage.say("unix//run/", format!("unix/{}/run/", stage.root().display()));
    stage.say("http://:8081", format!("http://:{calls}"));
    stage.say("https://app.example.org {", format!("https://127.0.0.1:{} {{", door.port));
    stage.say("tls_client_auth", "tls_server_name app.example.org\ntls_client_auth");
    let program = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/bin/caddy");
    assert!(std::path::Path::new(program).exists(), "{program} is missing: run .ci/prepare first");
    let admin = stage.path("/run/caddy/admin.sock");
    let trusted = stage.path("/etc/ssl/certs/ca-certificates.crt");
    std::fs::create_dir_all(stage.path("/run/caddy")).unwrap();
    let script = format!(
        "export CADDY_ADMIN='unix/{}' SSL_CERT_FILE='{}'\nexec {program} \"$@\"",
        admin.display(),
        trusted.display(),
    );
    stage.stand_in("caddy", &script);
    let config = stage.write("/etc/caddy/Caddyfile", "{\n    persist_config off\n}\n");
    let config = config.to_str().unwrap();
    let caddy = stage.root().join("bin/caddy");
    let caddy = caddy.to_str().unwrap();
    let reload = stage.template(caddy, &["reload", "--config", config, "--force"]);
    let start = stage.template(caddy, &["run", "--config", config]);
    let unit = Unit::new(Reload::Run(Box::new(reload)), start);
    stage.units.add("caddy", unit.ready(move || admin.exists()));
    tokio::task::block_in_place(|| stage.units.obey("start caddy")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn caddy_as_its_page_sets_it_up() {
    whole("caddy", async |page| {
        let (cast, backend) = (Cast::assemble().await, Backend::start().await);
        let machine = Machine::new(&cast, &backend).await;
        is_there(&machine);
        machine.play(page, &["Ask the agent"]);
        assert!(machine.lets_in_live_agents_alone(&cast, &backend).await, "Caddy speaks HTTP/2");
        machine.asks_about_each_request(&cast).await;
        machine.play(page, &["Call as this agent"]);
        machine.calls_as_the_agent().await;
        machine.play(page, &["After a revocation"]);
        machine.door.shuts_for(&cast.later).await;
        machine.door.lets_in(&[&cast.good]).await;
    })
    .await;
}
