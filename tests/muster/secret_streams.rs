//! Secret discovery as its protocol has it, with clients that Envoy would not be: each is answered as documented, what is held for
//! them is bounded, and nobody else notices.

use std::path::Path;

use hyper_util::rt::TokioIo;
use prost::Message;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::block_in_place;
use tokio::time::timeout;
use tokio_stream::wrappers::ReceiverStream;
use tonic::client::Grpc;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Request, Status, Streaming};
use tonic_prost::ProstCodec;

use crate::support::agent::Machine;
use crate::support::identity::Identity;
use crate::support::process::Process;
use crate::support::server::Server;
use crate::support::wait::{PATIENCE, until_answered};

/// Connections of one user, and calls at a time on each.
const CONNECTIONS: usize = 64;
const CALLS: usize = 16;
const MIB: u64 = 1 << 20;

/// `DiscoveryRequest`, and of what it names as much as these tests say.
#[derive(Clone, PartialEq, Message)]
struct Ask {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, repeated, tag = "3")]
    names: Vec<String>,
    #[prost(string, tag = "4")]
    kind: String,
    #[prost(string, tag = "5")]
    nonce: String,
    #[prost(message, optional, tag = "6")]
    refusal: Option<Refusal>,
}

#[derive(Clone, PartialEq, Message)]
struct Refusal {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// `DiscoveryResponse`.
#[derive(Clone, PartialEq, Message)]
struct Told {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(message, repeated, tag = "2")]
    resources: Vec<prost_types::Any>,
    #[prost(string, tag = "5")]
    nonce: String,
}

/// `Secret`.
#[derive(Clone, PartialEq, Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

fn ask(names: &[&str]) -> Ask {
    Ask { names: names.iter().map(|&name| name.to_owned()).collect(), ..Ask::default() }
}

impl Told {
    fn names(&self) -> Vec<String> {
        self.resources.iter().map(|any| Named::decode(&any.value[..]).unwrap().name).collect()
    }
}

async fn dial(socket: &Path) -> Grpc<Channel> {
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_: Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let endpoint = Endpoint::from_static("http://localhost");
    Grpc::new(endpoint.connect_with_connector(connector).await.unwrap())
}

fn path(method: &str) -> PathAndQuery {
    format!("/envoy.service.secret.v3.SecretDiscoveryService/{method}").parse().unwrap()
}

/// A stream of secrets.
struct Stream {
    up: mpsc::Sender<Ask>,
    down: Streaming<Told>,
}

impl Stream {
    async fn open(client: &mut Grpc<Channel>, first: Ask) -> Result<Self, Status> {
        Self::open_as("StreamSecrets", client, first).await
    }

    async fn open_as(method: &str, client: &mut Grpc<Channel>, first: Ask) -> Result<Self, Status> {
        let (up, asked) = mpsc::channel(4);
        up.send(first).await.unwrap();
        client.ready().await.unwrap();
        let request = Request::new(ReceiverStream::new(asked));
        let down = client.streaming(request, path(method), ProstCodec::default()).await?.into_inner();
        Ok(Self { up, down })
    }

    async fn next(&mut self) -> Result<Told, Status> {
        let told = timeout(PATIENCE, self.down.message()).await.expect("an answer");
        told.map(|told| told.expect("the stream goes on"))
    }
}

async fn fetch(client: &mut Grpc<Channel>, names: &[&str]) -> Result<Told, Status> {
    client.ready().await.unwrap();
    let codec: ProstCodec<Ask, Told> = ProstCodec::default();
    client.unary(Request::new(ask(names)), path("FetchSecrets"), codec).await.map(tonic::Response::into_inner)
}

struct Served {
    server: Server,
    _machine: Machine,
    agent: Process,
    socket: std::path::PathBuf,
}

impl Served {
    fn start() -> Self {
        let server = Server::quickstart();
        let machine = Machine::new();
        machine.enroll_at(&server, &server.join_token_for("web-1"));
        let config = machine.configure(&server, None);
        let socket = machine.with_workload_api(&config);
        let agent = machine.run(&config, &[]);
        agent.wait_for_log("session open", PATIENCE);
        Self { server, _machine: machine, agent, socket }
    }

    /// Memory of the agent that is in use.
    fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.agent.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_question_has_its_answer_and_a_wrong_one_ends_its_own_stream_alone() {
    let served = block_in_place(Served::start);
    let _gone = Identity::enroll(&served.server, "gone").await;
    let mut client = dial(&served.socket).await;
    // Roots come with the lists, which have to be there first; the certificate does not wait for them.
    let mut both = Stream::open(&mut client, ask(&["default", "ROOTCA"])).await.unwrap();
    let mut told = both.next().await.unwrap();
    while told.names() != ["default", "ROOTCA"] {
        assert_eq!(told.names(), ["default"]);
        both.up.send(Ask { nonce: told.nonce, ..ask(&["default", "ROOTCA"]) }).await.unwrap();
        told = both.next().await.unwrap();
    }
    let crl = b"-----BEGIN X509 CRL-----";
    assert!(told.resources[1].value.windows(crl.len()).any(|part| part == crl), "lists are there");

    // A name that there is not is no answer: what comes first is about the next request.
    let mut patient = Stream::open(&mut client, ask(&["nobody"])).await.unwrap();
    patient.up.send(ask(&["nobody", "ROOTCA"])).await.unwrap();
    let first = patient.next().await.unwrap();
    assert_eq!((first.names(), first.nonce.as_str()), (vec!["ROOTCA".to_owned()], "1"));
    served.agent.wait_for_log("nobody", PATIENCE);

    for (bad, code) in [
        (ask(&["default"; 17]), Code::InvalidArgument),
        (ask(&[&"x".repeat(513)]), Code::InvalidArgument),
        (Ask { kind: "type.googleapis.com/other".to_owned(), ..ask(&["default"]) }, Code::InvalidArgument),
        (ask(&[&"x".repeat(300 << 10)]), Code::OutOfRange),
    ] {
        let refused = match Stream::open(&mut client, bad).await {
            Ok(mut stream) => stream.next().await.unwrap_err(),
            Err(status) => status,
        };
        assert_eq!(refused.code(), code, "{refused:?}");
    }
    let delta =
        Stream::open_as("DeltaSecrets", &mut client, ask(&["default"])).await.map(|_| ()).unwrap_err();
    assert_eq!(delta.code(), Code::Unimplemented);
    assert!(delta.message().contains("api_type"), "{delta:?}");
    assert_eq!(fetch(&mut client, &["nobody"]).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(fetch(&mut client, &["ROOTCA", "default"]).await.unwrap().names(), ["ROOTCA", "default"]);

    // Who refuses what it was told hears of the next change, as those do who took it; the log has the reason.
    let refusal = Refusal { code: 13, message: "no such\u{1b}[2J key".to_owned() };
    let refused = Ask { nonce: told.nonce.clone(), refusal: Some(refusal), ..ask(&["default", "ROOTCA"]) };
    both.up.send(refused).await.unwrap();
    let logged = served.agent.wait_for_log("does not accept its secrets", PATIENCE);
    assert!(logged.contains("no such") && !logged.contains('\u{1b}'), "{logged}");
    patient.up.send(Ask { nonce: "1".to_owned(), ..ask(&["nobody", "ROOTCA"]) }).await.unwrap();
    block_in_place(|| served.server.revoke("gone"));
    for (stream, before) in [(&mut both, &told), (&mut patient, &first)] {
        let next = stream.next().await.unwrap();
        assert_ne!(next.version, before.version);
        assert_eq!(next.nonce.parse::<u64>().unwrap(), before.nonce.parse::<u64>().unwrap() + 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_streams_hear_of_a_revocation_and_one_connection_has_a_few() {
    let served = block_in_place(Served::start);
    let _gone = Identity::enroll(&served.server, "gone").await;
    let mut client = dial(&served.socket).await;
    let mut one = Stream::open(&mut client, ask(&["ROOTCA"])).await.unwrap();
    one.next().await.unwrap();
    let before = served.resident();

    // On one connection the others wait until there is room.
    let mut many: Vec<Stream> = Vec::new();
    while many.len() < CALLS - 1 {
        let mut stream = Stream::open(&mut client, ask(&["default", "ROOTCA"])).await.unwrap();
        stream.next().await.unwrap();
        many.push(stream);
    }
    let waiting = (0..1_000).map(|_| {
        let mut client = client.clone();
        tokio::spawn(async move { Stream::open(&mut client, ask(&["default"])).await.map(|_| ()) })
    });
    let waiting: Vec<_> = waiting.collect();
    // Another connection has room of its own, and when it has been answered nobody of those has been.
    let mut clients = Vec::new();
    for _ in 1..CONNECTIONS {
        let mut client = dial(&served.socket).await;
        for _ in 0..CALLS {
            let mut stream = Stream::open(&mut client, ask(&["default", "ROOTCA"])).await.unwrap();
            assert_eq!(stream.next().await.unwrap().names(), ["default", "ROOTCA"]);
            many.push(stream);
        }
        clients.push(client);
    }
    assert_eq!(many.len() + 1, CONNECTIONS * CALLS);
    assert!(waiting.iter().all(|stream| !stream.is_finished()));
    let mut too_many = dial(&served.socket).await;
    let refused = Stream::open(&mut too_many, ask(&["default"])).await.map(|_| ()).unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted, "{refused:?}");
    assert!(refused.message().contains("connections_per_user"), "{refused:?}");

    block_in_place(|| served.server.revoke("gone"));
    one.next().await.unwrap();
    for stream in &mut many {
        assert!(stream.next().await.unwrap().names().contains(&"ROOTCA".to_owned()));
    }
    let grown = served.resident().saturating_sub(before);
    assert!(grown < 96 * MIB, "{} MiB more", grown / MIB);

    // With the connections everything goes, and there is room again.
    waiting.iter().for_each(tokio::task::JoinHandle::abort);
    drop((many, clients, too_many, client, one));
    let again = async || {
        let mut client = dial(&served.socket).await;
        let stream = Stream::open(&mut client, ask(&["ROOTCA"])).await.ok()?;
        Some((client, stream))
    };
    let (_client, mut stream) = until_answered("there is room again", again).await;
    assert_eq!(stream.next().await.unwrap().names(), ["ROOTCA"]);
}
