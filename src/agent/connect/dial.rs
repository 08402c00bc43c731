//! The one way to the server, for HTTPS and gRPC alike: through the proxy that the environment names, else
//! directly, and then to every address that the name has.
//!
//! Addresses are raced as in RFC 8305 (Happy Eyeballs): the next attempt starts a quarter of a second after the
//! one before, or at once when that has failed, and the first connection wins. So an address that swallows every
//! packet costs a moment and locks nobody out. Everything here ends by itself within a bounded time.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::net::{TcpStream, lookup_host};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::{info, warn};

use crate::agent::connect::proxy::{Proxy, ProxySettings, TunnelError, UnusableProxy};
use crate::domain::network::host_port::{HostName, HostPort};
use crate::error_chain::chain;

/// How long after one attempt the next begins (RFC 8305 5, "Connection Attempt Delay").
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);
/// How long one address may take to answer.
const ATTEMPT_WITHIN: Duration = Duration::from_secs(10);
/// Most addresses of one name that are tried.
const ADDRESSES_MAX: usize = 16;
/// How long the resolver may take.
const LOOKUP_WITHIN: Duration = Duration::from_secs(10);
/// Destinations whose trouble with the proxy is remembered.
const TROUBLES_MAX: usize = 64;
/// How long a proxy may take to open a tunnel, its own connection included.
const TUNNEL_WITHIN: Duration = Duration::from_secs(10);

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    #[error("the name {name} can't be resolved")]
    Name { name: String, source: io::Error },
    #[error("the name {0} has no address")]
    NoAddress(String),
    #[error("no address of {to} can be connected to")]
    Unreachable { to: HostPort, source: io::Error },
    #[error("neither the direct way nor the proxy works ({proxy})")]
    NeitherWay { proxy: String, source: Box<DialError> },
}

/// Why the proxy was of no use.
#[derive(Debug, thiserror::Error)]
enum ProxyFailure {
    #[error(transparent)]
    Unusable(#[from] UnusableProxy),
    #[error("the proxy {at} can't be reached")]
    Unreachable { at: HostPort, source: DialError },
    #[error("the proxy {at} opens no connection to {to}")]
    NoTunnel { at: HostPort, to: HostPort, source: TunnelError },
    #[error("the proxy {at} did not answer in time")]
    TooSlow { at: HostPort },
}

/// Opens connections, and remembers what is wrong with the proxy.
#[derive(Debug, Default)]
pub struct Dialer {
    proxies: ProxySettings,
    names: Names,
    /// Why the proxy was of no use when it was last tried, by destination: many open connections to some ports alone.
    trouble: Mutex<BTreeMap<String, String>>,
}

/// How names become addresses.
#[derive(Debug, Default)]
enum Names {
    #[default]
    System,
    /// What a test says.
    #[cfg(test)]
    Fixed(std::collections::HashMap<String, Vec<SocketAddr>>),
}

impl Dialer {
    pub fn new(proxies: ProxySettings) -> Self {
        Self { proxies, ..Self::default() }
    }

    /// What these names and ports, `name:port`, mean; others mean nothing.
    #[cfg(test)]
    pub(crate) fn knowing(mut self, names: &[(&str, &[SocketAddr])]) -> Self {
        let names = names.iter().map(|(name, addresses)| ((*name).to_owned(), addresses.to_vec()));
        self.names = Names::Fixed(names.collect());
        self
    }

    /// A connection to the server, by whichever way works.
    pub async fn connect(&self, to: &HostPort) -> Result<TcpStream, DialError> {
        let Some(proxy) = self.proxies.towards(to) else {
            return self.directly(to).await;
        };
        let failure = match proxy {
            Ok(proxy) => match self.through(proxy, to).await {
                Ok(stream) => {
                    self.proxy_works(proxy, to);
                    return Ok(stream);
                }
                Err(failure) => failure,
            },
            Err(unusable) => (*unusable).into(),
        };
        let proxy = self.proxy_fails(&failure, to);
        let stream = self.directly(to).await;
        stream.map_err(|source| DialError::NeitherWay { proxy, source: Box::new(source) })
    }

    /// What is wrong with the proxy, as of the latest attempts to use it.
    pub fn proxy_trouble(&self) -> Option<String> {
        self.trouble.lock().values().next().cloned()
    }

    async fn through(&self, proxy: &Proxy, to: &HostPort) -> Result<TcpStream, ProxyFailure> {
        let at = &proxy.at;
        let tunnel = async {
            let stream = self.directly(at).await;
            let stream = stream.map_err(|source| ProxyFailure::Unreachable { at: at.clone(), source })?;
            let no_tunnel = |source| ProxyFailure::NoTunnel { at: at.clone(), to: to.clone(), source };
            proxy.tunnel(stream, to).await.map_err(no_tunnel)
        };
        let opened = timeout(TUNNEL_WITHIN, tunnel).await;
        opened.unwrap_or_else(|_| Err(ProxyFailure::TooSlow { at: at.clone() }))
    }

    async fn directly(&self, to: &HostPort) -> Result<TcpStream, DialError> {
        let addresses = self.addresses(to).await?;
        let unreachable = |source| DialError::Unreachable { to: to.clone(), source };
        let stream = race(&addresses).await.map_err(unreachable)?;
        // Heartbeats and requests are small and should not wait for company.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    async fn addresses(&self, to: &HostPort) -> Result<Vec<SocketAddr>, DialError> {
        let name = match &to.host {
            HostName::Ip(ip) => return Ok(vec![SocketAddr::new(*ip, to.port)]),
            HostName::Dns(name) => name,
        };
        let found: Vec<SocketAddr> = match &self.names {
            Names::System => {
                let lookup = timeout(LOOKUP_WITHIN, lookup_host((name.as_str(), to.port))).await;
                let lookup = lookup.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                let failed = |source| DialError::Name { name: name.clone(), source };
                lookup.map_err(failed)?.take(ADDRESSES_MAX).collect()
            }
            #[cfg(test)]
            Names::Fixed(names) => names.get(&to.to_string()).cloned().unwrap_or_default(),
        };
        if found.is_empty() { Err(DialError::NoAddress(name.clone())) } else { Ok(found) }
    }

    /// Says so once for each cause, however often it is met.
    fn proxy_fails(&self, failure: &ProxyFailure, to: &HostPort) -> String {
        let text = chain(failure);
        let mut trouble = self.trouble.lock();
        let to = to.to_string();
        let known = trouble.get(&to) == Some(&text);
        if !known {
            // Where a server keeps naming other addresses, what is said twice does less harm than what grows.
            if trouble.len() >= TROUBLES_MAX {
                trouble.clear();
            }
            warn!(
                reason = text,
                "the proxy of HTTPS_PROXY can't be used; the direct way is tried. Correct HTTPS_PROXY, or list the server in NO_PROXY"
            );
            trouble.insert(to, text.clone());
        }
        text
    }

    fn proxy_works(&self, proxy: &Proxy, to: &HostPort) {
        let mut trouble = self.trouble.lock();
        if trouble.remove(&to.to_string()).is_some() {
            info!(proxy = %proxy.at, %to, "the proxy works again");
        }
    }
}

/// The first of these addresses that a connection can be opened to.
async fn race(addresses: &[SocketAddr]) -> io::Result<TcpStream> {
    let mut waiting = alternating(addresses).into_iter().peekable();
    let mut attempts = JoinSet::new();
    let mut failure = io::Error::from(io::ErrorKind::AddrNotAvailable);
    loop {
        if let Some(address) = waiting.next() {
            attempts.spawn(attempt(address));
        }
        // Attempts that are still open when one has won end with the set.
        let outcome = match waiting.peek() {
            Some(_) => match timeout(ATTEMPT_DELAY, attempts.join_next()).await {
                Ok(outcome) => outcome,
                Err(_) => continue,
            },
            None => attempts.join_next().await,
        };
        match outcome {
            Some(Ok(Ok(stream))) => return Ok(stream),
            Some(Ok(Err(error))) => failure = error,
            Some(Err(error)) => failure = error.into(),
            None if waiting.peek().is_none() => return Err(failure),
            None => {}
        }
    }
}

async fn attempt(address: SocketAddr) -> io::Result<TcpStream> {
    let connected = timeout(ATTEMPT_WITHIN, TcpStream::connect(address)).await;
    connected.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

/// IPv6 and IPv4 in turn, beginning with the family that the resolver put first (RFC 8305 4).
fn alternating(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let first_is_v6 = addresses.first().is_some_and(SocketAddr::is_ipv6);
    let (preferred, other): (Vec<SocketAddr>, Vec<SocketAddr>) =
        addresses.iter().partition(|address| address.is_ipv6() == first_is_v6);
    let (mut preferred, mut other) = (preferred.into_iter(), other.into_iter());
    let mut order = Vec::with_capacity(addresses.len());
    while order.len() < addresses.len() {
        order.extend(preferred.next());
        order.extend(other.next());
    }
    order
}

#[cfg(test)]
pub(crate) mod tests {
    use std::net::{Ipv4Addr, TcpListener};
    use std::os::fd::OwnedFd;

    use rustix::net::{
        AddressFamily, SocketFlags, SocketType, bind, connect, getsockname, listen, socket_with,
    };
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    /// An address that answers no SYN: a listener whose queue is full and that accepts nobody.
    pub(crate) struct BlackHole {
        pub address: SocketAddr,
        _sockets: Vec<OwnedFd>,
    }

    impl BlackHole {
        pub(crate) fn open() -> Self {
            let flags = SocketFlags::CLOEXEC;
            let tcp =
                |extra| socket_with(AddressFamily::INET, SocketType::STREAM, flags | extra, None).unwrap();
            let listener = tcp(SocketFlags::empty());
            bind(&listener, &SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).unwrap();
            listen(&listener, 0).unwrap();
            let address: SocketAddr = getsockname(&listener).unwrap().try_into().unwrap();
            let mut sockets = vec![listener];
            // A queue of length zero holds one connection; the next ones are dropped on the floor.
            for _ in 0..4 {
                let filler = tcp(SocketFlags::NONBLOCK);
                let _ = connect(&filler, &address);
                sockets.push(filler);
            }
            Self { address, _sockets: sockets }
        }
    }

    fn dead() -> SocketAddr {
        TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
    }

    #[tokio::test]
    async fn an_address_that_swallows_everything_locks_nobody_out() {
        let living = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = living.local_addr().unwrap();
        let holes = [BlackHole::open(), BlackHole::open()];
        let of = |addresses: &[SocketAddr]| Dialer::default().knowing(&[("control.example:1", addresses)]);
        let to: HostPort = "control.example:1".parse().unwrap();
        for addresses in [
            vec![holes[0].address, address],
            vec![holes[0].address, holes[1].address, address],
            vec![dead(), holes[0].address, dead(), address],
        ] {
            let stream = of(&addresses).connect(&to).await.unwrap();
            assert_eq!(stream.peer_addr().unwrap(), address);
        }
        let refused = of(&[dead(), dead()]).connect(&to).await.unwrap_err();
        assert!(matches!(&refused, DialError::Unreachable { .. }), "{refused:?}");
        let nowhere = of(&[]).connect(&to).await.unwrap_err();
        assert!(matches!(nowhere, DialError::NoAddress(_)));
    }

    #[test]
    fn families_take_turns() {
        let [a, b, c]: [SocketAddr; 3] =
            ["[2001:db8::1]:1", "[2001:db8::2]:1", "[2001:db8::3]:1"].map(|text| text.parse().unwrap());
        let [x, y]: [SocketAddr; 2] = ["192.0.2.1:1", "192.0.2.2:1"].map(|text| text.parse().unwrap());
        assert_eq!(alternating(&[a, b, c, x, y]), [a, x, b, y, c]);
        assert_eq!(alternating(&[x, y, a]), [x, a, y]);
        assert_eq!(alternating(&[]), []);
    }

    #[tokio::test]
    async fn a_proxy_that_is_of_no_use_is_told_and_passed_by() {
        let living = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = living.local_addr().unwrap();
        let to: HostPort = "control.example:8443".parse().unwrap();
        let refusing = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let refusing_at = refusing.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = refusing.accept().await {
                let mut head = [0; 512];
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(b"HTTP/1.1 403 Forbidden\r\n\r\n").await;
            }
        });
        let dead = dead();
        for (proxy, says) in [
            (format!("http://user:hunter2@{dead}"), "can't be reached"),
            (format!("http://user:hunter2@{refusing_at}"), "403 Forbidden"),
            ("socks5://user:hunter2@127.0.0.1:1".to_owned(), "another kind"),
        ] {
            let settings =
                ProxySettings::from_environment(&|name| (name == "HTTPS_PROXY").then(|| proxy.clone()));
            let dialer = Dialer::new(settings).knowing(&[("control.example:8443", &[address])]);
            assert_eq!(dialer.proxy_trouble(), None);
            assert_eq!(dialer.connect(&to).await.unwrap().peer_addr().unwrap(), address);
            let trouble = dialer.proxy_trouble().unwrap();
            assert!(trouble.contains(says) && !trouble.contains("hunter2"), "{trouble}");
            let neither = dialer.knowing(&[]).connect(&to).await.unwrap_err().to_string();
            assert!(neither.contains(says) && !neither.contains("hunter2"), "{neither}");
        }
    }
}
