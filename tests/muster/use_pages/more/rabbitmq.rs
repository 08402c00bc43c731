//! `docs/use/rabbitmq.md`.

use std::fs;
use std::net::TcpStream;
use std::path::PathBuf;

use super::guest::{ByCommand, Papers, reloads_fail};
use super::resumption::Resumption;
use crate::support::ports::free_port;
use crate::support::process::Process;
use crate::support::wait::{PATIENCE, until};
use crate::use_pages::account::whole;
use crate::use_pages::harness::backend::{Backend, WELCOME};
use crate::use_pages::harness::cast::Cast;
use crate::use_pages::harness::entrance::Entrance;
use crate::use_pages::harness::machine::Machine;
use crate::use_pages::harness::page::Page;
use crate::use_pages::harness::unit::{Reload, Unit};
use crate::use_pages::renewal::{one_is_revoked, two_in_force};

/// Comes in, says so, and stays if it is told to until the server ends it.
const VISITOR: &str = r#"
import ssl, sys
import pika
port, stays, *papers = sys.argv[1:]
context = ssl.create_default_context(cafile="TRUSTED")
if papers:
    context.load_cert_chain(*papers)
connection = pika.BlockingConnection(pika.ConnectionParameters(
    "localhost", int(port), ssl_options=pika.SSLOptions(context, "localhost"),
    credentials=pika.credentials.ExternalCredentials(), socket_timeout=20, stack_timeout=20, heartbeat=0))
connection.channel().queue_declare("greetings")
print("WELCOME", flush=True)
while stays == "stays":
    try:
        connection.process_data_events(time_limit=1)
    except pika.exceptions.AMQPError as end:
        print("ended", end, flush=True)
        break
"#;

/// Where Debian keeps the scripts that do not change their user.
fn scripts() -> PathBuf {
    let versions = fs::read_dir("/usr/lib/rabbitmq/lib").into_iter().flatten().flatten();
    let newest = versions.map(|version| version.path().join("sbin")).filter(|path| path.is_dir()).max();
    newest.expect("rabbitmq-server: run .ci/prepare-use first")
}

/// A node of its own with an `epmd` of its own, as Debian sets it up but for its user.
fn is_there(Machine { stage, door, .. }: &Machine) {
    let (plain, distribution, mapper) = (free_port(), free_port(), free_port());
    // Each command starts a virtual machine, which takes its time on a machine that is busy.
    stage.takes_its_time();
    stage.say("listeners.ssl.default = 5671", format!("listeners.ssl.default = 127.0.0.1:{}", door.port));
    stage.say("host=\"app.example.org\"", "host=\"localhost\"");
    stage.say("port=5671", format!("port={}", door.port));
    stage.stand_in("python3", "exec /usr/bin/python3 \"$@\"");
    for dir in ["/etc/rabbitmq", "/var/lib/rabbitmq/mnesia", "/var/log/rabbitmq"] {
        fs::create_dir_all(stage.path(dir)).unwrap();
    }
    let environment = stage.adapt(&format!(
        "export HOME=/var/lib/rabbitmq RABBITMQ_NODENAME=muster-{plain}@localhost RABBITMQ_NODE_PORT={plain} \
         RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_DIST_PORT={distribution} ERL_EPMD_PORT={mapper} \
         RABBITMQ_MNESIA_BASE=/var/lib/rabbitmq/mnesia RABBITMQ_LOG_BASE=/var/log/rabbitmq RABBITMQ_LOGS=- \
         RABBITMQ_CONFIG_FILE=/etc/rabbitmq/rabbitmq RABBITMQ_ADVANCED_CONFIG_FILE=/etc/rabbitmq/advanced.config \
         RABBITMQ_ENABLED_PLUGINS_FILE=/etc/rabbitmq/enabled_plugins RABBITMQ_CONF_ENV_FILE=/etc/rabbitmq/none \
         LANG=C.UTF-8\n",
    ));
    for name in ["rabbitmq-server", "rabbitmqctl", "rabbitmq-plugins"] {
        let program = scripts().join(name);
        stage.stand_in(name, &format!("{environment}exec {} \"$@\"", program.display()));
    }
    let mapper_port = mapper.to_string();
    let start = stage.template("epmd", &["-port", &mapper_port, "-address", "127.0.0.1"]);
    let unit = Unit::new(Reload::Not, start);
    let unit = unit.ready(move || TcpStream::connect(("127.0.0.1", mapper)).is_ok());
    stage.units.add("epmd", unit);
    let program = stage.root().join("bin/rabbitmq-server");
    let unit = Unit::new(Reload::Not, stage.template(program.to_str().unwrap(), &[]));
    let unit = unit.ready(move || TcpStream::connect(("127.0.0.1", plain)).is_ok());
    stage.units.add("rabbitmq-server", unit);
    tokio::task::block_in_place(|| stage.units.obey("start epmd rabbitmq-server")).unwrap();
    let closes = Page::open("rabbitmq");
    let closes = closes.blocks.iter().find_map(|block| block.text.split_once("ExecStart=")).unwrap().1;
    let closes = stage.adapt(closes.lines().next().unwrap());
    stage
        .units
        .add("muster-rabbitmq-close", Unit::once(stage.template("sh", &["-c", &format!("exec {closes}")])));
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "make test-use"]
async fn rabbitmq_as_its_page_sets_it_up() {
    whole("rabbitmq", async |page| {
        let (cast, backend) = (Cast::assemble().await, Backend::start().await);
        let machine = Machine::new(&cast, &backend).await;
        is_there(&machine);
        machine.play(page, &["By files"]);
        let (stage, port) = (&machine.stage, machine.door.port);
        let trusted = stage.path("/etc/ssl/certs/ca-certificates.crt");
        let visitor = VISITOR.replace("TRUSTED", trusted.to_str().unwrap()).replace("WELCOME", WELCOME);
        let visitor = stage.write("visitor.py", &visitor);
        let come = |papers: Option<&Papers>, stays: &str| {
            let own = Papers::options(papers, "", "");
            format!("exec python3 {} {port} {stays} {own}", visitor.display())
        };
        let queue = ByCommand { stage, lines: |papers: Option<&Papers>| come(papers, "goes") };
        queue.opens_for(&cast.good).await;
        queue.lets_in(&[&cast.later]).await;
        queue.keeps_out(&cast.outsiders()).await;
        let renewed = two_in_force(&cast, &queue).await;
        machine.play(page, &["Call as this agent"]);

        let stands = |who| {
            let lines = come(Papers::of(who, stage).as_ref(), "stays");
            let process = Process::start(stage.command("sh").args(["-c", &lines]));
            let here = process.stdout.wait_for_line(PATIENCE, |line| line == WELCOME);
            assert!(here.is_some(), "{}", process.stderr.text());
            process
        };
        let (standing, mut stays) = (stands(&cast.later), stands(&cast.good));
        let sessions = Resumption::of(&cast.later, stage, port, "");
        assert!(sessions.resumed().is_empty(), "{:?}", sessions.resumed());
        machine.play(page, &["After a revocation"]);
        one_is_revoked(&cast, &renewed, &queue).await;
        tokio::task::block_in_place(|| {
            until("the standing connection is ended", || {
                standing.stdout.text().contains("revoked").then_some(())
            });
        });
        assert!(stays.is_running() && !stays.stdout.text().contains("ended"), "everybody else stays");
        drop(standing);

        let user = format!("spiffe://muster/tenant/{}/agent/web-4", cast.ours);
        tokio::task::block_in_place(|| {
            let lines = format!(
                "rabbitmqctl -q add_user {user} unused; rabbitmqctl -q set_permissions -p / {user} '.*' '.*' '.*'"
            );
            assert!(stage.shell(&lines).status.success());
        });
        reloads_fail(&machine, || ());
        queue.lets_in(&[&cast.sooner]).await;
        cast.revoke("web-4").await;
        queue.shuts_for(&cast.sooner).await;
        queue.lets_in(&[&cast.good]).await;
    })
    .await;
}
