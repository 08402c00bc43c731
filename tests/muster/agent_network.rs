//! How an agent gets to its server: names with several addresses, proxies; and what must not end it, or is wrong usage.

use std::ffi::OsStr;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, listen, socket_with};
use rustix::process::Signal;
use serde_json::{Value, json};
use spiffe::WorkloadApiClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::task::block_in_place;

use crate::support::agent::Machine;
use crate::support::cli::{Cli, Output};
use crate::support::process::{Finished, MUSTER, Process, command};
use crate::support::server::Server;
use crate::support::wait;

const NAME: &str = "control.test";

/// A server whose certificate is for a name that no resolver knows.
fn named_server() -> Server {
    Server::quickstart_on(|data| {
        let room = data.parent().unwrap();
        let args = ["gen-cert", "--data-dir", data.to_str().unwrap(), "--name", NAME, "--name", "127.0.0.1"];
        Cli::new(room, &args).run().ok();
    })
}

fn port(server: &Server) -> u16 {
    server.hello.url.rsplit(':').next().unwrap().trim_end_matches('/').parse().unwrap()
}

/// A listener that never accepts and whose queue is full: it answers no further SYN.
fn black_hole(address: SocketAddr) -> Vec<OwnedFd> {
    let tcp = |flags| socket_with(AddressFamily::INET, SocketType::STREAM, flags, None).unwrap();
    let listener = tcp(SocketFlags::CLOEXEC);
    bind(&listener, &address).unwrap();
    listen(&listener, 0).unwrap();
    let mut sockets = vec![listener];
    for _ in 0..4 {
        let filler = tcp(SocketFlags::CLOEXEC | SocketFlags::NONBLOCK);
        let _ = connect(&filler, &address);
        sockets.push(filler);
    }
    sockets
}

fn enroll_args(server: &Server, machine: &Machine) -> Vec<String> {
    let token_file = machine.home().join("token");
    std::fs::write(&token_file, server.join_token(&[])).unwrap();
    let url = format!("https://{NAME}:{}", port(server));
    let dir = machine.dir();
    let args = ["agent", "enroll", "--server", &url, "--ca-pin", &server.hello.ca_pin, "--token-file"];
    let args = args.iter().map(|&arg| arg.to_owned());
    args.chain([token_file, "--dir".into(), dir].map(|path: PathBuf| path.to_str().unwrap().to_owned()))
        .collect()
}

#[test]
fn a_name_with_an_address_that_swallows_everything_is_enrolled_at() {
    let server = named_server();
    let machine = Machine::new();
    let hole = Ipv4Addr::new(127, 0, 0, 2);
    let _hole = black_hole((hole, port(&server)).into());
    let hosts = machine.home().join("hosts");
    std::fs::write(&hosts, format!("{hole} {NAME}\n127.0.0.1 {NAME}\n")).unwrap();
    let mut process = Process::start(
        command("unshare", machine.home())
            .args(["--map-root-user", "--mount", "sh", "-c"])
            .arg("mount --bind \"$0\" /etc/hosts && exec \"$@\"")
            .arg(&hosts)
            .arg(MUSTER)
            .args(enroll_args(&server, &machine)),
    );
    let Finished { status, stdout, stderr } = process.wait();
    assert!(status.success(), "{stdout}\n{stderr}");
    assert_eq!(server.hosts().len(), 1);
}

/// A proxy that takes whoever asks to the server, or refuses everybody; and the heads of what it was asked.
async fn proxy(to: Option<SocketAddr>) -> (String, Arc<Mutex<Vec<String>>>) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://agent:hunter2@{}", listener.local_addr().unwrap());
    let asked: Arc<Mutex<Vec<String>>> = Arc::default();
    let seen = Arc::clone(&asked);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let mut head = Vec::new();
                while !head.ends_with(b"\r\n\r\n") {
                    head.push(client.read_u8().await.unwrap());
                }
                seen.lock().push(String::from_utf8(head).unwrap());
                let Some(to) = to else {
                    client.write_all(b"HTTP/1.1 403 Not here\r\n\r\n").await.unwrap();
                    return;
                };
                let mut server = tokio::net::TcpStream::connect(to).await.unwrap();
                client.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await.unwrap();
                let _ = copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (url, asked)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn the_proxy_of_the_environment_is_used_and_one_that_refuses_is_named() {
    let server = block_in_place(named_server);
    let enroll = |machine: &Machine, proxy: &str, direct: &str| -> Output {
        let args = enroll_args(&server, machine);
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        Cli::new(machine.home(), &args).env("HTTPS_PROXY", proxy).env("NO_PROXY", direct).run()
    };
    let (url, asked) = proxy(Some((Ipv4Addr::LOCALHOST, port(&server)).into())).await;
    block_in_place(|| enroll(&Machine::new(), &url, "")).ok();
    let head = asked.lock()[0].clone();
    assert!(head.starts_with(&format!("CONNECT {NAME}:{} HTTP/1.1\r\n", port(&server))), "{head}");
    assert!(head.contains("Proxy-Authorization: Basic YWdlbnQ6aHVudGVyMg=="), "{head}");

    let api_token = block_in_place(|| server.api_token(&["agent.read"], None));
    let url_of_server = format!("https://{NAME}:{}", port(&server));
    let args = ["host", "list", "--server", &url_of_server, "--server-pin", &server.hello.ca_pin];
    let list = Cli::new(server.room(), &args).env("HTTPS_PROXY", &url).env("MUSTER_API_TOKEN", &api_token);
    block_in_place(|| list.run()).ok();
    assert_eq!(asked.lock().len(), 2, "operators go the same way");

    let asked_before = asked.lock().len();
    block_in_place(|| enroll(&Machine::new(), &url, "example.org,.test")).failed();
    assert_eq!(asked.lock().len(), asked_before, "NO_PROXY keeps the proxy out");

    let (url, _) = proxy(None).await;
    let refused = block_in_place(|| enroll(&Machine::new(), &url, "")).failed();
    assert!(refused.stderr.contains("403 Not here") && refused.stderr.contains("HTTPS_PROXY"), "{refused}");
    assert!(!refused.stderr.contains("hunter2"), "{refused}");
}

#[test]
fn what_the_server_names_is_remembered_and_shown() {
    let server = Server::quickstart();
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token(&[]));
    let dir = machine.dir();
    let args = ["agent", "status", "--json", "--dir", dir.to_str().unwrap()];
    let status = Cli::new(machine.home(), &args).run().json();
    assert_eq!(status["servers"], json!([server.hello.url.trim_end_matches('/')]));
    assert_eq!(status["grpc_addrs"], json!([server.hello.grpc_addr]));
}

#[test]
fn a_hangup_ends_neither_agent_nor_server() {
    let mut server = Server::quickstart();
    let machine = Machine::new();
    machine.enroll_at(&server, &server.join_token(&[]));
    let config = machine.configure(&server, None);
    let mut agent = machine.run(&config, &[]);
    agent.wait_for_log("session open", wait::PATIENCE);
    agent.signal(Signal::HUP);
    agent.wait_for_log("SIGHUP changes nothing", wait::PATIENCE);
    server.process().signal(Signal::HUP);
    assert_eq!(server.hosts().len(), 1);
    agent.signal(Signal::TERM);
    assert_eq!(agent.wait().status.code(), Some(0));
    server.stop();
}

#[test]
fn what_is_missing_on_the_command_line_is_wrong_usage() {
    let machine = Machine::new();
    let dir = machine.dir();
    let dir = dir.to_str().unwrap();
    let run = |args: &[&str]| Cli::new(machine.home(), args).env("MUSTER_DATA_DIR", dir).run();
    let url = "https://127.0.0.1:1";
    for args in [
        &["agent", "enroll", "--server", url, "--dir", dir][..],
        &["agent", "enroll", "--dir", dir],
        &["agent", "enroll", "--server", url],
        &["agent", "run"],
        &["agent", "status"],
        &["host", "list", "--server", url],
        &["host", "show"],
        &["enroll-token", "--server", url],
        &["backup", "x", "--server", url],
        &["restore", "x", "--server", url],
        &["backup", "verify", "x", "--server", url],
        &["envelope", "recovery", "list", "--server", url],
        &["check", "--server", url],
        &["gen-cert", "--server", url],
        &["agent-ca", "init", "--server", url],
        &["agent-ca", "renew", "--server", url],
        &["agent-ca", "reseal", "--server", url],
    ] {
        let Output { code, stdout, stderr, .. } = run(args);
        assert_eq!(code, Some(2), "{args:?}: {stderr}");
        assert!(stdout.is_empty() && stderr.contains("error: "), "{args:?}: {stderr}");
    }
    let server = Server::quickstart();
    for args in [
        &["user", "add", "somebody", "--role", "viewer"][..],
        &["user", "set-password", "admin"],
        &["host", "delete", "019a0000-0000-7000-8000-000000000000"],
    ] {
        let Output { code, stderr, .. } = server.cli(args).run();
        assert_eq!(code, Some(2), "{args:?}: {stderr}");
    }
    assert!(!Path::new(dir).join("muster.redb").exists());
}

#[test]
fn a_directory_that_settings_could_not_name_is_refused_before_anything_is_written() {
    let machine = Machine::new();
    let dir = machine.home().join(OsStr::from_bytes(b"identity-\xff"));
    let mut enroll = command(MUSTER, machine.home());
    enroll
        .args(["agent", "enroll", "--server", "https://127.0.0.1:1", "--token-file", "-", "--dir"])
        .arg(&dir);
    let Finished { status, stdout, stderr } = Process::start(&mut enroll).wait();
    assert_eq!((status.code(), stdout.as_str()), (Some(1), ""));
    assert!(stderr.contains("is not UTF-8") && stderr.contains("choose another --dir"), "{stderr}");
    assert!(!dir.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_is_told_so_and_counted() {
    let (machine, agent, socket) = block_in_place(|| {
        let server = Server::quickstart();
        let machine = Machine::new();
        machine.enroll_at(&server, &server.join_token(&[]));
        let config = machine.configure(&server, None);
        let socket = machine.with_workload_api(&config);
        let mut settings: Value = serde_json::from_str(&std::fs::read_to_string(&config).unwrap()).unwrap();
        settings["workload_api"]["connections_per_user"] = json!(2);
        std::fs::write(&config, settings.to_string()).unwrap();
        let agent = machine.run(&config, &[]);
        agent.wait_for_log("session open", wait::PATIENCE);
        (machine, agent, socket)
    });
    let _two = [UnixStream::connect(&socket).unwrap(), UnixStream::connect(&socket).unwrap()];
    let client = WorkloadApiClient::connect_to(format!("unix://{}", socket.display())).await.unwrap();
    let refused = format!("{:?}", client.fetch_x509_context().await.unwrap_err());
    assert!(refused.contains("connections_per_user (now 2)"), "{refused}");
    let told = agent.wait_for_log("connections to the Workload API open", wait::PATIENCE);
    assert!(told.contains("WARN"), "{told}");
    wait::until("the figure", || {
        let dir = machine.dir();
        let args = ["agent", "status", "--json", "--dir", dir.to_str().unwrap()];
        let status: Value = serde_json::from_str(&Cli::new(machine.home(), &args).run().stdout).unwrap();
        (status["workload_turned_away"].as_u64()? >= 1).then_some(())
    });
}
