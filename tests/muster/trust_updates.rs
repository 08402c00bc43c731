//! Trust updates: who is denied is told to all who watch, at once, in full, and to nobody more than concerns them.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::SignedDuration;
use muster::grpc::proto::{TrustUpdate, WatchTrustRequest};
use tokio::task::block_in_place;
use tokio::time::timeout;
use tonic::{Code, Status, Streaming};

use crate::support::client::Client;
use crate::support::clock::Clock;
use crate::support::fleet::named_host;
use crate::support::grpc::Connection;
use crate::support::identity::Identity;
use crate::support::server::Server;
use crate::support::wait::{PATIENCE, until_answered};

/// What a watcher has been told so far.
struct Watcher {
    /// Held so that it stays open.
    _connection: Connection,
    updates: Streaming<TrustUpdate>,
    epoch: String,
    version: u64,
    snapshots: usize,
    /// SPIFFE ids by serial.
    denied: BTreeMap<String, String>,
    roots: Vec<Vec<u8>>,
    lists: Vec<Vec<u8>>,
}

impl Watcher {
    async fn open(server: &Server, identity: &Identity, request: WatchTrustRequest) -> Self {
        let mut connection = identity.peer(server).connect().await.unwrap();
        let updates = connection.watch(request).await.unwrap();
        Self {
            _connection: connection,
            updates,
            epoch: String::new(),
            version: 0,
            snapshots: 0,
            denied: BTreeMap::new(),
            roots: Vec::new(),
            lists: Vec::new(),
        }
    }

    async fn fresh(server: &Server, identity: &Identity) -> Self {
        let mut watcher = Self::open(server, identity, WatchTrustRequest::default()).await;
        watcher.hear().await.unwrap();
        assert_eq!(watcher.snapshots, 1);
        watcher
    }

    async fn resuming(server: &Server, identity: &Identity, epoch: &str, version: u64) -> Self {
        let request = WatchTrustRequest { epoch: epoch.to_owned(), version, ..WatchTrustRequest::default() };
        let mut watcher = Self::open(server, identity, request).await;
        watcher.hear().await.unwrap();
        watcher
    }

    /// Hears one whole update.
    async fn hear(&mut self) -> Result<(), Status> {
        loop {
            let message = timeout(PATIENCE, self.updates.message()).await.expect("an update in time")?;
            let update = message.expect("a watch ends with a status");
            self.version = update.version;
            self.epoch = update.epoch;
            self.snapshots += usize::from(update.snapshot && !update.more);
            for denied in update.denied {
                assert!(denied.until_ms > 0);
                let serial = data_encoding::HEXLOWER.encode(&denied.serial);
                self.denied.insert(serial, denied.spiffe_id);
            }
            for (held, told) in [(&mut self.roots, update.roots), (&mut self.lists, update.lists)] {
                if !told.is_empty() {
                    *held = told;
                }
            }
            if !update.more {
                return Ok(());
            }
        }
    }

    async fn until_denied(&mut self, identity: &Identity) {
        while !self.denied.contains_key(&identity.serial()) {
            self.hear().await.unwrap();
        }
    }

    async fn end(&mut self) -> Code {
        loop {
            if let Err(status) = self.hear().await {
                return status.code();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_is_told_at_once_and_names_nobody_of_another_tenant() {
    let server = Server::quickstart();
    let admin = Client::admin(&server).await;
    let other = server.tenant("other");
    let here = named_host(&admin, "", "watcher").await;
    let there = named_host(&admin, &format!("?tenant={other}"), "watcher").await;
    let gone = named_host(&admin, "", "gone").await;
    let lost = named_host(&admin, "", "lost").await;
    server.revoke("gone");
    let mut watchers = [Watcher::fresh(&server, &here).await, Watcher::fresh(&server, &there).await];
    let id = |agent: &str| format!("spiffe://muster/tenant/{}/agent/{agent}", server.hello.tenant_id);
    assert_eq!(watchers[0].denied, BTreeMap::from([(gone.serial(), id("gone"))]));
    assert_eq!(watchers[1].denied, BTreeMap::from([(gone.serial(), String::new())]));
    assert_eq!(watchers[0].roots.len(), 1);
    assert!(watchers[0].lists.is_empty(), "nobody asked for them");

    let before = watchers[0].version;
    server.revoke("lost");
    for watcher in &mut watchers {
        watcher.hear().await.unwrap();
        assert_eq!(watcher.snapshots, 1, "what has changed and nothing else");
        assert!(watcher.version > before);
    }
    assert_eq!(watchers[0].denied[&lost.serial()], id("lost"));
    assert_eq!(watchers[1].denied[&lost.serial()], "");

    // The identity may come back; its certificate does not.
    admin.act(&format!("/v1/hosts/{}/re-enable", lost.host_id())).await.expect(200);
    let again = Watcher::fresh(&server, &here).await;
    assert!(again.denied.contains_key(&lost.serial()));

    // Who is revoked hears no more.
    admin.act(&format!("/v1/hosts/{}/decommission", here.host_id())).await.expect(200);
    assert_eq!(watchers[0].end().await, Code::PermissionDenied);
    watchers[1].until_denied(&here).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_goes_on_where_it_was_through_a_restart_and_a_restored_store_is_another_epoch() {
    let mut server = Server::quickstart();
    let watching = Identity::enroll(&server, "watcher").await;
    let (one, two) = (Identity::enroll(&server, "one").await, Identity::enroll(&server, "two").await);
    let three = Identity::enroll(&server, "three").await;
    server.revoke("one");
    let first = Watcher::fresh(&server, &watching).await;
    let (epoch, version) = (first.epoch.clone(), first.version);
    drop(first);
    server.revoke("two");
    let resumed = Watcher::resuming(&server, &watching, &epoch, version).await;
    assert_eq!(resumed.snapshots, 0);
    assert_eq!(resumed.denied.keys().collect::<Vec<_>>(), [&two.serial()]);
    let ahead = Watcher::resuming(&server, &watching, &epoch, resumed.version + 1).await;
    assert_eq!((ahead.snapshots, ahead.denied.len()), (1, 2));
    drop(ahead);
    let version = resumed.version;
    let other = Watcher::resuming(&server, &watching, &"0".repeat(32), version).await;
    assert_eq!((other.snapshots, other.denied.len()), (1, 2));
    drop((resumed, other));

    // What is denied is told with its name also when its host has been deleted.
    server.cli(&["host", "delete", "--yes", &two.host_id()]).run().ok();
    server.kill();
    server.start_again();
    let same = Watcher::resuming(&server, &watching, &epoch, version).await;
    assert_eq!((same.snapshots, same.epoch.as_str(), same.version), (0, epoch.as_str(), version));
    let after = Watcher::fresh(&server, &watching).await;
    assert!([&one, &two].iter().all(|identity| after.denied.contains_key(&identity.serial())));
    assert!(after.denied.values().all(|id| id.contains("/agent/")), "{:?}", after.denied);
    drop((same, after));

    let backup = server.room().join("backup.age");
    server.cli(&["backup", backup.to_str().unwrap()]).run().ok();
    server.revoke("three");
    server.stop();
    std::fs::remove_file(server.file("muster.redb")).unwrap();
    server.cli(&["restore", backup.to_str().unwrap()]).run().ok();
    server.start_again();
    let restored = Watcher::resuming(&server, &watching, &epoch, version).await;
    assert_ne!(restored.epoch, epoch);
    assert_eq!(restored.snapshots, 1);
    // The journal knows what the backup does not.
    assert!(restored.denied.contains_key(&three.serial()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_was_ahead_until_a_restart_hides_no_denial_from_whoever_goes_on() {
    let clock = Clock::new();
    let mut server = Server::quickstart_with(&[&clock.env()[..], &[("MUSTER_SVID_TTL", "4h")]].concat());
    let (out, back) = (Identity::enroll(&server, "out").await, Identity::enroll(&server, "back").await);
    server.revoke("out");
    // Its certificate outlives that of the one that is denied.
    clock.set_off(SignedDuration::from_hours(2));
    let watching = Identity::enroll(&server, "watcher").await;
    clock.set_off(SignedDuration::from_mins(330));
    let told = Watcher::fresh(&server, &watching).await;
    assert!(told.denied.is_empty(), "it has ended by this clock");
    let (epoch, version) = (told.epoch.clone(), told.version);
    drop(told);

    server.kill();
    clock.set_off(SignedDuration::ZERO);
    server.start_again();
    let mut resumed = Watcher::resuming(&server, &back, &epoch, version).await;
    resumed.until_denied(&out).await;
    assert_ne!(resumed.epoch, epoch);
    // Once.
    drop(resumed);
    let epoch = Watcher::fresh(&server, &back).await.epoch;
    server.stop();
    server.start_again();
    assert_eq!(Watcher::fresh(&server, &back).await.epoch, epoch);
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_come_to_who_asks_for_them_and_again_with_each_change() {
    let server = Server::quickstart();
    let watching = Identity::enroll(&server, "watcher").await;
    let gone = Identity::enroll(&server, "gone").await;
    let request = WatchTrustRequest { lists: true, ..WatchTrustRequest::default() };
    let mut watcher = Watcher::open(&server, &watching, request).await;
    while watcher.lists.is_empty() {
        watcher.hear().await.unwrap();
    }
    let served = async || {
        let body = server.http().get("/agent-ca.crl.pem").await.body;
        let blocks = x509_parser::pem::Pem::iter_from_buffer(&body);
        blocks.map(|block| block.unwrap().contents).collect::<Vec<_>>()
    };
    assert_eq!(watcher.lists, served().await);
    let before = watcher.lists.clone();
    server.revoke("gone");
    watcher.until_denied(&gone).await;
    while watcher.lists == before {
        watcher.hear().await.unwrap();
    }
    let newest = async || (served().await == watcher.lists).then_some(());
    until_answered("the lists are those that are served", newest).await;
    assert_eq!(watcher.lists.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_reads_nothing_disturbs_nobody_and_watches_are_bounded() {
    let server = Server::quickstart();
    let reads = Identity::enroll(&server, "reads").await;
    let idle = Identity::enroll(&server, "idle").await;
    let mut nothing = idle.peer(&server).connect_taking_nothing().await.unwrap();
    let mut held = [
        nothing.watch(WatchTrustRequest::default()).await.unwrap(),
        nothing.watch(WatchTrustRequest::default()).await.unwrap(),
    ];
    let mut connection = idle.peer(&server).connect().await.unwrap();
    let refused = connection.watch(WatchTrustRequest::default()).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let mut watcher = Watcher::fresh(&server, &reads).await;
    let before = server.resident_memory();
    for number in 0..10 {
        let identity = Identity::enroll(&server, &format!("gone-{number}")).await;
        block_in_place(|| server.revoke(&identity.agent_id()));
        watcher.until_denied(&identity).await;
    }
    assert_eq!(watcher.snapshots, 1);
    assert!(server.resident_memory().saturating_sub(before) < 64 << 20);
    connection.heartbeat().await.unwrap();
    // An answer of which nothing is taken ends after a while, and its place is free again.
    for updates in &mut held {
        timeout(PATIENCE, updates.message()).await.unwrap().unwrap_err();
    }
    let again = until_answered("a place for another watch", async || {
        let mut connection = idle.peer(&server).connect().await.unwrap();
        connection.watch(WatchTrustRequest::default()).await.ok().map(|updates| (connection, updates))
    });
    let (_connection, mut updates) = again.await;
    let told = updates.message().await.unwrap().unwrap();
    assert_eq!((told.snapshot, told.denied.len()), (true, 10));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_request_is_refused_and_a_stopping_server_says_so() {
    let mut server = Server::quickstart();
    let identity = Identity::enroll(&server, "watcher").await;
    let connection = identity.peer(&server).connect().await.unwrap();
    let watch = "/muster.agent.v1.AgentService/WatchTrust";
    for octets in [vec![0xff; 9], vec![0x0a, 0x7f, 0x61], vec![0x0a; 4096]] {
        let status = connection.send_octets(watch, octets).await.unwrap_err();
        assert!(matches!(status.code(), Code::InvalidArgument | Code::OutOfRange), "{status:?}");
    }
    let strange =
        WatchTrustRequest { epoch: "ä\n".repeat(100), version: u64::MAX, lists: true, answers: true };
    let mut watcher = Watcher::open(&server, &identity, strange).await;
    watcher.hear().await.unwrap();
    assert_eq!(watcher.snapshots, 1);
    drop(connection);
    let stopping = tokio::spawn(async move { (watcher.end().await, watcher) });
    block_in_place(|| server.stop());
    let (code, _) = timeout(Duration::from_secs(30), stopping).await.unwrap().unwrap();
    assert_eq!(code, Code::Unavailable);
}
