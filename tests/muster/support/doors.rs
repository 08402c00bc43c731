//! Relying parties with a door: nginx, HAProxy, PostgreSQL and Envoy, each started on what it has fetched, and asked by its own clients
//! whom it lets in.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

use super::cli::{Output, program};
use super::clock;
use super::judges::Agent;
use super::ports::free_port;
use super::process::{Process, command};
use super::wait::{self, PATIENCE};

/// A program that lets agents in by their certificates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Program {
    Nginx,
    HaProxy,
    PostgreSql,
    Envoy,
}

/// One that runs, in a directory of its own.
#[derive(Debug)]
pub struct Door {
    program: Program,
    port: u16,
    process: Process,
    room: TempDir,
}

impl Door {
    /// Opens it with the roots and lists (PEM) that lie in `fetched`, its clock ahead by so many seconds.
    pub fn open(program: Program, fetched: &Path, ahead: i64) -> Self {
        let room = tempfile::tempdir().unwrap();
        for name in ["root.pem", "crl.pem"] {
            fs::copy(fetched.join(name), room.path().join(name)).unwrap();
        }
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::new(["127.0.0.1".to_owned()]).unwrap();
        let certificate = certificate.self_signed(&key).unwrap().pem();
        write(&room, "server.pem", &(certificate + &key.serialize_pem()));
        let port = free_port();
        let mut command = match program {
            Program::Nginx => nginx(&room, port),
            Program::HaProxy => haproxy(&room, port),
            Program::PostgreSql => postgresql(&room, port),
            Program::Envoy => envoy(&room, port),
        };
        if ahead > 0 {
            let library = later(room.path());
            fs::set_permissions(&library, fs::Permissions::from_mode(0o755)).unwrap();
            command.env("LD_PRELOAD", library).env("AHEAD_SECONDS", ahead.to_string());
        }
        let process = Process::start(&mut command);
        let door = Self { program, port, process, room };
        wait::until(&format!("{program:?} listens"), || {
            std::net::TcpStream::connect(("127.0.0.1", port)).ok().map(drop)
        });
        door
    }

    /// Whether it lets an agent in, by its certificate in `from`.
    pub fn lets_in(&self, agent: &Agent, from: &Path) -> bool {
        let key = self.room.path().join(format!("{}.key", agent.name));
        fs::write(&key, agent.identity.key.pem()).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        let chain = from.join(format!("{}.chain.pem", agent.name));
        let (chain, key) = (chain.to_str().unwrap(), key.to_str().unwrap());
        let asked = || match self.program {
            Program::Nginx | Program::HaProxy | Program::Envoy => {
                let url = format!("https://127.0.0.1:{}/", self.port);
                program("curl", from, &["-sSk", "--max-time", "30", "--cert", chain, "--key", key, &url])
            }
            Program::PostgreSql => {
                let at = format!(
                    "host=127.0.0.1 port={} user=agents dbname=postgres sslmode=require sslcert={chain} sslkey={key} \
                     connect_timeout=30",
                    self.port
                );
                program("psql", from, &[&at, "-tAc", "select 'in'"])
            }
        };
        // PostgreSQL listens before it takes anybody.
        let answer = wait::until("an answer that is one", || {
            Some(asked()).filter(|answer| !answer.stderr.contains("the database system is starting up"))
        });
        self.judge(&answer)
    }

    /// Says in or out, and nothing else counts: a program that is not there lets nobody in either.
    fn judge(&self, answer: &Output) -> bool {
        let let_in = answer.code == Some(0) && answer.stdout.trim() == "in";
        // Envoy may close before curl has read why: it was there, and has ended what stood.
        let ended = ["getpeername() failed", "reset by peer"];
        let refused = ["alert", "SSL certificate error", "certificate revoked", "unexpected eof", "revoked"];
        let refused = [&refused[..], if self.program == Program::Envoy { &ended } else { &[] }].concat();
        let refused = refused.iter().any(|word| answer.stdout.contains(word) || answer.stderr.contains(word));
        assert!(let_in != refused, "{:?}: {answer}\n{}", self.program, self.process.stderr.text());
        let_in
    }
}

impl Drop for Door {
    fn drop(&mut self) {
        // PostgreSQL ends what it has started when it is asked in good order (SIGINT: at once). Others may have been told by
        // whoever started the tests to ignore that one.
        let at_once = if self.program == Program::PostgreSql { Signal::INT } else { Signal::TERM };
        self.process.signal(at_once);
        drop(self.process.stderr.wait_for_line(PATIENCE, |_| false));
    }
}

/// Answers `time` and its sisters with what it will be: OpenSSL asks `time`, which the clock of [`clock`] leaves alone.
const AHEAD: &str = r#"
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long ahead(void) {
    const char *seconds = getenv("AHEAD_SECONDS");
    return seconds ? atol(seconds) : 0;
}

int clock_gettime(clockid_t id, struct timespec *at) {
    int failed = syscall(SYS_clock_gettime, id, at);
    if (!failed && id == CLOCK_REALTIME) at->tv_sec += ahead();
    return failed;
}

time_t time(time_t *to) {
    struct timespec at;
    clock_gettime(CLOCK_REALTIME, &at);
    if (to) *to = at.tv_sec;
    return at.tv_sec;
}

int gettimeofday(struct timeval *to, void *zone) {
    struct timespec at;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &at);
    to->tv_sec = at.tv_sec;
    to->tv_usec = at.tv_nsec / 1000;
    return 0;
}
"#;

/// Builds the library in `dir` that has a program's clock ahead by `AHEAD_SECONDS`; where it is.
pub fn later(dir: &Path) -> PathBuf {
    clock::preloaded(dir, "ahead", AHEAD)
}

fn write(room: &TempDir, name: &str, content: &str) {
    let path = room.path().join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
}

/// The first of these that is there, else its bare name.
fn found(places: &[&str]) -> String {
    let place = places.iter().find(|place| Path::new(place).exists());
    place.unwrap_or_else(|| places.last().unwrap()).to_string()
}

/// One process, so that none outlives the test.
fn nginx(room: &TempDir, port: u16) -> Command {
    let place = |name: &str| room.path().join(name).to_str().unwrap().to_owned();
    let config = format!(
        "daemon off;\nmaster_process off;\npid {pid};\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n\
         client_body_temp_path {scrap};\nproxy_temp_path {scrap};\nfastcgi_temp_path {scrap};\n\
         uwsgi_temp_path {scrap};\nscgi_temp_path {scrap};\n\
         server {{\nlisten 127.0.0.1:{port} ssl;\nssl_certificate {server};\nssl_certificate_key {server};\n\
         ssl_verify_client on;\nssl_verify_depth 2;\nssl_client_certificate {root};\nssl_crl {crl};\n\
         location / {{ return 200 'in'; }}\n}}\n}}\n",
        pid = place("nginx.pid"),
        scrap = place("scrap"),
        server = place("server.pem"),
        root = place("root.pem"),
        crl = place("crl.pem"),
    );
    write(room, "nginx.conf", &config);
    let mut command = command(&found(&["/usr/sbin/nginx", "nginx"]), room.path());
    command.args(["-e", "stderr", "-p", room.path().to_str().unwrap(), "-c", &place("nginx.conf")]);
    command
}

fn haproxy(room: &TempDir, port: u16) -> Command {
    let place = |name: &str| room.path().join(name).to_str().unwrap().to_owned();
    let config = format!(
        "global\n  maxconn 100\ndefaults\n  mode http\n  timeout connect 30s\n  timeout client 30s\n  timeout server 30s\n\
         frontend agents\n  bind 127.0.0.1:{port} ssl crt {} ca-file {} crl-file {} verify required\n  \
         http-request return status 200 content-type text/plain string in\n",
        place("server.pem"),
        place("root.pem"),
        place("crl.pem"),
    );
    write(room, "haproxy.cfg", &config);
    let mut command = command(&found(&["/usr/sbin/haproxy", "haproxy"]), room.path());
    command.args(["-db", "-f", &place("haproxy.cfg")]);
    command
}

/// Envoy as it is by default: every issuer of a chain must have a list (`only_verify_leaf_cert_crl` is not set).
fn envoy(room: &TempDir, port: u16) -> Command {
    let place = |name: &str| json!({"filename": room.path().join(name)});
    let typed = |name: &str, mut settings: serde_json::Value| {
        settings["@type"] = json!(format!("type.googleapis.com/envoy.extensions.{name}"));
        json!({"name": name, "typed_config": settings})
    };
    let tls = json!({
        "require_client_certificate": true,
        "common_tls_context": {
            "tls_certificates": [{"certificate_chain": place("server.pem"), "private_key": place("server.pem")}],
            "validation_context": {"trusted_ca": place("root.pem"), "crl": place("crl.pem")},
        },
    });
    let answer = json!({"match": {"prefix": "/"}, "direct_response": {"status": 200, "body": {"inline_string": "in"}}});
    let http = json!({
        "stat_prefix": "agents",
        "route_config": {"virtual_hosts": [{"name": "all", "domains": ["*"], "routes": [answer]}]},
        "http_filters": [typed("filters.http.router.v3.Router", json!({}))],
    });
    let listener = json!({
        "address": {"socket_address": {"address": "127.0.0.1", "port_value": port}},
        "filter_chains": [{
            "transport_socket": typed("transport_sockets.tls.v3.DownstreamTlsContext", tls),
            "filters": [typed("filters.network.http_connection_manager.v3.HttpConnectionManager", http)],
        }],
    });
    write(room, "envoy.json", &json!({"static_resources": {"listeners": [listener]}}).to_string());
    let program = envoy_program();
    let mut command = command(program.to_str().unwrap(), room.path());
    command.args(["--use-dynamic-base-id", "--concurrency", "1", "-c"]).arg(room.path().join("envoy.json"));
    command
}

/// Envoy, which `.ci/prepare` has fetched from PyPI.
pub fn envoy_program() -> PathBuf {
    let packages = concat!(env!("CARGO_MANIFEST_DIR"), "/target/python/lib");
    let found = fs::read_dir(packages).into_iter().flatten().flatten();
    let program =
        found.map(|python| python.path().join("site-packages/envoy/_bin/envoy")).find(|path| path.exists());
    program.unwrap_or_else(|| panic!("no Envoy in {packages}: run .ci/prepare first"))
}

/// PostgreSQL refuses to run as root, and its files must be its own.
fn postgresql(room: &TempDir, port: u16) -> Command {
    let place = |name: &str| room.path().join(name).to_str().unwrap().to_owned();
    let version =
        fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten().map(|it| it.path()).max();
    let programs = version.map_or_else(PathBuf::new, |version| version.join("bin"));
    let user = rustix::process::geteuid().is_root().then(other_user);
    let as_user = |name: &str| {
        let name = programs.join(name).to_str().unwrap().to_owned();
        let Some((uid, gid)) = user else { return command(&name, room.path()) };
        let mut as_user = command("setpriv", room.path());
        as_user.arg(format!("--reuid={uid}")).arg(format!("--regid={gid}")).args(["--clear-groups", &name]);
        as_user
    };
    let own = |path: &Path| {
        if let Some((uid, gid)) = user {
            chown(path, Some(uid), Some(gid)).unwrap();
        }
    };
    own(room.path());
    for name in ["root.pem", "crl.pem", "server.pem"] {
        own(&room.path().join(name));
    }
    let mut init = as_user("initdb");
    init.args(["--no-sync", "--auth=trust", "--username=agents", "--locale=C", "--encoding=UTF8", "-D"]);
    let made = init.arg(place("data")).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let data = room.path().join("data");
    fs::write(data.join("pg_hba.conf"), "hostssl all all 127.0.0.1/32 trust clientcert=verify-ca\n").unwrap();
    let settings = format!(
        "listen_addresses = '127.0.0.1'\nport = {port}\nunix_socket_directories = ''\nfsync = off\nssl = on\n\
         ssl_cert_file = '{server}'\nssl_key_file = '{server}'\nssl_ca_file = '{root}'\nssl_crl_file = '{crl}'\n",
        server = place("server.pem"),
        root = place("root.pem"),
        crl = place("crl.pem"),
    );
    fs::write(data.join("postgresql.auto.conf"), settings).unwrap();
    let mut serve = as_user("postgres");
    serve.arg("-D").arg(data);
    serve
}

/// Whom PostgreSQL may run as: its own user, or nobody.
fn other_user() -> (u32, u32) {
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let ids = |name: &str| {
        let fields: Vec<_> =
            users.lines().find(|line| line.starts_with(&format!("{name}:")))?.split(':').collect();
        Some((fields.get(2)?.parse().ok()?, fields.get(3)?.parse().ok()?))
    };
    ids("postgres").or_else(|| ids("nobody")).unwrap_or((65_534, 65_534))
}
