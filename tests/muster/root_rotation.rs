//! Another root in the place of the one before, under agents that run: nobody is refused, and the old root is gone at the end.

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

use crate::support::agent::Machine;
use crate::support::cli::{Output, openssl};
use crate::support::keys;
use crate::support::process::Process;
use crate::support::provider::Outputs;
use crate::support::server::Server;
use crate::support::wait::{self, PATIENCE};

/// A machine whose agent runs.
struct Running {
    machine: Machine,
    _agent: Process,
}

fn agent(server: &Server, name: &str, settings: &Value) -> Running {
    let machine = Machine::new();
    machine.enroll_at(server, &server.join_token_for(name));
    let config = machine.configure(server, None);
    let mut written: Value = serde_json::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
    for (key, value) in settings.as_object().unwrap() {
        written[key] = value.clone();
    }
    std::fs::write(&config, written.to_string()).unwrap();
    let agent = machine.run(&config, &[]);
    agent.wait_for_log("session open", PATIENCE);
    Running { machine, _agent: agent }
}

/// A relying party: it asks the agent beside it, and it verifies by the files that are kept for it.
struct Door {
    running: Running,
    _outputs: Process,
    vouch: PathBuf,
    files: PathBuf,
}

impl Door {
    fn open(server: &Server) -> Self {
        let sockets = tempfile::tempdir().unwrap().keep();
        let (vouch, workload) = (sockets.join("vouch.sock"), sockets.join("workload.sock"));
        let settings = json!({
            "relying_party": {"listen": format!("unix:{}", vouch.display())},
            "workload_api": {"socket": workload},
        });
        let running = agent(server, "door", &settings);
        let home = running.machine.home();
        let files = Outputs::dir(home, "files");
        let keeping = Outputs::new(home, &workload, json!([{"dir": files, "format": "pem"}])).keep();
        let door = Self { running, _outputs: keeping, vouch, files };
        wait::until("the files are there", || door.files.join("crl.pem").exists().then_some(()));
        door
    }

    /// What it says to a certificate chain, by the socket and by the files.
    fn refuses(&self, chain: &str) -> Option<String> {
        let leaf = chain.split_inclusive("-----END CERTIFICATE-----\n").next().unwrap();
        let mut stream = UnixStream::connect(&self.vouch).unwrap();
        let certificate = utf8_percent_encode(leaf, NON_ALPHANUMERIC);
        let request = format!(
            "GET /v1/forward-auth HTTP/1.1\r\nhost: agent\r\nconnection: close\r\nX-Client-Cert: {certificate}\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        if !answer.starts_with("HTTP/1.1 204") {
            return Some(answer).filter(|_| !expired(leaf));
        }
        let room = tempfile::tempdir().unwrap();
        std::fs::write(room.path().join("chain.pem"), chain).unwrap();
        // One whole set: what ..data leads to while it is read.
        let set = std::fs::canonicalize(self.files.join("..data")).unwrap();
        for name in ["ca.pem", "crl.pem"] {
            std::fs::copy(set.join(name), room.path().join(name)).ok()?;
        }
        let arguments = ["verify", "-crl_check_all", "-CAfile", "ca.pem", "-CRLfile", "crl.pem"];
        let verified =
            openssl(room.path(), &[&arguments[..], &["-untrusted", "chain.pem", "chain.pem"]].concat());
        (verified.code != Some(0) && !expired(leaf)).then(|| verified.to_string())
    }

    fn roots(&self) -> usize {
        let file = std::fs::read_to_string(self.files.join("ca.pem")).unwrap();
        keys::certificates(&file).len()
    }
}

/// Whether a machine was held up for so long that its agent could not rotate in time.
fn expired(leaf: &str) -> bool {
    let leaf = keys::certificates(leaf).remove(0);
    let (_, leaf) = x509_parser::parse_x509_certificate(&leaf).unwrap();
    leaf.validity().not_after.timestamp() < jiff::Timestamp::now().as_second()
}

fn cli(server: &Server, arguments: &[&str]) -> Output {
    server.cli(&[&["agent-ca"], arguments].concat()).run()
}

#[test]
fn a_root_is_replaced_under_live_agents_and_nobody_is_refused() {
    let server = Server::quickstart_with(&[("MUSTER_SVID_TTL", "15s")]);
    let door = Arc::new(Door::open(&server));
    let webs: Vec<_> = (1..=3).map(|n| agent(&server, &format!("web-{n}"), &json!({}))).collect();
    let certificates: Vec<_> =
        webs.iter().chain([&door.running]).map(|it| it.machine.file("cert.pem")).collect();
    // Everybody is let in all the time, with whatever they hold at the moment.
    let (over, asked) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let looking = {
        let (door, over, asked) = (Arc::clone(&door), Arc::clone(&over), Arc::clone(&asked));
        let certificates = certificates.clone();
        std::thread::spawn(move || {
            while !over.load(Ordering::Relaxed) {
                for certificate in &certificates {
                    let chain = std::fs::read_to_string(certificate).unwrap();
                    if let Some(why) = door.refuses(&chain) {
                        panic!("{} was refused: {why}", certificate.display());
                    }
                    asked.fetch_add(1, Ordering::Relaxed);
                }
                std::thread::sleep(Duration::from_millis(200));
            }
        })
    };

    let prepared = cli(&server, &["prepare-root"]).ok();
    assert!(prepared.stdout.starts_with("-----BEGIN PRIVATE KEY-----\n"), "{prepared}");
    let early = cli(&server, &["activate-root"]).failed();
    assert!(early.stderr.contains("of 4 agents"), "{early}");
    assert!(early.stderr.contains("Relying parties that fetch files are not counted"), "{early}");
    let due = cli(&server, &["show"]).ok().stdout;
    assert!(due.contains("Next, when all do: muster agent-ca activate-root"), "{due}");
    wait::until("the files have both roots", || (door.roots() == 2).then_some(()));
    let activated = wait::until("every agent knows the new root", || {
        let output = cli(&server, &["activate-root", "--json"]);
        (output.code == Some(0)).then(|| output.json())
    });
    assert_eq!((&activated["agents_seen"], &activated["agents_without"]), (&json!(4), &json!(0)));

    let early = cli(&server, &["retire-root"]).failed();
    assert!(early.stderr.contains("can go from"), "{early}");
    let issuing = activated["issuing"]["sha256"].as_str().unwrap();
    let of_new_root = |file: &PathBuf| {
        let chain = keys::certificates(&std::fs::read_to_string(file).unwrap());
        keys::fingerprint(&chain[1]) == issuing
    };
    wait::until("everybody has rotated", || certificates.iter().all(of_new_root).then_some(()));
    let retired = cli(&server, &["retire-root", "--force", "--json"]).json();
    assert_eq!(retired["root"]["sha256"], activated["root"]["sha256"]);
    wait::until("the files have one root", || (door.roots() == 1).then_some(()));
    let asked_before = asked.load(Ordering::Relaxed);
    wait::until("everybody was asked for once more", || {
        (asked.load(Ordering::Relaxed) >= asked_before + 2 * certificates.len() || looking.is_finished())
            .then_some(())
    });
    over.store(true, Ordering::Relaxed);
    looking.join().unwrap();

    // The old root is gone at every door.
    let file = std::fs::read_to_string(door.files.join("ca.pem")).unwrap();
    assert_eq!(
        keys::fingerprint(&keys::certificates(&file)[0]),
        activated["root"]["sha256"].as_str().unwrap()
    );
    let bundle = keys::certificates(&cli(&server, &["export", "-"]).ok().stdout);
    assert_eq!(bundle.len(), 2);
    assert_eq!(keys::fingerprint(&bundle[0]), activated["root"]["sha256"].as_str().unwrap());
    for action in ["agent_ca.prepare_root", "agent_ca.activate_root", "agent_ca.retire_root"] {
        assert_eq!(server.audit(action).len(), 1, "{action}");
    }
}
