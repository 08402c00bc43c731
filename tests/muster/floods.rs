//! Connections by the hundred, from many addresses and from one: nobody else is kept out, and nothing runs out
//! for good.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::block_in_place;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::support::client::{Client, PASSWORD};
use crate::support::http::Http;
use crate::support::identity::Identity;
use crate::support::server::Server;
use crate::support::wait::PATIENCE;

/// Less than a stalled handshake may take, so that nothing here waits for one to time out.
const SOON: Duration = Duration::from_secs(6);

fn https(server: &Server) -> SocketAddr {
    server.hello.url.strip_prefix("https://").unwrap().trim_end_matches('/').parse().unwrap()
}

/// One of 250 clients of this machine's own network.
fn client(number: usize) -> IpAddr {
    Ipv4Addr::new(127, 9, 9, u8::try_from(number % 250).unwrap() + 1).into()
}

async fn connect(from: IpAddr, to: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    socket.connect(to).await.unwrap()
}

/// The beginning of a ClientHello, whose rest never comes (RFC 8446 5.1).
async fn stall(from: IpAddr, to: SocketAddr) -> TcpStream {
    let mut stream = connect(from, to).await;
    // A server that is full closes at once.
    drop(stream.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3]).await);
    stream
}

/// Whether the server closes the connection within this time.
async fn closes(stream: &mut TcpStream, within: Duration) -> bool {
    timeout(within, stream.read(&mut [0])).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_handshakes_from_many_addresses_keep_nobody_out() {
    let server = Server::quickstart_with_descriptors(256);
    let peer = Identity::enroll(&server, "web-1").await.peer(&server);
    let live = peer.connect().await.unwrap().session().await.unwrap();
    let (http, addresses) = (server.http(), [https(&server), server.hello.grpc_addr.parse().unwrap()]);

    for address in addresses {
        let started = Instant::now();
        let mut stalled = Vec::new();
        for number in 0..400 {
            stalled.push(stall(client(number), address).await);
            if number % 100 == 99 {
                let served =
                    timeout(SOON, async { (peer.reports().await, http.get("/readyz").await.status) });
                let (reported, ready) = served.await.expect("whoever finishes a handshake is served");
                reported.unwrap();
                assert_eq!(ready, 200);
            }
        }
        let mut oldest = stalled.remove(0);
        assert!(closes(&mut oldest, SOON).await, "the oldest had to make way");
        let mut newest = stalled.pop().unwrap();
        assert!(!closes(&mut newest, Duration::from_millis(100)).await, "the newest had not");
        assert!(started.elapsed() < Duration::from_secs(10), "nothing has timed out yet");
        block_in_place(|| server.cli(&["host", "list", "--json"]).run().ok());
    }
    server.wait_for_log("the oldest make way", PATIENCE);
    live.report().await;
    assert!(!server.log().contains("can't accept"), "{}", server.log());
}

/// A connection that has had an answer and is kept open.
async fn served(http: &Http, client: IpAddr) -> std::io::Result<TlsStream<TcpStream>> {
    let mut stream = http.open_from(client).await?;
    stream.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").await?;
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await?;
    assert_eq!(answer, *b"HTTP/1.1 200");
    Ok(stream)
}

#[tokio::test(flavor = "multi_thread")]
async fn idle_connections_make_way_for_newcomers() {
    let server = Server::quickstart_with_descriptors(256);
    let peer = Identity::enroll(&server, "web-1").await.peer(&server);
    let http = server.http();
    let started = Instant::now();
    // A request that is open: its body is being waited for.
    let mut open = http.open_from(client(0)).await.unwrap();
    let head = "POST /enroll/agent HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n\
                Content-Length: 2\r\nExpect: 100-continue\r\nConnection: close\r\n\r\n";
    open.write_all(head.as_bytes()).await.unwrap();
    open.read_exact(&mut [0; b"HTTP/1.1 100 Continue\r\n\r\n".len()]).await.unwrap();

    let mut idle = Vec::new();
    for number in 1..150 {
        idle.push(served(&http, client(number)).await.expect("a newcomer is served"));
    }
    open.write_all(b"{}").await.unwrap();
    let mut answer = String::new();
    timeout(PATIENCE, open.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");

    // A quarter of the descriptors is for strangers.
    let mut kept = Vec::new();
    for (number, stream) in idle.iter_mut().enumerate() {
        let closed = timeout(Duration::from_millis(20), stream.read_to_end(&mut Vec::new())).await;
        if closed.is_err() {
            kept.push(number);
        }
    }
    assert!((33..=64).contains(&kept.len()), "{}", kept.len());
    assert!(kept[0] >= idle.len() - 64, "those that had been quiet for longest made way: {kept:?}");
    assert!(started.elapsed() < Duration::from_secs(10), "none has been closed for its idleness alone");
    server.wait_for_log("those that have been quiet make way", PATIENCE);
    peer.reports().await.unwrap();
    block_in_place(|| server.cli(&["host", "list", "--json"]).run().ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_holds_many_connections_makes_way_before_who_holds_one() {
    let server = Server::quickstart_with_descriptors(256);
    let http = server.http();
    let mut modest = served(&http, client(1)).await.unwrap();
    let mut held = Vec::new();
    for greedy in [client(2), client(3)] {
        for _ in 0..40 {
            held.push(served(&http, greedy).await.unwrap());
        }
    }
    for number in 4..24 {
        held.push(served(&http, client(number)).await.expect("a newcomer is served"));
    }
    modest.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answers = String::new();
    timeout(PATIENCE, modest.read_to_string(&mut answers)).await.unwrap().unwrap();
    assert!(answers.contains("HTTP/1.1 200"), "{answers}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_address_has_a_share_and_the_others_the_rest() {
    let server = Server::quickstart();
    let address = https(&server);
    let (greedy, modest) = (client(1), client(2));
    let mut held = Vec::new();
    for _ in 0..300 {
        held.push(stall(greedy, address).await);
    }
    let http = server.http();
    assert!(http.open_from(greedy).await.is_err());
    for _ in 0..20 {
        http.open_from(modest).await.unwrap();
    }
    assert!(closes(held.last_mut().unwrap(), SOON).await, "the last one found its address's share taken");
    assert!(!closes(&mut held[0], Duration::from_millis(100)).await, "the first one is still waited for");
}

#[tokio::test(flavor = "multi_thread")]
async fn with_few_descriptors_an_address_has_half_at_most() {
    let server = Server::quickstart_with_descriptors(256);
    let addresses = [https(&server), server.hello.grpc_addr.parse().unwrap()];
    let http = server.http();
    // A quarter of the descriptors is for strangers and half for agents; half of each for handshakes.
    for (address, share) in addresses.into_iter().zip([16, 32]) {
        let mut held = Vec::new();
        for _ in 0..share {
            held.push(stall(client(1), address).await);
        }
        let mut one_too_many = stall(client(1), address).await;
        assert!(closes(&mut one_too_many, SOON).await);
        assert!(!closes(&mut held[0], Duration::from_millis(100)).await);
    }
    let mut held = Vec::new();
    for _ in 0..40 {
        held.push(served(&http, client(2)).await.expect("others may be behind the same address"));
    }
    for (number, stream) in held.iter_mut().enumerate() {
        let patience = if number < 8 { SOON } else { Duration::from_millis(20) };
        let closed = timeout(patience, stream.read_to_end(&mut Vec::new())).await.is_ok();
        assert_eq!(closed, number < 8, "{number}: the address keeps the newest 32");
    }
    served(&http, client(3)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn used_up_descriptors_are_survived() {
    let mut server = Server::quickstart();
    let peer = Identity::enroll(&server, "web-1").await.peer(&server);
    let http = server.http();
    let pid = Pid::from_raw(server.process().id().cast_signed());
    // Fewer than are open already; the hard limit stays as the server has inherited it.
    let maximum = getrlimit(Resource::Nofile).maximum;
    let before = prlimit(pid, Resource::Nofile, Rlimit { current: Some(8), maximum }).unwrap();
    let waiting = connect(client(1), https(&server)).await;
    let _operator = UnixStream::connect(server.file("muster.sock")).unwrap();
    server.wait_for_log("can't accept connections", PATIENCE);
    server.wait_for_log("cannot accept on the UNIX socket", PATIENCE);
    let complaints = || server.log().lines().filter(|line| line.contains("accept")).count();
    let said_before = complaints();
    // How much is said in a time can only be seen by letting it pass.
    tokio::time::sleep(Duration::from_secs(2)).await;
    let said = complaints() - said_before;
    assert!(said <= 6, "{said} lines in two seconds");

    drop(waiting);
    prlimit(pid, Resource::Nofile, before).unwrap();
    let served = async {
        peer.reports().await.unwrap();
        assert_eq!(http.get("/readyz").await.status, 200);
    };
    timeout(Duration::from_secs(2), served).await.unwrap();
    block_in_place(|| server.cli(&["host", "list", "--json"]).run().ok());
}

/// What attackers have been answered, as they go on guessing.
#[derive(Debug, Default)]
struct Guessing {
    over: AtomicBool,
    wrong: AtomicUsize,
    busy: AtomicUsize,
}

impl Guessing {
    async fn guess(self: Arc<Self>, stranger: Client) {
        while !self.over.load(Ordering::Relaxed) {
            let answer = stranger.try_sign_in("alice", "not the password at all").await;
            match answer.status {
                401 => self.wrong.fetch_add(1, Ordering::Relaxed),
                503 => {
                    let problem = answer.refused(503, "busy");
                    assert!(answer.header("retry-after").is_some(), "{answer}");
                    assert!(!problem["detail"].as_str().unwrap().contains("address"), "{answer}");
                    // Still eight times as often as they are asked to.
                    tokio::time::sleep(Duration::from_millis(250)).await;
                    self.busy.fetch_add(1, Ordering::Relaxed)
                }
                _ => panic!("{answer}"),
            };
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_from_150_addresses_keep_nobody_from_signing_in() {
    let server = Server::quickstart();
    block_in_place(|| server.add_user("alice", "viewer", None));
    let nobody = Client::nobody(&server);
    let guessing = Arc::new(Guessing::default());
    let attack: Vec<_> = (0..150)
        .map(|number| tokio::spawn(Arc::clone(&guessing).guess(nobody.at_address(client(number)))))
        .collect();
    let begun = async {
        while guessing.wrong.load(Ordering::Relaxed) < 10 || guessing.busy.load(Ordering::Relaxed) < 100 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, begun).await.expect("the queue is full");

    // Each is there for the first time, and is let in by its first attempt.
    for number in 1..=4 {
        let clean = nobody.at_address(Ipv4Addr::new(127, 8, 8, number).into());
        clean.try_sign_in("alice", PASSWORD).await.expect(200);
        clean.try_sign_in("alice", PASSWORD).await.expect(200);
    }
    // The operator and whoever is signed in do not wait behind strangers either.
    block_in_place(|| server.add_user("bob", "viewer", None));
    guessing.over.store(true, Ordering::Relaxed);
    for attacker in attack {
        attacker.abort();
        assert!(!attacker.await.is_err_and(|ended| ended.is_panic()));
    }
    let admin = Client::admin(&server).await;
    assert_eq!(admin.items("/v1/users").await.len(), 3);
}
