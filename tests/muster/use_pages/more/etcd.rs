//! `docs/use/etcd.md`.

use std::net::TcpStream;

use super::guest::{ByCommand, Papers};
use super::resumption::Resumption;
use crate::support::ports::free_port;
use crate::support::process::Process;
use crate::support::wait::{PATIENCE, until};
use crate::use_pages::account::whole;
use crate::use_pages::haproxy;
use crate::use_pages::harness::backend::Backend;
use crate::use_pages::harness::cast::Cast;
use crate::use_pages::harness::entrance::Entrance;
use crate::use_pages::harness::machine::Machine;
use crate::use_pages::harness::unit::{Reload, Unit};
use crate::use_pages::renewal::{one_is_revoked, two_in_force};

/// etcd with the page's settings, behind HAProxy.
fn is_there(machine: &Machine) {
    let Machine { stage, door, .. } = machine;
    let (clients, peers) = (free_port(), free_port());
    stage.say("bind :2379", format!("bind 127.0.0.1:{}", door.port));
    stage.say("127.0.0.1:12379", format!("127.0.0.1:{clients}"));
    stage.say("https://app.example.org:2379", format!("https://localhost:{}", door.port));
    haproxy::is_there(machine);
    let settings = stage.path("/etc/default/etcd");
    let data = stage.path("/var/lib/etcd");
    let peer = format!("http://127.0.0.1:{peers}");
    let start = format!(
        "set -a; . {}; exec etcd --data-dir {} --listen-peer-urls {peer} --initial-advertise-peer-urls {peer} \
         --initial-cluster default={peer} --unsafe-no-fsync",
        settings.display(),
        data.display()
    );
    let unit = Unit::new(Reload::Not, stage.template("sh", &["-c", &start]));
    stage.units.add("etcd", unit.ready(move || TcpStream::connect(("127.0.0.1", clients)).is_ok()));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-use"]
async fn etcd_as_its_page_sets_it_up() {
    whole("etcd", async |page| {
        let (cast, backend) = (Cast::assemble().await, Backend::start().await);
        let machine = Machine::new(&cast, &backend).await;
        is_there(&machine);
        machine.play(page, &["By files", "Call as this agent"]);
        let (stage, port) = (&machine.stage, machine.door.port);
        let trusted = stage.path("/etc/ssl/certs/ca-certificates.crt");
        let client = |papers: Option<&Papers>| {
            let own = Papers::options(papers, "--cert", "--key");
            format!(
                "ETCDCTL_API=3 timeout 30 etcdctl --endpoints=https://localhost:{port} --cacert={} {own}",
                trusted.display()
            )
        };
        let store =
            ByCommand { stage, lines: |papers: Option<&Papers>| format!("{} get greeting", client(papers)) };
        store.opens_for(&cast.good).await;
        store.lets_in(&[&cast.later]).await;
        store.keeps_out(&cast.outsiders()).await;
        let renewed = two_in_force(&cast, &store).await;

        let lines = client(Papers::of(&cast.later, stage).as_ref()).replace("timeout 30", "exec");
        let lines = lines.replace("ETCDCTL_API=3 exec", "exec env ETCDCTL_API=3");
        let standing = Process::start(stage.command("sh").args(["-c", &format!("{lines} watch seen")]));
        let tell = |text: &str| {
            let lines = client(Papers::of(&cast.good, stage).as_ref());
            stage.shell(&format!("{lines} put seen '{text}'")).status.success()
        };
        tokio::task::block_in_place(|| {
            until("the watch stands", || {
                assert!(tell("before"));
                standing.stdout.text().contains("before").then_some(())
            });
        });
        let sessions = Resumption::of(&cast.later, stage, port, "");
        machine.play(page, &["After a revocation"]);
        one_is_revoked(&cast, &renewed, &store).await;
        sessions.are_forgotten();
        // It tries to come back for ever, so what ends is what it hears.
        tokio::task::block_in_place(|| {
            let mut round = 0;
            until("the watch has ended", || {
                round += 1;
                let told = format!("round {round}");
                assert!(tell(&told));
                let heard = standing.stdout.wait_for_line(PATIENCE / 60, |line| line == told);
                heard.is_none().then_some(())
            });
        });
        drop(standing);
    })
    .await;
}
