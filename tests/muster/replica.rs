//! Replicas: every change goes elsewhere within a second, comes back from there, and two servers never write one history.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use axum::response::IntoResponse;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::block_in_place;

use crate::support::cli::{Cli, Output};
use crate::support::client::Client;
use crate::support::files;
use crate::support::http::Http;
use crate::support::identity::{ENROLL, Identity, ROTATE};
use crate::support::keys::Key;
use crate::support::server::{Server, text};
use crate::support::wait::{until, until_answered};

const SETTING: &str = "MUSTER_REPLICAS";

/// A server and a folder on what could be another disk.
struct Replicated {
    server: Server,
    disk: TempDir,
}

impl Replicated {
    fn with(more: &str) -> Self {
        let disk = tempfile::tempdir().unwrap();
        let setting = format!("url=file://{}{more}", disk.path().join("replica").display());
        Self { server: Server::quickstart_with(&[(SETTING, &setting)]), disk }
    }

    fn new() -> Self {
        Self::with(",every=50ms")
    }

    fn folder(&self) -> PathBuf {
        self.disk.path().join("replica")
    }

    fn url(&self) -> String {
        format!("file://{}", self.folder().display())
    }

    fn standing(&self) -> Value {
        let shown: Value =
            serde_json::from_str(&self.server.cli(&["replica", "status", "--json"]).run().stdout).unwrap();
        shown["items"][0].clone()
    }

    /// Waits until the replica has everything; a moment's presence is no news.
    fn until_it_has_all(&self) {
        until("the replica has everything", || {
            let standing = self.standing();
            (standing["state"] == "following" && standing["unsent"] == 0).then_some(())
        });
    }

    fn until_it_is(&self, state: &str) -> Value {
        until(state, || Some(self.standing()).filter(|standing| standing["state"] == state))
    }

    /// The machine is gone but for the envelope key. What is started now has no replica.
    fn lose(&mut self) {
        self.server.kill();
        std::fs::rename(self.server.data_dir(), self.server.room().join("lost")).unwrap();
        self.empty();
        self.server.set_env(SETTING, "");
    }

    fn empty(&self) {
        let _ = std::fs::remove_dir_all(self.server.data_dir());
        std::fs::create_dir(self.server.data_dir()).unwrap();
        std::fs::copy(self.server.room().join("lost/envelope.key"), self.server.file("envelope.key"))
            .unwrap();
    }

    fn restore(&self, more: &[&str]) -> Output {
        self.server.cli(&[&["restore", "--from", &self.url(), "--json"], more].concat()).run()
    }
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let mut segments = files::below(folder);
    segments.retain(|path| path.extension().is_some_and(|ext| ext == "segment"));
    segments.sort();
    segments
}

/// Enrolls until the server is gone; what was answered, and when.
async fn enroll_on(http: Http, secret: String, gone: Arc<AtomicBool>) -> Vec<(Instant, String)> {
    let mut answered = Vec::new();
    while !gone.load(Ordering::SeqCst) {
        let key = Key::p256();
        let Some(answer) = http.try_post(ENROLL, &json!({"secret": secret, "csr": key.csr().pem})).await
        else {
            continue;
        };
        if answer.status == 201 {
            answered.push((Instant::now(), text(&answer.expect(201), "host_id")));
        }
    }
    answered
}

/// `MUSTER_REPLICA_KILLS` asks for more.
#[tokio::test(flavor = "multi_thread")]
async fn killed_under_load_at_most_a_second_of_what_was_answered_is_missing() {
    let kills = std::env::var("MUSTER_REPLICA_KILLS").ok().and_then(|it| it.parse().ok()).unwrap_or(1);
    let mut replicated = Replicated::with("");
    let (_, secret) = replicated.server.secret(&[]);
    replicated.until_it_has_all();
    let setting = format!("url={}", replicated.url());
    for kill in 1..=kills {
        let (http, gone) = (replicated.server.http(), Arc::new(AtomicBool::new(false)));
        let machines: Vec<_> = (0..4)
            .map(|_| tokio::spawn(enroll_on(http.clone(), secret.clone(), Arc::clone(&gone))))
            .collect();
        tokio::time::sleep(Duration::from_millis(1500 + 397 * kill % 1000)).await;
        replicated.server.kill();
        let killed = Instant::now();
        gone.store(true, Ordering::SeqCst);
        let mut answered = Vec::new();
        for machine in machines {
            answered.extend(machine.await.unwrap());
        }
        let old = replicated.server.room().join("lost");
        let _ = std::fs::remove_dir_all(&old);
        let restored = block_in_place(|| {
            replicated.lose();
            let restored = replicated.restore(&[]).json();
            replicated.server.start_again();
            restored
        });
        assert_eq!(restored["lost_at_by"], "replica", "{restored}");
        assert_eq!(restored["suspended"]["secrets_suspended"], 0, "a replica holds what a journal would");
        let due = |at: &Instant| killed.duration_since(*at) > Duration::from_secs(1);
        let promised: Vec<_> = answered.iter().filter(|(at, _)| due(at)).map(|(_, host)| host).collect();
        let there = replicated.server.cli(&["host", "list", "--json"]).run().items();
        let there: Vec<_> = there.iter().map(|host| host["id"].as_str().unwrap()).collect();
        let missing: Vec<_> = promised.iter().filter(|host| !there.contains(&host.as_str())).collect();
        assert!(missing.is_empty(), "kill {kill}: {} of {} are missing", missing.len(), promised.len());
        assert!(!promised.is_empty() || kill > 1, "somebody was answered a second before");
        println!(
            "kill {kill}: {} answered, {} of them more than a second before, {} on record",
            answered.len(),
            promised.len(),
            there.len()
        );
        block_in_place(|| {
            replicated.server.cli(&["audit", "verify"]).run().ok();
            if kill < kills {
                // Another history from here on, so another place.
                replicated.server.stop();
                std::fs::remove_dir_all(replicated.folder()).unwrap();
                replicated.server.set_env(SETTING, &setting);
                replicated.server.start_again();
                replicated.until_it_has_all();
            }
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_store_comes_back_as_it_was_last_or_as_it_was_at_any_moment() {
    let mut replicated = Replicated::new();
    let server = &replicated.server;
    let (kept, revoked) = (Identity::enroll(server, "kept").await, Identity::enroll(server, "revoked").await);
    let pin = server.hello.ca_pin.clone();
    server.add_user("ada", "admin", None);
    replicated.until_it_has_all();
    let before = jiff::Timestamp::now().to_string();
    tokio::time::sleep(Duration::from_millis(20)).await;
    // A mistake, and what must stay all the same.
    let later = Identity::enroll(server, "later").await;
    let kept = kept.rotate(&server.http()).await;
    server.cli(&["tenant", "create", "--name", "mistake"]).run().ok();
    server.revoke("revoked");
    server.cli(&["user", "disable", "ada"]).run().ok();
    replicated.until_it_has_all();
    let verified = server.cli(&["replica", "verify", "--json"]).run().json();
    let verified = &verified["items"][0];
    assert!(verified["frames"].as_u64() > Some(5) && verified["snapshots"] == 1, "{verified}");
    let told = server.cli(&["replica", "verify"]).run().ok().stdout;
    assert!(told.contains("is as it was written") && told.contains("Restorable"), "{told}");

    block_in_place(|| replicated.lose());
    // As it was last.
    let restored = replicated.restore(&[]).json();
    assert_eq!(restored["server_certificate"], "restored", "{restored}");
    assert_eq!((&restored["hosts_in_service"], &restored["lost_at_by"]), (&json!(2), &json!("replica")));
    let tenants = |server: &Server| server.cli(&["tenant", "list", "--json"]).run().items().len();
    replicated.server.start_again_on_the_same_ports();
    assert_eq!((tenants(&replicated.server), &replicated.server.hello.ca_pin), (2, &pin));
    later.peer(&replicated.server).reports().await.unwrap();
    revoked.peer(&replicated.server).assert_refused().await;

    // As it was before the mistake: nobody who was taken out later is in again.
    block_in_place(|| replicated.server.kill());
    replicated.empty();
    let restored = replicated.restore(&["--at", &before]).json();
    assert_eq!((&restored["journal_applied"], &restored["identities_denied"]), (&json!(true), &json!(1)));
    assert_eq!(restored["withdrawn"]["people_restricted"], 1, "{restored}");
    assert!(restored["replica_until"].as_str() > restored["backup_of"].as_str(), "{restored}");
    assert!(files::below(&replicated.server.data_dir()).iter().all(|it| !it.ends_with("declared.log")));
    replicated.server.start_again_on_the_same_ports();
    assert_eq!(tenants(&replicated.server), 1);
    let http = replicated.server.http();
    http.post(ROTATE, &revoked.rotation(&Key::p256())).await.refused(403, "identity_revoked");
    http.post(ROTATE, &later.rotation(&Key::p256())).await.expect(200);
    http.post(ROTATE, &kept.rotation(&Key::p256())).await.expect(200);
    let people = replicated.server.cli(&["user", "list", "--json"]).run().items();
    let ada = people.iter().find(|it| it["username"] == "ada").unwrap();
    assert_eq!(ada["disabled"], true, "{ada}");
    replicated.server.cli(&["audit", "verify"]).run();
}

/// What somebody may have done to a replica, and what is said of it.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_is_not_as_it_was_written_is_refused_and_says_what_to_do() {
    let mut replicated = Replicated::new();
    for agent in ["a", "b", "c", "d"] {
        Identity::enroll(&replicated.server, agent).await;
        replicated.until_it_has_all();
    }
    let other = Replicated::new();
    Identity::enroll(&other.server, "x").await;
    other.until_it_has_all();
    block_in_place(|| replicated.lose());
    let folder = replicated.folder();
    let all = segments(&folder);
    assert!(all.len() > 4, "{all:?}");
    let in_copy = |copy: &Path, path: &Path| copy.join(path.strip_prefix(&folder).unwrap());
    let middle = &all[all.len() / 2];
    let next = &all[all.len() / 2 + 1];
    let named = |ending: &str| {
        let found = files::below(&folder).into_iter().find(|path| path.to_str().unwrap().ends_with(ending));
        found.unwrap()
    };
    let (key, snapshot) = (named(".age"), named(".snapshot"));
    let foreign_key =
        files::below(&other.folder()).into_iter().find(|it| it.extension().is_some_and(|ext| ext == "age"));
    let foreign_key = foreign_key.unwrap();
    let foreign_segment = segments(&other.folder())[1].clone();
    type Change<'c> = Box<dyn Fn(&Path) + 'c>;
    let edit = |path: &Path, edit: fn(&mut Vec<u8>)| -> Change<'_> {
        let path = path.to_owned();
        Box::new(move |copy| {
            let path = in_copy(copy, &path);
            let mut octets = std::fs::read(&path).unwrap();
            edit(&mut octets);
            std::fs::write(&path, octets).unwrap();
        })
    };
    let put = |from: &Path, to: &Path| -> Change<'_> {
        let (from, to) = (from.to_owned(), to.to_owned());
        Box::new(move |copy| {
            std::fs::copy(&from, in_copy(copy, &to)).unwrap();
        })
    };
    let gone = |path: &Path| -> Change<'_> {
        let path = path.to_owned();
        Box::new(move |copy| std::fs::remove_file(in_copy(copy, &path)).unwrap())
    };
    let descriptor = folder.join("muster-replica.json");
    let table: Vec<(&str, Change<'_>, &str, &str)> = vec![
        ("nothing there", Box::new(|copy| std::fs::remove_dir_all(copy).unwrap()), "no folder", "mount"),
        ("no replica", gone(&descriptor), "no replica of a muster store", "address"),
        ("a missing segment", gone(middle), "is missing", "--at"),
        (
            "a segment cut short",
            edit(middle, |octets| octets.truncate(octets.len() - 9)),
            "cut short",
            "--at",
        ),
        ("a segment emptied", edit(middle, Vec::clear), "no segment", "--at"),
        ("a turned bit", edit(middle, |octets| octets[200] ^= 1), "was changed", "--at"),
        ("a segment doubled", put(middle, next), "rewritten, doubled", "--at"),
        ("another deployment's segment", put(&foreign_segment, middle), "rewritten, doubled", "--at"),
        ("another term's", edit(middle, |octets| octets[31] = 9), "rewritten, doubled", "--at"),
        ("another deployment's key", put(&foreign_key, &key), "data key", "envelope"),
        ("a snapshot cut short", edit(&snapshot, |octets| octets.truncate(5000)), "", ""),
        ("a snapshot that is gone", gone(&snapshot), "snapshot", ""),
    ];
    let spare = tempfile::tempdir().unwrap();
    for (number, (what, change, why, next)) in table.iter().enumerate() {
        let copy = spare.path().join(number.to_string());
        files::copy(&folder, &copy);
        change(&copy);
        let url = format!("file://{}", copy.display());
        let before = files::contents(&replicated.server.data_dir());
        for command in [&["replica", "verify", url.as_str()][..], &["restore", "--from", &url]] {
            let refused = replicated.server.cli(command).run().failed();
            assert!(refused.stderr.contains(why) && refused.stderr.contains(next), "{what}: {refused}");
            assert_eq!(files::contents(&replicated.server.data_dir()), before, "{what}");
        }
    }
    replicated.restore(&[]).ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_does_not_take_holds_nobody_up_and_is_caught_up() {
    let mut replicated = Replicated::new();
    Identity::enroll(&replicated.server, "before").await;
    replicated.until_it_has_all();
    let away = replicated.disk.path().join("away");
    std::fs::rename(replicated.folder(), &away).unwrap();
    std::fs::create_dir(replicated.folder()).unwrap();
    std::fs::write(replicated.folder().join("term-0000000001"), "a file in the way").unwrap();
    let begun = Instant::now();
    Identity::enroll(&replicated.server, "meanwhile").await;
    assert!(begun.elapsed() < Duration::from_secs(20), "nobody waits for it");
    let standing = replicated.until_it_is("behind");
    assert!(standing["unsent"].as_u64() > Some(0) && standing["why"].is_string(), "{standing}");
    assert_eq!(replicated.server.cli(&["replica", "status"]).run().code, Some(4));
    let figures = String::from_utf8(replicated.server.http().get("/metrics").await.body).unwrap();
    assert!(figures.contains("muster_replica_following{replica=\"file://"), "{figures}");
    // Across a crash, too.
    block_in_place(|| {
        replicated.server.kill();
        replicated.server.start_again();
    });
    let standing = replicated.until_it_is("behind");
    assert!(standing["why"].as_str().unwrap().contains("mount it"), "{standing}");
    std::fs::remove_dir_all(replicated.folder()).unwrap();
    std::fs::rename(&away, replicated.folder()).unwrap();
    Identity::enroll(&replicated.server, "after").await;
    replicated.until_it_has_all();
    replicated.server.cli(&["replica", "verify"]).run().ok();
    // The change log alone tells whose history lies there, too.
    block_in_place(|| {
        replicated.server.kill();
        std::fs::remove_file(replicated.server.file("replicas.json")).unwrap();
        replicated.server.start_again();
    });
    replicated.until_it_has_all();
    // And across an orderly end, with a command in between that no server ships.
    block_in_place(|| {
        replicated.server.stop();
        replicated.server.cli(&["tenant", "create", "--name", "between"]).run().ok();
        replicated.server.start_again();
    });
    replicated.until_it_has_all();
    let verified = replicated.server.cli(&["replica", "verify", "--json"]).run().json();
    assert_eq!(verified["items"][0]["gaps"].as_array().unwrap().len(), 1, "{verified}");
    block_in_place(|| replicated.lose());
    assert_eq!(replicated.restore(&[]).json()["hosts_in_service"], 3);
}

/// The data directory as it is now, on another machine.
fn copied(replicated: &Replicated, name: &str) -> PathBuf {
    let copy = replicated.server.room().join(name).join("data");
    std::fs::create_dir_all(copy.parent().unwrap()).unwrap();
    files::copy(&replicated.server.data_dir(), &copy);
    let _ = std::fs::remove_file(copy.join("muster.sock"));
    copy
}

#[tokio::test(flavor = "multi_thread")]
async fn two_servers_never_write_one_history() {
    let mut replicated = Replicated::new();
    let setting = format!("url={},every=50ms", replicated.url());
    Identity::enroll(&replicated.server, "first").await;
    replicated.until_it_has_all();
    let path = replicated.server.room().join("backup.age");
    replicated.server.cli(&["backup", path.to_str().unwrap()]).run().ok();
    Identity::enroll(&replicated.server, "second").await;
    replicated.until_it_has_all();
    block_in_place(|| replicated.server.stop());
    let old = copied(&replicated, "old");
    block_in_place(|| replicated.server.start_again());
    Identity::enroll(&replicated.server, "third").await;
    replicated.until_it_has_all();
    let before = segments(&replicated.folder());

    // A copy of an hour ago, and a backup that was restored in a lab, with the production's settings.
    let lab = replicated.server.room().join("lab").join("data");
    std::fs::create_dir_all(&lab).unwrap();
    std::fs::copy(replicated.server.file("envelope.key"), lab.join("envelope.key")).unwrap();
    let restore = ["restore", path.to_str().unwrap(), "--accept-revocation-loss"];
    Cli::new(lab.parent().unwrap(), &restore).env("MUSTER_DATA_DIR", lab.to_str().unwrap()).run().ok();
    for copy in [old, lab] {
        let mut second = Server::quickstart_on_with(&[(SETTING, &setting)], |data| files::copy(&copy, data));
        let state = until("it looks", || {
            let shown = second.cli(&["replica", "status", "--json"]).run().stdout;
            let shown: Value = serde_json::from_str(&shown).unwrap();
            Some(shown["items"][0].clone()).filter(|it| it["state"] != "starting")
        });
        assert_eq!(state["state"], "foreign", "{state}");
        assert!(state["why"].as_str().unwrap().contains("did not write"), "{state}");
        // It goes on serving, loudly.
        Identity::enroll(&second, "elsewhere").await;
        assert!(second.log().contains("NOTHING IS WRITTEN TO A REPLICA"), "{}", second.log());
        let check = second.cli(&["check", "--json"]).run();
        assert!(check.code == Some(1) && check.stdout.contains("replica_behind"), "{check}");
        block_in_place(|| second.stop());
    }
    replicated.until_it_has_all();
    let now = segments(&replicated.folder());
    assert!(now.starts_with(&before), "nothing was taken away");
    replicated.server.cli(&["replica", "verify"]).run().ok();
    // Whoever is overtaken stops: a segment of somebody else's has the next name.
    let next = now.last().unwrap();
    let number: u64 = next.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    std::fs::write(next.with_file_name(format!("{:020}.segment", number + 1)), "another server's").unwrap();
    Identity::enroll(&replicated.server, "overtaken").await;
    let standing = replicated.until_it_is("foreign");
    assert!(standing["why"].as_str().unwrap().contains("another server writes there"), "{standing}");
    Identity::enroll(&replicated.server, "served").await;

    // Another deployment is told so.
    let stranger = Server::quickstart_with(&[(SETTING, &setting)]);
    until_answered("it is refused", async || {
        let shown: Value =
            serde_json::from_str(&stranger.cli(&["replica", "status", "--json"]).run().stdout).unwrap();
        shown["items"][0]["why"].as_str().filter(|why| why.contains("another deployment's")).map(drop)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_waits_for_a_replica_waits_five_seconds_and_what_was_done_stands() {
    let replicated = Replicated::with(",every=1h,synchronous=revocations+enrollments");
    let server = &replicated.server;
    let begun = Instant::now();
    let there = Identity::enroll(server, "there").await;
    assert!(begun.elapsed() < Duration::from_secs(5), "nobody waits for 'every' who waits for the replica");
    assert_eq!(replicated.standing()["unsent"], 0, "it is there before it is answered");
    let token = server.join_token_for("late");
    let operator = Client::bearer(server, &server.api_token(&["agent.write", "agent.read"], None));
    // Nobody is in the way of what is already there; what is new can't be written.
    let term = replicated.folder().join("term-0000000001");
    std::fs::rename(&term, replicated.disk.path().join("away")).unwrap();
    std::fs::write(&term, "a file in the way").unwrap();
    let late = Key::p256();
    let request = json!({"token": token, "csr": late.csr().pem});
    let begun = Instant::now();
    let http = server.http();
    let (enrolled, revoked) =
        tokio::join!(http.post(ENROLL, &request), operator.act("/v1/agents/there/revoke"));
    assert!(begun.elapsed() < Duration::from_secs(7), "{:?}", begun.elapsed());
    enrolled.refused(504, "replica_behind");
    revoked.refused(504, "replica_behind");
    there.peer(server).assert_refused().await;
    std::fs::remove_file(&term).unwrap();
    std::fs::rename(replicated.disk.path().join("away"), &term).unwrap();
    // The retry of a lost answer is answered with the certificate that was made then.
    let answer = until_answered("the replica has it", async || {
        Some(http.post(ENROLL, &request).await).filter(|answer| answer.status == 201)
    })
    .await;
    let answer = answer.expect(201);
    Identity { key: late, answer }.peer(server).reports().await.unwrap();
    operator.act("/v1/agents/there/revoke").await.expect(200);
    server.cli(&["replica", "verify"]).run().ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_out_of_reach_of_its_fence_issues_nothing_and_revokes_all_the_same() {
    let replicated = Replicated::with(",every=50ms,fence=2s");
    let server = &replicated.server;
    let identity = Identity::enroll(server, "web-1").await;
    let out = Identity::enroll(server, "web-2").await;
    let token = server.join_token_for("late");
    replicated.until_it_has_all();
    let http = server.http();
    let ready = async |status: u16| {
        until_answered("readyz", async || {
            let answer = http.get("/readyz").await;
            (answer.status == status).then(|| String::from_utf8(answer.body).unwrap())
        })
        .await
    };
    // While nothing changes it is asked.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(http.get("/readyz").await.status, 200);
    let away = replicated.disk.path().join("away");
    std::fs::rename(replicated.folder(), &away).unwrap();
    assert!(ready(503).await.contains("fence"));
    let request = json!({"token": token, "csr": Key::p256().csr().pem});
    http.post(ENROLL, &request).await.refused(503, "ca_unavailable");
    http.post(ROTATE, &identity.rotation(&Key::p256())).await.refused(503, "ca_unavailable");
    server.revoke("web-2");
    out.peer(server).assert_refused().await;
    let check = server.cli(&["check", "--json"]).run();
    assert!(check.code == Some(1) && check.stdout.contains("Nothing is issued"), "{check}");
    std::fs::rename(&away, replicated.folder()).unwrap();
    ready(200).await;
    identity.rotate(&http).await;
    http.post(ENROLL, &request).await.expect(201);
}

type Stored = Arc<parking_lot::Mutex<BTreeMap<String, axum::body::Bytes>>>;

/// Takes whatever is put, and gives what was put last.
async fn answer_to_all(stored: Stored, request: axum::extract::Request) -> axum::response::Response {
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let listed = parts.uri.query().is_some_and(|query| query.contains("list-type"));
    match parts.method.as_str() {
        "PUT" => {
            let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
            stored.lock().insert(path, body);
            ([("etag", "\"1\"")], axum::body::Bytes::new()).into_response()
        }
        "GET" if listed => "<ListBucketResult></ListBucketResult>".into_response(),
        "GET" => match stored.lock().get(&path) {
            Some(body) => {
                let headers = [("etag", "\"1\""), ("last-modified", "Fri, 27 Nov 2026 10:00:00 GMT")];
                (headers, body.clone()).into_response()
            }
            None => axum::http::StatusCode::NOT_FOUND.into_response(),
        },
        _ => axum::http::StatusCode::NOT_IMPLEMENTED.into_response(),
    }
}

/// Object stores that take a name twice: what S3 was until lately, and what some that speak it still are.
#[tokio::test(flavor = "multi_thread")]
async fn a_place_that_takes_a_name_twice_is_refused() {
    let stored: Stored = Arc::default();
    let names = Arc::clone(&stored);
    let answer = move |request: axum::extract::Request| answer_to_all(Arc::clone(&stored), request);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let router = axum::Router::new().fallback(answer);
    let serving = tokio::spawn(axum::serve(listener, router).into_future());
    let setting = format!("url=s3://bucket/muster,endpoint={endpoint}");
    let keys = [(SETTING, setting.as_str()), ("AWS_ACCESS_KEY_ID", "a"), ("AWS_SECRET_ACCESS_KEY", "b")];
    let server = Server::quickstart_with(&keys);
    let standing = until("it is looked at", || {
        let shown = server.cli(&["replica", "status", "--json"]).run().stdout;
        let shown: Value = serde_json::from_str(&shown).unwrap();
        Some(shown["items"][0].clone()).filter(|it| it["state"] != "starting" && it["state"] != "behind")
    });
    assert_eq!(standing["state"], "unsafe", "{standing}");
    let check = server.cli(&["check", "--json"]).run();
    assert!(check.code == Some(1) && check.stdout.contains("unsafe_replica"), "{check}");
    assert!(names.lock().keys().all(|name| name.contains("/probe/")), "nothing of the store went there");
    serving.abort();
}
