//! `docs/use/mosquitto.md`.

use std::fs;
use std::net::TcpStream;

use rustix::process::Signal;

use super::guest::{ByCommand, Papers, is_refused_by_a_list, its_issuer_is_revoked, lists_are_fetched};
use super::resumption::Resumption;
use crate::support::ports::free_port;
use crate::support::process::Process;
use crate::support::wait::{PATIENCE, until};
use crate::use_pages::account::whole;
use crate::use_pages::harness::backend::Backend;
use crate::use_pages::harness::cast::Cast;
use crate::use_pages::harness::entrance::Entrance;
use crate::use_pages::harness::machine::Machine;
use crate::use_pages::harness::unit::{Reload, Unit};
use crate::use_pages::renewal::{one_is_revoked, two_in_force};

/// A broker of its own, as Debian sets it up but for its user.
fn is_there(Machine { stage, door, .. }: &Machine) {
    stage.say("listener 8883", format!("listener {} 127.0.0.1", door.port));
    stage.say("-h app.example.org -p 8883", format!("-h localhost -p {}", door.port));
    for dir in ["/var/lib/mosquitto", "/etc/mosquitto/conf.d"] {
        fs::create_dir_all(stage.path(dir)).unwrap();
    }
    let whoami = stage.shell("id -un").stdout;
    let usual = free_port();
    let config = stage.adapt(&format!(
        "user {}\npersistence true\npersistence_location /var/lib/mosquitto/\nlog_dest stderr\n\
         listener {usual} 127.0.0.1\ninclude_dir /etc/mosquitto/conf.d\n",
        whoami.trim()
    ));
    let config = stage.write("/etc/mosquitto/mosquitto.conf", &config);
    let start = stage.template("/usr/sbin/mosquitto", &["-c", config.to_str().unwrap()]);
    let unit = Unit::new(Reload::By(Signal::HUP), start);
    let unit = unit.ready(move || TcpStream::connect(("127.0.0.1", usual)).is_ok());
    stage.units.add("mosquitto", unit);
    tokio::task::block_in_place(|| stage.units.obey("start mosquitto")).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-use"]
async fn mosquitto_as_its_page_sets_it_up() {
    whole("mosquitto", async |page| {
        let (cast, backend) = (Cast::assemble().await, Backend::start().await);
        let machine = Machine::new(&cast, &backend).await;
        is_there(&machine);
        machine.play(page, &["By files"]);
        let (stage, port) = (&machine.stage, machine.door.port);
        let trusted = stage.path("/etc/ssl/certs/ca-certificates.crt");
        let client = |program: &str, papers: Option<&Papers>| {
            let own = Papers::options(papers, "--cert", "--key");
            format!("{program} -h localhost -p {port} --cafile {} {own}", trusted.display())
        };
        // Who is let in gets a message that the machine's own agent has left, as the page has it do.
        let listens = |topic: &'static str| {
            let lines = move |papers: Option<&Papers>| {
                format!("{} -t {topic} -C 1 -W 3", client("mosquitto_sub", papers))
            };
            ByCommand { stage, lines }
        };
        tokio::task::block_in_place(|| stage.play_part(page, "Call as this agent"));
        let config = listens("config/greeting");
        config.opens_for(&cast.good).await;
        config.lets_in(&[&cast.later]).await;
        config.keeps_out(&cast.outsiders()).await;
        // What an agent leaves below its own name others neither read nor write.
        let leaves = |who, message: &str| {
            let lines = client("mosquitto_pub", Papers::of(who, stage).as_ref());
            stage.shell(&format!("timeout 20 {lines} -q 1 -r -t hosts/web-1/state -m '{message}'"))
        };
        assert!(leaves(&cast.good, "this is the application").status.success());
        for who in cast.outsiders().into_iter().chain([&cast.later]) {
            leaves(who, "forged");
        }
        let own = listens("hosts/web-1/state");
        own.lets_in(&[&cast.good]).await;
        own.keeps_out(&[&cast.later, &cast.namesake]).await;

        let stands = client("mosquitto_sub", Papers::of(&cast.later, stage).as_ref());
        let standing = format!("exec {stands} -t hosts/web-2/# -t config/#");
        let standing = Process::start(stage.command("sh").args(["-c", &standing]));
        assert!(standing.stdout.wait_for_line(PATIENCE, |line| line.contains("application")).is_some());
        let renewed = two_in_force(&cast, &config).await;
        let sessions = Resumption::of(&cast.later, stage, port, "");
        machine.play(page, &["After a revocation"]);
        one_is_revoked(&cast, &renewed, &config).await;
        sessions.are_forgotten();
        // It tries to come back for ever, and hears nothing.
        let heard = standing.stdout.text().lines().count();
        until("a new message", || {
            let lines = client("mosquitto_pub", Papers::of(&cast.good, stage).as_ref());
            stage
                .shell(&format!("timeout 20 {lines} -q 1 -t hosts/web-1/state -m new"))
                .status
                .success()
                .then_some(())
        });
        assert_eq!(standing.stdout.text().lines().count(), heard);
        drop(standing);

        its_issuer_is_revoked(&cast, &config).await;
        config.opens_for(&renewed.good).await;
        config.keeps_out(&[&cast.good, &cast.forged, &cast.later, &renewed.later]).await;
        // With lists that were fetched from the server, the revoked one's names each of its agents.
        let fetched = lists_are_fetched(&cast, stage).await;
        let place = stage.path("/etc/mosquitto/conf.d/muster.conf");
        let usual = stage.path("/etc/mosquitto/muster/crl.pem");
        let lines = fs::read_to_string(&place).unwrap();
        fs::write(&place, lines.replace(usual.to_str().unwrap(), fetched.to_str().unwrap())).unwrap();
        tokio::task::block_in_place(|| {
            stage.units.obey("restart mosquitto").unwrap();
            is_refused_by_a_list(&cast.good, stage, port);
        });
        config.opens_for(&renewed.good).await;
        config.keeps_out(&[&cast.good, &cast.later, &renewed.later]).await;
    })
    .await;
}
