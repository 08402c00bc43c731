//! `docs/use/openvpn.md`. The server's device is never configured (it needs root all the same), clients have none, and TCP
//! stands in for UDP, for it says when it ends.

use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use x509_parser::certificate::X509Certificate;
use x509_parser::prelude::FromDer;

use super::guest::{ByCommand, Papers, its_issuer_is_revoked};
use crate::support::clock::Clock;
use crate::support::judges::{issuer, pem_blocks};
use crate::support::process::Process;
use crate::support::wait::{until, until_answered, until_past};
use crate::use_pages::account::whole;
use crate::use_pages::harness::backend::{Backend, WELCOME};
use crate::use_pages::harness::cast::{Cast, Visitor, enrolled};
use crate::use_pages::harness::entrance::Entrance;
use crate::use_pages::harness::machine::Machine;
use crate::use_pages::harness::page::Page;
use crate::use_pages::harness::unit::{Reload, Unit};
use crate::use_pages::renewal::comes_to;

const IN: &str = "Initialization Sequence Completed";

fn is_there(Machine { stage, door, .. }: &Machine) {
    stage.say("dev tun\ntopology", "dev tun\nifconfig-noexec\nroute-noexec\ntopology");
    stage.say("dev tun\nremote", "dev null\nifconfig-noexec\nroute-noexec\nremote");
    stage.say("client\nproto udp", "client\nproto tcp-client");
    stage.say("server 10.8.0.0 255.255.255.0", "mode server\ntls-server");
    let listens = format!("port {}\nlocal 127.0.0.1\nproto tcp-server", door.port);
    stage.say("port 1194\nproto udp", listens);
    stage.say("app.example.org 1194", format!("127.0.0.1 {}", door.port));
    stage.say("verify-x509-name app.example.org name", "verify-x509-name \"rcgen self signed cert\" name");
    stage.say("reneg-sec 300", "reneg-sec 3");
    for side in ["server", "client"] {
        let config = stage.path(&format!("/etc/openvpn/{side}/agents.conf"));
        let log = stage.path(&format!("/var/log/openvpn-{side}.log"));
        let start = ["--config", config.to_str().unwrap(), "--log", log.to_str().unwrap()];
        let unit = Unit::new(Reload::By(Signal::HUP), stage.template("/usr/sbin/openvpn", &start));
        let unit = unit.ready(move || says(&log, IN));
        stage.units.add(&format!("openvpn-{side}@agents"), unit);
    }
}

fn says(log: &Path, text: &str) -> bool {
    fs::read_to_string(log).unwrap_or_default().contains(text)
}

/// Who comes is in when the server has said so; it goes at once, or when it is ended.
fn network(machine: &Machine) -> ByCommand<'_, impl Fn(Option<&Papers>) -> String> {
    let lines = move |papers: Option<&Papers>| {
        let log = machine.stage.path("/tmp/visitor.log");
        format!(
            "rm -f {log}; {} --log {log} & visitor=$!
             until grep -qs '{IN}' {log} || ! kill -0 $visitor 2>/dev/null; do sleep 0.05; done
             kill $visitor 2>/dev/null || true; wait $visitor || true
             cat {log}; ! grep -q '{IN}' {log} || echo '{WELCOME}'",
            visit(machine, papers),
            log = log.display()
        )
    };
    ByCommand { stage: &machine.stage, lines }
}

fn visit(machine: &Machine, papers: Option<&Papers>) -> String {
    let trusted = machine.stage.path("/etc/ssl/certs/ca-certificates.crt");
    let words = machine.stage.write("/tmp/words", "web-1\nweb-1\n");
    format!(
        "timeout 30 /usr/sbin/openvpn --client --proto tcp-client --dev null --ifconfig-noexec --route-noexec \
         --remote 127.0.0.1 {} --ca {} --connect-retry-max 1 --tls-exit {} {}",
        machine.door.port,
        trusted.display(),
        Papers::options(papers, "--cert", "--key"),
        // Without a certificate OpenVPN wants words.
        if papers.is_some() { String::new() } else { format!("--auth-user-pass {}", words.display()) },
    )
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-use"]
async fn openvpn_as_its_page_sets_it_up() {
    whole("openvpn", async |page| {
        let (cast, backend) = (Cast::assemble().await, Backend::start().await);
        let machine = Machine::new(&cast, &backend).await;
        is_there(&machine);
        machine.play(page, &["By files"]);
        let (stage, network) = (&machine.stage, network(&machine));
        network.opens_for(&cast.good).await;
        network.lets_in(&[&cast.later]).await;
        network.keeps_out(&[&cast.sooner]).await;
        network.keeps_out(&cast.outsiders()).await;
        // An agent that is called as ours is with its tenant: the name has its own tenant, too.
        let query = format!("?tenant={}", cast.theirs);
        let lookalike = enrolled(&cast.operator, &query, &format!("web-1_{}", cast.ours)).await;
        network.keeps_out(&[&Visitor::new("another tenant's agent with our name as id", &lookalike)]).await;
        // A common name has 64 characters at most; the two together are not cut off there.
        let long = format!("{}_{}", "a".repeat(27), cast.ours);
        stage.write(&format!("/etc/openvpn/agents/{long}"), "");
        let lookalike = enrolled(&cast.operator, &query, &long).await;
        network.keeps_out(&[&Visitor::new("another tenant's agent with a long name", &lookalike)]).await;
        machine.play(page, &["Call as this agent"]);

        let log = stage.path("/tmp/standing.log");
        let lines = visit(&machine, Papers::of(&cast.later, stage).as_ref()).replace("timeout 30", "exec");
        let lines = format!("{lines} --log {}", log.display());
        let mut standing = Process::start(stage.command("sh").args(["-c", &lines]));
        tokio::task::block_in_place(|| until("a connection stands", || says(&log, IN).then_some(())));
        machine.play(page, &["After a revocation"]);
        network.shuts_for(&cast.later).await;
        tokio::task::block_in_place(|| {
            until("the standing connection is gone", || (!standing.is_running()).then_some(()));
        });
        network.lets_in(&[&cast.good]).await;
    })
    .await;
}

fn renew(cast: &Cast, arguments: &[&str]) {
    let root_key = fs::read_to_string(cast.server.file("root-key.pem")).unwrap();
    let arguments = [&["agent-ca", "renew", "--json"], arguments].concat();
    tokio::task::block_in_place(|| cast.server.cli(&arguments).stdin(&root_key).run().ok());
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-use"]
async fn openvpn_lets_in_exactly_the_unrevoked_through_a_renewal() {
    let (cast, backend) = (Cast::assemble().await, Backend::start().await);
    let machine = Machine::new(&cast, &backend).await;
    is_there(&machine);
    machine.play(&Page::open("openvpn"), &["By files"]);
    for agent in ["web-4", "web-5", "web-6"] {
        machine.stage.write(&format!("/etc/openvpn/agents/{agent}_{}", cast.ours), "");
    }
    let network = network(&machine);
    network.opens_for(&cast.good).await;
    comes_to(&network, &cast.good, &[&cast.later, &cast.sooner], &cast.outsiders()).await;
    renew(&cast, &[]);
    cast.revoke("web-4").await;
    comes_to(&network, &cast.good, &[&cast.later], &[&cast.sooner, &cast.revoked]).await;
    renew(&cast, &["--now"]);
    let of_the_new = enrolled(&cast.operator, "", "web-5").await;
    let of_the_new = Visitor::new("a good agent of the new intermediate", &of_the_new);
    let revoked = enrolled(&cast.operator, "", "web-6").await;
    let revoked = Visitor::new("a revoked agent of the new intermediate", &revoked);
    cast.revoke("web-6").await;
    cast.revoke("web-2").await;
    let out = [&cast.revoked, &cast.sooner, &cast.later, &revoked, &cast.namesake];
    comes_to(&network, &cast.good, &[&of_the_new], &out).await;
    // As after a start, when it knows no list of before.
    tokio::task::block_in_place(|| machine.stage.units.obey("restart openvpn-server@agents")).unwrap();
    network.opens_for(&cast.good).await;
    comes_to(&network, &cast.good, &[&of_the_new], &out).await;
    its_issuer_is_revoked(&cast, &network).await;
    comes_to(&network, &of_the_new, &[], &[&cast.good]).await;
    tokio::task::block_in_place(|| machine.stage.units.obey("restart openvpn-server@agents")).unwrap();
    network.opens_for(&of_the_new).await;
    network.keeps_out(&[&cast.good, &cast.forged, &cast.later, &revoked]).await;
}

/// A server's old intermediate has its key until its last certificate is over by the wall clock, with a minute to spare, and
/// the server has run for some time since.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-use"]
async fn openvpn_lets_in_exactly_the_unrevoked_when_an_old_key_is_gone() {
    let clock = Clock::new();
    let [preload, file] = clock.env();
    let cast = Cast::assemble_with(&[preload, file, ("MUSTER_SVID_TTL", "60s")]).await;
    let machine = Machine::new(&cast, &Backend::start().await).await;
    is_there(&machine);
    machine.play(&Page::open("openvpn"), &["By files"]);
    for agent in ["web-5", "web-6", "web-7"] {
        machine.stage.write(&format!("/etc/openvpn/agents/{agent}_{}", cast.ours), "");
    }
    let network = network(&machine);
    let of_the_old = Visitor::new("an agent of the old one", &enrolled(&cast.operator, "", "web-7").await);
    network.opens_for(&of_the_old).await;
    renew(&cast, &["--now"]);
    until_past(&(Timestamp::now() + SignedDuration::from_secs(60 + 60)).to_string()).await;
    let mut longer = SignedDuration::ZERO;
    until_answered("the key of the old intermediate is gone", async || {
        longer += SignedDuration::from_hours(2);
        clock.has_run_longer(longer);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let destroyed = tokio::task::block_in_place(|| cast.server.audit("agent_ca.destroy_key"));
        (!destroyed.is_empty()).then_some(())
    })
    .await;
    let revoked = enrolled(&cast.operator, "", "web-6").await;
    let revoked = Visitor::new("a revoked agent of the new intermediate", &revoked);
    cast.revoke("web-6").await;
    let good = Visitor::new("a good agent", &enrolled(&cast.operator, "", "web-5").await);
    network.opens_for(&good).await;
    comes_to(&network, &good, &[], &[&revoked, &of_the_old, &cast.revoked]).await;
    let old = X509Certificate::from_der(of_the_old.intermediate()).unwrap().1;
    let lists = fs::read(machine.stage.path("/etc/openvpn/muster/crl.pem")).unwrap();
    assert!(pem_blocks(&lists).iter().any(|list| issuer(list) == old.subject().to_string()));
    // As after a start, when it knows no list of before.
    tokio::task::block_in_place(|| machine.stage.units.obey("restart openvpn-server@agents")).unwrap();
    let good = Visitor::new("another good agent", &enrolled(&cast.operator, "", "web-7").await);
    network.opens_for(&good).await;
    comes_to(&network, &good, &[], &[&revoked, &of_the_old]).await;
}
