//! Programs of a team's own, in whatever language: a page's server and client, built and run as the page says, each known by
//! the SPIFFE id of the agent on its machine.

use std::time::{Duration, Instant};

use super::backend::{Backend, WELCOME};
use super::cast::Cast;
use super::door::Ca;
use super::entrance::{Entrance, Outcome};
use super::machine::{Machine, own_group};
use super::page::{Kind, Page};
use super::posing::Poser;
use super::unit::{Reload, Unit};
use crate::support::process::Process;
use crate::support::wait::{PATIENCE, until};

/// What the parts of such a page are called.
const SET_UP: &str = "The agent";
const SERVER: &str = "Let only live agents of one tenant in";
const CLIENT: &str = "Call as this agent";
const REVOCATION: &str = "After a revocation";

/// How a program learns whom to let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the agent, which has to be there.
    Asking,
    /// From the lists that `muster agent outputs` writes.
    ByFiles,
}

/// Short enough to see some rotations of.
const LIFETIME: Duration = Duration::from_secs(15);

/// A machine of such a page.
async fn machine(cast: &Cast, page: &Page, prepare: &dyn Fn(&Machine)) -> Machine {
    let mut machine = Machine::new(cast, &Backend::start().await).await;
    machine.door.ca = Ca::Any;
    let (stage, port) = (&machine.stage, machine.door.port);
    let socket = stage.path("/run/muster-agent/workload.sock");
    stage.say("unix:///run/muster-agent/workload.sock", format!("unix://{}", socket.display()));
    stage.say("group: app\n", own_group());
    for said in ["app.example.org:9443", ":9443", "0.0.0.0:9443"] {
        stage.say(said, format!("127.0.0.1:{port}"));
    }
    stage.say("\"0.0.0.0\", 9443", format!("\"127.0.0.1\", {port}"));
    stage.say("\"app.example.org\", 9443", format!("\"127.0.0.1\", {port}"));
    // The group is the one of whoever runs the tests.
    stage.stand_in("groupadd", "[ \"$*\" = '-f -r app' ]");
    prepare(&machine);
    stage.takes_its_time();
    machine.play(page, &[SET_UP]);
    let unit = page.part(SERVER).into_iter().find(|block| block.text.contains("ExecStart=")).unwrap();
    let line = unit.text.lines().find_map(|line| line.strip_prefix("ExecStart=")).unwrap();
    let line = stage.adapt(line);
    let words: Vec<&str> = line.split_whitespace().collect();
    let start = stage.template(words[0], &words[1..]);
    let listens = move || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok();
    stage.units.add("app", Unit::new(Reload::Not, start).ready(listens));
    machine.play(page, &[SERVER]);
    machine
}

/// Everything that a page promises. `prepare` makes the language's tools known to a machine.
pub async fn keep_their_promises(
    page: &Page,
    way: Way,
    settings: &[(&str, &str)],
    prepare: impl Fn(&Machine),
) {
    let cast = Cast::assemble_with(settings).await;
    let here = machine(&cast, page, &prepare).await;
    let door = &here.door;
    door.opens_for(&cast.good).await;
    door.lets_in(&[&cast.good, &cast.later, &cast.good]).await;
    door.keeps_out(&cast.outsiders()).await;
    match way {
        Way::Asking => here.asks_about_each_request(&cast).await,
        Way::ByFiles => {
            let returning = door.caller(&cast.sooner);
            let mut standing = returning.connect().await.unwrap();
            assert!(standing.ask(&[]).await.is_let_in());
            assert!(returning.knock(&[]).await.0.is_let_in());
            cast.revoke("web-4").await;
            door.shuts_for(&cast.sooner).await;
            assert_eq!(standing.ask(&[]).await, Outcome::Refused(403));
            assert!(!returning.knock(&[]).await.0.is_let_in());
        }
    }
    let said = tokio::task::block_in_place(|| here.stage.play_part(page, CLIENT));
    // Maven ends its colours, quiet or not.
    assert_eq!(said.trim_start_matches("\u{1b}[0m"), format!("200 {WELCOME}\n").repeat(3));
    door.lets_in(&[&cast.later]).await;
    here.play(page, &[REVOCATION]);
    door.shuts_for(&cast.later).await;
    door.lets_in(&[&cast.good]).await;
    keeps_to_its_server(page, &here, &cast).await;
    drop(here);
    outlive_rotations(page, settings, &prepare).await;
}

/// What comes before a page's client is run, and its command without how often it is to call.
fn call(page: &Page) -> (String, String) {
    let blocks = page.part(CLIENT);
    let commands = blocks.last().and_then(|block| block.text.strip_suffix(" 3\n"));
    let commands = commands.expect("the part ends with three calls");
    match commands.rsplit_once('\n') {
        Some((before, call)) => (format!("{before}\n"), call.to_owned()),
        None => (String::new(), commands.to_owned()),
    }
}

/// The client says nothing to a server that is another agent than the one it calls.
async fn keeps_to_its_server(page: &Page, here: &Machine, cast: &Cast) {
    tokio::task::block_in_place(|| here.stage.units.obey("stop app")).unwrap();
    let lines = here.stage.adapt(&format!("{} 1", call(page).1));
    for who in [&cast.good, &cast.namesake, &cast.revoked, &cast.foreign, &cast.expired] {
        let poser = Poser::at(here.door.port, who).await;
        let called = tokio::task::block_in_place(|| here.stage.shell(&lines));
        let (callers, heard) = poser.leave().await;
        assert!(!called.status.success(), "{}: {called:?}", who.name);
        assert!(callers > 0 && heard.is_empty(), "{} has heard of {callers}: {heard}", who.name);
    }
}

/// Calls go on, each on a connection of its own, until the certificates that server and client began with are long over.
async fn outlive_rotations(page: &Page, settings: &[(&str, &str)], prepare: &dyn Fn(&Machine)) {
    let lifetime = format!("{}s", LIFETIME.as_secs());
    let settings = [settings, &[("MUSTER_SVID_TTL", &*lifetime)]].concat();
    let cast = Cast::assemble_with(&settings).await;
    let here = machine(&cast, page, prepare).await;
    tokio::task::block_in_place(|| {
        let (build, call) = call(page);
        let blocks = page.part(CLIENT);
        for file in blocks.iter().filter(|block| matches!(block.kind, Kind::File(_))) {
            here.stage.play(page, file);
        }
        let built = here.stage.shell(&here.stage.adapt(&build));
        assert!(built.status.success(), "{built:?}");
        let call = here.stage.adapt(&format!("exec {call} 1000000"));
        let mut client = Process::start(here.stage.command("sh").args(["-euc", &call]));
        let certificate = here.stage.path("/var/lib/muster-agent/identity/cert.pem");
        let mut seen = vec![std::fs::read(&certificate).unwrap()];
        let answers = |client: &Process| client.stdout.text().lines().count();
        until("calls", || {
            assert!(client.is_running(), "{}", client.stderr.text());
            (answers(&client) > 0).then_some(())
        });
        let began = Instant::now();
        // Two rotations, and whatever was there at the beginning has expired.
        let deadline = began + PATIENCE + LIFETIME * 2;
        while seen.len() < 3 || began.elapsed() < LIFETIME {
            assert!(Instant::now() < deadline, "no rotation came");
            assert!(client.is_running(), "a call failed: {}", client.stderr.text());
            let now = std::fs::read(&certificate).unwrap();
            if seen.last() != Some(&now) {
                seen.push(now);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        let before = answers(&client);
        until("calls after the rotations", || {
            assert!(client.is_running(), "a call failed: {}", client.stderr.text());
            (answers(&client) > before + 2).then_some(())
        });
        client.kill();
        let said = client.stdout.text();
        for line in said.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            assert_eq!(line, format!("200 {WELCOME}\n"));
        }
    });
}
