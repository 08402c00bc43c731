//! Vouching by the agent beside a relying party: from memory, by what the server tells at once, also while it is away.

use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use data_encoding::{BASE64, HEXLOWER};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::support::agent::Machine;
use crate::support::cli::Cli;
use crate::support::client::Client;
use crate::support::fleet::named_host;
use crate::support::hierarchy::Hierarchy;
use crate::support::identity::Identity;
use crate::support::keys::Key;
use crate::support::process::Process;
use crate::support::server::Server;
use crate::support::wait;

/// An agent that answers relying parties on a socket.
struct Beside {
    machine: Machine,
    config: PathBuf,
    socket: PathBuf,
    agent: Process,
}

/// What was answered.
#[derive(Debug)]
struct Said {
    status: u16,
    head: String,
    body: String,
}

impl Said {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    #[track_caller]
    fn refused(&self, code: &str) {
        assert_eq!((self.status, self.json()["code"].as_str()), (403, Some(code)), "{self:?}");
    }
}

impl Beside {
    fn start(server: &Server, settings: &Value) -> Self {
        Self::start_as(server, "door", settings)
    }

    fn start_as(server: &Server, name: &str, settings: &Value) -> Self {
        let machine = Machine::new();
        machine.enroll_at(server, &server.join_token_for(name));
        let config = machine.configure(server, None);
        let socket = machine.home().join("vouch.sock");
        let mut written: Value = serde_json::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
        written["relying_party"] = json!({ "listen": format!("unix:{}", socket.display()) });
        for (key, value) in settings.as_object().unwrap() {
            written["relying_party"][key] = value.clone();
        }
        std::fs::write(&config, written.to_string()).unwrap();
        let agent = machine.run(&config, &[]);
        agent.wait_for_log("session open", wait::PATIENCE);
        Self { machine, config, socket, agent }
    }

    fn restart(&mut self) {
        self.agent.kill();
        self.agent = self.machine.run(&self.config, &[]);
        self.agent.wait_for_log("answering relying parties", wait::PATIENCE);
    }

    fn send(&self, request: &str) -> Said {
        exchange(&self.socket, request.as_bytes())
    }

    fn forward(&self, query: &str, headers: &[(&str, &str)]) -> Said {
        let headers: String = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        self.send(&format!(
            "GET /v1/forward-auth{query} HTTP/1.1\r\nhost: agent\r\nconnection: close\r\n{headers}\r\n"
        ))
    }

    fn vouch(&self, body: &Value) -> Said {
        let body = body.to_string();
        let length = body.len();
        self.send(&format!(
            "POST /v1/vouch HTTP/1.1\r\nhost: agent\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n{body}"
        ))
    }

    fn asked(&self, certificate: &str) -> Said {
        self.forward("", &[("X-Client-Cert", &encoded(certificate))])
    }

    /// The answer about a certificate, once it is this one.
    fn until(&self, certificate: &str, status: u16) -> Said {
        wait::until("the agent has heard of it", || {
            Some(self.asked(certificate)).filter(|said| said.status == status)
        })
    }
}

fn exchange(socket: &Path, request: &[u8]) -> Said {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(wait::PATIENCE)).unwrap();
    // Whoever is refused early may be cut off.
    let _ = stream.write_all(request);
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {answer}"));
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Said { status, head: head.to_owned(), body: body.to_owned() }
}

fn encoded(pem: &str) -> String {
    utf8_percent_encode(pem, NON_ALPHANUMERIC).to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_live_agent_is_let_in_and_a_revoked_one_is_not_from_then_on() {
    let server = Server::quickstart();
    let beside = Beside::start(&server, &json!({}));
    let (web, other) = (Identity::enroll(&server, "web-1").await, Identity::enroll(&server, "web-2").await);
    let pem = web.field("certificate");
    let said = beside.until(&pem, 204);
    for (header, field) in [
        ("x-muster-spiffe-id", "spiffe_id"),
        ("x-muster-agent", "agent_id"),
        ("x-muster-tenant", "tenant_id"),
        ("x-muster-serial", "serial"),
    ] {
        assert_eq!(said.header(header), Some(web.field(field).as_str()));
    }
    let age: u64 = said.header("x-muster-trust-age").unwrap().parse().unwrap();
    assert!(age < 60, "{age}");
    let vouched = beside.vouch(&json!({"certificate": BASE64.encode(&web.chain_der()[0])}));
    let expected = json!({
        "spiffe_id": web.field("spiffe_id"), "agent_id": "web-1", "tenant_id": web.field("tenant_id"),
        "serial": web.serial(), "not_after": web.field("not_after"),
    });
    assert_eq!((vouched.status, vouched.json()), (200, expected));
    let mode = std::fs::metadata(&beside.socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);

    server.revoke("web-1");
    beside.until(&pem, 403).refused("identity_revoked");
    assert_eq!(beside.asked(&other.field("certificate")).status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_not_a_live_agent_of_the_tenants_is_refused_with_the_reason() {
    let mut server = Server::quickstart();
    let shop = server.tenant("shop");
    let admin = Client::admin(&server).await;
    let good = Identity::enroll(&server, "web-1").await;
    let theirs = named_host(&admin, &format!("?tenant={shop}"), "web-1").await;
    server.stop();
    let stolen = Hierarchy::stolen(&server);
    server.start_again_on_the_same_ports();
    let (own, both) = (
        Beside::start(&server, &json!({})),
        Beside::start_as(
            &server,
            "door-2",
            &json!({"tenants": ["own", shop], "header": "X-SSL-Client-Cert"}),
        ),
    );
    let pem = good.field("certificate");
    own.until(&pem, 204);
    let theirs_pem = theirs.field("certificate");
    own.asked(&theirs_pem).refused("other_tenant");
    let header = |pem: &str| [("X-SSL-Client-Cert", encoded(pem))];
    let ask_both = |query: &str, pem: &str| {
        let header = header(pem);
        both.forward(query, &[(header[0].0, &header[0].1)])
    };
    wait::until("the other agent has heard of them", || {
        (ask_both("", &theirs_pem).status == 204).then_some(())
    });
    assert_eq!(ask_both("", &pem).status, 204);
    assert_eq!(ask_both("?tenant=own", &pem).status, 204);
    ask_both("?tenant=own", &theirs_pem).refused("other_tenant");
    ask_both(&format!("?tenant={shop}"), &pem).refused("other_tenant");
    ask_both("?tenant=shop", &theirs_pem).refused("bad_request");

    let uris = [&*good.field("spiffe_id"), "spiffe://muster/tenant/x/agent/y"];
    let hop = format!("Hash=ab;Cert=\"{}\"", encoded(&pem));
    let e = encoded(&pem);
    // A client with another certificate that has written a header of its own, to which its proxy has added what it saw.
    let appended = format!("Cert={e};By=\"x,By=spiffe://proxy;Hash=ab;Cert=\"{}\"", encoded(&theirs_pem));
    let forged = [
        (Hierarchy::foreign().imitate(&good, &Key::p256()), "bad_chain"),
        (stolen.leaf(&uris, &good.serial(), &Key::p256()), "bad_chain"),
        (stolen.imitate(&good, &Key::p256()), "bad_chain"),
        (good.field("intermediate"), "bad_chain"),
        (pem[..200].to_owned(), "bad_chain"),
        (pem.clone() + &theirs_pem, "bad_chain"),
    ];
    for (certificate, code) in forged {
        own.asked(&certificate).refused(code);
    }
    for (query, headers, code) in [
        ("", vec![], "bad_request"),
        ("", vec![("X-Client-Cert", "")], "bad_request"),
        ("", vec![("X-Client-Cert", &*encoded(&e))], "bad_chain"),
        ("", vec![("X-Client-Cert", &*e), ("x-client-cert", &*e)], "bad_request"),
        ("", vec![("X-Client-Cert", &*e), ("X-Forwarded-Client-Cert", &*hop)], "bad_request"),
        ("", vec![("X-SSL-Client-Cert", &*e)], "bad_request"),
        ("?header=X-SSL-Client-Cert", vec![("X-Client-Cert", &*e)], "bad_request"),
        ("?header=X-Forwarded-Client-Cert", vec![("X-Forwarded-Client-Cert", &*appended)], "bad_chain"),
        ("?tenant=default", vec![("X-Client-Cert", &*e)], "bad_request"),
        ("?tag=role:web", vec![("X-Client-Cert", &*e)], "missing_tag"),
        ("?who=me", vec![("X-Client-Cert", &*e)], "bad_request"),
    ] {
        own.forward(query, &headers).refused(code);
    }
    let forwarded = own.forward("?header=X-Forwarded-Client-Cert", &[("X-Forwarded-Client-Cert", &hop)]);
    assert_eq!(forwarded.status, 204);
    assert_eq!(own.forward("", &[("X-Client-Cert", &"A".repeat(64 * 1024))]).status, 431);
    for (request, status) in [
        ("GET /v1/vouch HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 405),
        ("GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n", 404),
        ("POST /v1/vouch HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\n[]", 400),
        ("POST /v1/vouch?tag=a HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 2\r\n\r\n{}", 400),
    ] {
        assert_eq!(own.send(request).status, status, "{request}");
    }
    let long = "POST /v1/vouch HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 100000\r\n\r\n";
    assert_eq!(own.send(&(long.to_owned() + &"x".repeat(100_000))).status, 413);
    // Nobody else has been disturbed.
    assert_eq!(own.asked(&pem).status, 204);
}

#[tokio::test(flavor = "multi_thread")]
async fn it_goes_on_deciding_while_the_server_is_away_and_after_a_restart() {
    let mut server = Server::quickstart();
    let mut beside = Beside::start(&server, &json!({}));
    let (web, out) = (Identity::enroll(&server, "web-1").await, Identity::enroll(&server, "web-2").await);
    let (good, revoked) = (web.field("certificate"), out.field("certificate"));
    beside.until(&good, 204);
    server.revoke("web-2");
    beside.until(&revoked, 403);
    // A state is written soon after it was told, and read at the next start.
    let serial = HEXLOWER.decode(out.serial().as_bytes()).unwrap();
    let file = wait::until("the revocation is on disk", || {
        let mut files = std::fs::read_dir(beside.machine.dir()).unwrap().map(|file| file.unwrap().path());
        files.find(|path| {
            let content = std::fs::read(path).unwrap_or_default();
            !path.ends_with("cert.pem") && content.windows(serial.len()).any(|window| window == serial)
        })
    });
    assert_eq!(file.metadata().unwrap().mode() & 0o777, 0o600);
    server.stop();
    beside.restart();
    assert_eq!(beside.until(&good, 204).status, 204);
    beside.asked(&revoked).refused("identity_revoked");
    // Who enrolled after the agent heard last is verified all the same: the intermediate is the one that it knows.
    server.start_again_on_the_same_ports();
    let late = Identity::enroll(&server, "web-3").await;
    assert_eq!(beside.asked(&late.field("certificate")).status, 204);
    // It catches up.
    server.revoke("web-1");
    beside.until(&good, 403).refused("identity_revoked");
}

/// The server and the agent beside a relying party say the same of what a revoked intermediate has signed.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_revoked_intermediate_signed_is_vouched_for_until_that_is_published() {
    for at_once in [false, true] {
        let server = Server::quickstart();
        let (beside, admin) = (Beside::start(&server, &json!({})), Client::admin(&server).await);
        let held = Identity::enroll(&server, "held").await;
        let pem = held.field("certificate");
        let by_server = async |pem: &str| admin.post("/v1/vouch", &json!({ "certificate": pem })).await;
        beside.until(&pem, 204);
        assert_eq!(by_server(&pem).await.status, 200);

        // The list waits for this one.
        let mut connection = held.peer(&server).connect().await.unwrap();
        let session = connection.session().await.unwrap();
        let shown = server.cli(&["agent-ca", "show", "--json"]).run().json();
        let old = shown["certificates"][1]["sha256"].as_str().unwrap().to_owned();
        let key = server.file("root-key.pem");
        let command = ["agent-ca", "revoke-intermediate", &old, "--root-key", key.to_str().unwrap()];
        server.cli(&[&command[..], if at_once { &["--now"] } else { &[] }].concat()).run().ok();
        let new = Identity::enroll(&server, "new").await;
        beside.until(&new.field("certificate"), 204);
        if !at_once {
            assert_eq!((beside.asked(&pem).status, by_server(&pem).await.status), (204, 200));
            drop((session, connection));
        }
        beside.until(&pem, 403).refused("bad_chain");
        by_server(&pem).await.refused(403, "bad_chain");
        // With its intermediate beside it, too.
        beside.vouch(&json!({ "certificate": held.chain() })).refused("bad_chain");
        by_server(&held.chain()).await.refused(403, "bad_chain");

        let rotated = held.rotate(&server.http()).await.field("certificate");
        for pem in [rotated, new.field("certificate")] {
            assert_eq!((beside.asked(&pem).status, by_server(&pem).await.status), (204, 200));
        }
        // The agent beside it has rotated in its session, and goes on.
        server.revoke("new");
        beside.until(&new.field("certificate"), 403).refused("identity_revoked");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn status_tells_how_old_what_the_agent_believes_is() {
    let mut server = Server::quickstart();
    let mut beside = Beside::start(&server, &json!({"max_age": "1h"}));
    let status = |beside: &Beside, json: bool| {
        let dir = beside.machine.dir();
        let args = ["agent", "status", "--dir", dir.to_str().unwrap()];
        let args = [&args[..], if json { &["--json"] } else { &[] }].concat();
        Cli::new(beside.machine.home(), &args).run().stdout
    };
    let until = |beside: &Beside, what: &str, state: &str| {
        wait::until(what, || {
            let status: Value = serde_json::from_str(&status(beside, true)).unwrap();
            Some(status["trust"].clone()).filter(|trust| trust["state"] == state)
        })
    };
    let out = Identity::enroll(&server, "out").await;
    let current = until(&beside, "the server has confirmed it", "current");
    server.revoke("out");
    let denied = wait::until("the version of the revocation", || {
        let trust = until(&beside, "current", "current");
        (trust["denied"] == 1).then_some(trust)
    });
    assert!(denied["version"].as_u64() > current["version"].as_u64(), "{denied} {current}");
    assert_eq!(denied["epoch"], current["epoch"]);
    assert!(denied["age_seconds"].as_u64().unwrap() < 180 && denied["trouble"].is_null(), "{denied}");
    let listen = format!("unix:{}", beside.socket.display());
    let party = json!({"listen": listen, "max_age_seconds": 3600, "decides": true});
    assert_eq!(denied["relying_party"], party);
    let shown = status(&beside, false);
    assert!(shown.contains(&format!("trust          version {}", denied["version"])), "{shown}");
    assert!(shown.contains(&format!("relying party  {listen} decides")), "{shown}");

    server.stop();
    let behind = until(&beside, "the server is missed", "behind");
    assert_eq!((&behind["version"], &behind["relying_party"]), (&denied["version"], &party));
    let shown = status(&beside, false);
    let since = format!("behind since {}", &behind["confirmed_at"].as_str().unwrap()[..19]);
    assert!(shown.contains(&since) && shown.contains("what to do"), "{shown}");
    // One that is started then knows as much.
    beside.restart();
    assert_eq!(until(&beside, "still missed", "behind")["version"], denied["version"]);
    server.start_again_on_the_same_ports();
    until(&beside, "the server is back", "current");
    drop(out);

    // Where nobody wants to know, nothing is said of it.
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token_for("alone"));
    let agent = machine.run(&machine.configure(&server, None), &[]);
    agent.wait_for_log("session open", wait::PATIENCE);
    let dir = machine.dir();
    let args = ["agent", "status", "--json", "--dir", dir.to_str().unwrap()];
    assert_eq!(Cli::new(machine.home(), &args).run().json()["trust"], Value::Null);
}

#[tokio::test(flavor = "multi_thread")]
async fn knowledge_that_is_too_old_and_none_let_nobody_in() {
    let mut server = Server::quickstart();
    let web = Identity::enroll(&server, "web-1").await;
    let pem = web.field("certificate");
    let beside = Beside::start(&server, &json!({"max_age": "3s"}));
    // The server confirms every 30 seconds, so this limit is met in between.
    let old = wait::until("it is too old", || Some(beside.asked(&pem)).filter(|said| said.status == 403));
    old.refused("unavailable");
    server.stop();
    // One that has never heard anything.
    let mut beside = beside;
    beside.agent.kill();
    for file in std::fs::read_dir(beside.machine.dir()).unwrap() {
        let path = file.unwrap().path();
        if path.file_name().unwrap().to_string_lossy().starts_with("trust") {
            std::fs::remove_file(path).unwrap();
        }
    }
    beside.restart();
    beside.asked(&pem).refused("unavailable");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_revoked_itself_lets_nobody_in_and_leaves() {
    let server = Server::quickstart();
    let mut beside = Beside::start(&server, &json!({}));
    let web = Identity::enroll(&server, "web-1").await;
    beside.until(&web.field("certificate"), 204);
    server.revoke("door");
    assert_eq!(beside.agent.wait().status.code(), Some(3));
    assert!(UnixStream::connect(&beside.socket).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn loopback_is_served_too_and_many_silent_connections_keep_nobody_out() {
    let server = Server::quickstart();
    let beside = Beside::start(&server, &json!({"listen": "127.0.0.1:0"}));
    beside.agent.wait_for_log("choose one below 1024", wait::PATIENCE);
    let log = beside.agent.wait_for_log("answering relying parties", wait::PATIENCE);
    let port = log.rsplit_once("127.0.0.1:").unwrap().1;
    let port: u16 = port.chars().take_while(char::is_ascii_digit).collect::<String>().parse().unwrap();
    let web = Identity::enroll(&server, "web-1").await;
    let connect = || {
        let stream = std::net::TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
        stream
    };
    let silent: Vec<_> = (0..400).map(|_| connect()).collect();
    let question = format!(
        "GET /v1/forward-auth HTTP/1.1\r\nhost: a\r\nconnection: close\r\nx-client-cert: {}\r\n\r\n",
        encoded(&web.field("certificate"))
    );
    wait::until("an answer", || {
        let mut stream = connect();
        stream.write_all(question.as_bytes()).ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        answer.starts_with("HTTP/1.1 204").then_some(())
    });
    drop(silent);
}

#[test]
fn settings_that_can_t_be_served_are_refused_with_what_to_do() {
    let server = Server::quickstart();
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token_for("door"));
    let config = machine.configure(&server, None);
    let socket = machine.home().join("vouch.sock");
    let listen = format!("unix:{}", socket.display());
    std::fs::write(machine.home().join("file"), "").unwrap();
    let in_the_way = format!("unix:{}", machine.home().join("file").display());
    for (settings, says) in [
        (json!({"listen": "0.0.0.0:9444"}), "loopback"),
        (json!({"listen": listen, "mode": "0666"}), "name a group"),
        (json!({"listen": listen, "group": "no-such-group"}), "there is no group no-such-group"),
        (json!({"listen": listen, "tenants": []}), "none stands for nobody"),
        (json!({"listen": listen, "header": "Cookie"}), "X-Client-Cert"),
        (json!({"listen": in_the_way}), "is no socket"),
    ] {
        let mut written: Value = serde_json::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
        written["relying_party"] = settings;
        std::fs::write(&config, written.to_string()).unwrap();
        let mut agent = machine.run(&config, &[]);
        let finished = agent.wait();
        assert_eq!(finished.status.code(), Some(1), "{says}");
        assert!(finished.stderr.contains(says), "{says}: {}", finished.stderr);
    }
}

/// After a restore nobody knows the serials of what was issued since the backup, and so agents are told identities.
#[tokio::test(flavor = "multi_thread")]
async fn in_a_restore_epoch_who_is_denied_is_refused_by_name_and_what_was_issued_since_is_not() {
    let mut server = Server::quickstart();
    let mut unrecorded = Vec::new();
    let mut before = Vec::new();
    for agent in ["revoked", "let-in-again", "deleted", "taken-over", "good"] {
        before.push(Identity::enroll(&server, agent).await);
    }
    let backup = server.room().join("backup.age");
    server.cli(&["backup", backup.to_str().unwrap()]).run().ok();
    for identity in &before {
        unrecorded.push(identity.rotate(&server.http()).await.field("certificate"));
    }
    server.stop();
    std::fs::remove_file(server.store_file()).unwrap();
    server.cli(&["restore", backup.to_str().unwrap()]).run().ok();
    server.start_again();
    let beside = Beside::start(&server, &json!({}));
    unrecorded.iter().for_each(|certificate| drop(beside.until(certificate, 204)));
    server.revoke("revoked");
    for step in ["decommission", "re-enable"] {
        server.cli(&["host", step, &before[1].host_id()]).run().ok();
    }
    server.cli(&["host", "delete", &before[2].host_id(), "--yes"]).run().ok();
    let again = Identity::enroll(&server, "let-in-again").await;
    let anew = Identity::enroll(&server, "deleted").await;
    let taken = Identity::enroll(&server, "taken-over").await;
    for certificate in &unrecorded[..4] {
        beside.until(certificate, 403).refused("identity_revoked");
    }
    for certificate in [again, anew, taken].map(|identity| identity.field("certificate")) {
        assert_eq!(beside.asked(&certificate).status, 204);
    }
    assert_eq!(beside.asked(&unrecorded[4]).status, 204, "nobody has taken it away");
}
