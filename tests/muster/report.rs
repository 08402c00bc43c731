//! Events that agents report into the history of their hosts: kept within bounds, the agent's words and no more.

use std::time::{Duration, Instant};

use jiff::{SignedDuration, Timestamp};
use muster::grpc::proto::{HostEvent, ReportRequest};
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::task::block_in_place;
use tonic::Code;

use crate::support::agent::Machine;
use crate::support::client::Client;
use crate::support::fleet::named_host;
use crate::support::hierarchy::Hierarchy;
use crate::support::identity::Identity;
use crate::support::server::{Server, text};
use crate::support::stream::Stream;
use crate::support::wait;

const REPORT: &str = "/muster.agent.v1.AgentService/Report";

fn event(kind: &str, detail: &[(&str, &str)]) -> HostEvent {
    let detail = detail.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    HostEvent { kind: kind.to_owned(), at_ms: 0, detail }
}

/// Somebody who may read, and still may after a restart.
fn reader(server: &Server) -> Client {
    Client::bearer(server, &server.api_token(&["agent.read"], None))
}

/// A host's timeline, oldest first.
async fn timeline(admin: &Client, host: &str) -> Vec<Value> {
    let mut entries = admin.items(&format!("/v1/hosts/{host}/events?limit=500")).await;
    entries.reverse();
    entries
}

/// The kinds of what the agent has reported, oldest first.
async fn reported(admin: &Client, host: &str) -> Vec<String> {
    let entries = timeline(admin, host).await;
    entries.iter().filter(|entry| entry["source"] == "agent").map(|entry| text(entry, "kind")).collect()
}

/// Waits until the agent has reported an event of this kind.
async fn reported_in_time(admin: &Client, host: &str, kind: &str) {
    let told = async || reported(admin, host).await.iter().any(|known| known == kind).then_some(());
    wait::until_answered(kind, told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_reports_stands_in_its_history_word_for_word() {
    let mut server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let identity = named_host(&admin, "", "web-1").await;
    let mut stream = Stream::open(&admin, "/v1/events").await;
    let mut agent = identity.peer(&server).connect().await.unwrap();
    let awkward = "'; DROP TABLE hosts; -- <script>alert(1)</script> %n {{7*7}} $(reboot) \u{202e}ß";
    let events = vec![event("agent_started", &[("version", "0.1.0")]), event("revoked", &[("by", awkward)])];
    assert_eq!(agent.tell(events).await.unwrap(), 2);
    // Told at once, and on disk before it was answered.
    assert_eq!(stream.wait_for("timeline").await.data["host_id"], json!(identity.host_id()));
    server.kill();
    server.start_again();
    let admin = reader(&server);
    let entries = timeline(&admin, &identity.host_id()).await;
    let seen: Vec<_> =
        entries.iter().map(|e| (text(e, "kind"), text(e, "source"), e["detail"].clone())).collect();
    assert_eq!(seen[0].0, "enrolled");
    assert_eq!(seen[0].1, "server");
    let words = |kind: &str, detail| (kind.to_owned(), "agent".to_owned(), detail);
    assert_eq!(seen[1], words("agent_started", json!({"version": "0.1.0"})));
    assert_eq!(seen[2], words("revoked", json!({"by": awkward})));
    assert_eq!(server.host(&identity.host_id())["decommissioned_at"], Value::Null, "it only says so");

    // Pages go on where they ended, across both kinds of entries.
    let mut paged = Vec::new();
    let mut cursor = String::new();
    loop {
        let path = format!("/v1/hosts/{}/events?limit=1{cursor}", identity.host_id());
        let page = admin.get(&path).await.expect(200);
        paged.extend(page["items"].as_array().unwrap().clone());
        let Some(next) = page["next_cursor"].as_str() else { break };
        cursor = format!("&cursor={next}");
    }
    paged.reverse();
    assert_eq!(paged, entries);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_an_event_is_refused_whole() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let identity = named_host(&admin, "", "web-1").await;
    let mut agent = identity.peer(&server).connect().await.unwrap();
    let host = identity.host_id();
    let before = timeline(&admin, &host).await;
    let long = "x".repeat(256);
    let many: Vec<_> = (0..9).map(|n| format!("n{n}")).collect();
    let many: Vec<_> = many.iter().map(|name| (name.as_str(), "")).collect();
    let huge = "x".repeat(1 << 20);
    let wordy: Vec<_> = many[1..].iter().map(|(name, _)| (*name, &long[1..])).collect();
    for (case, events, code) in [
        ("1 MB of text", vec![event("a", &[("why", &huge)])], Code::ResourceExhausted),
        ("a long value", vec![event("a", &[("why", &long)])], Code::InvalidArgument),
        ("control octets", vec![event("a", &[("why", "a\u{0}b")])], Code::InvalidArgument),
        ("an escape", vec![event("a", &[("why", "\u{1b}[2J")])], Code::InvalidArgument),
        ("a line break", vec![event("a", &[("why", "a\r\nb")])], Code::InvalidArgument),
        ("no kind", vec![event("", &[])], Code::InvalidArgument),
        ("a kind of words", vec![event("Agent started", &[])], Code::InvalidArgument),
        ("a long kind", vec![event(&long, &[])], Code::InvalidArgument),
        ("a strange name", vec![event("a", &[("a\nb", "")])], Code::InvalidArgument),
        ("much detail", vec![event("a", &many)], Code::InvalidArgument),
        ("a good one first", vec![event("a", &[]), event("B", &[])], Code::InvalidArgument),
        ("65 events", vec![event("a", &[]); 65], Code::ResourceExhausted),
        ("more than 64 KiB", vec![event("a", &wordy); 40], Code::ResourceExhausted),
    ] {
        // Each by a host of its own: refused events count, too.
        let other = named_host(&admin, "", &case.replace(' ', "-")).await;
        let mut its = other.peer(&server).connect().await.unwrap();
        assert_eq!(its.tell(events).await.map_err(|s| s.code()), Err(code), "{case}");
        assert_eq!(reported(&admin, &other.host_id()).await, Vec::<String>::new(), "{case}");
        its.heartbeat().await.unwrap();
    }
    let octets: [(&str, &[u8]); 5] = [
        ("no event", b""),
        ("invalid UTF-8", &[0x0a, 0x04, 0x0a, 0x02, 0xff, 0xfe]),
        ("a wrong wire type", &[0x0a, 0x02, 0x08, 0x01]),
        ("a length bomb", &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f]),
        ("half a message", &[0x0a, 0x10, 0x0a]),
    ];
    for (case, octets) in octets {
        let sent = agent.send_octets(REPORT, octets.to_vec()).await;
        assert_eq!(sent.map_err(|s| s.code()), Err(Code::InvalidArgument), "{case}");
    }
    // A field of a later protocol is passed over.
    agent.send_octets(REPORT, vec![0x0a, 0x05, 0x0a, 0x01, b'a', 0x78, 0x01]).await.unwrap();
    assert_eq!(agent.tell(Vec::new()).await.unwrap(), 0, "nothing to say is no mistake");
    assert_eq!(reported(&admin, &host).await, ["a"]);
    assert_eq!(timeline(&admin, &host).await[..before.len()], before);
    agent.heartbeat().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn times_are_bent_into_the_week_that_has_passed() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let identity = named_host(&admin, "", "web-1").await;
    let mut agent = identity.peer(&server).connect().await.unwrap();
    let now = Timestamp::now();
    let (hour, week) = (SignedDuration::from_hours(1), SignedDuration::from_hours(168));
    for (at_ms, expected) in [
        (0, now),
        ((now - hour).as_millisecond(), now - hour),
        ((now + hour).as_millisecond(), now),
        (i64::MAX, now),
        (1, now - week),
        (-1, now - week),
        (i64::MIN, now - week),
    ] {
        let kind = format!("at_{}", at_ms.unsigned_abs());
        agent.tell(vec![HostEvent { at_ms, ..event(&kind, &[]) }]).await.unwrap();
        let entries = timeline(&admin, &identity.host_id()).await;
        let entry = entries.iter().find(|entry| entry["kind"] == kind.as_str()).unwrap();
        let at: Timestamp = text(entry, "at").parse().unwrap();
        let off = at.duration_since(expected).abs();
        assert!(off < SignedDuration::from_secs(30), "{at_ms}: {at} and not {expected}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_is_stopped_and_displaces_nothing() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let flooder = named_host(&admin, "", "flooder").await;
    let bystander = named_host(&admin, "", "bystander").await;
    let mut quiet = bystander.peer(&server).connect().await.unwrap();
    let mut loud = flooder.peer(&server).connect().await.unwrap();

    let begun = Instant::now();
    let mut taken = 0;
    let flood = tokio::spawn({
        let mut loud = loud.clone();
        async move {
            let mut refusals = 0;
            while refusals < 300 && taken < 5_000 {
                match loud.tell(vec![event("noise", &[("why", &"x".repeat(255))]); 16]).await {
                    Ok(accepted) => taken += accepted,
                    Err(status) => {
                        assert_eq!(status.code(), Code::ResourceExhausted, "{status:?}");
                        refusals += 1;
                    }
                }
            }
            taken
        }
    });
    // One after the other, so what is measured is the wait of each.
    let mut slowest = Duration::ZERO;
    while !flood.is_finished() {
        let asked = Instant::now();
        quiet.heartbeat().await.unwrap();
        slowest = slowest.max(asked.elapsed());
    }
    let taken = flood.await.unwrap();
    let allowed = 128 + begun.elapsed().as_secs() + 16;
    assert!((16..=allowed).contains(&u64::from(taken)), "{taken} of at most {allowed}");
    assert!(slowest < Duration::from_secs(1), "a bystander waited {slowest:?}");
    quiet.tell(vec![event("still_here", &[])]).await.unwrap();

    // More messages than a call may have, sent as fast as they go.
    let tiny = || ReportRequest { event: Some(event("a", &[])) };
    let many = tokio_stream::iter((0..100_000).map(move |_| tiny()));
    assert_eq!(loud.tell_all(many).await.map_err(|s| s.code()), Err(Code::ResourceExhausted));
    // The connection stands; how soon the next call is within the pace is the machine's matter.
    wait::until_answered("whoever slows down is heard again", async || loud.heartbeat().await.ok()).await;
    let entries = timeline(&admin, &flooder.host_id()).await;
    assert_eq!(entries[0]["kind"], "enrolled");
    assert_eq!(reported(&admin, &bystander.host_id()).await, ["still_here"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_nobody_vouches_for_lands_nowhere() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let revoked = named_host(&admin, "", "revoked").await;
    let deleted = named_host(&admin, "", "deleted").await;
    let mut open = revoked.peer(&server).connect().await.unwrap();
    open.tell(vec![event("before", &[])]).await.unwrap();
    // A call that is half said when the revocation comes.
    let (say, said) = tokio::sync::mpsc::channel(1);
    say.send(ReportRequest { event: Some(event("during", &[])) }).await.unwrap();
    let half = tokio::spawn({
        let mut open = open.clone();
        async move { open.tell_all(tokio_stream::wrappers::ReceiverStream::new(said)).await }
    });
    wait::until("the call is under way", || (say.capacity() == 1).then_some(()));
    server.revoke("revoked");
    let outcome = half.await.unwrap();
    assert_eq!(outcome.map_err(|s| s.code()), Err(Code::PermissionDenied));
    drop(say);
    open.tell(vec![event("after", &[])]).await.unwrap_err();
    revoked.peer(&server).assert_refused().await;
    assert_eq!(reported(&admin, &revoked.host_id()).await, ["before"]);

    let mut orphan = deleted.peer(&server).connect().await.unwrap();
    orphan.tell(vec![event("before", &[])]).await.unwrap();
    server.cli(&["host", "delete", &deleted.host_id(), "--yes"]).run().ok();
    orphan.tell(vec![event("after", &[])]).await.unwrap_err();

    // A certificate that our CA might have signed and did not record.
    let foreign = Hierarchy::foreign();
    let live = named_host(&admin, "", "live").await;
    let key = crate::support::keys::Key::p256();
    let forged = foreign.leaf(&[&live.field("spiffe_id")], &live.serial(), &key);
    let forged =
        Identity { key, answer: json!({"certificate": forged, "intermediate": foreign.intermediate_pem}) };
    let told = match forged.peer(&server).connect().await {
        Ok(mut connection) => connection.tell(vec![event("forged", &[])]).await.is_ok(),
        Err(_) => false,
    };
    assert!(!told);
    assert_eq!(reported(&admin, &live.host_id()).await, Vec::<String>::new());
    server.cli(&["check"]).run().well();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_reports_nothing() {
    let server = Server::quickstart_with(&[("MUSTER_SVID_TTL", "10s")]);
    let admin = Client::admin(&server).await;
    let identity = named_host(&admin, "", "web-1").await;
    let mut agent = identity.peer(&server).connect().await.unwrap();
    agent.tell(vec![event("before", &[])]).await.unwrap();
    wait::until_past(&identity.field("not_after")).await;
    assert!(agent.tell(vec![event("after", &[])]).await.is_err());
    assert_eq!(reported(&admin, &identity.host_id()).await, ["before"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_agent_tells_what_an_operator_wants_to_know() {
    let mut server = Server::quickstart_with(&[("MUSTER_SVID_TTL", "12s")]);
    let machine = Machine::new();
    let mut agent = block_in_place(|| {
        machine.enroll_at(&server, &server.join_token_for("web-1"));
        let config = machine.configure(&server, None);
        let agent = machine.run(&config, &[]);
        agent.wait_for_log("rotated", wait::PATIENCE);
        agent
    });
    let host = block_in_place(|| text(&server.hosts()[0], "id"));
    let admin = reader(&server);
    reported_in_time(&admin, &host, "identity_rotated").await;
    block_in_place(|| {
        server.stop();
        agent.wait_for_log("rotation failed", wait::PATIENCE);
        server.start_again_on_the_same_ports();
    });
    reported_in_time(&admin, &host, "rotation_failed").await;
    agent.signal(Signal::TERM);
    assert_eq!(block_in_place(|| agent.wait()).status.code(), Some(0));
    let kinds = reported(&admin, &host).await;
    assert_eq!(kinds.first().map(String::as_str), Some("agent_started"), "{kinds:?}");
    assert_eq!(kinds.last().map(String::as_str), Some("agent_stopping"), "{kinds:?}");
    let entries = timeline(&admin, &host).await;
    let failed = entries.iter().find(|entry| entry["kind"] == "rotation_failed").unwrap();
    assert!(text(&failed["detail"], "reason").contains("can't be reached"), "{failed}");
    let shown = server.cli(&["host", "show", &host]).run().ok().stdout;
    assert!(shown.contains("agent_stopping"), "{shown}");
}
