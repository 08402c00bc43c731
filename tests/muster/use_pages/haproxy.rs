//! `docs/use/haproxy.md`.

use rustix::process::Signal;

use super::account::whole;
use super::harness::backend::Backend;
use super::harness::cast::Cast;
use super::harness::machine::Machine;
use super::harness::unit::{Reload, Unit};

/// HAProxy with nothing to serve, as a distribution sets it up, but for `chroot` and its user.
pub fn is_there(Machine { stage, door, .. }: &Machine) {
    stage.say("bind :443 ssl", format!("bind 127.0.0.1:{} ssl", door.port));
    stage.say("app.example.org:443", format!("127.0.0.1:{}", door.port));
    let config = "global\n    stats socket /run/haproxy/admin.sock mode 660 level admin\n    \
        log stderr local0\n\ndefaults\n    mode http\n    log global\n    option httplog\n    \
        timeout connect 5s\n    timeout client 50s\n    timeout server 50s\n\n\
        frontend health\n    bind unix@/run/haproxy/health.sock\n\n";
    let config = stage.write("/etc/haproxy/haproxy.cfg", &stage.adapt(config));
    std::fs::create_dir_all(stage.path("/run/haproxy")).unwrap();
    let program =
        if std::path::Path::new("/usr/sbin/haproxy").exists() { "/usr/sbin/haproxy" } else { "haproxy" };
    let start = stage.template(program, &["-Ws", "-f", config.to_str().unwrap()]);
    let socket = stage.path("/run/haproxy/admin.sock");
    let unit = Unit::new(Reload::By(Signal::USR2), start).ready(move || socket.exists());
    stage.units.add("haproxy", unit);
    tokio::task::block_in_place(|| stage.units.obey("start haproxy")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn haproxy_as_its_page_sets_it_up() {
    whole("haproxy", async |page| {
        let (cast, backend) = (Cast::assemble().await, Backend::start().await);
        let files = page.preface();
        let asking = Machine::new(&cast, &backend).await;
        is_there(&asking);
        asking.play_blocks(page, &files);
        asking.play(page, &["Ask the agent"]);
        asking.lets_in_live_agents_alone(&cast, &backend).await;
        asking.asks_about_each_request(&cast).await;

        let machine = Machine::new(&cast, &backend).await;
        is_there(&machine);
        machine.play_blocks(page, &files);
        machine.play(page, &["By files"]);
        machine.lets_in_live_agents_alone(&cast, &backend).await;
        machine.play(page, &["Call as this agent"]);
        machine.calls_as_the_agent().await;
        let mut standing = machine.door.caller(&cast.later).connect().await.unwrap();
        assert!(standing.ask(&[]).await.is_let_in());
        machine.takes_in_lists(&cast, page).await;
        standing.comes_to_an_end().await;
    })
    .await;
}
