//! `docs/use/nats.md`.

use std::net::TcpStream;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::guest::{ByCommand, Papers};
use crate::support::process::Process;
use crate::support::wait::{PATIENCE, until};
use crate::use_pages::account::whole;
use crate::use_pages::harness::backend::{Backend, WELCOME};
use crate::use_pages::harness::cast::Cast;
use crate::use_pages::harness::entrance::Entrance;
use crate::use_pages::harness::machine::Machine;
use crate::use_pages::harness::stage::Stage;
use crate::use_pages::harness::unit::{Reload, Unit};
use crate::use_pages::renewal::{one_is_revoked, two_in_force};

/// Comes in and says so. Told to stay, it waits for the end, and then comes again with the session that it had.
const VISITOR: &str = r#"
import socket, ssl, sys
port, version, stays, *papers = sys.argv[1:]
context = ssl.create_default_context(cafile="TRUSTED")
context.maximum_version = getattr(ssl.TLSVersion, version)
if papers:
    context.load_cert_chain(*papers)
def come(session=None):
    plain = socket.create_connection(("localhost", int(port)), timeout=50)
    plain.recv(4096)
    tls = context.wrap_socket(plain, server_hostname="localhost", session=session)
    tls.sendall(b'CONNECT {"verbose":false}\r\nPING\r\n')
    heard = b""
    while b"PONG" not in heard and b"-ERR" not in heard:
        more = tls.recv(4096)
        if not more:
            break
        heard += more
    return tls, b"PONG" in heard
tls, is_in = come()
if is_in:
    print("WELCOME", flush=True)
if stays == "stays":
    _, is_in = come(tls.session)
    print("again", is_in, flush=True)
    while tls.recv(4096):
        pass
    print("ended", flush=True)
    try:
        _, is_in = come(tls.session)
    except OSError:
        is_in = False
    print("afterwards", is_in, flush=True)
"#;

/// A program that `.ci/prepare-use` has built, where there is no other.
fn built(stage: &Stage, name: &str) {
    let built: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/go/bin").join(name);
    if built.exists() {
        stage.stand_in(name, &format!("exec {} \"$@\"", built.display()));
    }
}

fn is_there(Machine { stage, door, .. }: &Machine) {
    let port = door.port;
    stage.say("0.0.0.0:4222", format!("127.0.0.1:{port}"));
    stage.say("tls://app.example.org:4222", format!("tls://localhost:{port}"));
    stage.stand_in("python3", "exec /usr/bin/python3 \"$@\"");
    built(stage, "nats");
    built(stage, "nats-server");
    let config = stage.path("/etc/nats/nats-server.conf");
    let program = stage.root().join("bin/nats-server");
    let program = if program.exists() { program.to_str().unwrap() } else { "nats-server" };
    let start = stage.template(program, &["-c", config.to_str().unwrap()]);
    let unit = Unit::new(Reload::By(Signal::HUP), start);
    stage.units.add("nats-server", unit.ready(move || TcpStream::connect(("127.0.0.1", port)).is_ok()));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-use"]
async fn nats_as_its_page_sets_it_up() {
    whole("nats", async |page| {
        let (cast, backend) = (Cast::assemble().await, Backend::start().await);
        let machine = Machine::new(&cast, &backend).await;
        is_there(&machine);
        machine.play(page, &["By files"]);
        let (stage, port) = (&machine.stage, machine.door.port);
        let trusted = stage.path("/etc/ssl/certs/ca-certificates.crt");
        let visitor = VISITOR.replace("TRUSTED", trusted.to_str().unwrap()).replace("WELCOME", WELCOME);
        let visitor = stage.write("visitor.py", &visitor);
        let come = |papers: Option<&Papers>, how: &str| {
            format!("exec python3 {} {port} {how} {}", visitor.display(), Papers::options(papers, "", ""))
        };
        let server = ByCommand { stage, lines: |papers: Option<&Papers>| come(papers, "TLSv1_3 goes") };
        server.opens_for(&cast.good).await;
        server.lets_in(&[&cast.later]).await;
        server.keeps_out(&[&cast.sooner]).await;
        server.keeps_out(&cast.outsiders()).await;
        let renewed = two_in_force(&cast, &server).await;
        machine.play(page, &["Call as this agent"]);

        let stands = |who, version: &str| {
            let lines = come(Papers::of(who, stage).as_ref(), &format!("{version} stays"));
            let process = Process::start(stage.command("sh").args(["-c", &lines]));
            let here = process.stdout.wait_for_line(PATIENCE, |line| line == "again True");
            assert!(here.is_some(), "{}", process.stderr.text());
            process
        };
        let standing = ["TLSv1_2", "TLSv1_3"].map(|version| stands(&cast.later, version));
        machine.play(page, &["After a revocation"]);
        one_is_revoked(&cast, &renewed, &server).await;
        tokio::task::block_in_place(|| {
            for process in &standing {
                until("a connection ends, and its session is worth nothing", || {
                    assert!(!process.stdout.text().contains("afterwards True"));
                    process.stdout.text().contains("ended\nafterwards False").then_some(())
                });
            }
        });
    })
    .await;
}
