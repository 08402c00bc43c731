//! The SPIFFE Workload API, judged by the SPIFFE libraries for Python and Rust.

use std::fs;
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use muster::agent::workload::proto::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use muster::agent::workload::proto::{
    X509BundlesRequest, X509BundlesResponse, X509svidRequest, X509svidResponse,
};
use rustix::process::Signal;
use serde_json::json;
use spiffe::WorkloadApiClient;
use tokio::net::UnixStream;
use tokio::task::block_in_place;
use tokio_stream::StreamExt;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Request, Streaming};

use crate::support::agent::Machine;
use crate::support::cli::{openssl, python};
use crate::support::identity::Identity;
use crate::support::served::Served;
use crate::support::server::Server;
use crate::support::wait;

fn endpoint(socket: &Path) -> String {
    format!("unix://{}", socket.display())
}

#[test]
fn the_python_library_gets_the_svid_sees_a_rotation_and_connects_with_both() {
    let served = Served::start(&[("MUSTER_SVID_TTL", "15s")]);
    let ca = served.machine.file("server-ca.pem");
    let args = [served.socket.to_str().unwrap(), &served.server.hello.grpc_addr, ca.to_str().unwrap()];
    let result = python(served.machine.home(), "workload_api.py", &args).json();
    let expected = json!({
        "spiffe_id": served.id(), "same_id": true, "first_serves": true, "second_serves": true, "roots": 1,
        "bundles": 1, "no_header": "INVALID_ARGUMENT", "wrong_header": "INVALID_ARGUMENT",
    });
    assert_eq!(result, expected);
    let log = served.agent.stderr.text();
    let uid = rustix::process::getuid().as_raw();
    assert!(log.contains("FetchX509SVID") && log.contains(&format!("uid={uid}")), "{log}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_rust_library_gets_the_svid_and_every_rotation() {
    let served = tokio::task::block_in_place(|| Served::start(&[("MUSTER_SVID_TTL", "12s")]));
    let client = WorkloadApiClient::connect_to(served.endpoint()).await.unwrap();
    let mut contexts = client.stream_x509_contexts().await.unwrap();
    let mut seen = Vec::new();
    while seen.len() < 3 {
        let context = tokio::time::timeout(wait::PATIENCE, contexts.next()).await.unwrap().unwrap().unwrap();
        let svid = context.default_svid().unwrap();
        assert!(svid.spiffe_id().path().ends_with("/agent/web-1"), "{}", svid.spiffe_id());
        assert_eq!(svid.cert_chain().len(), 2);
        seen.push(svid.leaf().as_bytes().to_vec());
        seen.dedup();
    }
    let bundles = client.fetch_x509_bundles().await.unwrap();
    assert_eq!(bundles.iter().count(), 1);
}

#[test]
fn the_socket_is_for_the_agents_user_and_group_and_goes_with_the_agent() {
    let mut served = Served::start(&[]);
    let metadata = std::fs::symlink_metadata(&served.socket).unwrap();
    assert!(metadata.file_type().is_socket());
    assert_eq!(metadata.permissions().mode() & 0o777, 0o660);
    served.agent.signal(Signal::TERM);
    assert_eq!(served.agent.wait().status.code(), Some(0));
    assert!(!served.socket.exists());
}

#[test]
fn only_a_socket_that_an_agent_left_behind_is_replaced() {
    let mut served = Served::start(&[]);
    served.agent.kill();
    assert!(served.socket.exists());
    let config = served.machine.home().join("agent.yml");
    let mut agent = served.machine.run(&config, &[]);
    agent.wait_for_log("session open", wait::PATIENCE);
    agent.signal(Signal::TERM);
    agent.wait();

    std::fs::write(&served.socket, "somebody's file").unwrap();
    let refused = served.machine.run(&config, &[]).wait();
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("is no socket"), "{}", refused.stderr);
    assert_eq!(std::fs::read_to_string(&served.socket).unwrap(), "somebody's file");
    std::fs::remove_file(&served.socket).unwrap();

    let _listening = UnixListener::bind(&served.socket).unwrap();
    let refused = served.machine.run(&config, &[]).wait();
    assert_eq!(refused.status.code(), Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("another program listens"), "{}", refused.stderr);
    assert!(served.socket.exists());
}

#[tokio::test(flavor = "multi_thread")]
async fn without_an_identity_callers_are_refused() {
    let server = tokio::task::block_in_place(Server::quickstart);
    let machine = Machine::new();
    // Nobody answers there, so the agent goes on trying to enroll.
    let enroll = json!({"server": "https://127.0.0.1:9", "ca_pin": server.hello.ca_pin});
    let config = machine.configure(&server, Some(enroll));
    let socket = machine.with_workload_api(&config);
    let token = tokio::task::block_in_place(|| server.join_token(&[]));
    let agent = machine.run(&config, &[("MUSTER_AGENT_JOIN_TOKEN", &token)]);
    tokio::task::block_in_place(|| agent.wait_for_log("trying again", wait::PATIENCE));
    let client = WorkloadApiClient::connect_to(endpoint(&socket)).await.unwrap();
    let refused = tokio::time::timeout(Duration::from_secs(20), client.fetch_x509_svid()).await.unwrap();
    let refused = format!("{:?}", refused.unwrap_err());
    assert!(refused.to_lowercase().contains("permission"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_of_callers_is_bounded() {
    let served = tokio::task::block_in_place(|| Served::start(&[]));
    let mut held = Vec::new();
    while held.len() < 300 {
        // No room is left while the agent has not accepted those before.
        match tokio::net::UnixStream::connect(&served.socket).await {
            Ok(stream) => held.push(stream),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => tokio::task::yield_now().await,
            Err(error) => panic!("{error}"),
        }
    }
    let turned_away = || {
        let mut byte = [0];
        held.iter().filter(|stream| matches!(stream.try_read(&mut byte), Ok(0))).count()
    };
    // Of one user's connections, 64 stay.
    wait::until("the rest is turned away", || (turned_away() == 300 - 64).then_some(()));
    drop(held);
    let client = || WorkloadApiClient::connect_to(served.endpoint());
    for _ in 0..50 {
        match client().await {
            Ok(client) if client.fetch_x509_svid().await.is_ok() => return,
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    panic!("there is no room again");
}

/// The Workload API's calls as they go over the wire: the libraries show no revocation lists.
async fn dial(socket: &Path) -> SpiffeWorkloadApiClient<Channel> {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    SpiffeWorkloadApiClient::new(endpoint.connect_with_connector(connector).await.unwrap())
}

fn with_header<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("workload.spiffe.io", "true".parse().unwrap());
    request
}

async fn bundles(socket: &Path) -> Streaming<X509BundlesResponse> {
    let request = with_header(X509BundlesRequest {});
    dial(socket).await.fetch_x509_bundles(request).await.unwrap().into_inner()
}

async fn svids(socket: &Path) -> Streaming<X509svidResponse> {
    dial(socket).await.fetch_x509svid(with_header(X509svidRequest {})).await.unwrap().into_inner()
}

async fn next<T>(answers: &mut Streaming<T>) -> T {
    tokio::time::timeout(wait::PATIENCE, answers.message()).await.unwrap().unwrap().unwrap()
}

fn pem(label: &str, der: &[u8]) -> String {
    let text = data_encoding::BASE64.encode(der);
    let lines: Vec<&str> = text.as_bytes().chunks(64).map(|line| str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// Whether OpenSSL lets this certificate in, by the bundle and the lists of an answer.
fn let_in(room: &Path, identity: &Identity, root: &[u8], lists: &[Vec<u8>]) -> bool {
    fs::write(room.join("root.pem"), pem("CERTIFICATE", root)).unwrap();
    let all: String = lists.iter().map(|list| pem("X509 CRL", list)).collect();
    fs::write(room.join("crl.pem"), all).unwrap();
    fs::write(room.join("leaf.pem"), identity.field("certificate")).unwrap();
    fs::write(room.join("intermediate.pem"), identity.field("intermediate")).unwrap();
    let judged = openssl(
        room,
        &["verify", "-crl_check_all", "-x509_strict", "-CAfile", "root.pem", "-CRLfile", "crl.pem"]
            .into_iter()
            .chain(["-untrusted", "intermediate.pem", "leaf.pem"])
            .collect::<Vec<_>>(),
    );
    judged.code == Some(0)
}

#[tokio::test(flavor = "multi_thread")]
async fn x509_answers_carry_lists_that_verify_and_follow_a_revocation() {
    let mut served = block_in_place(|| Served::start(&[]));
    let (good, gone) =
        (Identity::enroll(&served.server, "good").await, Identity::enroll(&served.server, "gone").await);
    let mut answers = bundles(&served.socket).await;
    let mut lists = Vec::new();
    let mut root = Vec::new();
    while lists.is_empty() {
        let answer = next(&mut answers).await;
        (lists, root) = (answer.crl, answer.bundles["spiffe://muster"].clone());
    }
    assert_eq!(lists.len(), 2, "the intermediate's and the root's");
    let room = served.machine.home().to_owned();
    assert!(let_in(&room, &good, &root, &lists) && let_in(&room, &gone, &root, &lists));

    block_in_place(|| served.server.revoke("gone"));
    let before = lists.clone();
    while lists == before {
        lists = next(&mut answers).await.crl;
    }
    assert!(let_in(&room, &good, &root, &lists) && !let_in(&room, &gone, &root, &lists));
    // An SVID comes with them in its first answer, now that they are there.
    assert_eq!(next(&mut svids(&served.socket).await).await.crl, lists);

    // On disk, so that an agent whose server is away has them from its start on.
    let kept = served.machine.file("trust.bin");
    let has_lists = || {
        let content = fs::read(&kept).ok()?;
        let holds = |list: &Vec<u8>| content.windows(list.len()).any(|part| part == list.as_slice());
        lists.iter().all(holds).then_some(())
    };
    wait::until("the lists are on disk", has_lists);
    assert_eq!(fs::metadata(&kept).unwrap().permissions().mode() & 0o777, 0o600);
    block_in_place(|| {
        served.agent.kill();
        served.server.kill();
    });
    let config = served.machine.home().join("agent.yml");
    let agent = served.machine.run(&config, &[]);
    agent.wait_for_log("session ended", wait::PATIENCE);
    assert_eq!(next(&mut bundles(&served.socket).await).await.crl, lists);
    drop(agent);

    // What is damaged counts as none, and is said.
    fs::write(&kept, "damaged").unwrap();
    let agent = served.machine.run(&config, &[]);
    agent.wait_for_log("the kept trust update is damaged", wait::PATIENCE);
    agent.wait_for_log("session ended", wait::PATIENCE);
    let answer = next(&mut bundles(&served.socket).await).await;
    assert!(answer.crl.is_empty());
    assert_eq!(answer.bundles["spiffe://muster"], root);
}
